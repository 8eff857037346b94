#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Are losses in bfloat16 those of fp32? Two measures, because courses of training drift apart from any difference of rounding:
#
# * courses: runs the quickstart with several seeds, and 2,000 steps of the text claim, in both precisions on the same data. How
#   far these lie apart is a mean over seeds with its standard error, beside how far seeds lie apart. The pretraining of
#   two seeds also in fp32 with other micro-batches (the same sums in another order), and in fp32 after one step in bfloat16.
# * the same weights: goes on from checkpoints of the fp32 runs in both precisions with a learning rate of nearly 0, so that
#   all steps see the same weights and data, and compares step by step. Nothing drifts here.
#
# Writes benchmarks/results/precision_losses.json and draws doc/images/precision_losses.png.
#
#   benchmarks/claims/text_corpus.py runs/claims/corpus.txt
#   precision_losses.py run build/elastic.x runs/precision [--task text] [--launcher "mpirun -n 2"]   goes on
#   precision_losses.py weights build/elastic.x runs/precision [--task quickstart]
#   precision_losses.py compare runs/precision        tasks without runs here keep what the file says of them
import argparse
import csv
import json
import math
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS, PICTURE = ROOT / "benchmarks/results/precision_losses.json", ROOT / "doc/images/precision_losses.png"
TASKS = {"quickstart": ["input/quickstart.in", "evaluate/samples=1024", "checkpoint/keep_every=400"],
         "text": ["benchmarks/claims/text.in", "pretrain/steps=1600", "evaluate/every_steps=100", "checkpoint/keep_every=400"]}
SEEDS = {"quickstart": (1234, 1, 2), "text": (1,)}
ONE_STEP = "float32, first step in bfloat16"
KINDS = {"float32": ["precision/compute=float32"], "bfloat16": ["precision/compute=bfloat16"],
         "float32, other micro-batches": ["precision/compute=float32", "parallel/micro_batch_size=4"],
         ONE_STEP: ["precision/compute=float32"]}
STOPPED = 85  # exit code
PRECISIONS = ("float32", "bfloat16")
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
WINDOW = 50  # steps of a mean
STEPS_OF_SAME_WEIGHTS = 48
STILL = [f"{key}=1e-30" for key in ("pretrain/learning_rate", "stage1/learning_rate", "stage2/learning_rate",
                                    "stage1/router_learning_rate", "stage2/router_learning_rate")]


def folder_of(runs, task, kind, seed):
    return runs / f"{task}_{kind.replace(', ', '_').replace(' ', '_')}_{seed}"


def call_program(options, words):
    environment = dict(os.environ, **THREADS)
    return subprocess.run([*shlex.split(options.launcher), options.program, *words], env=environment, cwd=ROOT).returncode


def run(options):
    for task in options.task:
        for seed in SEEDS[task]:
            for kind, words in KINDS.items():
                if kind in PRECISIONS or seed in SEEDS[task][:2]:
                    run_course(options, task, seed, kind, words)


def run_course(options, task, seed, kind, words):
    folder = folder_of(options.runs, task, kind, seed)
    done = folder / "done"
    if done.exists():
        return
    phases = "pretrain,rank,elastic,slice,report" if kind in PRECISIONS else "pretrain"
    deck = [*TASKS[task], f"job/seed={seed}", f"job/folder={folder}", f"job/phases={phases}", "output/every_steps=1"]
    begun = (folder / "checkpoints").exists()
    if kind == ONE_STEP and not begun:
        code = call_program(options, [*deck, *KINDS["bfloat16"], "job/stop_after_step=1"])
        if code != STOPPED:
            sys.exit(code)
        begun = True
    changes = ["--accept-changes"] if kind == ONE_STEP else []
    code = call_program(options, [*deck, *words, *(["--resume", *changes] if begun else [])])
    if code != 0:
        sys.exit(code)
    done.touch()


