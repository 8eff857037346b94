# SPDX-License-Identifier: Apache-2.0
# Kernels beside their floors: max(operations / rate of matrix products, stated bytes / rate of a copy), with the rates that
# the same run of bench_kernels measured. Attention and scan state no bytes: their operations bound them.
import json
import sys

from . import steps

FILTER = "/(medium|nano12b|10M)/|cross_entropy|kl_divergence"


def rate(context, name, unit):
    """Of a line such as "matrix product peak": "183 GFLOP/s"."""
    number, got = context[name].split()
    if got != unit:
        sys.exit(f"bench_kernels: {name} in {got}, expected {unit}")
    return float(number) * 1e9


def measure(options):
    """([row of a kernel], rates of the machine)"""
    command = [options.build / "benchmarks/bench_kernels", f"--benchmark_filter={FILTER}", "--benchmark_format=json",
               f"--benchmark_min_time={options.kernel_seconds}"]
    report = json.loads(steps.call(command))
    context = report["context"]
    rates = {"fp32_products": rate(context, "matrix product peak", "GFLOP/s"),
             "bf16_products": rate(context, "bf16 product peak", "GFLOP/s"), "copy": rate(context, "copy", "GB/s")}
    return [row(benchmark, rates) for benchmark in report["benchmarks"]], rates


def row(benchmark, rates):
    units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
    seconds = benchmark["real_time"] * units[benchmark["time_unit"]]
    name = benchmark["name"].removesuffix("/manual_time")
    products = rates["bf16_products" if "_bf16" in name else "fp32_products"]
    flops, moved = (benchmark.get(counter, 0) * seconds for counter in ("FLOP/s", "bytes/s"))
    floor = max(flops / products, moved / rates["copy"])
    return {"name": name, "seconds": seconds, "flops": flops, "bytes": moved, "floor_seconds": floor,
            "over_floor": seconds / floor if floor else None}


def table(rows):
    lines = [f"{'kernel':44} {'seconds':>10} {'floor':>10} {'over floor':>10}"]
    for row in rows:
        over = f"{row['over_floor']:10.2f}" if row["over_floor"] else f"{'-':>10}"
        lines.append(f"{row['name']:44} {row['seconds']:10.3e} {row['floor_seconds']:10.3e} {over}")
    return "\n".join(lines)
