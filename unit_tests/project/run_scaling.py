# SPDX-License-Identifier: Apache-2.0
# The tools of benchmarks/scaling: a sweep on a tiny deck, predictions for every machine file of the tree, and their plots.
import csv
import os
import pathlib
import shlex
import subprocess
import sys

from run_support import RunTest, Settings, main

DECK = ["job/phases=pretrain,report", "checkpoint/save=false", "evaluate/every_steps=0"]


class Scaling(RunTest):
    @classmethod
    def tool(cls, name, *arguments, code=0):
        command = [sys.executable, str(pathlib.Path(Settings.root) / "benchmarks/scaling" / name), *map(str, arguments)]
        result = subprocess.run(command, cwd=Settings.root, env=os.environ, text=True, capture_output=True, timeout=120)
        if result.returncode != code:
            raise AssertionError(f"{command}: {result.returncode}\n{result.stdout}{result.stderr}")
        return result.stdout + result.stderr

    def table(self, name):
        with open(self.path(name), newline="") as file:
            return list(csv.DictReader(file))

    def plot(self, name):
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            return
        self.tool("plot_scaling.py", self.path(name), self.path(name + ".png"))
        self.assertGreater((self.folder / (name + ".png")).stat().st_size, 5000)

    def machines(self):
        files = sorted((pathlib.Path(Settings.root) / "benchmarks/scaling/machines").glob("*.in"))
        self.assertGreater(len(files), 0)
        return files

    def test_a_sweep(self):
        machine = self.machines()[0]
        self.tool("scaling.py", "run", Settings.program, "--deck", "input/tiny.in", "--launcher", shlex.join(Settings.launcher),
                  "--ranks", "1,2", "--kinds", "weak,strong,tensor,sequence,context", "--sequences", 4, "--steps", 3, "--machine", machine,
                  "--csv", self.path("sweep.csv"), *DECK)
        rows = self.table("sweep.csv")
        self.assertEqual([(row["kind"], *(int(row[key]) for key in ("ranks", "tensor", "context", "data", "sequences")))
                          for row in rows],
                         [("weak", 1, 1, 1, 1, 4), ("weak", 2, 1, 1, 2, 8), ("strong", 1, 1, 1, 1, 8),
                          ("strong", 2, 1, 1, 2, 8), ("tensor", 1, 1, 1, 1, 4), ("tensor", 2, 2, 1, 1, 4),
                          ("sequence", 1, 1, 1, 1, 4), ("sequence", 2, 2, 1, 1, 4), ("context", 1, 1, 1, 1, 4),
                          ("context", 2, 1, 2, 1, 4)])
        for row in rows:
            self.assertGreater(float(row["step_seconds"]), 0)
            self.assertGreater(float(row["predicted_seconds"]), 0)
            if row["ranks"] == "1":
                self.assertEqual(float(row["efficiency"]), 1)
        self.plot("sweep.csv")

    def test_predictions(self):
        for machine in self.machines():
            self.tool("scaling.py", "predict", Settings.program, "--deck", "input/nano12b.in", "--machine", machine,
                      "--layouts", "8x1x128,8x4x512", "--csv", self.path("plan.csv"))
            rows = self.table("plan.csv")
            self.assertEqual([row["stage"] for row in rows],
                             2 * ["stage1", "stage1 at first", "stage2", "stage2 at first"])
            self.assertEqual({row["ranks"] for row in rows}, {"1024", "16384"})
            for few, many in zip(rows[:4], rows[4:]):
                self.assertGreater(float(few["step"]), float(many["step"]))
                self.assertGreater(float(few["efficiency"]), float(many["efficiency"]))
                self.assertGreater(1, float(few["efficiency"]))
            self.plot("plan.csv")

    def test_mistakes(self):
        self.write("machine.in", "<rank>\nspeed = 1\n")
        said = self.tool("scaling.py", "predict", Settings.program, "--deck", "input/tiny.in", "--machine", self.path("machine.in"),
                         "--layouts", "1x1x1", code=1)
        self.assertIn("machine.in:2", said)
        self.assertIn("--kinds", self.tool("scaling.py", "run", Settings.program, "--kinds", "small", code=1))
        self.assertIn("block/key=value", self.tool("scaling.py", "run", Settings.program, "--unknown", code=2))


if __name__ == "__main__":
    main()
