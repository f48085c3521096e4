"""The figures of scripts/gpu/bench.sh in one table, beside the roofs.

Usage: bench_table.py FOLDER BANDWIDTH CASE ...

FOLDER holds the cases' JSON; BANDWIDTH is what cuda_read_bandwidth printed.

A roof is what the work takes at the least, one part after the other: products at
788 TFLOP/s or, where that takes longer, their weights at the card's rate, and
the cache at that rate. What it leaves out: attention's products, all kernels
between them, and everything outside of the GPU.
"""

import json
import os
import re
import statistics
import sys

FLOPS = 788e12  # of large bfloat16 products, for as long as clocks do not sink
HEAD_DIM = 128

# Layers, hidden size, heads, KV heads, intermediate size, vocabulary.
SHAPES = {
    "7b": (32, 4096, 32, 32, 11008, 32000),
    "13b": (40, 5120, 40, 40, 13824, 32000),
    "8b": (32, 4096, 32, 8, 14336, 128256),
    "70b": (80, 8192, 64, 8, 28672, 32000),
}


class Roof:
    """Of a shape, on so many cards that read so many bytes a second."""

    def __init__(self, shape, num_gpus, bandwidth):
        layers, hidden, heads, kv_heads, intermediate, vocabulary = SHAPES[shape]
        attention = hidden * (2 * heads + 2 * kv_heads) * HEAD_DIM
        self.body = layers * (attention + 3 * hidden * intermediate)
        self.all = self.body + hidden * vocabulary
        self.token_bytes = layers * 2 * kv_heads * HEAD_DIM * 2
        self.flops = FLOPS * num_gpus
        self.bandwidth = bandwidth * num_gpus

    def prompt(self, num_tokens):
        """Seconds; the head is for one token only."""
        return max(2 * self.body * num_tokens / self.flops,
                   2 * self.all / self.bandwidth)

    def step(self, num_sequences, context):
        """Seconds of a decode step."""
        products = max(2 * self.all * num_sequences / self.flops,
                       2 * self.all / self.bandwidth)
        cache = num_sequences * context * self.token_bytes / self.bandwidth
        return products + cache

    def throughput(self, streams, input_len, output_len):
        """Output tokens a second, prompts in large steps."""
        step = self.step(streams, input_len + output_len / 2)
        prompt = 2 * self.body * input_len / self.flops
        return output_len / (prompt + output_len * step / streams)


def latency_rows(report, roof):
    input_len, output_len = report["input_len"][0], report["output_len"][0]
    step = roof.step(1, input_len + output_len / 2)
    yield "TPOT p50, ms", report["tpot_ms"]["p50"], step * 1e3
    yield "TTFT p50, ms", report["ttft_ms"]["p50"], roof.prompt(input_len) * 1e3


def throughput_rows(report, roof):
    best = roof.throughput(report["streams"], report["input_len"][0],
                           report["output_len"][0])
    yield "output tokens/s", report["output_tokens_per_s"], best
    yield "TTFT p50, ms", report["ttft_ms"]["p50"], None
    yield "ITL p99, ms", report["itl_ms"]["p99"], None


def rate_rows(report):
    yield "TTFT p50, ms", report["ttft_ms"]["p50"], None
    yield "TTFT p90, ms", report["ttft_ms"]["p90"], None
    yield "TPOT p50, ms", report["tpot_ms"]["p50"], None


def mixed_rows(report):
    yield "ITL p50 alone, ms", report["alone_itl_ms"]["p50"], None
    yield "ITL p99, ms", report["itl_ms"]["p99"], None
    yield "prompts' TTFT p50, ms", report["prompts_ttft_ms"]["p50"], None


def rows(case, report, bandwidth):
    if case == "8b-mixed":
        return mixed_rows(report)
    if case.endswith("-transformers"):
        return (("TPOT p50, ms", statistics.median(report["tpot_ms"]), None),
                ("TTFT p50, ms", statistics.median(report["ttft_ms"]), None))
    name = re.fullmatch(r"(?:(\d)x)?(\d+b)-.*", case)
    roof = Roof(name.group(2), int(name.group(1) or 1), bandwidth)
    if report["benchmark"] == "latency":
        return latency_rows(report, roof)
    if "rate_per_s" in report:
        return rate_rows(report)
    return throughput_rows(report, roof)


def main():
    folder, bandwidth_line, *cases = sys.argv[1:]
    bandwidth = float(re.search(r"([\d.]+) TB/s", bandwidth_line).group(1)) * 1e12
    print(f"{'case':16} {'':22} {'measured':>10} {'roof':>10} {'of it':>6}")
    for case in cases:
        if case in ("7b-start", "8b-idle"):  # which said it themselves
            continue
        with open(os.path.join(folder, case + ".json"),
                  encoding="utf-8") as file:
            report = json.load(file)
        for what, measured, roof in rows(case, report, bandwidth):
            line = f"{case:16} {what:22} {measured:10,.2f}"
            if roof is not None:
                share = min(measured, roof) / max(measured, roof)
                line += f" {roof:10,.2f} {share:6.0%}"
            print(line)
            case = ""


if __name__ == "__main__":
    main()
