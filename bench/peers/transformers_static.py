"""Times transformers' compiled static cache: one sequence, fixed lengths.

Usage: transformers_static.py [--json FILE] [OPTION ...]   (needs torch and
transformers 5)

A model of a published shape (--shape; Llama-2-7B's) with random bfloat16
weights reads a prompt and continues it greedily. The prompt is run as
transformers does by itself, eagerly into a StaticCache; the step of one token is
compiled as its `generate` would (mode reduce-overhead, which replays CUDA
graphs), with the argmax inside.

It is favoured against a server: no tokenizer, no transport, and between the
first token and the last none is brought to the host.
"""

import argparse
import json
import statistics
import time

import torch
import transformers

# name: hidden, intermediate, layers, heads, KV heads, vocabulary
SHAPES = {"llama-2-7b": (4096, 11008, 32, 32, 32, 32000),
          "llama-2-13b": (5120, 13824, 40, 40, 40, 32000),
          "llama-3.1-8b": (4096, 14336, 32, 32, 8, 128256),
          "tiny": (256, 704, 2, 4, 2, 4096)}


def make_model(shape, dtype, device):
    hidden, intermediate, layers, heads, kv_heads, vocabulary = SHAPES[shape]
    config = transformers.LlamaConfig(
        hidden_size=hidden, intermediate_size=intermediate,
        num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, vocab_size=vocabulary,
        max_position_embeddings=4096, rms_norm_eps=1e-5)
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation="sdpa").eval()


class Decoder:
    """One sequence at a time, in a cache that is made once."""

    def __init__(self, model, max_tokens, mode):
        self.model = model
        self.cache = transformers.StaticCache(config=model.config,
                                              max_cache_len=max_tokens)
        self.compiled_step = torch.compile(self.step, mode=mode)

    def step(self, ids):
        logits = self.model(ids, past_key_values=self.cache, use_cache=True,
                            logits_to_keep=1).logits
        return logits[:, -1].argmax(dim=-1, keepdim=True)

    def run(self, prompt, output_len):
        """The ids, seconds to the first and to the last of them on the host."""
        self.cache.reset()
        self.wait()
        begin = time.perf_counter()
        ids = [self.step(prompt.to(self.model.device))]
        ids[0].item()
        first = time.perf_counter()
        for _ in range(output_len - 1):
            # A graph's output lies where its next replay writes.
            torch.compiler.cudagraph_mark_step_begin()
            ids.append(self.compiled_step(ids[-1]).clone())
        result = torch.cat(ids, dim=1)[0].tolist()
        return result, first - begin, time.perf_counter() - begin

    def wait(self):
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()


@torch.no_grad()
def measure(options):
    torch.manual_seed(0)
    model = make_model(options.shape, getattr(torch, options.dtype),
                       options.device)
    decoder = Decoder(model, options.input_len + options.output_len,
                      options.mode)
    prompts = torch.randint(3, model.config.vocab_size,
                            (options.warmup + options.rounds, 1,
                             options.input_len))
    ttft, tpot = [], []
    for number, prompt in enumerate(prompts):
        ids, first, last = decoder.run(prompt, options.output_len)
        assert len(ids) == options.output_len
        if number >= options.warmup:
            ttft.append(1e3 * first)
            tpot.append(1e3 * (last - first) / (options.output_len - 1))
    return ttft, tpot


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=sorted(SHAPES), default="llama-2-7b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--mode", default="reduce-overhead",
                        help="of torch.compile")
    parser.add_argument("--input-len", type=int, default=1024)
    parser.add_argument("--output-len", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3,
                        help="rounds before those, which compile")
    parser.add_argument("--json", help="write the figures here too")
    return parser.parse_args()


def main():
    options = parse_options()
    ttft, tpot = measure(options)
    print(f"transformers {transformers.__version__}, torch "
          f"{torch.__version__}, {options.shape} {options.dtype}, static "
          f"cache, torch.compile {options.mode}, {options.input_len} in, "
          f"{options.output_len} out, {options.rounds} rounds")
    for name, values in (("TTFT", ttft), ("TPOT", tpot)):
        print(f"{name}   p50 {statistics.median(values):8.3f}   "
              f"min {min(values):8.3f}   max {max(values):8.3f} ms")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({**vars(options), "ttft_ms": ttft, "tpot_ms": tpot},
                      file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
