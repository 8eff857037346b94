#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Strong and weak scaling: runs a deck on several numbers of ranks and layouts, reads the median time of a step from each
# run, and sets it beside what --check --machine predicts. Or predicts only, for machines that are not at hand.
#
#   scaling.py run build/elastic.x --ranks 1,2 --machine machine.in --csv scaling.csv
#   scaling.py run build/elastic.x --launcher "srun --mpi=pmix --cpu-bind=cores -n" --ranks 1,2,4,8,16 ...
#   scaling.py predict build/elastic.x --deck input/nano12b.in --machine machines/h100_fp32.in --layouts 8x1x128,8x1x512
#
# Kinds (--kinds): weak, as much work per rank; strong, as much work in all, data-parallel; tensor, sequence and context, one
# micro-batch shared out by tensor parallelism without and with sequence parallelism, or by context parallelism. Efficiency is
# relative to the smallest number of ranks of the kind. Arguments of the form block/key=value go to every run.
import argparse
import csv
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PARTS = ["step", "teacher", "forward", "loss", "backward", "messages", "waiting", "gradients", "update", "values",
         "efficiency", "products"]
INDENT, NAME = 9, 12  # of the lines of the plan
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


# --- prediction ------------------------------------------------------------------------------------------------------
def times_of_plan(text):
    """{stage: {part: seconds}} from the output of --check --machine."""
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("time ")), None)
    if first is None:
        sys.exit("the plan has no times; was --machine given?\n" + text)
    first = next(i for i in range(first, len(lines)) if lines[i][INDENT:].startswith("stage "))
    stages = {}
    for line in lines[first + 1:]:
        name = line[INDENT:INDENT + NAME].rstrip()
        if line[:INDENT].strip() or name.startswith("in all"):
            break
        if name.startswith(" "):  # "at first" belongs to the stage above
            name = f"{list(stages)[-1]} {name.strip()}"
        numbers = [0.0 if cell == "-" else float(cell.rstrip("%")) for cell in line[INDENT + NAME:].split()]
        stages[name] = dict(zip(PARTS, numbers))
    return stages


def plan(options, ranks, overrides):
    command = [options.program, options.deck, "--check", "--machine", options.machine, "--ranks", str(ranks), *overrides]
    result = subprocess.run(command, env=dict(os.environ, **THREADS), text=True, capture_output=True)
    if result.returncode != 0:
        sys.exit(result.stderr or result.stdout)
    return times_of_plan(result.stdout)


# --- measurement -----------------------------------------------------------------------------------------------------
def cases(options):
    """(kind, ranks, (tensor, context), sequences, overrides)"""
    for kind in options.kinds.split(","):
        if kind not in ("weak", "strong", "tensor", "sequence", "context"):
            sys.exit(f"--kinds: {kind} is none of weak, strong, tensor, sequence, context")
        for ranks in options.ranks:
            sequences = options.sequences * {"weak": ranks, "strong": max(options.ranks)}.get(kind, 1)
            sizes = (ranks if kind in ("tensor", "sequence") else 1, ranks if kind == "context" else 1)
            overrides = [f"{options.stage}/global_batch_size={sequences}", f"{options.stage}/steps={options.steps}",
                         *options.overrides]
            if sizes[0] > 1:
                overrides += [f"parallel/tensor_parallel_size={ranks}",
                              "parallel/sequence_parallel=" + ("true" if kind == "sequence" else "false")]
            if sizes[1] > 1:
                overrides.append(f"parallel/context_parallel_size={ranks}")
            yield kind, ranks, sizes, sequences, overrides


def measure(options, ranks, overrides):
    """Median seconds of a step, and the run's table of regions."""
    with tempfile.TemporaryDirectory(prefix="elastic_scaling_", dir=options.scratch) as folder:
        run = pathlib.Path(folder) / "run"
        command = [*shlex.split(options.launcher), str(ranks), options.program, options.deck, f"job/folder={run}", *overrides]
        result = subprocess.run(command, env=dict(os.environ, **THREADS), text=True, capture_output=True,
                                stdin=subprocess.DEVNULL)
        if result.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
        results = json.loads((run / "results.json").read_text())
    stage = next(s for s in results["stages"] if s["name"] == options.stage)
    table = result.stdout[result.stdout.find("region "):]
    return stage["median_step_seconds"], table[:table.find("budget ")]