def history(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def same_weights(options):
    """Losses of the steps after each kept checkpoint of the fp32 runs, in both precisions, without learning."""
    for task in options.task:
        for seed in SEEDS[task]:
            source = folder_of(options.runs, task, "float32", seed)
            for checkpoint in sorted((source / "checkpoints").glob("checkpoint_*.h5")):
                step = int(checkpoint.stem.split("_")[1])
                if step == int(history(source)[-1]["step"]):
                    continue
                for precision in PRECISIONS:
                    still_steps(options, task, source, checkpoint, step, seed, precision)


def still_steps(options, task, source, checkpoint, step, seed, precision):
    folder = options.runs / "same_weights" / f"{source.name}_{step}_{precision}"
    if folder.exists():
        return
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "checkpoints").mkdir(parents=True)
    for file in (checkpoint, *(source / "checkpoints").glob("parent_*.copy")):
        shutil.copy(file, partial / "checkpoints")
    for file in source.iterdir():
        if file.is_file() and file.name != "run.lock":
            shutil.copy(file, partial)
    code = call_program(options, [*TASKS[task], *KINDS[precision], *STILL, f"job/seed={seed}", f"job/folder={partial}",
                                  "job/phases=pretrain,rank,elastic", "output/every_steps=1", "evaluate/every_steps=0",
                                  f"job/stop_after_step={step + STEPS_OF_SAME_WEIGHTS}", "--resume", "--accept-changes"])
    if code not in (0, STOPPED):
        sys.exit(code)
    shutil.rmtree(partial / "checkpoints")
    partial.rename(folder)


def window_means(rows, column="loss"):
    """[(stage, last step, mean)] of each window of a stage."""
    found = []
    for stage in dict.fromkeys(row["stage"] for row in rows):
        own = [row for row in rows if row["stage"] == stage and row[column]]
        for end in range(WINDOW, len(own) + 1, WINDOW):
            found.append((stage, int(own[end - 1]["step"]), sum(float(row[column]) for row in own[end - WINDOW:end]) / WINDOW))
    return found


def course_of(rows):
    """What is kept of a run: means of the training loss, and held-out losses at the end of every stage."""
    found = {}
    for stage in dict.fromkeys(row["stage"] for row in rows):
        last = [row for row in rows if row["stage"] == stage][-1]
        found |= {f"{stage} {column.removeprefix('valid_loss_')}": float(value) for column, value in last.items()
                  if column.startswith("valid_loss_") and value}
    means = window_means(rows)
    return {"stages": [stage for stage, _, _ in means], "last_steps": [step for _, step, _ in means],
            "loss": [round(m, 6) for _, _, m in means], "validation": {key: round(value, 6) for key, value in found.items()}}


