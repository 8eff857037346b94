#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Draws what scaling.py wrote. Of measurements: efficiency over ranks, measured and predicted, one line per kind. Of
# predictions: the parts of a step over ranks, one panel per stage, with the efficiency above each bar.
#
#   plot_scaling.py scaling.csv scaling.png
#   plot_scaling.py nano12b.csv nano12b.png
import csv
import sys

try:
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError as error:
    sys.exit(f"matplotlib is missing: {error}")

INK, LIGHT = "#333333", "#9a9a9a"
COLOURS = ["#1d4090", "#cc3f7c", "#e8a317", "#2d8f6f"]
PARTS = {"computing": "#1d4090", "messages": "#7b2f9e", "waiting": "#cc3f7c", "gradients": "#ee7a48", "values": "#e8a317",
         "update": LIGHT}
STYLE = {
    "figure.dpi": 150, "font.size": 9.5, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.edgecolor": LIGHT, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#e8e8e8", "axes.axisbelow": True, "axes.titlesize": 10, "axes.titlelocation": "left",
    "legend.frameon": False}


def measured(rows, path):
    figure, axes = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
    for colour, kind in zip(COLOURS, dict.fromkeys(row["kind"] for row in rows)):
        own = [row for row in rows if row["kind"] == kind]
        ranks = [int(row["ranks"]) for row in own]
        axes.plot(ranks, [float(row["efficiency"]) for row in own], "o-", color=colour, label=kind)
        if "predicted_seconds" in own[0]:
            first = float(own[0]["predicted_seconds"])
            ideal = [first if kind == "weak" else first * ranks[0] / n for n in ranks]
            axes.plot(ranks, [t / float(row["predicted_seconds"]) for t, row in zip(ideal, own)], "x--", color=colour,
                      label=f"{kind}, predicted")
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted({int(row["ranks"]) for row in rows}), labels=sorted({row["ranks"] for row in rows}, key=int))
    axes.set(xlabel="ranks", ylabel="efficiency", ylim=(0, 1.1))
    axes.legend()
    figure.savefig(path)


def predicted(rows, path):
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    figure, panels = plt.subplots(1, len(stages), figsize=(2.6 * len(stages) + 1, 3.4), layout="constrained", squeeze=False)
    for axes, stage in zip(panels[0], stages):
        own = [row for row in rows if row["stage"] == stage]
        bottom = [0.0] * len(own)
        for part, colour in PARTS.items():
            names = ("teacher", "forward", "loss", "backward") if part == "computing" else (part,)
            # Rank-seconds, so that bars of equal height mean perfect scaling.
            height = [sum(float(row[name]) for name in names) * int(row["ranks"]) / 3600 for row in own]
            axes.bar(range(len(own)), height, bottom=bottom, color=colour, label=part)
            bottom = [a + b for a, b in zip(bottom, height)]
        for i, (row, top) in enumerate(zip(own, bottom)):
            axes.annotate(f"{float(row['efficiency']):.2f}", (i, top), ha="center", va="bottom", fontsize=8)
        labels = [f"{int(row['ranks']):,}\n{row['tensor']}x{row['context']}x{row['data']}" for row in own]
        axes.set_xticks(range(len(own)), labels=labels, fontsize=7.5)
        axes.set_title(stage)
        axes.grid(axis="x", visible=False)
    panels[0][0].set_ylabel("rank-hours per step")
    panels[0][-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    figure.savefig(path)


def main():
    if len(sys.argv) != 3:
        sys.exit("plot_scaling.py CSV PNG")
    with open(sys.argv[1], newline="") as file:
        rows = list(csv.DictReader(file))
    plt.rcParams.update(STYLE)
    (measured if "kind" in rows[0] else predicted)(rows, sys.argv[2])


if __name__ == "__main__":
    main()
