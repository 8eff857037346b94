#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Every measured number of one machine in one file: rates of the machine, kernels beside their floors, plain and elastic
# steps and generation in both precisions, and with --peers the same model, step and tokens in PyTorch. Standard library only.
#
#   bench.py BUILD [--peers --python PYTHON_WITH_TORCH] [--out benchmarks/results/latest.json]
#
# Steps are measured in turn, several times each, and medians are kept, so that what disturbs the machine disturbs all alike.
# Have the machine for yourself; only ratios mean something elsewhere.
import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from step import generation, kernels, peers, steps  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]


def machine():
    """What /proc/cpuinfo says of the first processor."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    return {"processor": fields.get("model name", "unknown"), "MHz": fields.get("cpu MHz"), "cores": len(os.sched_getaffinity(0)),
            "bfloat16": [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]}


def summary_of(kernel_rows, step_rows, generation_rows, peer_rows):
    numbers = steps.ratios(step_rows) | generation.ratios(generation_rows)
    numbers["kernels"] = {row["name"]: {key: row[key] for key in ("seconds", "floor_seconds", "over_floor")} for row in kernel_rows}
    if peer_rows:
        numbers |= peers.ratios(step_rows, peer_rows)
    return numbers


def lines_of(value, depth=0):
    """JSON with a line for each row of a table: what holds tables or rows is spread, a row is not."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not any(isinstance(x, (dict, list)) for x in inner):
        return json.dumps(value)
    pad = "\n" + " " * (depth + 1)
    if isinstance(value, dict):
        return "{" + ",".join(f"{pad}{json.dumps(key)}: {lines_of(x, depth + 1)}" for key, x in value.items()) + pad[:-1] + "}"
    return "[" + ",".join(pad + (json.dumps(x)) for x in value) + pad[:-1] + "]"


def main():
    parser = argparse.ArgumentParser(description="Measures kernels and steps of this machine and writes one JSON file.")
    parser.add_argument("build", type=pathlib.Path, help="build folder with elastic.x and benchmarks/bench_kernels")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benchmarks/results/latest.json")
    parser.add_argument("--launcher", default="mpirun -n", help="words before the number of ranks")
    parser.add_argument("--ranks", type=int, default=2, help="ranks of our steps and threads of the peers'")
    parser.add_argument("--steps", type=int, default=4, help="steps of a run; the first does not count")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind, in turn")
    parser.add_argument("--kernel-seconds", type=float, default=0.2, help="least time of a kernel's launches")
    parser.add_argument("--peers", action="store_true", help="the same steps in PyTorch too")
    parser.add_argument("--python", default=sys.executable, help="a Python that has PyTorch, for --peers")
    options = parser.parse_args()
    for program in ("elastic.x", "benchmarks/bench_kernels"):
        if not (options.build / program).exists():
            parser.error(f"{options.build / program}: missing; configure with -DELASTIC_BENCHMARKS=ON and build it")
    if options.peers:
        options.torch = peers.require(parser, options.python)
    options.deck = ROOT / "benchmarks/scaling/m.in"
    with tempfile.TemporaryDirectory(prefix="elastic_bench_") as scratch:
        options.scratch = pathlib.Path(scratch)
        kernel_rows, rates = kernels.measure(options)
        peer_rows = peers.prepare(options) if options.peers else None
        step_rows = steps.prepare(options)
        generation_rows = generation.prepare(options)
        for _ in range(options.repeats):
            steps.measure_once(options, step_rows)
            generation.measure_once(options, generation_rows)
            if options.peers:
                peers.measure_once(options, peer_rows)
    result = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "rates": rates, "ranks": options.ranks,
              "summary": summary_of(kernel_rows, step_rows, generation_rows, peer_rows), "steps": step_rows,
              "generation": generation_rows, "kernels": kernel_rows}
    if peer_rows:
        result["peers"] = {"torch": options.torch, "steps": peer_rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(lines_of(result) + "\n")
    print(kernels.table(kernel_rows))
    print(json.dumps({key: value for key, value in result["summary"].items() if key != "kernels"}, indent=1))
    print(f"{options.out}: written")


if __name__ == "__main__":
    main()