def levels(course, windows):
    """{place: logarithm of a loss}: of training in the second half of a stage, and held out at its end."""
    found = {}
    stages = course["stages"][:windows]
    for stage in dict.fromkeys(stages):
        own = [loss for name, loss in zip(stages, course["loss"]) if name == stage]
        found[f"{stage}, second half"] = statistics.mean(map(math.log, own[len(own) // 2:]))
    whole = [stage for stage in dict.fromkeys(stages) if stages.count(stage) == course["stages"].count(stage)]
    return found | {f"{place}, held out": math.log(loss) for place, loss in course["validation"].items()
                    if place.split()[0] in whole}


def pairs_of(courses, kind):
    """[(levels of fp32, levels of `kind`)] of the seeds that ran both, as far as both got."""
    found = []
    for kinds in courses.values():
        if "float32" in kinds and kind in kinds:
            windows = min(len(kinds["float32"]["loss"]), len(kinds[kind]["loss"]))
            found.append((levels(kinds["float32"], windows), levels(kinds[kind], windows)))
    return found


def summary(courses):
    """How far the other kinds lie above fp32 for each seed, for bfloat16 in the mean, and how far seeds of fp32 lie apart."""
    found = {}
    for kind in KINDS:
        pairs = pairs_of(courses, kind) if kind != "float32" else []
        for place in dict.fromkeys(place for first, _ in pairs for place in first):
            both = [(first[place], second[place]) for first, second in pairs if place in first and place in second]
            above = [second - first for first, second in both]
            if not above:
                continue
            entry = found.setdefault(place, {})
            entry[f"{kind}, above float32"] = [round(math.expm1(x), 4) for x in above]
            if kind == "bfloat16" and len(above) > 1:
                entry["mean"] = round(math.expm1(statistics.mean(above)), 4)
                entry["standard error"] = round(statistics.stdev(above) / math.sqrt(len(above)), 4)
                entry["deviation of float32 over seeds"] = round(statistics.stdev(first for first, _ in both), 4)
    return found


def compare_weights(runs, task):
    """{"seed, step": mean of (loss in bfloat16 / loss in fp32 - 1) over the steps, its standard error}"""
    found = {}
    for folder in sorted((runs / "same_weights").glob(f"{task}_float32_*_float32")):
        seed, step = folder.name.removeprefix(f"{task}_float32_").removesuffix("_float32").split("_")
        other = folder.with_name(folder.name.removesuffix("float32") + "bfloat16")
        if not other.exists():
            continue
        first, second = ([float(row["loss"]) for row in history(path) if int(row["step"]) > int(step)] for path in (folder, other))
        above = [b / a - 1 for a, b in zip(first, second, strict=True)]
        found[f"seed {seed}, step {step}"] = {
            "loss": round(statistics.mean(first), 6), "bfloat16 above float32": round(statistics.mean(above), 5),
            "standard error": round(statistics.stdev(above) / math.sqrt(len(above)), 5)}
    return found


def compare_task(runs, task):
    courses = {str(seed): {kind: course_of(history(folder_of(runs, task, kind, seed))) for kind in KINDS
                           if (folder_of(runs, task, kind, seed) / "history.csv").exists()} for seed in SEEDS[task]}
    courses = {seed: kinds for seed, kinds in courses.items() if kinds}
    if not any(all(precision in kinds for precision in PRECISIONS) for kinds in courses.values()):
        return None
    return {"summary": summary(courses), "same weights": compare_weights(runs, task), "courses": courses}


def plot(results):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    plt.rcParams.update({"figure.dpi": 150, "font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False,
                         "axes.grid": True, "grid.color": "#e8e8e8", "legend.frameon": False})
    tasks = [task for task in TASKS if task in results]
    figure, panels = plt.subplots(1, len(tasks), figsize=(4.6 * len(tasks), 3.2), layout="constrained", squeeze=False)
    for axes, task in zip(panels[0], tasks):
        courses = results[task]["courses"]
        for kind, colour in zip(KINDS, ("#1d4090", "#cc3f7c", "#9a9a9a", "#e0a030")):
            own = [kinds[kind] for kinds in courses.values() if kind in kinds]
            for number, course in enumerate(own):
                axes.plot(course["last_steps"], course["loss"], color=colour, label=None if number else kind, linewidth=1)
        title = task if len(courses) == 1 else f"{task}, {len(courses)} seeds"
        axes.set(title=title, xlabel="step", ylabel=f"training loss, mean of {WINDOW} steps", yscale="log")
        axes.legend()
    figure.savefig(PICTURE)


def write(results):
    """A line for each course, so that differences can be read."""
    def text(value, depth):
        if depth == 0 or not isinstance(value, dict):
            return json.dumps(value)
        inner = ",\n".join(f"{' ' * (4 - depth)}{json.dumps(key)}: {text(item, depth - 1)}" for key, item in value.items())
        return "{\n" + inner + "}"
    RESULTS.write_text(text(results, 4) + "\n")


def compare(options):
    results = json.loads(RESULTS.read_text()) | {"window": WINDOW}
    for task in options.task:
        entry = compare_task(options.runs, task)
        if entry:
            results[task] = entry
            for place, line in (*entry["summary"].items(), *entry["same weights"].items()):
                print(f"{task}, {place}: {line}")
    write(results)
    plot(results)


def main():
    parser = argparse.ArgumentParser(description="Compares losses in both precisions.")
    verbs = parser.add_subparsers(required=True)
    for name, call in (("run", run), ("weights", same_weights), ("compare", compare)):
        verb = verbs.add_parser(name)
        if name != "compare":
            verb.add_argument("program", type=pathlib.Path)
            verb.add_argument("--launcher", default="", help="words before the program")
        verb.add_argument("runs", type=pathlib.Path, help="folder of the runs")
        verb.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS))
        verb.set_defaults(call=call)
    options = parser.parse_args()
    options.runs = options.runs.resolve()
    if "program" in options:
        options.program = options.program.resolve()
    options.call(options)


if __name__ == "__main__":
    main()
