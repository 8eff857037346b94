#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The paper's claims at small scale: runs what is missing of all variants, several seeds each, and keeps what they reached.
#
#   benchmarks/claims/claims.py run [--task reasoning text] [--variant NAME ...] [--seeds 3] [--minutes M]
#   benchmarks/claims/claims.py list           what is there and what is missing
#
# Runs live in runs/claims and may be deleted; results stay in benchmarks/claims/results/TASK.json. A run that was
# interrupted is resumed. Every variant of a seed starts from the parent of that seed (runs/claims/TASK/parent-SEED).
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

from variants import VARIANTS

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUNS = ROOT / "runs/claims"
TASKS = ("reasoning", "text")
KEPT = ("name", "parameters", "relative_cost", "widths", "valid_loss", "kl_to_parent", "accuracy",
        "valid_loss_cut_untrained", "accuracy_cut_untrained")


def deck_value(task, block, key):
    text = (HERE / f"{task}.in").read_text()
    return int(re.search(rf"^<{block}>.*?^{key}\s*=\s*(\d+)", text, re.M | re.S).group(1))


def elastic_steps(task):
    return {stage: deck_value(task, stage, "steps") for stage in ("stage1", "stage2")}


def elastic_tokens(task):
    return sum(steps * deck_value(task, stage, "seq_length") * deck_value(task, stage, "global_batch_size")
               for stage, steps in elastic_steps(task).items())


def overrides(task, name, seed):
    """Of the deck of `task`, for a variant or for "parent"."""
    common = [f"job/seed={seed}", f"job/folder={folder(task, name, seed).relative_to(ROOT)}"]
    if name == "parent":
        return common + ["job/phases=pretrain, report"]
    variant = VARIANTS[name]
    steps = [f"{stage}/steps={round(variant.steps * count)}" for stage, count in elastic_steps(task).items()]
    steps_of_parent = deck_value(task, "pretrain", "steps")
    parent = folder(task, "parent", seed).relative_to(ROOT) / f"checkpoints/checkpoint_{steps_of_parent:06}.h5"
    changed = [text.format(tokens=elastic_tokens(task)) for text in variant.overrides]
    keys = {text.split("=")[0] for text in changed}
    kept = [text for text in steps if text.split("=")[0] not in keys]
    return [*common, f"job/parent={parent}", "job/phases=rank, elastic, slice, evaluate, report", *kept, *changed]


def folder(task, name, seed):
    return RUNS / task / f"{name}-{seed}"


class Results:
    """Of one task: {variant: {seed: what the run reached}}, kept in a file."""

    def __init__(self, task):
        self.path = HERE / f"results/{task}.json"
        self.of = json.loads(self.path.read_text()) if self.path.exists() else {}

    def missing(self, names, seeds):
        return [(name, seed) for seed in seeds for name in names if str(seed) not in self.of.get(name, {})]

    def add(self, name, seed, run):
        found = {"deck_hash": run["deck_hash"], "tokens": run["tokens"], "parent": run["parent"] if run.get("budgets") else None,
                 "budgets": [{key: entry[key] for key in KEPT} for entry in run.get("budgets", [])]}
        self.of.setdefault(name, {})[str(seed)] = found
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(self.as_text())

    def as_text(self):
        """JSON with one line per run."""
        variants = []
        for name in sorted(self.of):
            runs = [f'  "{seed}": {json.dumps(self.of[name][seed], sort_keys=True)}' for seed in sorted(self.of[name])]
            variants.append(f' "{name}": {{\n' + ",\n".join(runs) + "\n }")
        return "{\n" + ",\n".join(variants) + "\n}\n"


def run_one(program, ranks, task, name, seed):
    """Runs one variant and returns its results.json."""
    where = folder(task, name, seed)
    where.parent.mkdir(parents=True, exist_ok=True)
    printed = where.parent / f"{where.name}.txt"
    resume = ["--resume"] if any(where.glob("checkpoints/*.h5")) else []
    command = ["mpirun", *(["--allow-run-as-root"] if os.geteuid() == 0 else []), "-n", str(ranks), str(program),
               str((HERE / f"{task}.in").relative_to(ROOT)), *overrides(task, name, seed), *resume]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with open(printed, "w") as output:
        code = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT).returncode
    if code != 0:
        sys.exit(f"claims.py: {task}/{name}, seed {seed}: exit code {code}; see {printed}")
    return json.loads((where / "results.json").read_text())


def run(arguments):
    program = pathlib.Path(os.environ.get("BUILD", ROOT / "build")) / "elastic.x"
    if not program.exists():
        sys.exit(f"claims.py: no {program}; build it first (scripts/quickstart.sh), or name the folder by BUILD")
    seeds = range(1, arguments.seeds + 1)
    begin = time.monotonic()
    for task in arguments.task:
        results = Results(task)
        for name, seed in results.missing(["parent", *arguments.variant], seeds):
            if time.monotonic() - begin > 60 * arguments.minutes:
                sys.exit("claims.py: out of time; run it again to go on")
            began = time.monotonic()
            results.add(name, seed, run_one(program, arguments.ranks, task, name, seed))
            print(f"{task:10} {name:20} seed {seed}  {time.monotonic() - began:6.1f} s", flush=True)


def show(arguments):
    for task in arguments.task:
        for name in ("parent", *VARIANTS):
            seeds = Results(task).of.get(name, {})
            print(f"{task:10} {name:20} seeds {' '.join(sorted(seeds)) or 'none'}")


def main():
    parser = argparse.ArgumentParser(description="Runs the variants that the paper's claims are decided by.")
    parser.add_argument("do", choices=("run", "list"))
    parser.add_argument("--task", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--variant", nargs="+", choices=sorted(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1 to this (3)")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further run after this time")
    arguments = parser.parse_args()
    {"run": run, "list": show}[arguments.do](arguments)


if __name__ == "__main__":
    main()
