#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Draws a run: losses.png, router.png, accuracy.png and, where budgets take turns, switches.png from history.csv, router.csv and results.json.
#
#   python3 plot_run.py [RUNFOLDER]      default: the folder of this script
#
# Needs matplotlib. Files, columns and phases that a run does not have are left out; elastic.x keeps a copy of this
# script as RUNFOLDER/plot.py.
import csv
import json
import math
import pathlib
import sys

try:
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
except ImportError as error:
    sys.exit(f"matplotlib is missing: {error}")

INK, LIGHT = "#333333", "#9a9a9a"
BUDGET_COLOURS = LinearSegmentedColormap.from_list("budgets", ["#1d4090", "#7b2f9e", "#cc3f7c", "#ee7a48", "#e8a317"])
AXIS_TITLES = {
    "hidden": "hidden channels", "mamba_heads": "Mamba heads", "mamba_head_channels": "channels per Mamba head",
    "attention_heads": "attention heads", "ffn": "MLP neurons", "depth": "dropped layers"}
STYLE = {
    "figure.dpi": 150, "font.size": 9.5, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.edgecolor": LIGHT, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#e8e8e8", "grid.linewidth": 0.7, "axes.axisbelow": True,
    "axes.titlesize": 10, "axes.titlelocation": "left", "legend.framealpha": 0.85,
    "legend.edgecolor": "white", "lines.linewidth": 1.8}


