# SPDX-License-Identifier: Apache-2.0
# A run folder belongs to one run at a time, and to one run: a second start or resume is refused while the first lives;
# a run that goes on has the past that it had; it goes back to an older step on demand; half-made folders start again.
import os
import pathlib
import re
import shutil
import signal
import time
import unittest.mock

from run_support import STOPPED, RunTest, main, rank_ids, wait_for

INPUT, RUNTIME = 1, 2
QUICK_SECONDS = 10
PLAN = ["job/phases=pretrain,rank,elastic,slice", "pretrain/steps=6", "pretrain/warmup_steps=3", "stage1/steps=6",
        "stage2/steps=4", "evaluate/every_steps=0", "output/every_steps=1", "checkpoint/every_steps=0", "checkpoint/keep=9"]
LONG = [*PLAN[:1], "pretrain/steps=100000", "evaluate/every_steps=0", "output/every_steps=1", "checkpoint/every_steps=0"]


class Held(RunTest):
    """A run of many steps holds its folder."""

    def start_run(self, name):
        process = self.start(2, self.deck, f"job/folder={self.path(name)}", *LONG)
        history = self.folder / name / "history.csv"
        wait_for(lambda: process.poll() is not None or (history.exists() and history.read_text().count("\n") > 2))
        self.assertIsNone(process.poll())
        return process

    def refused(self, *arguments):
        start = time.monotonic()
        output = self.run_deck("run", *LONG, *arguments, code=INPUT)
        self.assertLess(time.monotonic() - start, QUICK_SECONDS)
        self.assertEqual(output.count("elastic.x: "), 1, output)
        self.assertRegex(output, r"run: in use by process \d+ on host \S+ since ")

    def test_while_it_lives_and_after_it_was_killed(self):
        process = self.start_run("run")
        names = sorted(f.name for f in (self.folder / "run").iterdir())
        for arguments in ([], ["--resume"], ["--break-lock"]):
            self.refused(*arguments)
        self.assertEqual(sorted(f.name for f in (self.folder / "run").iterdir()), names)
        self.assertFalse((self.folder / "run.1").exists())
        for rank in rank_ids(process.pid):
            os.kill(rank, signal.SIGKILL)
        self.finish(process)
        steps = len(self.rows("run"))
        self.assertGreater(steps, 1)
        output = self.run_deck("run", *LONG, "--resume", code=INPUT)
        self.assertIn("which has ended", output)
        self.assertIn("no checkpoint to resume from", output)
        self.run_deck("run", *LONG, "job/stop_after_step=1", code=STOPPED)
        self.assertEqual(len(self.rows("run.1")), steps)
        self.assertEqual(sorted(f.name for f in (self.folder / "run.1").iterdir()), sorted({*names} - {"run.lock"}))
        self.assertFalse((self.folder / "run/run.lock").exists())

    def test_of_two_resumes_one_goes_on(self):
        self.run_deck("twice", *LONG, "job/stop_after_step=2", code=STOPPED)
        both = [self.start(2, self.deck, f"job/folder={self.path('twice')}", *LONG, "job/stop_after_step=1500", "--resume")
                for _ in range(2)]
        ends = [self.finish(process) for process in both]
        self.assertEqual(sorted(code for code, _ in ends), [INPUT, STOPPED], ends)
        self.assertEqual([int(row["step"]) for row in self.rows("twice")], list(range(1, 1501)))

    def test_a_folder_that_is_removed_ends_the_run(self):
        process = self.start_run("removed")
        shutil.rmtree(self.folder / "removed", ignore_errors=True)  # the run itself removes its lock meanwhile
        start = time.monotonic()
        code, output = self.finish(process)
        self.assertLess(time.monotonic() - start, QUICK_SECONDS)
        self.assertEqual(code, RUNTIME, output)
        self.assertIn(self.path("removed"), output)
        self.assertFalse((self.folder / "removed").exists())

    def test_a_table_that_is_removed_ends_the_run(self):
        process = self.start_run("table")
        (self.folder / "table/history.csv").unlink()
        code, output = self.finish(process)
        self.assertEqual(code, RUNTIME, output)
        self.assertIn("history.csv: was removed", output)

    def test_a_lock_of_another_machine(self):
        self.run_deck("far", *PLAN, "job/stop_after_step=2", code=STOPPED)
        lock = self.folder / "far/run.lock"
        lock.write_text("host = elsewhere\nboot = 1\npid_namespace = 2\nprocess = 3\nprocess_start = 4\nflocked = 1\n"
                        "user = 0\nslurm_cluster = c\nslurm_job = 77\nslurm_restart = 0\ntime = then\n")
        output = self.run_deck("far", *PLAN, "--resume", code=INPUT)
        self.assertIn("process 3 on host elsewhere since then (Slurm job 77)", output)
        self.assertIn("--break-lock", output)
        # The job was requeued: what held the folder has ended.
        requeued = dict(SLURM_JOB_ID="77", SLURM_CLUSTER_NAME="c", SLURM_RESTART_COUNT="1")
        with unittest.mock.patch.dict(os.environ, requeued):
            self.run_deck("far", *PLAN, "job/stop_after_step=3", "--resume", code=STOPPED)
        lock.write_text("")
        self.run_deck("far", *PLAN, "job/stop_after_step=4", "--resume", "--break-lock", code=STOPPED)


