#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Draws the front of a model, front.png, from front.csv of elastic.x front.
#
#   python3 plot_front.py [FOLDER]      default: the folder of this script
#
# Needs matplotlib.
import csv
import math
import pathlib
import sys

try:
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter, MaxNLocator
except ImportError as error:
    sys.exit(f"matplotlib is missing: {error}")

INK, LIGHT, FRONT = "#333333", "#9a9a9a", "#1d4090"
# origin: marker, colour, size
POINTS = {"random": (".", LIGHT, 30), "grid": (".", LIGHT, 30), "homogeneous": ("s", "#ee7a48", 34),
          "router": ("*", "#cc3f7c", 110)}
PANELS = (("parameters", "front_parameters", "parameters", ""),
          ("memory_bytes", "front_memory", "memory of inference", "B"),
          ("seconds_per_token", "front_seconds", "time per token", "s"))
STYLE = {"figure.dpi": 150, "font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
         "grid.color": "#e8e8e8", "axes.axisbelow": True, "text.color": INK, "axes.labelcolor": INK,
         "axes.edgecolor": LIGHT}


def number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def draw_panel(axes, rows, cost, flag, title, unit):
    for origin, (marker, colour, size) in POINTS.items():
        here = [row for row in rows if row["origin"] == origin]
        axes.scatter([number(row[cost]) for row in here], [number(row["valid_loss"]) for row in here], marker=marker,
                     color=colour, s=size, linewidths=0, label=origin if here else None, zorder=3 + (size > 50))
    front = sorted((number(row[cost]), number(row["valid_loss"])) for row in rows if row[flag] == "1")
    axes.step([x for x, _ in front], [y for _, y in front], where="post", color=FRONT, linewidth=1.4, label="front",
              zorder=2)
    for row in rows:
        if row["origin"] == "router":
            axes.annotate(row["name"], (number(row[cost]), number(row["valid_loss"])), xytext=(4, 5),
                          textcoords="offset points", fontsize=8, color=POINTS["router"][1])
    axes.set_xlabel(title)
    axes.xaxis.set_major_formatter(EngFormatter(unit=unit, sep=" " if unit else ""))
    axes.xaxis.set_major_locator(MaxNLocator(4))


def draw(rows, path):
    figure, panels = plt.subplots(1, len(PANELS), figsize=(11, 3.9), sharey=True, constrained_layout=True)
    for axes, panel in zip(panels, PANELS):
        draw_panel(axes, rows, *panel)
    losses = [number(row["valid_loss"]) for row in rows]
    if min(losses) > 0 and max(losses) > 4 * min(losses):
        panels[0].set_yscale("log")
    panels[0].set_ylabel("held-out loss [nats per token]")
    panels[-1].legend(loc="upper right", framealpha=0.85, edgecolor="white")
    figure.savefig(path, facecolor="white")
    plt.close(figure)


def main():
    if "--help" in sys.argv or "-h" in sys.argv or len(sys.argv) > 2:
        sys.exit("usage: plot_front.py [FOLDER]\n\nDraws FOLDER/front.png from FOLDER/front.csv.")
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent
    table = folder / "front.csv"
    if not table.is_file():
        sys.exit(f"{table}: is not there; expected the table that elastic.x front writes")
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missing = {"origin", "valid_loss", *(p[0] for p in PANELS), *(p[1] for p in PANELS)} - set(rows[0] if rows else ())
    if missing:
        sys.exit(f"{table}: lacks {', '.join(sorted(missing))}; expected the table that elastic.x front writes")
    with plt.rc_context(STYLE):
        draw(rows, folder / "front.png")


if __name__ == "__main__":
    main()
