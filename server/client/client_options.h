#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace drover {

inline constexpr char kDefaultAddress[] = "127.0.0.1:8033";
inline constexpr uint32_t kDefaultMaxNewTokens = 256;

// How to speak to the server; PEM.
struct ClientTls {
  std::string root_certs;  // empty: plaintext
  // What to show, if the server wants to know who asks; both or neither.
  std::string cert_chain;
  std::string private_key;
};

// `drover generate`. What is unset is left to the server.
struct GenerateOptions {
  std::string address = kDefaultAddress;
  ClientTls tls;
  std::optional<std::string> prompt;  // unset: standard input
  bool echo = false;                  // the prompt before the output
  bool quiet = false;                 // no statistics

  // Unset: kDefaultMaxNewTokens, or the server's limit if that is less.
  std::optional<uint32_t> max_new_tokens;
  uint32_t min_new_tokens = 0;
  uint32_t time_limit_millis = 0;
  std::vector<std::string> stop_sequences;
  std::optional<bool> include_stop_sequence;
  uint32_t truncate_input_tokens = 0;

  bool sample = false;  // implied by any of the next five
  std::optional<float> temperature;
  std::optional<uint32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> typical_p;
  std::optional<uint64_t> seed;

  float repetition_penalty = 0;
  std::optional<float> length_penalty;  // its decay factor
  uint32_t length_penalty_start = 0;
};

// `drover tokenize`.
struct TokenizeOptions {
  std::string address = kDefaultAddress;
  ClientTls tls;
  std::optional<std::string> text;  // unset: standard input
};

// `drover info`.
struct InfoOptions {
  std::string address = kDefaultAddress;
  ClientTls tls;
  std::string model;  // a folder to describe instead of asking a server
};

}  // namespace drover
