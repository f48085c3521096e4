#!/usr/bin/env python3
"""Sums up a file of bench/kernel_trace.cc: the last kernels, by name.

    kernel_trace_report.py FILE LAST_KERNELS [NAME]

With a NAME, which some kernel of each layer has in its own, as DecodeKernel: by
their place from there to the next one, the median layer's.

"alone" is the time during which a kernel ran and none that began before it:
with programmatic dependent launch a kernel begins while it still waits for the
one in front. These add up to the time the device was busy.
"""

import re
import statistics
import sys
from collections import Counter, defaultdict

NUMBER = re.compile(r"\d+")


def short_name(mangled):
    """Of names with their lengths before them the first kernel's."""
    end = 0
    while number := NUMBER.search(mangled, end):
        end = number.end() + int(number.group())
        name = mangled[number.end():end]
        if name.endswith("Kernel"):
            sizes = re.findall(r"L[ib](\d+)E", mangled[end:])
            return name + ("<" + ",".join(sizes) + ">" if sizes else "")
    return mangled[:60]


def read_rows(path, last):
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            begin, end, blocks, name = line.split(maxsplit=3)
            rows.append((int(begin), int(end), int(blocks), name.strip()))
    return sorted(rows)[-last:]


def report_places(rows, name):
    layers = []
    busy_until = rows[0][0]
    for begin, end, blocks, mangled in rows:
        alone = max(0, end - max(begin, busy_until))
        busy_until = max(busy_until, end)
        if name in mangled:
            layers.append([])
        if layers:
            layers[-1].append((alone, short_name(mangled), blocks))
    # The last one may be cut off.
    lengths = Counter(len(layer) for layer in layers[:-1])
    if not lengths:
        sys.exit(f"error: fewer than two kernels have {name} in their name")
    length = lengths.most_common(1)[0][0]
    layers = [layer for layer in layers[:-1] if len(layer) == length]
    print(f"{len(layers)} layers of {length} kernels")
    print(f"{'alone us':>8}  blocks kernel")
    total = 0
    for place in zip(*layers):
        alone = statistics.median(kernel[0] for kernel in place)
        total += alone
        kernel = Counter(kernel[1:] for kernel in place).most_common(1)[0][0]
        print(f"{alone / 1e3:8.2f}  {kernel[1]:6} {kernel[0]}")
    print(f"{total / 1e3:8.2f}")


def report_names(rows):
    busy_until = rows[0][0]
    idle = 0
    gaps = []
    # Before the kernel that builds a step's inputs, and the one in front of it
    # that applies what is new, if there is anything.
    between_steps = []
    before_inputs = 0
    sums = defaultdict(lambda: [0, 0, 0])
    for begin, end, blocks, name in rows:
        if "ApplyKernel" in name or "InputsKernel" in name:
            before_inputs += max(0, begin - busy_until)
        if "InputsKernel" in name:
            between_steps.append(before_inputs)
            before_inputs = 0
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


def main():
    rows = read_rows(sys.argv[1], int(sys.argv[2]))
    if len(sys.argv) > 3:
        report_places(rows, sys.argv[3])
    else:
        report_names(rows)


if __name__ == "__main__":
    main()