class Past(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_deck("run", *PLAN)
        cls.run_deck("stopped", *PLAN, "job/stop_after_step=8", code=STOPPED)

    def copy(self, name, of="run"):
        shutil.copytree(self.folder / of, self.folder / name)

    def files(self, name):
        return {str(f.relative_to(self.folder / name)): f.read_bytes()
                for f in sorted((self.folder / name).rglob("*")) if f.is_file()}

    def test_what_decided_steps_done_may_not_change(self):
        before = self.files("stopped")
        for changes, since in ((["pretrain/steps=12"], 1), (["job/seed=7", "optimizer/beta2=0.9"], 1),
                               (["elastic/budget_names=1,0.75,0.5", "elastic/budgets=1,0.8,0.5"], 7),
                               (["stage1/global_batch_size=4"], 7)):
            output = self.run_deck("stopped", *PLAN, *changes, "--resume", code=INPUT)
            for key in changes:
                name, value = key.split("=")
                line = re.search(rf"<{name.replace('/', '>/')}: .* before, (.*) now; decided .* from step (\d+) on", output)
                self.assertTrue(line, output)
                self.assertEqual((line[1].replace(" ", ""), int(line[2])), (value, since))
            self.assertEqual(output.count("elastic.x: "), 1)
            self.assertEqual(self.files("stopped"), before)

    def test_what_lies_ahead_may_change(self):
        self.copy("ahead", "stopped")
        output = self.run_deck("ahead", *PLAN, "stage1/learning_rate=1e-3", "stage2/steps=2", "output/every_steps=2",
                               "parallel/micro_batch_size=1", "--resume")
        self.assertIn("<stage1>/learning_rate", output)
        self.assertIn("at step 8 of 14", output)

    def test_changes_can_be_accepted(self):
        self.copy("accepted", "stopped")
        output = self.run_deck("accepted", *PLAN, "optimizer/beta2=0.9", "--resume", "--accept-changes")
        self.assertIn("<optimizer>/beta2", output)

    def test_a_checkpoint_of_another_run(self):
        self.copy("mixed", "stopped")
        shutil.copy(self.folder / "run/checkpoints/checkpoint_000012.h5", self.folder / "mixed/checkpoints")
        output = self.run_deck("mixed", *PLAN, "--resume", code=INPUT)
        for run in ("run", "mixed"):
            self.assertIn(self.text(f"{run}/run.id").split()[1], output)
        self.assertIn("at step 8 of 16", self.run_deck("mixed", *PLAN, "--resume", "--allow-fallback"))
        self.assert_same_course("run", "mixed")

    def test_back_to_a_step(self):
        self.copy("back")
        output = self.run_deck("back", *PLAN, "--resume", "--from", "9", code=INPUT)
        self.assertIn("there are those of 6, 12, 16", output)
        output = self.run_deck("back", *PLAN, "--resume", "--from", "6", "job/stop_after_step=9", code=STOPPED)
        self.assertIn("at step 6 of 16", output)
        self.assertEqual(sorted(f.name for f in (self.folder / "back/checkpoints").glob("*.h5")),
                         ["checkpoint_000006.h5", "checkpoint_000009.h5"])
        left = self.folder / "back/abandoned/1"
        self.assertEqual((left / "history.csv").read_text(), self.text("run/history.csv"))
        for file in ("checkpoint_000012.h5", "checkpoint_000016.h5", "model.h5", "parent.h5", "submodels/0.5.h5"):
            self.assertTrue((left / file).exists(), file)
        self.assertIn("at step 9 of 16", self.run_deck("back", *PLAN, "--resume"))  # not at 16
        self.assert_same_course("run", "back")

    def test_the_teacher_comes_back_from_its_copy(self):
        self.copy("taught", "stopped")
        parent, (copy,) = self.folder / "taught/parent.h5", (self.folder / "taught/checkpoints").glob("parent_*")
        whole, other = parent.read_bytes(), (self.folder / "run/parent.h5").read_bytes()
        for step, spoil in enumerate((parent.unlink, lambda: parent.write_bytes(other),
                                      lambda: parent.write_bytes(whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:]))):
            spoil()
            output = self.run_deck("taught", *PLAN, "--resume", f"job/stop_after_step={9 + step}", code=STOPPED)
            self.assertIn(f"it is restored from {copy}", output)
            self.assertEqual(parent.read_bytes(), whole)
        self.run_deck("taught", *PLAN, "--resume")
        self.assert_same_course("run", "taught")

    def test_without_a_teacher_nothing_goes_on(self):
        self.copy("untaught", "stopped")
        parent, (copy,) = self.folder / "untaught/parent.h5", (self.folder / "untaught/checkpoints").glob("parent_*")
        parent.unlink()
        copy.write_bytes(copy.read_bytes()[:-1])
        before = self.files("untaught")
        output = self.run_deck("untaught", *PLAN, "--resume", code=INPUT)
        for part in (str(parent), str(copy), "--from"):
            self.assertIn(part, output)
        self.assertEqual(self.files("untaught"), before)
        # A checkpoint from before the ranking makes it anew.
        self.run_deck("untaught", *PLAN, "--resume", "--from", "6")
        self.assert_same_course("run", "untaught")

    def test_a_run_of_an_earlier_version_is_given_an_id(self):
        self.copy("old", "stopped")
        (self.folder / "old/run.id").unlink()
        self.assertNotIn("names no run", self.run_deck("old", *PLAN, "--resume"))  # the checkpoint knows it
        self.assertEqual(self.text("old/run.id"), self.text("stopped/run.id"))


