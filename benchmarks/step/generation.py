# SPDX-License-Identifier: Apache-2.0
# Tokens per second of generation, one text at a time on one core: the parent of easy.in, its half, and the parent checking what
# the half drafts, in both precisions. The model is trained here, just long enough that the texts mean something: what a draft
# is worth depends on how often it is right.
import random
import re
import shlex
import statistics
import sys

from . import steps

CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz+-=<>,:#?*/.;!()[]{}|&^_ "  # of the vocabulary, from token 3 on
PROBLEMS, LONGEST, DRAFT = 8, 100, 4
PRECISIONS = steps.PRECISIONS


def prepare(options):
    """Trains the model and writes sums of two numbers; one row per kind of generation."""
    folder = options.scratch / "easy"
    steps.call([*shlex.split(options.launcher), options.ranks, options.build / "elastic.x", options.deck.parents[1] / "step/easy.in",
                f"parallel/tensor_parallel_size={options.ranks}", f"job/folder={folder}"])
    draw = random.Random(3)
    problems = [f"{draw.randint(10, 99)}+{draw.randint(10, 99)}=" for _ in range(PROBLEMS)]
    (options.scratch / "problems.txt").write_text(
        "".join(" ".join(str(3 + CHARACTERS.index(c)) for c in problem) + "\n" for problem in problems))
    return [{"kind": kind, "precision": precision, "tokens_per_second": []}
            for precision in PRECISIONS for kind in ("parent", "half", "speculative")]


def measure_once(options, rows):
    """Adds one measurement to each row."""
    for row in rows:
        command = [options.build / "elastic.x", "generate", options.scratch / "easy/model.h5", "--precision",
                   PRECISIONS[row["precision"]]]
        if row["kind"] == "speculative":  # answers, which end: beyond them nothing says what comes
            command += ["--tokens", options.scratch / "problems.txt", "--draft-budget", "0.5", "--draft-length", DRAFT]
        else:
            command += ["--text", "12+34=", "--stop", "-1", "--max-tokens", LONGEST, *(["--budget", "0.5"] if row["kind"] == "half" else [])]
        output = steps.call(command)
        rates = [float(rate) for rate in re.findall(r"([0-9.]+) tokens/s", output)]
        row["tokens_per_second"].append(rates[0])
        if row["kind"] == "speculative":
            row.setdefault("greedy_tokens_per_second", []).append(rates[1])
            row["accepted"] = float(re.search(r"drafted tokens \(([0-9.]+)%\)", output)[1]) / 100
        print(f"elastic.x generate {row['kind']} {row['precision']}: {rates[0]:.1f} tokens/s", file=sys.stderr, flush=True)


def ratios(rows):
    def rate(kind, precision, what="tokens_per_second"):
        return statistics.median(next(r for r in rows if (r["kind"], r["precision"]) == (kind, precision))[what])
    return {"generation_tokens_per_second": {p: rate("parent", p) for p in PRECISIONS},
            "generation_half_over_parent": {p: rate("half", p) / rate("parent", p) for p in PRECISIONS},
            "speculative_over_greedy": {p: rate("speculative", p) / rate("speculative", p, "greedy_tokens_per_second")
                                        for p in PRECISIONS}}
