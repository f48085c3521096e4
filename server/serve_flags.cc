#include "server/serve_flags.h"

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "server/byte_size.h"
#include "server/environment_name.h"
#include "server/logging.h"

namespace drover {
namespace {

// Flags of one heading in the help.
class FlagGroup {
 public:
  FlagGroup(CLI::App& app, std::string heading)
      : app_(app), heading_(std::move(heading)) {}

  template <typename T>
  CLI::Option* Add(const std::string& flag, T& target,
                   const std::string& help) {
    return Finish(flag, app_.add_option(flag, target, help))
        ->capture_default_str();
  }

  // "2GiB" and the like.
  CLI::Option* AddSize(const std::string& flag, int64_t& target,
                       const std::string& help) {
    const auto parse = [flag, &target](const std::string& text) {
      const absl::StatusOr<int64_t> bytes = ParseByteSize(text);
      if (!bytes.ok()) {
        throw CLI::ValidationError(flag, std::string(bytes.status().message()));
      }
      target = *bytes;
    };
    return Finish(flag,
                  app_.add_option_function<std::string>(flag, parse, help))
        ->type_name("SIZE")
        ->default_str(FormatByteSize(target));
  }

  // "--flag", "--flag true", "--flag=false". The default is part of the type's
  // name: as CLI11's default it would be what a bare flag means.
  CLI::Option* AddSwitch(const std::string& flag, bool& target,
                         const std::string& help) {
    return AddSwitch(
               flag, [&target](bool value) { target = value; }, help)
        ->type_name(target ? "[true|false]=true" : "[true|false]=false");
  }
  CLI::Option* AddSwitch(const std::string& flag,
                         const std::function<void(bool)>& set,
                         const std::string& help) {
    const auto parse = [flag, set](const std::string& text) {
      const bool is_true = text == "true" || text.empty();
      if (!is_true && text != "false") {
        throw CLI::ValidationError(flag, text + ": expected true or false");
      }
      set(is_true);
    };
    return Finish(flag,
                  app_.add_option_function<std::string>(flag, parse, help))
        ->expected(0, 1)
        ->type_name("[true|false]=false");
  }

 private:
  CLI::Option* Finish(const std::string& flag, CLI::Option* option) {
    return option->envname(EnvironmentName(flag))->group(heading_);
  }

