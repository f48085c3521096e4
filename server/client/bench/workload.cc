#include "server/client/bench/workload.h"

#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "base/strings.h"
#include "model/tokenizer/utf8_assembler.h"

namespace drover::bench {
namespace {

using Purpose = SeededRandom::Purpose;

constexpr std::array<std::string_view, 64> kWords = {
    "the",   "of",   "and",   "to",    "in",    "that", "it",    "was",
    "he",    "for",  "on",    "with",  "as",    "his",  "they",  "be",
    "at",    "one",  "have",  "this",  "from",  "or",   "had",   "by",
    "not",   "but",  "what",  "some",  "we",    "can",  "out",   "other",
    "were",  "all",  "there", "when",  "up",    "use",  "your",  "how",
    "said",  "an",   "each",  "she",   "which", "do",   "their", "time",
    "if",    "will", "way",   "about", "many",  "then", "them",  "write",
    "would", "like", "so",    "these", "her",   "long", "make",  "thing"};

std::string RandomWords(int32_t num_words, SeededRandom& random) {
  std::string text;
  text.reserve(static_cast<size_t>(num_words) * 5);
  for (int32_t i = 0; i < num_words; ++i) {
    if (i > 0) text += ' ';
    text += kWords[random.Below(kWords.size())];
  }
  return text;
}

}  // namespace

std::vector<BenchRequest> MakeRandomRequests(const RequestShape& shape) {
  SeededRandom lengths(shape.seed, Purpose::kLengths);
  SeededRandom words(shape.seed, Purpose::kWords);
  std::vector<BenchRequest> requests;
  requests.reserve(static_cast<size_t>(shape.num_requests));
  for (int32_t i = 0; i < shape.num_requests; ++i) {
    const int32_t input_len = shape.input_len.Draw(lengths);
    const int32_t output_len = shape.output_len.Draw(lengths);
    requests.push_back({.prompt = RandomWords(input_len, words),
                        .input_len = input_len,
                        .output_len = output_len,
                        .full_sampling = shape.full_sampling});
  }
  return requests;
}

absl::StatusOr<std::vector<BenchRequest>> MakeRequestsFromLines(
    std::string_view text, const RequestShape& shape) {
  const std::vector<std::string> lines =
      absl::StrSplit(ToAbsl(text), absl::ByAnyChar("\r\n"), absl::SkipEmpty());
  if (lines.empty()) {
    return absl::InvalidArgumentError("there is no prompt in it");
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    if (IsValidUtf8(lines[i])) continue;
    return absl::InvalidArgumentError(
        StrCat("prompt ", i + 1, " of ", lines.size(), " is not UTF-8"));
  }
  SeededRandom lengths(shape.seed, Purpose::kLengths);
  std::vector<BenchRequest> requests;
  requests.reserve(static_cast<size_t>(shape.num_requests));
  while (requests.size() < static_cast<size_t>(shape.num_requests)) {
    requests.push_back({.prompt = lines[requests.size() % lines.size()],
                        .output_len = shape.output_len.Draw(lengths),
                        .full_sampling = shape.full_sampling});
  }
  return requests;
}

std::vector<absl::Duration> PoissonArrivals(double rate, int32_t num_requests,
                                            uint64_t seed) {
  SeededRandom random(seed, Purpose::kArrivals);
  std::vector<absl::Duration> arrivals;
  arrivals.reserve(static_cast<size_t>(num_requests));
  absl::Duration next = absl::ZeroDuration();
  for (int32_t i = 0; i < num_requests; ++i) {
    arrivals.push_back(next);
    next += absl::Seconds(random.Exponential(1 / rate));
  }
  return arrivals;
}

std::vector<absl::Duration> EvenArrivals(double rate, int32_t num_requests) {
  std::vector<absl::Duration> arrivals;
  arrivals.reserve(static_cast<size_t>(num_requests));
  for (int32_t i = 0; i < num_requests; ++i) {
    arrivals.push_back(absl::Seconds(i / rate));
  }
  return arrivals;
}

}  // namespace drover::bench
