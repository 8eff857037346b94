# SPDX-License-Identifier: Apache-2.0
# Our steps of the M model (benchmarks/scaling/m.in) on tensor-parallel ranks: plain training and three budgets of fixed
# widths, each in fp32 and bfloat16. Operations of a step are those of the plan (--check), product rates those that each run
# measures at its end on all ranks at once.
import json
import os
import re
import shlex
import statistics
import subprocess
import sys

THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}
UNITS = {"GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15}
BYTES = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


def deck_of(options, kind, precision):
    """Arguments of a run, and the name of the stage that counts."""
    words = [str(options.deck), f"parallel/tensor_parallel_size={options.ranks}", f"precision/compute={PRECISIONS[precision]}"]
    if kind == "plain":
        return [*words, f"pretrain/steps={options.steps}"], "pretrain"
    return [*words, "job/phases=pretrain,elastic,report", "pretrain/steps=1", "router/widths=homogeneous",
            f"stage1/steps={options.steps}"], "stage1"


def call(command):
    result = subprocess.run([str(word) for word in command], env=dict(os.environ, **THREADS), text=True, capture_output=True,
                            stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout


def prepare(options):
    """One row per kind of step, with its operations over all ranks."""
    rows = []
    for kind in ("plain", "elastic"):
        for precision in PRECISIONS:
            arguments, stage = deck_of(options, kind, precision)
            plan = call([options.build / "elastic.x", *arguments, "--check", "--ranks", options.ranks])
            number, unit = re.search(rf"^ *(?:work)? +{stage} +([0-9.]+) (\w+) per step", plan, re.M).groups()
            rows.append({"kind": kind, "precision": precision, "flops": float(number) * UNITS[unit],
                         "seconds": [], "product_rates": [], "bytes": []})
    return rows


def measure_once(options, rows):
    """Adds one run to each row."""
    for row in rows:
        arguments, stage = deck_of(options, row["kind"], row["precision"])
        folder = options.scratch / "run"
        output = call([*shlex.split(options.launcher), options.ranks, options.build / "elastic.x", *arguments, f"job/folder={folder}"])
        results = json.loads((folder / "results.json").read_text())
        row["seconds"].append(next(s for s in results["stages"] if s["name"] == stage)["median_step_seconds"])
        row["product_rates"].append(1e9 * float(re.search(r"matrix products at ([0-9.]+) GFLOP/s", output)[1]) * options.ranks)
        memory, unit = re.search(r"peak memory of a rank: ([0-9.]+) (\w+) measured", output).groups()
        row["bytes"].append(float(memory) * BYTES[unit] * options.ranks)
        print(f"elastic.x {row['kind']} {row['precision']}: {row['seconds'][-1]:.3f} s", file=sys.stderr, flush=True)


def median(rows, kind, precision, what="seconds"):
    return statistics.median(next(r for r in rows if (r["kind"], r["precision"]) == (kind, precision))[what])


def flops(rows, kind):
    return next(r for r in rows if r["kind"] == kind)["flops"]


def ratios(rows):
    fraction = {p: flops(rows, "plain") / median(rows, "plain", p) / median(rows, "plain", p, "product_rates") for p in PRECISIONS}
    active = flops(rows, "elastic") / flops(rows, "plain")  # work of an elastic step in plain steps
    elastic = {p: median(rows, "elastic", p) / median(rows, "plain", p) / active for p in PRECISIONS}
    return {"step_fraction_of_product_rate": fraction,
            "bf16_over_fp32": median(rows, "plain", "fp32") / median(rows, "plain", "bf16"),
            "elastic_step_over_active_work": elastic}