  CLI::App& app_;
  const std::string heading_;
};

void AddModelFlags(CLI::App& app, ServeOptions& options) {
  FlagGroup group(app, "Model");
  group.Add("--model", options.model,
            "Folder with config.json, safetensors and tokenizer.model or "
            "tokenizer.json; or the hub id of a model in Hugging Face's cache");
  group.Add("--revision", options.revision,
            "Branch, tag or commit of a hub id; default: main");
  group.Add("--dtype", options.dtype,
            "float32, bfloat16 or, on a GPU, float16; default: the model's "
            "own where the machine can");
  group.Add("--device", options.device,
            "cpu, cuda, or auto: a GPU where there is one");
  group.Add("--num-shard", options.num_shard,
            "Processes that run the model together, each with its part, on a "
            "GPU of its own or on the CPU. Default: one for each GPU that "
            "CUDA_VISIBLE_DEVICES names, else NVIDIA_VISIBLE_DEVICES, else 1");
  group.Add("--shard-patience-seconds", options.shard_patience_seconds,
            "How long one shard waits for another in a step, before the model "
            "counts as lost; the router waits five times as long for a step, "
            "and at least five minutes");
  group.Add("--gpu-memory-fraction", options.gpu_memory_fraction,
            "Of the GPU's memory, for weights, activations and KV cache");
  group.Add("--load-format", options.load_format,
            "safetensors, or dummy for random weights");
  group.Add("--model-config", options.model_config,
            "Shape of dummy weights, by name, as in llama-1.1b");
}

void AddPrefixFlags(CLI::App& app, ServeOptions& options) {
  FlagGroup group(app, "Soft prompts");
  group.Add("--prefix-store-path", options.prefix_store_path,
            "Folder of tuned prompts in safetensors, which a request names by "
            "its prefix_id; default: there are none");
  group.Add("--max-prompt-prefix-length", options.max_prompt_prefix_length,
            "Longest of them, in tokens; 0: half of --max-sequence-length");
  group.Add("--prompt-cache-size-mb", options.prompt_cache_size_mb,
            "Of them kept in memory, in MiB, by the router and each shard; "
            "none can be larger");
}

void AddLimitFlags(CLI::App& app, ServeOptions& options) {
  FlagGroup group(app, "Limits");
  group.Add("--max-sequence-length", options.max_sequence_length,
            "Prompt and output together, in tokens; 0: the model's context");
  group.Add("--max-new-tokens", options.max_new_tokens,
            "The most a request may ask for");
  group.Add("--max-batch-size", options.max_batch_size,
            "Sequences that run at once");
  group.Add("--max-concurrent-requests", options.max_concurrent_requests,
            "Inputs running and waiting, beyond which calls are refused");
  group.Add("--max-top-n-tokens", options.max_top_n_tokens,
            "The most best tokens a request may ask for at each position");
  group.Add("--max-step-tokens", options.max_step_tokens,
            "Tokens in one step: more gives throughput, fewer gives evenness; "
            "at least --max-batch-size");
  group.Add("--target-step-ms", options.target_step_ms,
            "Milliseconds that a step may take in which sequences decode: "
            "prompts are computed in chunks that are expected to keep to it; "
            "0: chunks fill --max-step-tokens");
  group.AddSwitch(
      "--spread-prompts", options.spread_prompts,
      "Steps in which sequences decode hold about as many prompt tokens as "
      "it takes to keep up with what comes, not as many as fit");
  group.AddSize("--kv-cache-bytes", options.kv_cache_bytes,
                "Memory for keys and values, as in 2GiB; 0: a quarter of what "
                "the process may use. Never more than --max-batch-size "
                "sequences need");
  group.AddSize("--max-pending-stream-bytes", options.max_pending_stream_bytes,
                "Text that may wait for one slow client");
  group.AddSize("--max-message-bytes", options.max_message_bytes,
                "Size of a request");
  group.AddSize("--max-metadata-bytes", options.max_metadata_bytes,
                "Size of a request's headers");
}

void AddProcessFlags(CLI::App& app, ServeOptions& options) {
  FlagGroup group(app, "Process");
  group.Add("--host", options.host, "Address to listen on");
  group.Add("-g,--grpc-port", options.grpc_port, "gRPC; 0: any free port");
  group.Add("-p,--port", options.port,
            "HTTP: /health, /health/live, /health/ready, /metrics; 0: any "
            "free port");
  group.Add("--tls-cert-path", options.tls.cert_path,
            "Certificate chain of the gRPC port (PEM), which is plaintext "
            "without; a file that is replaced counts within a minute");
  group.Add("--tls-key-path", options.tls.key_path, "Its private key");
  group.Add("--tls-client-ca-cert-path", options.tls.client_ca_cert_path,
            "Clients must show a certificate of this authority");
  group.Add("--threads", options.threads,
            "CPU threads of the shard; 0: one for each CPU");
  group.Add("--emitter-threads", options.emitter_threads,
            "Threads that turn tokens into text");
  group.Add("--tokenization-workers", options.tokenization_workers,
            "Threads that encode prompts; default: the CPUs that shards leave, "
            "1 to 8");
  group.Add("--shard-binary", options.shard_binary,
            "The worker; default: drover-shard beside this program");
  group.Add("--shard-start-timeout-seconds",
            options.shard_start_timeout_seconds, "How long it may load");
  group.Add("--max-drain-seconds", options.max_drain_seconds,
            "How long requests may finish after SIGTERM");
  group.Add("--ready-file", options.ready_file,
            "Written once ready: pid and ports, as a line of JSON");
  group.Add("--termination-log", options.termination_log,
            "Receives the cause of a failure");
}

void AddRendezvousFlags(CLI::App& app, ServeOptions& options) {
  FlagGroup group(app, "Shards on several hosts");
  RendezvousSecurity& security = options.rendezvous_security;
  group.Add("--rendezvous", options.rendezvous,
            "HOST:PORT to listen on for --num-shard shards, which an operator "
            "starts (drover-shard --rendezvous); port 0: any free one. "
            "Default: this process starts the shards");
  group.Add("--rendezvous-tls-cert-path", security.tls_cert_path,
            "Certificate for shards, with the name by which they know this "
            "host (PEM)");
  group.Add("--rendezvous-tls-key-path", security.tls_key_path,
            "Its private key (PEM)");
  group.Add("--rendezvous-tls-ca-cert-path", security.tls_ca_cert_path,
            "Certificate of the authority that signed the shards' (PEM)");
  group.AddSwitch("--rendezvous-insecure", security.insecure,
                  "No TLS: anybody on the network can read and be a shard");
}

void AddLogFlags(CLI::App& app, ServeOptions& options) {
  FlagGroup group(app, "Log");
  group.Add("--log-format", options.log_format, "text or json");
  group
      .Add("--log-level", options.log_level,
           "debug, info, warning, error or off; or as RUST_LOG has it")
      ->transform(
          [](const std::string& text) { return CanonicalLogLevel(text); });
  group.AddSwitch(
      "--json-output",
      [&options](bool is_json) {
        if (is_json) options.log_format = "json";
      },
      "The same as --log-format json");
}

}  // namespace

void AddServeFlags(CLI::App& app, ServeOptions& options) {
  AddModelFlags(app, options);
  AddPrefixFlags(app, options);
  AddLimitFlags(app, options);
  FlagGroup behaviour(app, "Output");
  behaviour.AddSwitch("--default-include-stop-seqs",
                      options.default_include_stop_seqs,
                      "Keep a matched stop sequence in the text when a request "
                      "does not say");
  behaviour.AddSwitch("--output-special-tokens", options.output_special_tokens,
                      "Show special tokens in the text");
  behaviour.AddSwitch("--raw-logprobs", options.raw_logprobs,
                      "Log-probabilities, ranks and top tokens of the output "
                      "are the model's own, before penalties, temperature and "
                      "filters");
  AddProcessFlags(app, options);
  AddRendezvousFlags(app, options);
  AddLogFlags(app, options);
}

}  // namespace drover