class HalfMade(RunTest):
    def test_a_deck_that_cannot_be_written(self):
        # A folder in the place of the new version: as a disk that fails at that moment.
        (self.folder / "first/resolved.in.tmp/in_the_way").mkdir(parents=True)
        output = self.run_deck("first", *PLAN, "job/stop_after_step=1", code=RUNTIME)
        self.assertIn("resolved.in", output)
        self.assertIn("no checkpoint to resume from", self.run_deck("first", *PLAN, "--resume", code=INPUT))
        shutil.rmtree(self.folder / "first/resolved.in.tmp")
        self.run_deck("first", *PLAN, "job/stop_after_step=1", code=STOPPED)
        self.assertFalse((self.folder / "first.1").exists())

    def test_killed_before_the_first_checkpoint(self):
        # Whatever a start has made so far, it can be started again, and resume says that there is nothing.
        self.run_deck("whole", *PLAN, "job/stop_after_step=1", code=STOPPED)
        made = ["run.id", "submodels", "resolved.in", "history.csv", "router.csv"]
        for count in range(1, len(made) + 1):
            name = f"killed_{count}"
            (self.folder / name).mkdir()
            for entry in made[:count]:
                source = self.folder / "whole" / entry
                (shutil.copytree if source.is_dir() else shutil.copy)(source, self.folder / name / entry)
            with self.subTest(last=made[count - 1]):
                output = self.run_deck(name, *PLAN, "--resume", code=INPUT)
                self.assertEqual(output.count("no checkpoint to resume from"), 1)
                self.run_deck(name, *PLAN, "job/stop_after_step=1", code=STOPPED)
                self.assertEqual((self.folder / f"{name}.1").exists(), count > 2)

    def test_model_is_written_once(self):
        self.run_deck("run", *PLAN)
        self.assertEqual([f.name for f in (self.folder / "run").rglob("*.tmp*")], [])
        self.assertEqual(sorted(f.name for f in pathlib.Path(self.path("run/submodels")).iterdir()),
                         ["0.5.h5", "0.75.h5", "1.h5"])


if __name__ == "__main__":
    main()
