# SPDX-License-Identifier: Apache-2.0
# scripts/tensorboard.py: how tables become tags and points, over resumes that cut them back; and, where the package
# tensorboard is there, that its own reader finds every number of both tables in the event files.
#
#   tensorboard_events.py SOURCE_FOLDER
import importlib.util
import math
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from plot_run import write_run

ROOT = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "tensorboard.py"
HAS_PACKAGE = importlib.util.find_spec("tensorboard") is not None
HEADER = "step,stage,tokens,loss,valid_loss_parent,kl_1,valid_kl_1,kl_0.5,valid_kl_0.5\n"


def load():
    spec = importlib.util.spec_from_file_location("tensorboard_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load()


class WithFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def replace(self, name, text):
        """As a run does it: under another name, then renamed."""
        (self.folder / "new").write_text(text)
        os.replace(self.folder / "new", self.folder / name)

    def append(self, name, text):
        with open(self.folder / name, "a") as file:
            file.write(text)


class Tags(unittest.TestCase):
    def test_one_tag_per_column_and_budget(self):
        budgets = ["1", "0.5", "half", "very_half"]
        for column, tag in (("loss", "loss"), ("gradient_norm", "gradient_norm"), ("kl_0.5", "kl/0.5"),
                            ("relative_cost_1", "relative_cost/1"), ("valid_loss_parent", "valid_loss/parent"),
                            ("teacher_cross_entropy", "teacher_cross_entropy"), ("kl_very_half", "kl/very_half"),
                            ("share_half", "share/half"), ("parameters_0.7", "parameters_0.7")):
            self.assertEqual(script.tag_of(column, budgets), tag)
        self.assertEqual(script.budgets_of(HEADER.strip().split(",")), ["1", "0.5"])

    def test_history_rows(self):
        header = HEADER.strip().split(",")
        point = script.history_point(header, "20,stage1,4096,0.5,,1e-3,,nan,0.25".split(","))
        self.assertEqual((point.step, point.wall_time, point.texts), (20, None, {"stage": "stage1"}))
        self.assertTrue(math.isnan(point.numbers.pop("kl/0.5")))
        self.assertEqual(point.numbers, {"tokens": 4096, "loss": 0.5, "kl/1": 1e-3, "valid_kl/0.5": 0.25})
        self.assertEqual(script.history_point(["step", "wall_time", "loss"], ["3", "12.5", "1"]).wall_time, 12.5)

    def test_router_rows(self):
        header = ["step", "budget", "axis", "layer", "likely_width", "probability", "expected_width"]
        self.assertEqual(script.router_point(header, ["5", "0.5", "ffn", "3", "96", "0.75", "90.5"]).numbers,
                         {"likely_width/ffn_3/0.5": 96, "probability/ffn_3/0.5": 0.75, "expected_width/ffn_3/0.5": 90.5})
        self.assertEqual(list(script.router_point(header, ["5", "1", "hidden", "-1", "4", "1", "4"]).numbers)[0],
                         "likely_width/hidden/1")


class Tables(WithFolder):
    def setUp(self):
        super().setUp()
        self.table = script.Table(self.folder / "history.csv", script.history_point)

    def row(self, step, loss):
        return f"{step},stage1,1,{loss},,,,,\n"

    def read(self):
        """(first step taken back, {step: loss} of the new points)."""
        first, points = self.table.read()
        return first, {point.step: point.numbers["loss"] for point in points}

    def test_rows_come_once_and_whole(self):
        self.assertEqual(self.read(), (None, {}))  # not there yet
        self.replace("history.csv", HEADER + self.row(1, 5) + self.row(2, 4)[:-3])
        self.assertEqual(self.read(), (None, {1: 5}))
        self.append("history.csv", self.row(2, 4)[-3:] + self.row(3, 3))
        self.assertEqual(self.read(), (None, {2: 4, 3: 3}))
        self.assertEqual(self.read(), (None, {}))

    def test_a_resume_rewrites_the_table(self):
        self.replace("history.csv", HEADER + "".join(self.row(i, 10 - i) for i in range(1, 6)))
        self.read()
        self.replace("history.csv", HEADER + self.row(1, 9) + self.row(2, 8))  # cut back to step 2
        self.assertEqual(self.read(), (3, {}))
        self.append("history.csv", self.row(3, 7.5))
        self.assertEqual(self.read(), (None, {3: 7.5}))
        self.replace("history.csv", HEADER + self.row(1, 9) + self.row(2, 8) + self.row(3, 7.5) + self.row(4, 1))
        self.assertEqual(self.read(), (None, {4: 1}))  # rewritten alike, and one more

    def test_a_resume_that_goes_on_before_it_is_seen(self):
        self.replace("history.csv", HEADER + "".join(self.row(i, 10 - i) for i in range(1, 6)))
        self.read()
        self.replace("history.csv", HEADER + self.row(1, 9) + self.row(2, 8) + self.row(3, 0.5) + self.row(4, 0.25))
        self.assertEqual(self.read(), (3, {3: 0.5, 4: 0.25}))

    def test_a_table_cut_back_in_place(self):
        self.replace("history.csv", HEADER + self.row(1, 9) + self.row(2, 8))
        self.read()
        os.truncate(self.folder / "history.csv", len(HEADER + self.row(1, 9)))
        self.assertEqual(self.read(), (2, {}))

    def test_another_run_in_its_place(self):
        self.replace("history.csv", HEADER + self.row(1, 9))
        self.read()
        self.replace("history.csv", "step,stage,loss\n1,pretrain,2\n")
        self.assertEqual(self.read(), (1, {1: 2}))

    def test_a_row_of_nothing_known(self):
        self.replace("history.csv", HEADER + "x,stage1,1,2,,,,,\n")
        with self.assertRaisesRegex(SystemExit, "not a row of a run"):
            self.table.read()


class Holder(WithFolder):
    def test_a_run_goes_on_while_its_process_lives(self):
        self.assertFalse(script.goes_on(self.folder))
        here = f"host = {script.socket.gethostname()}\npid_namespace = {os.readlink('/proc/self/ns/pid')}\n"
        self.replace("run.lock", here + f"process = {os.getpid()}\n")
        self.assertTrue(script.goes_on(self.folder))
        ended = subprocess.Popen(["true"])
        ended.wait()
        self.replace("run.lock", here + f"process = {ended.pid}\n")
        self.assertFalse(script.goes_on(self.folder))
        self.replace("run.lock", f"host = elsewhere\nprocess = {ended.pid}\n")
        self.assertTrue(script.goes_on(self.folder))


class CommandLine(WithFolder):
    def run_script(self, *words):
        result = subprocess.run([sys.executable, "-B", SCRIPT, *map(str, words)], capture_output=True, text=True)
        return result.returncode, result.stdout + result.stderr

    def test_mistakes(self):
        self.assertEqual(self.run_script("--help")[0], 0)
        for words, message in (([self.folder], "history.csv is not there"), ([__file__], "expected the folder of a run"),
                               ([self.folder, "--interval", "0"], "expected --interval > 0")):
            code, output = self.run_script(*words)
            self.assertEqual(code, 1, output)
            self.assertIn(message, output)
            self.assertEqual(len(output.splitlines()), 1, output)

    @unittest.skipIf(HAS_PACKAGE, "the package tensorboard is here")
    def test_says_that_the_package_is_missing(self):
        write_run(self.folder / "run")
        code, output = self.run_script(self.folder / "run")
        self.assertEqual((code, output.count("\n")), (1, 1), output)
        self.assertIn("pip install tensorboard", output)


@unittest.skipUnless(HAS_PACKAGE, "needs the package tensorboard, which this python has not")
class ReadBack(WithFolder):
    def check(self, run):
        """Every number of both tables is there, in single precision, and nothing else."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        expected = {}
        for name, point_of in (("history.csv", script.history_point), ("router.csv", script.router_point)):
            for point in script.Table(run / name, point_of).read()[1]:
                for tag, value in point.numbers.items():
                    expected.setdefault(tag, {})[point.step] = value
        self.assertGreater(sum(map(len, expected.values())), 100)
        self.assertEqual(set(events.Tags()["scalars"]), set(expected))
        for tag, values in expected.items():
            found = {event.step: event.value for event in events.Scalars(tag)}
            self.assertEqual(found.keys(), values.keys(), tag)
            for step, value in values.items():
                self.assertAlmostEqual(found[step], value, delta=1e-7 * abs(value), msg=f"{tag} at {step}")
        return events

    def script(self, *words, **options):
        return subprocess.Popen([sys.executable, "-B", SCRIPT, *map(str, words)], **options)

    def test_after_a_run(self):
        run = self.folder / "run"
        write_run(run)
        before = (run / "history.csv").read_bytes()
        self.assertEqual(self.script(run).wait(), 0)
        events = self.check(run)
        self.assertEqual([event.step for event in events.Tensors("stage")], [10, 1210, 1610])
        self.assertEqual((run / "history.csv").read_bytes(), before)
        self.assertEqual(self.script(run, stderr=subprocess.DEVNULL).wait(), 1)  # holds event files
        self.assertEqual(self.script(run, "--replace").wait(), 0)
        self.check(run)

    def test_over_a_resume(self):
        run, part = self.folder / "run", self.folder / "part"
        write_run(part)
        following = self.script(run, "--follow", "--interval", "0.05", "--patience", "3")
        self.addCleanup(following.kill)
        run.mkdir()
        for name in ("history.csv", "router.csv"):
            (run / name).write_bytes((part / name).read_bytes())
        time.sleep(1)
        write_run(part, last=1500)  # other noise after fewer steps: cut back
        for name in ("router.csv", "history.csv"):
            os.replace(part / name, run / name)
            time.sleep(0.2)
        following.wait(timeout=30)
        self.check(run)

    def test_ends_on_ctrl_c(self):
        run = self.folder / "run"
        write_run(run)
        following = self.script(run, "--follow")
        time.sleep(2)
        following.send_signal(signal.SIGINT)
        self.assertEqual(following.wait(timeout=30), 0)
        self.check(run)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
