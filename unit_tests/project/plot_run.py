# SPDX-License-Identifier: Apache-2.0
# The plot script draws a whole run, and what there is of an incomplete one; on run folders made up here.
#
#   plot_run.py SOURCE_FOLDER [FOLDER_TO_KEEP]
import csv
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile

BUDGETS = {"1": 1.0, "0.75": 0.75, "0.5": 0.5}
EXTRA = {"0.625": 0.625}
AXES = {"hidden": ([-1], 96, 64), "mamba_heads": ([0, 2, 5], 8, 4), "attention_heads": ([-1], 4, 2),
        "ffn": ([1, 4, 6], 384, 128), "depth": ([-1], 0, 2)}
PRETRAIN, STAGE1, STAGE2 = 1200, 1600, 1800  # last steps


def history_columns():
    columns = ["step", "stage", "tokens", "learning_rate", "loss", "gradient_norm", "tau", "logit_scale",
               "valid_loss_parent"]
    for name in BUDGETS:
        columns += [f"{what}_{name}" for what in ("kl", "cross_entropy", "budget_loss", "relative_cost", "valid_loss",
                                                  "valid_kl", "parameters")]
    return columns


def history_rows(first, last, noise):
    for step in range(first, last + 1, 10):
        row = {"step": step, "tokens": step * 4096, "learning_rate": 1e-3, "gradient_norm": 1}
        validated = step % 100 == 0
        if step <= PRETRAIN:
            loss = 0.42 + 4.2 * math.exp(-step / 130) + 0.25 * math.exp(-step / 600)
            row |= {"stage": "pretrain", "loss": loss * noise.uniform(0.96, 1.04)}
            row |= {"valid_loss_parent": loss} if validated else {}
        else:
            since = step - PRETRAIN
            row |= {"stage": "stage1" if step <= STAGE1 else "stage2", "loss": 0.1, "tau": 1, "logit_scale": 2}
            for name, budget in BUDGETS.items():
                kl = 0.004 + (1 - budget) * (0.05 + 1.6 * math.exp(-since / 90))
                if noise.random() < 0.8:  # not every budget is drawn in every step
                    row |= {f"kl_{name}": kl * noise.uniform(0.9, 1.2), f"cross_entropy_{name}": 0.45 + kl,
                            f"relative_cost_{name}": budget + (0.9 - budget) * math.exp(-since / 60)}
                row |= {f"valid_kl_{name}": kl, f"valid_loss_{name}": 0.45 + kl,
                        f"parameters_{name}": 4e5 * budget} if validated else {}
        yield row


def router_rows(last):
    for step in range(PRETRAIN + 10, last + 1, 10):
        settled = 1 - math.exp(-(step - PRETRAIN) / 80)
        for name, budget in BUDGETS.items():
            for axis, (layers, full, least) in AXES.items():
                for i, layer in enumerate(layers):
                    wanted = full + (least - full) * min(1, (1 - budget) * (1.2 + 0.5 * i))
                    middle = (full + least) / 2
                    width = middle + (wanted - middle) * settled
                    yield {"step": step, "budget": name, "axis": axis, "layer": layer, "likely_width": full,
                           "probability": 0.9, "expected_width": width}


def pair(thinks, answers):
    cost = 0.7 * BUDGETS[thinks] + 0.3 * BUDGETS[answers]
    return {"thinks": thinks, "answers": answers, "accuracy": 0.9 * cost ** 0.3, "relative_cost_per_token": cost}


def results(with_accuracy):
    def entry(name, budget, trained):
        loss = 0.45 + 0.06 * (1 - budget)
        return {"name": name, "budget": budget, "trained": trained, "parameters": int(412345 * budget),
                "relative_cost": budget, "widths": "hidden 96", "valid_loss": loss, "kl_to_parent": loss - 0.45,
                "accuracy": 0.98 - 0.1 * (1 - budget) if with_accuracy else None,
                "valid_loss_cut_untrained": 0.45 + 9 * (1 - budget) ** 1.5,
                "accuracy_cut_untrained": 0.98 * max(0, 2.5 * budget - 1.5) if with_accuracy else None}
    return {"name": "synthetic",
            "parent": {"parameters": 412345, "valid_loss": 0.45, "accuracy": 0.98 if with_accuracy else None},
            "budgets": [entry(n, b, True) for n, b in BUDGETS.items()] + [entry(n, b, False) for n, b in EXTRA.items()],
            "switch_marker": "#",
            "pairs": [pair(a, b) for a in BUDGETS for b in BUDGETS] if with_accuracy else []}


def write_table(path, columns, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_run(folder, first=10, last=STAGE2, with_accuracy=True, finished=True):
    """The steps first ... last of the whole plan, counted from 10."""
    folder.mkdir(parents=True, exist_ok=True)
    history, router = list(history_rows(first, last, random.Random(7))), list(router_rows(last))
    for row in history + router:
        row["step"] -= first - 10
    write_table(folder / "history.csv", history_columns(), history)
    write_table(folder / "router.csv",
                ["step", "budget", "axis", "layer", "likely_width", "probability", "expected_width"], router)
    if finished:
        (folder / "results.json").write_text(json.dumps(results(with_accuracy)))


def colours(path):
    """Different colours of a picture."""
    import matplotlib.image
    picture = matplotlib.image.imread(path)
    assert picture.shape[1] >= 1000, f"{path}: {picture.shape[1]} pixels wide"
    return {tuple(pixel) for row in picture[::3] for pixel in row[::3].tolist()}


def check(script, folder, expected):
    subprocess.run([sys.executable, "-B", script, folder], check=True)
    drawn = {path.name for path in folder.glob("*.png")}
    assert drawn == expected, f"{folder}: drawn {sorted(drawn)}, expected {sorted(expected)}"
    for name in drawn:
        assert len(colours(folder / name)) > 50, f"{folder / name} is blank"


def main():
    script = pathlib.Path(sys.argv[1]) / "scripts" / "plot_run.py"
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        print("no matplotlib: nothing to test")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
        write_run(root / "whole")
        check(script, root / "whole", {"losses.png", "router.png", "accuracy.png", "switches.png"})
        write_run(root / "text", first=PRETRAIN + 10, with_accuracy=False)  # parent read from a file, text data
        check(script, root / "text", {"losses.png", "router.png", "accuracy.png"})
        write_run(root / "pretraining", last=600, finished=False)
        check(script, root / "pretraining", {"losses.png"})
        (root / "empty").mkdir()
        assert subprocess.run([sys.executable, "-B", script, root / "empty"], capture_output=True).returncode == 1


if __name__ == "__main__":
    main()