def run(options):
    todo = list(cases(options))
    times = [[] for _ in todo]
    for _ in range(options.repeats):  # in turn, so that what disturbs the machine disturbs all alike
        known = {}  # kinds have runs in common
        for case, seconds in zip(todo, times):
            key = (case[1], *case[-1])
            known[key] = known.get(key) or measure(options, case[1], case[-1])
            measured, table = known[key]
            seconds.append(measured)
            print(f"{case[0]:9} {case[1]:3} ranks: {measured:.3f} s", file=sys.stderr, flush=True)
            if options.regions:
                print(table, file=sys.stderr, flush=True)
    rows, first = [], {}
    for (kind, ranks, (tensor, context), sequences, overrides), seconds in zip(todo, times):
        step = statistics.median(seconds)
        base_ranks, base = first.setdefault(kind, (ranks, step))
        ideal = base if kind == "weak" else base * base_ranks / ranks
        row = {"kind": kind, "ranks": ranks, "tensor": tensor, "context": context, "data": ranks // tensor // context,
               "sequences": sequences,
               "step_seconds": f"{step:.5g}", "fastest": f"{min(seconds):.5g}", "slowest": f"{max(seconds):.5g}",
               "efficiency": f"{ideal / step:.4f}"}
        if options.machine:
            stages = plan(options, ranks, overrides)
            # A few steps of an elastic stage are its first.
            predicted = stages.get(f"{options.stage} at first", stages[options.stage])["step"]
            row |= {"predicted_seconds": f"{predicted:.5g}", "predicted_over_measured": f"{predicted / step:.4f}"}
        rows.append(row)
    return rows


def predict(options):
    rows = []
    for layout in options.layouts.split(","):
        tensor, context, data = map(int, layout.split("x"))
        ranks = tensor * context * data
        overrides = [f"parallel/tensor_parallel_size={tensor}", *options.overrides]
        if tensor > 1:
            overrides.append("parallel/sequence_parallel=true")
        if context > 1:
            overrides.append(f"parallel/context_parallel_size={context}")
        for stage, parts in plan(options, ranks, overrides).items():
            rows.append({"machine": pathlib.Path(options.machine).stem, "ranks": ranks, "tensor": tensor, "context": context,
                         "data": data, "stage": stage, **parts})
    return rows


def write(rows, path):
    with open(path, "w", newline="") if path else sys.stdout as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--csv", help="file to write; default: standard output")
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    plans = commands.add_parser("predict")
    for sub in (runs, plans):
        sub.add_argument("program")
        sub.add_argument("--deck", default=str(HERE / "m.in"))
        sub.add_argument("--machine", required=sub is plans, help="machine file for predictions")
        sub.add_argument("--csv", default=argparse.SUPPRESS, help="file to write; default: standard output")
    runs.add_argument("--launcher", default="mpirun -n")
    runs.add_argument("--ranks", default="1,2", type=lambda text: [int(n) for n in text.split(",")])
    runs.add_argument("--kinds", default="weak,tensor")
    runs.add_argument("--stage", default="pretrain")
    runs.add_argument("--steps", default=5, type=int)
    runs.add_argument("--sequences", default=2, type=int, help="per step, on one rank")
    runs.add_argument("--repeats", default=1, type=int, help="of the whole sweep; medians count")
    runs.add_argument("--regions", action="store_true", help="print where the time of each run went")
    runs.add_argument("--scratch", help="folder for run folders that all ranks see")
    plans.add_argument("--layouts", required=True, metavar="TxCxD,...", help="tensor x context x data")
    options, rest = parser.parse_known_args()
    if any("=" not in argument or argument.startswith("-") for argument in rest):
        parser.error(f"not of the form block/key=value: {rest}")
    options.overrides = rest
    write(run(options) if options.command == "run" else predict(options), options.csv)


if __name__ == "__main__":
    main()
