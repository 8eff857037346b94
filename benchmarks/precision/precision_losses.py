#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Are losses in bfloat16 those of fp32? Runs the quickstart, and 2,000 steps of the text claim, in both precisions on the same
# data, and in fp32 with other micro-batches: the same sums in another order, so that what rounding alone does to a course is
# seen beside. Writes benchmarks/results/precision_losses.json and draws doc/images/precision_losses.png.
#
#   benchmarks/claims/text_corpus.py runs/claims/corpus.txt
#   precision_losses.py run build/elastic.x runs/precision [--task text] [--launcher "mpirun -n 2"]   goes on
#   precision_losses.py compare runs/precision
import argparse
import csv
import json
import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS, PICTURE = ROOT / "benchmarks/results/precision_losses.json", ROOT / "doc/images/precision_losses.png"
TASKS = {"quickstart": ["input/quickstart.in"],
         "text": ["benchmarks/claims/text.in", "pretrain/steps=1600", "evaluate/every_steps=100"]}
KINDS = {"float32": ["precision/compute=float32"], "bfloat16": ["precision/compute=bfloat16"],
         "float32, other micro-batches": ["precision/compute=float32", "parallel/micro_batch_size=4"]}
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
WINDOW = 50  # steps of a mean


def folder_of(runs, task, kind):
    return runs / f"{task}_{kind.replace(', ', '_').replace(' ', '_')}"


def run(options):
    for task in options.task:
        for kind, words in KINDS.items():
            folder = folder_of(options.runs, task, kind)
            if (folder / "results.json").exists():
                continue
            resume = ["--resume"] if (folder / "checkpoints").exists() else []
            command = [*shlex.split(options.launcher), options.program, *TASKS[task], *words, f"job/folder={folder}",
                       "job/phases=pretrain,rank,elastic,slice,report", "output/every_steps=1", *resume]
            code = subprocess.run(command, env=dict(os.environ, **THREADS), cwd=ROOT).returncode
            if code != 0:
                sys.exit(code)


def history(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def means(rows, column="loss"):
    """[(stage, last step, mean)] of each window of a stage."""
    found = []
    for stage in dict.fromkeys(row["stage"] for row in rows):
        own = [row for row in rows if row["stage"] == stage and row[column]]
        for end in range(WINDOW, len(own) + 1, WINDOW):
            found.append((stage, int(own[end - 1]["step"]), sum(float(row[column]) for row in own[end - WINDOW:end]) / WINDOW))
    return found


def validation(rows):
    """{"stage, budget": loss} at the end of every stage."""
    found = {}
    for stage in dict.fromkeys(row["stage"] for row in rows):
        last = [row for row in rows if row["stage"] == stage][-1]
        found |= {f"{stage} {column.removeprefix('valid_loss_')}": float(value) for column, value in last.items()
                  if column.startswith("valid_loss_") and value}
    return found


def against(reference, other):
    """How far the losses of a course lie above those of fp32 on the same steps, relative."""
    steps = min(len(reference), len(other))
    first, second = means(reference[:steps]), means(other[:steps])
    above = [b[2] / a[2] - 1 for a, b in zip(first, second)]
    held_out = validation(reference[:steps]), validation(other[:steps])
    return {"steps": steps, "largest": round(max(map(abs, above)), 4), "mean": round(sum(above) / len(above), 4),
            "last": round(above[-1], 4),
            "validation": {key: round(held_out[1][key] / held_out[0][key] - 1, 4) for key in held_out[0] if key in held_out[1]}}


def compare_task(runs, task):
    courses = {kind: history(folder_of(runs, task, kind)) for kind in KINDS
               if (folder_of(runs, task, kind) / "history.csv").exists()}
    entry = {kind: {"last_steps": [step for _, step, _ in means(rows)], "loss": [round(m, 6) for _, _, m in means(rows)]}
             for kind, rows in courses.items()}
    for kind in KINDS:
        if kind in courses and kind != "float32":
            entry[kind]["over float32"] = against(courses["float32"], courses[kind])
    return entry


def plot(entries):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    plt.rcParams.update({"figure.dpi": 150, "font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False,
                         "axes.grid": True, "grid.color": "#e8e8e8", "legend.frameon": False})
    figure, panels = plt.subplots(1, len(entries), figsize=(4.6 * len(entries), 3.2), layout="constrained", squeeze=False)
    for axes, (task, entry) in zip(panels[0], entries.items()):
        for colour, (kind, course) in zip(("#1d4090", "#cc3f7c", "#9a9a9a"), entry.items()):
            axes.plot(course["last_steps"], course["loss"], color=colour, label=kind, linewidth=1)
        axes.set(title=task, xlabel="step", ylabel=f"training loss, mean of {WINDOW} steps", yscale="log")
        axes.legend()
    figure.savefig(PICTURE)


def compare(options):
    entries = {task: compare_task(options.runs, task) for task in options.task
               if all((folder_of(options.runs, task, kind) / "history.csv").exists() for kind in ("float32", "bfloat16"))}
    courses = ",\n ".join(f"{json.dumps(f'{task}: {kind}')}: {json.dumps(course)}" for task, entry in entries.items()
                          for kind, course in entry.items())
    RESULTS.write_text(f'{{"window": {WINDOW},\n {courses}}}\n')
    for task, entry in entries.items():
        for kind, course in entry.items():
            print(task, kind, course.get("over float32", ""))
    plot(entries)


def main():
    parser = argparse.ArgumentParser(description="Compares courses of losses in both precisions.")
    verbs = parser.add_subparsers(required=True)
    runs = verbs.add_parser("run")
    runs.add_argument("program", type=pathlib.Path)
    runs.add_argument("--launcher", default="", help="words before the program")
    runs.set_defaults(call=run)
    comparison = verbs.add_parser("compare")
    comparison.set_defaults(call=compare)
    for verb in (runs, comparison):
        verb.add_argument("runs", type=pathlib.Path, help="folder of the runs")
        verb.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS))
    options = parser.parse_args()
    options.runs = options.runs.resolve()
    if "program" in options:
        options.program = options.program.resolve()
    options.call(options)


if __name__ == "__main__":
    main()
