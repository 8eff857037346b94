#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# From results/TASK.json to the tables of doc/evidence.md (between the lines <!-- claims --> and <!-- end claims -->)
# and the pictures doc/images/claims_TASK.png: quality against parameters of every budget.
#
#   benchmarks/claims/tables.py            writes them
#   benchmarks/claims/tables.py --check    fails if doc/evidence.md is not what it would write
#
# Numbers are means over seeds with 95 % intervals of Student's t: mean +- t s / sqrt(n). Variants are compared seed by
# seed, since both start from one parent: the interval is that of the differences, and a claim is called decided where it
# does not hold 0.
import argparse
import math
import pathlib
import re
import sys

from claims import ROOT, TASKS, Results
from variants import BUDGETS, CLAIMS

T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
# What is compared: key of results, sign of better, factor, unit, digits.
SOLVED, BITS = ("accuracy", 1, 100, "% solved", 1), ("valid_loss", -1, 1 / math.log(2), "bits per token", 3)
METRICS = {"reasoning": (SOLVED, BITS), "text": (BITS,)}
BEGIN, END = "<!-- claims -->", "<!-- end claims -->"


def mean_and_interval(values):
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, math.inf
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    return mean, T_95[min(n - 1, 9)] * deviation / math.sqrt(n)


class Task:
    """Results of a task in one metric, by (variant, budget, seed)."""

    def __init__(self, name, metric):
        self.name, self.of = name, Results(name).of
        self.key, self.sign, self.factor, self.unit, self.digits = metric

    def values(self, variant, budget, key=None, factor=None):
        """{seed: value}; a variant with {} stands for the one that trained this budget alone."""
        found = {}
        for seed, run in self.of.get(variant.format(budget), {}).items():
            for entry in run["budgets"]:
                if entry["name"] == budget:
                    found[seed] = (factor or self.factor) * entry[key or self.key]
        return found

    def parent(self):
        return {seed: self.factor * run["parent"][self.key] for seed, run in self.of.get("nested", {}).items()}


def written(mean, interval, digits):
    return f"{mean:.{digits}f}" + (f" +- {interval:.{digits}f}" if math.isfinite(interval) else " (one seed)")


def comparison(task, claim, budget):
    """Cells of one row: the first variant, each other one, and the difference to the first."""
    digits = task.digits
    first = task.values(claim.variants[0], budget)
    if not first:
        return None
    cells = [written(*mean_and_interval(list(first.values())), digits)]
    for other in claim.variants[1:]:
        values = task.values(other, budget)
        pairs = [first[seed] - values[seed] for seed in sorted(first.keys() & values.keys())]
        if not pairs:
            cells += ["not run", ""]
            continue
        mean, interval = mean_and_interval(pairs)
        verdict = "not decided" if abs(mean) <= interval else ("better" if mean * task.sign > 0 else "worse")
        cells += [written(*mean_and_interval(list(values.values())), digits), f"{written(mean, interval, digits)}: {verdict}"]
    return cells


def claim_text(claim, tasks):
    lines = [f"### {claim.title}", ""]
    names = [name.replace("_{}", "") for name in claim.variants]
    head = [names[0]] + [cell for name in names[1:] for cell in (name, f"{names[0]} - {name}")]
    rows = []
    for task in tasks:
        if task.name in claim.tasks:
            for budget in claim.budgets:
                cells = comparison(task, claim, budget)
                if cells:
                    rows.append(f"| {task.name}, {task.unit} | {budget} | " + " | ".join(cells) + " |")
    if not rows:
        return []
    lines += ["| task | budget | " + " | ".join(head) + " |", "|" + "---|" * (len(head) + 2), *rows, ""]
    return lines + ([claim.limits, ""] if claim.limits else [])


def untrained_text(tasks):
    """The widths of each order cut out of the parent before any elastic training."""
    lines = ["### The same widths, cut without elastic training", "", "| task | budget | nested | random_order | reversed_order |",
             "|---|---|---|---|---|"]
    count = len(lines)
    for task in tasks:
        for budget in BUDGETS:
            cells = []
            for variant in ("nested", "random_order", "reversed_order"):
                values = task.values(variant, budget, f"{task.key}_cut_untrained")
                cells.append(written(*mean_and_interval(list(values.values())), task.digits) if values else "not run")
            if any(cell != "not run" for cell in cells):
                lines.append(f"| {task.name}, {task.unit} | {budget} | " + " | ".join(cells) + " |")
    return lines + [""] if len(lines) > count else []


def section(tasks):
    lines = [BEGIN, ""]
    for task in tasks:
        if task.parent():
            seeds = len(task.parent())
            lines.append(f"* {task.name}: the parent reaches {written(*mean_and_interval(list(task.parent().values())), task.digits)} "
                         f"{task.unit}; seeds run: {seeds}.")
    lines.append("")
    for claim in CLAIMS:
        lines += claim_text(claim, tasks)
    lines += untrained_text(tasks)
    return "\n".join(lines + [END])


def draw(task, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(figsize=(5.4, 3.6), constrained_layout=True)
    for variant, label, marker in (("nested", "one nested family", "o"), ("alone_each_{}", "alone, the family's tokens each", "s"),
                                   ("alone_share_{}", "alone, a third of them each", "^")):
        points = []
        for budget in BUDGETS:
            values = task.values(variant, budget)
            if values:
                sizes = task.values(variant, budget, "parameters", 1e-6)
                points.append((sum(sizes.values()) / len(sizes), *mean_and_interval(list(values.values()))))
        if points:
            x, y, spread = zip(*points)
            axes.errorbar(x, y, [s if math.isfinite(s) else 0 for s in spread], marker=marker, capsize=3, label=label)
    if task.parent():
        axes.axhline(mean_and_interval(list(task.parent().values()))[0], color="#9a9a9a", linestyle=":", label="parent")
    axes.set(xlabel="parameters (millions)", ylabel=task.unit)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="Writes the tables and pictures of the claims.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if doc/evidence.md is not as it should be")
    arguments = parser.parse_args()
    tasks = [Task(name, metric) for name in TASKS for metric in METRICS[name]]
    page = ROOT / "doc/evidence.md"
    text = page.read_text()
    new = re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: section(tasks), text, flags=re.S)
    if arguments.check:
        sys.exit(0 if new == text else "doc/evidence.md is not what benchmarks/claims/tables.py would write")
    page.write_text(new)
    for task in (Task(name, METRICS[name][0]) for name in TASKS):
        if task.of:
            draw(task, ROOT / f"doc/images/claims_{task.name}.png")


if __name__ == "__main__":
    main()
