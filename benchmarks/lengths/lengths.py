#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# What a token of training costs in sequences of 512 to 49,152 tokens, with as many tokens in every step: lengths.in as it is,
# and without its attention layer, in both precisions. Writes benchmarks/results/lengths.json, where a later call replaces the
# rows that it measured, and draws doc/images/lengths.png if matplotlib is there.
#
#   lengths.py build/elastic.x [--lengths 512,49152] [--precisions float32] [--repeats 2]
#   lengths.py --plot
import argparse
import json
import os
import pathlib
import random
import shlex
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS, PICTURE = ROOT / "benchmarks/results/lengths.json", ROOT / "doc/images/lengths.png"
TOKENS = 49152  # of a step
LENGTHS = [512, 1024, 2048, 4096, 8192, 16384, 32768, 49152]
PATTERNS = {"hybrid": "M-*M-", "without attention": "M-M-"}
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def write_text(path):
    """Words of random letters: what they say changes no time."""
    draw = random.Random(1)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 8))) for _ in range(500)]
    path.write_text(" ".join(draw.choices(words, k=200000)))


def seconds_per_step(options, folder, length, precision, pattern):
    batch = TOKENS // length
    words = [f"data/train={folder / 'text.txt'}", f"job/folder={folder / 'run'}", f"precision/compute={precision}",
             f"model/hybrid_layer_pattern={pattern}", f"pretrain/steps={options.steps}", f"pretrain/seq_length={length}",
             f"pretrain/global_batch_size={batch}", f"parallel/micro_batch_size={batch}"]
    result = subprocess.run([*shlex.split(options.launcher), options.program, HERE / "lengths.in", *words],
                            env=dict(os.environ, **THREADS), text=True, capture_output=True, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        sys.exit(result.stdout + result.stderr)
    return json.loads((folder / "run/results.json").read_text())["stages"][0]["median_step_seconds"]


def write(rows):
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    RESULTS.write_text(f'{{"tokens_per_step": {TOKENS}, "ranks": 1,\n "rows": [\n  {lines}]}}\n')


def measure(options, rows):
    with tempfile.TemporaryDirectory(prefix="elastic_lengths_") as scratch:
        folder = pathlib.Path(scratch)
        write_text(folder / "text.txt")
        for precision in options.precisions:
            for length in options.lengths:
                for name in options.models:
                    seconds = [seconds_per_step(options, folder, length, precision, PATTERNS[name])
                               for _ in range(options.repeats)]
                    row = {"precision": precision, "model": name, "length": length,
                           "microseconds_per_token": round(1e6 * statistics.median(seconds) / TOKENS, 3)}
                    rows[:] = [r for r in rows if any(r[k] != row[k] for k in ("precision", "model", "length"))] + [row]
                    rows.sort(key=lambda r: (r["precision"], r["model"], r["length"]))
                    write(rows)
                    print(row, flush=True)


def plot(rows):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    plt.rcParams.update({"figure.dpi": 150, "font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False,
                         "axes.grid": True, "grid.color": "#e8e8e8", "legend.frameon": False})
    figure, axes = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
    for colour, precision in zip(("#1d4090", "#cc3f7c"), sorted({row["precision"] for row in rows}, reverse=True)):
        for style, model in zip(("o-", "x--"), PATTERNS):
            own = [row for row in rows if (row["precision"], row["model"]) == (precision, model)]
            axes.plot([row["length"] for row in own], [row["microseconds_per_token"] for row in own], style, color=colour,
                      label=f"{precision}, {model}")
    axes.set_xscale("log", base=2)
    axes.set_xticks(LENGTHS, labels=[f"{length:,}" for length in LENGTHS], rotation=30)
    axes.set(xlabel="tokens of a sequence", ylabel="microseconds of a token", ylim=(0, None))
    axes.legend()
    figure.savefig(PICTURE)


def main():
    parser = argparse.ArgumentParser(description="Measures what a token costs in short and long sequences.")
    parser.add_argument("program", nargs="?", type=pathlib.Path, help="elastic.x")
    parser.add_argument("--launcher", default="", help="words before the program")
    parser.add_argument("--lengths", type=lambda text: [int(word) for word in text.split(",")], default=LENGTHS)
    parser.add_argument("--precisions", type=lambda text: text.split(","), default=["float32", "bfloat16"])
    parser.add_argument("--models", nargs="+", choices=PATTERNS, default=list(PATTERNS))
    parser.add_argument("--steps", type=int, default=3, help="steps of a run, of which the median counts")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each kind, of which the median counts")
    parser.add_argument("--plot", action="store_true", help="draw what was measured")
    options = parser.parse_args()
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    if options.program:
        measure(options, rows)
    if options.plot:
        plot(rows)


if __name__ == "__main__":
    main()
