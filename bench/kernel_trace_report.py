#!/usr/bin/env python3
"""Sums up a file of bench/kernel_trace.cc: the last kernels, by name.

    kernel_trace_report.py FILE LAST_KERNELS

"alone" is the time during which a kernel ran and none that began before it:
with programmatic dependent launch a kernel begins while it still waits for the
one in front. These add up to the time the device was busy.
"""

import re
import sys
from collections import defaultdict


def short_name(mangled):
    words = re.findall(r"\d+([A-Za-z][A-Za-z0-9_]*Kernel)", mangled)
    if words:
        sizes = re.findall(r"Li(\d+)E", mangled)
        return words[0] + ("<" + ",".join(sizes) + ">" if sizes else "")
    return mangled[:60]


def main():
    path, last = sys.argv[1], int(sys.argv[2])
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            begin, end, blocks, name = line.split(maxsplit=3)
            rows.append((int(begin), int(end), int(blocks), name.strip()))
    rows = sorted(rows)[-last:]
    busy_until = rows[0][0]
    idle = 0
    gaps = []
    between_steps = []  # before the kernel that a step begins with
    sums = defaultdict(lambda: [0, 0, 0])
    for begin, end, blocks, name in rows:
        if "InputsKernel" in name:
            between_steps.append(max(0, begin - busy_until))
        if begin > busy_until:
            gaps.append(begin - busy_until)
            idle += begin - busy_until
            busy_until = begin
        alone = max(0, end - busy_until)
        busy_until = max(busy_until, end)
        entry = sums[(short_name(name), blocks)]
        entry[0] += 1
        entry[1] += alone
        entry[2] += end - begin
    span = busy_until - rows[0][0]
    print(f"{len(rows)} kernels in {span / 1e3:.1f} us, idle {idle / 1e3:.1f}")
    for what, values in (("gaps", gaps), ("between steps", between_steps)):
        values.sort()
        if values:
            print(f"{what}: {len(values)}, "
                  f"median {values[len(values) // 2] / 1e3:.2f} us, "
                  f"99 % {values[int(len(values) * 0.99)] / 1e3:.2f}, "
                  f"largest {values[-1] / 1e3:.2f}")
    print(f"{'count':>6} {'alone us':>10} {'mean':>8} {'lasted':>8}  blocks kernel")
    for (name, blocks), (count, alone, lasted) in sorted(
            sums.items(), key=lambda item: -item[1][1])[:24]:
        print(f"{count:6} {alone / 1e3:10.1f} {alone / count / 1e3:8.2f} "
              f"{lasted / count / 1e3:8.2f}  {blocks:6} {name}")


if __name__ == "__main__":
    main()
