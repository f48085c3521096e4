"""What prompts that arrive do to streams that run.

Usage: mixed_load.py PREFIX

Reads what three clients (drover bench --records) saw of their requests:
PREFIX-alone.jsonl, streams with nothing beside them; PREFIX-with.jsonl, streams,
and PREFIX-prompts.jsonl, the prompts that arrived meanwhile. Prints the gaps
between the streams' tokens and the prompts' TTFT, and writes the same to
PREFIX.json.

Counted is only what happened while all streams were running, and with prompts
only from the first prompt's arrival until the last one was answered.
"""

import json
import sys


def read_records(path):
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    failed = [r["status"] for r in records if r["status"] != "OK"]
    if failed or not records:
        sys.exit(f"error: {path}: {len(failed)} of {len(records)} requests "
                 f"failed: {', '.join(sorted(set(failed)))}")
    return records


def percentile(values, percent):
    """Linear between neighbours, as in drover bench."""
    ordered = sorted(values)
    position = percent / 100 * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return (ordered[below]
            + (ordered[above] - ordered[below]) * (position - below))


def all_running(streams):
    """From the last one's first token to the first one's last."""
    return (max(s["token_times_s"][0] for s in streams),
            min(s["token_times_s"][-1] for s in streams))


def summary(values):
    return {"count": len(values),
            "p50": round(1e3 * percentile(values, 50), 3),
            "p99": round(1e3 * percentile(values, 99), 3),
            "max": round(1e3 * max(values), 3)}


def gaps_within(streams, begin, end):
    gaps = []
    for stream in streams:
        times = [t for t in stream["token_times_s"] if begin <= t <= end]
        gaps += [after - before for before, after in zip(times, times[1:])]
    if not gaps:
        sys.exit("error: the streams and the prompts never ran together")
    return gaps


def report_line(what, duration, itl):
    print(f"{what:22} {duration:6.2f} s {itl['count']:8} ITLs"
          f"   p50 {itl['p50']:8.2f}   p99 {itl['p99']:8.2f}"
          f"   max {itl['max']:8.2f} ms")


def main(prefix):
    alone = read_records(prefix + "-alone.jsonl")
    streams = read_records(prefix + "-with.jsonl")
    prompts = read_records(prefix + "-prompts.jsonl")

    alone_begin, alone_end = all_running(alone)
    alone_itl = summary(gaps_within(alone, alone_begin, alone_end))
    begin, end = all_running(streams)
    begin = max(begin, min(p["sent_at_s"] for p in prompts))
    end = min(end, max(p["token_times_s"][-1] for p in prompts))
    itl = summary(gaps_within(streams, begin, end))
    counted = [p["token_times_s"][0] - p["sent_at_s"] for p in prompts
               if begin <= p["sent_at_s"] <= end]
    if not counted:
        sys.exit("error: no prompt arrived while all streams ran")
    ttft = summary(counted)
    ratio = round(itl["p99"] / alone_itl["p50"], 3)

    report_line("streams alone", alone_end - alone_begin, alone_itl)
    report_line("streams with prompts", end - begin, itl)
    print(f"p99 with / p50 alone   {ratio:.2f}")
    print(f"prompts' TTFT          {ttft['count']} of {len(prompts)} prompts"
          f"   p50 {ttft['p50']:.1f}   p99 {ttft['p99']:.1f}"
          f"   max {ttft['max']:.1f} ms")
    with open(prefix + ".json", "w", encoding="utf-8") as file:
        json.dump({"streams": len(streams),
                   "alone_s": alone_end - alone_begin,
                   "with_prompts_s": end - begin,
                   "alone_itl_ms": alone_itl, "itl_ms": itl,
                   "itl_p99_to_alone_p50": ratio,
                   "prompts_ttft_ms": ttft}, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