# --- reading ---------------------------------------------------------------------------------------------------------
def read_table(path):
    """Rows of a CSV file as dictionaries; none if there is no file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def series(rows, column):
    """Steps and values of the rows whose cell is a number."""
    points = [(number(row.get("step")), number(row.get(column))) for row in rows]
    points = [p for p in points if math.isfinite(p[0]) and math.isfinite(p[1])]
    return [p[0] for p in points], [p[1] for p in points]


class Run:
    def __init__(self, folder):
        self.history = read_table(folder / "history.csv")
        self.router = read_table(folder / "router.csv")
        results = folder / "results.json"
        self.results = json.loads(results.read_text()) if results.exists() else {}
        self.parent = self.results.get("parent", {})
        self.budgets = self.results.get("budgets", [])
        self.pairs = self.results.get("pairs", [])
        self.names = self.trained_names()
        self.targets = {b["name"]: b["budget"] for b in self.budgets}
        for name in self.names:  # a run that did not reach its end: the name is the budget, if it is a number
            self.targets.setdefault(name, number(name))
        self.stages = self.find_stages()
        elastic = series(self.router, "expected_width")[0] + [
            x for name in self.names for x in series(self.history, f"cross_entropy_{name}")[0]]
        self.elastic_begin = max((first for _, first, _ in self.stages if elastic and first < min(elastic)), default=0)

    def trained_names(self):
        columns = self.history[0].keys() if self.history else []
        names = [c[len("valid_kl_"):] for c in columns if c.startswith("valid_kl_")]
        names = names or list(dict.fromkeys(row["budget"] for row in self.router))
        return names or [b["name"] for b in self.budgets if b.get("trained", True)]

    def find_stages(self):
        """(name, first step, last step) of each stage."""
        stages = []
        for row in self.history:
            step, name = number(row.get("step")), row.get("stage") or ""
            if not stages or stages[-1][0] != name:
                stages.append((name, stages[-1][2] if stages else 0, step))
            stages[-1] = (name, stages[-1][1], step)
        return stages

    def colour(self, name):
        """Trained budgets evenly over the colours, largest first; others between their neighbours."""
        ends = sorted((self.targets[n] for n in self.names if math.isfinite(self.targets[n])), reverse=True)
        target = self.targets.get(name, math.nan)
        if len(ends) != len(self.names) or not math.isfinite(target):
            place = self.names.index(name) if name in self.names else 0
        else:
            above = [i for i, end in enumerate(ends) if end >= target]
            place = above[-1] if above else 0
            if place + 1 < len(ends) and ends[place] != target:
                place += (ends[place] - target) / (ends[place] - ends[place + 1])
        return BUDGET_COLOURS(place / max(1, len(self.names) - 1))


# --- parts of pictures -----------------------------------------------------------------------------------------------
def mark_stages(axes, run, first=0):
    """Lines where a stage begins, names above the panel."""
    for name, begin, end in run.stages:
        if end <= first:
            continue
        begin = max(begin, first)
        if begin > first:
            axes.axvline(begin, color=LIGHT, linewidth=0.9, zorder=1)
        axes.text((begin + end) / 2, 1.02, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom",
                  color="#777777", fontsize=8.5)
    if run.stages:
        last = max(end for _, _, end in run.stages)
        axes.set_xlim(first, last + 0.01 * (last - first))


def log_scale(axes, low=None, high=None):
    """A logarithmic y axis with plain numbers on it: all of 1, 2, 5 if it spans little, else powers of ten."""
    axes.set_yscale("log")
    if low and high:
        axes.set_ylim(low, high)
    bottom, top = axes.get_ylim()
    subs = (1, 2, 5) if top / bottom < 300 else (1,)
    if top / bottom < 12:
        subs = (1, 1.5, 2, 3, 4, 5, 7)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()


def budget_handles(run, **style):
    return [Line2D([], [], color=run.colour(n), label=f"budget {n}", **style) for n in run.names]


def save(figure, path):
    figure.savefig(path, facecolor="white")
    plt.close(figure)
    return path


# --- losses over steps -----------------------------------------------------------------------------------------------
def draw_curves(axes, run, training, validation):
    """Training values light, validation values strong, per budget."""
    values = []
    for what, style in ((training, {"linewidth": 0.9, "alpha": 0.4}), (validation, {"marker": "o", "markersize": 3.5})):
        for name in run.names:
            steps, y = series(run.history, f"{what}_{name}")
            axes.plot(steps, y, color=run.colour(name), **style)
            values += y
    return [v for v in values if v > 0]


def draw_losses(run, path):
    if not run.history:
        return None
    has_kl = any(series(run.history, f"valid_kl_{name}")[1] for name in run.names)
    figure, panels = plt.subplots(1 + has_kl, 1, figsize=(8, 6.6 if has_kl else 3.8), squeeze=False,
                                  constrained_layout=True)
    top = panels[0][0]
    pretraining = [row for row in run.history if number(row.get("step")) <= run.elastic_begin or not has_kl]
    top.plot(*series(pretraining, "loss"), color=LIGHT, linewidth=0.9, alpha=0.7)
    parent = series(pretraining, "valid_loss_parent")
    top.plot(*parent, color=INK, marker="o", markersize=3.5)
    draw_curves(top, run, "cross_entropy", "valid_loss")
    handles = budget_handles(run, marker="o", markersize=4) if has_kl else []
    if parent[0] or run.parent:
        style = {"marker": "o", "markersize": 4} if parent[0] else {"linewidth": 1, "linestyle": (0, (4, 3))}
        handles.insert(0, Line2D([], [], color=INK, label="parent", **style))
    handles.append(Line2D([], [], color=LIGHT, linewidth=0.9, label="light: on training data"))
    if has_kl and number(run.parent.get("valid_loss")) > 0:
        # Measured at the sequence length of the last stage, so comparable with that one only.
        top.hlines(run.parent["valid_loss"], *run.stages[-1][1:], color=INK, linewidth=1, linestyle=(0, (4, 3)),
                   zorder=1)
    top.set_ylabel("validation loss [nats per token]")
    log_scale(top)
    mark_stages(top, run)
    top.legend(handles=handles, loc="upper right", ncol=2 if len(handles) > 5 else 1)
    panels[-1][0].set_xlabel("training step")
    if has_kl:
        bottom = panels[1][0]
        values = draw_curves(bottom, run, "kl", "valid_kl")
        bottom.set_ylabel("KL from the parent [nats per token]")
        if values:
            log_scale(bottom, max(0.6 * min(values), 1e-4 * max(values)), 1.5 * max(values))
        mark_stages(bottom, run, run.elastic_begin)
    return save(figure, path)


# --- what the router prefers -----------------------------------------------------------------------------------------
def router_bands(run, axis, name):
    """Steps, and mean, least and largest expected width over the layers."""
    widths = {}
    for row in run.router:
        if row["axis"] == axis and row["budget"] == name:
            widths.setdefault(number(row["step"]), []).append(number(row["expected_width"]))
    steps = sorted(widths)
    return (steps, [sum(widths[s]) / len(widths[s]) for s in steps], [min(widths[s]) for s in steps],
            [max(widths[s]) for s in steps])


def draw_router(run, path):
    if not run.router:
        return None
    axes_names = list(dict.fromkeys(row["axis"] for row in run.router))
    columns = 2 if len(axes_names) < 4 else 3
    rows = math.ceil((len(axes_names) + 1) / columns)
    height = 0.5 + 2.3 * rows
    figure, panels = plt.subplots(rows, columns, figsize=(8, height), squeeze=False)
    flat = [panel for row in panels for panel in row]
    has_band = False
    for panel, axis in zip(flat, axes_names):
        for name in run.names:
            steps, mean, low, high = router_bands(run, axis, name)
            if low != high:
                panel.fill_between(steps, low, high, color=run.colour(name), alpha=0.13, linewidth=0)
                has_band = True
            panel.plot(steps, mean, color=run.colour(name))
        panel.set_title(AXIS_TITLES.get(axis, axis))
    cost = flat[len(axes_names)]
    draw_cost(run, cost)
    for panel in flat[len(axes_names) + 1:]:
        panel.set_visible(False)
    finish_router(run, figure, flat[:len(axes_names) + 1], columns, has_band)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / height))
    return save(figure, path)


def draw_cost(run, axes):
    for name in run.names:
        if math.isfinite(run.targets[name]):
            axes.axhline(run.targets[name], color=run.colour(name), linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.plot(*series(run.history, f"relative_cost_{name}"), color=run.colour(name))
    axes.set_title("cost, part of the parent's")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f}%"))


def finish_router(run, figure, used, columns, has_band):
    for i, panel in enumerate(used):
        for _, begin, _ in run.stages:
            if begin > run.elastic_begin:
                panel.axvline(begin, color=LIGHT, linewidth=0.9, zorder=1)
        if run.stages:
            panel.set_xlim(run.elastic_begin, run.stages[-1][2])
        panel.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        panel.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
        if i + columns >= len(used):
            panel.set_xlabel("training step")
        if i % columns == 0:
            panel.set_ylabel("expected width")
    handles = budget_handles(run)
    if has_band:
        handles.append(matplotlib.patches.Patch(color=LIGHT, alpha=0.3, label="least to largest layer"))
    handles.append(Line2D([], [], color=LIGHT, linewidth=1, linestyle=(0, (4, 3)), label="target"))
    figure.legend(handles=handles, loc="upper center", ncol=len(handles) if len(handles) < 7 else 4)


# --- accuracy and loss against size ----------------------------------------------------------------------------------
def draw_against_parameters(axes, run, key, parent_value):
    """Points (parameters, value): trained, interpolated, cut without elastic training; returns the values."""
    def value_of(budget, suffix=""):
        return number(budget.get(key + suffix))
    budgets = sorted(run.budgets, key=lambda b: number(b.get("parameters")))
    for suffix, dashes in (("", "-"), ("_cut_untrained", (0, (2, 2)))):
        shown = [b for b in budgets if math.isfinite(value_of(b, suffix))]
        axes.plot([b["parameters"] for b in shown], [value_of(b, suffix) for b in shown], color="#b5b5b5",
                  linewidth=1.1, linestyle=dashes, zorder=2)
    for b in budgets:
        colour, x, y, cut = run.colour(b["name"]), b["parameters"], value_of(b), value_of(b, "_cut_untrained")
        trained = b.get("trained", True)
        axes.plot(x, cut, "x", color=colour, markersize=7, markeredgewidth=1.8, zorder=3)
        axes.plot(x, y, "o", color=colour, markersize=8, markeredgewidth=1.8, zorder=5,
                  markerfacecolor=colour if trained else "white")
        if math.isfinite(y):
            above = key == "accuracy"
            axes.annotate(b["name"], (x, y), xytext=(0, 9 if above else -9), textcoords="offset points", ha="center",
                          va="bottom" if above else "top", fontsize=8.5, color=colour, zorder=6,
                          path_effects=[withStroke(linewidth=2.5, foreground="white")])
    if math.isfinite(parent_value):
        axes.plot(run.parent["parameters"], parent_value, "*", color=INK, markersize=15, zorder=4)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: parameters_text(x)))
    axes.set_xlabel("parameters")
    axes.margins(0.1, 0.16)


def parameters_text(x):
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(x) >= scale:
            return f"{x / scale:.3g} {unit}"
    return f"{x:.0f}"


def draw_accuracy(run, path):
    if not run.budgets:
        return None
    keys = [k for k in ("accuracy", "valid_loss") if any(math.isfinite(number(b.get(k))) for b in run.budgets)]
    if not keys:
        return None
    figure, panels = plt.subplots(1, len(keys), figsize=(8, 3.9), squeeze=False)
    for panel, key in zip(panels[0], keys):
        draw_against_parameters(panel, run, key, number(run.parent.get(key)))
        if key == "accuracy":
            panel.set_title("accuracy on held-out problems")
            panel.set_ylim(-0.05, 1.12)
            panel.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
            panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f}%"))
        else:
            panel.set_title("validation loss [nats per token]")
            log_scale(panel)
    point = dict(linestyle="none", color="#666666")
    handles = [Line2D([], [], marker="*", markersize=12, linestyle="none", color=INK, label="parent"),
               Line2D([], [], marker="o", markersize=7, label="elastic submodel", **point)]
    if any(not b.get("trained", True) for b in run.budgets):
        handles.append(Line2D([], [], marker="o", markersize=7, markerfacecolor="white", markeredgewidth=1.8,
                              label="interpolated budget", **point))
    handles.append(Line2D([], [], marker="x", markersize=7, markeredgewidth=1.8, label="cut of the parent, untrained",
                          **point))
    figure.tight_layout(rect=(0, 0.08, 1, 1), w_pad=2)
    figure.legend(handles=handles, loc="lower center", ncol=4, handletextpad=0.3, columnspacing=1.6)
    return save(figure, path)


# --- one budget thinks, another answers --------------------------------------------------------------------------------
def draw_switches(run, path):
    """Accuracy of every ordered pair against its cost; edge: the budget that thinks, inside: the one that answers."""
    if not run.pairs:
        return None
    figure, axes = plt.subplots(figsize=(8, 4.2))
    alone = sorted((p["relative_cost_per_token"], p["accuracy"]) for p in run.pairs if p["thinks"] == p["answers"])
    axes.plot([p[0] for p in alone], [p[1] for p in alone], color="#b5b5b5", linewidth=1.1, zorder=2)
    for pair in run.pairs:
        x, y, mixed = pair["relative_cost_per_token"], pair["accuracy"], pair["thinks"] != pair["answers"]
        axes.plot(x, y, "o", markersize=9, markeredgewidth=2.6, markeredgecolor=run.colour(pair["thinks"]),
                  markerfacecolor=run.colour(pair["answers"]), zorder=4 if mixed else 3)
        if not mixed:
            axes.annotate(f"{pair['thinks']} alone", (x, y), xytext=(0, 9), textcoords="offset points", ha="center",
                          va="bottom", fontsize=8.5, color="#666666", zorder=6,
                          path_effects=[withStroke(linewidth=2.5, foreground="white")])
    marker = run.results.get("switch_marker", "")
    axes.set_title(f"accuracy where one budget thinks up to {marker!r} and another answers")
    axes.set_xlabel("cost, part of the parent's, mean over the tokens generated")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.3g}%"))
    axes.margins(0.1, 0.16)
    names = list(dict.fromkeys(p["thinks"] for p in run.pairs))
    handles = [Line2D([], [], marker="o", markersize=7, linestyle="none", color=run.colour(n), label=f"budget {n}")
               for n in names]
    handles.append(Line2D([], [], marker="o", markersize=7, linestyle="none", markerfacecolor="white",
                          markeredgewidth=2.6, color=LIGHT, label="edge: thinks, inside: answers"))
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.legend(handles=handles, loc="lower center", ncol=len(handles) if len(handles) < 7 else 4)
    return save(figure, path)


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent
    run = Run(folder)
    plt.rcParams.update(STYLE)
    drawn = [draw(run, folder / name) for draw, name in
             ((draw_losses, "losses.png"), (draw_router, "router.png"), (draw_accuracy, "accuracy.png"),
              (draw_switches, "switches.png"))]
    if not any(drawn):
        sys.exit(f"{folder}: no history.csv, router.csv or results.json of a run")
    for path in filter(None, drawn):
        print(path)


if __name__ == "__main__":
    main()
