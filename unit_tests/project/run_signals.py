# SPDX-License-Identifier: Apache-2.0
# Signals and files stop a run, or make it save and go on, within seconds in every phase; a validation that was stopped
# is made up for by the resumed run, to the byte.
import os
import signal
import time

import h5py
from run_support import STOPPED, RunTest, main, rank_ids, wait_for

PLAN = ["pretrain/steps=6", "pretrain/warmup_steps=3", "stage1/steps=4", "stage2/steps=2", "evaluate/problems=0",
        "evaluate/every_steps=0", "output/every_steps=1", "checkpoint/every_steps=0"]
ENDLESS = 1000000
SECONDS = 5


def read_until(process, text):
    """What the process prints until a line that contains `text`."""
    output = ""
    for line in process.stdout:
        output += line
        if text in line:
            return output
    raise AssertionError(f"ended before '{text}':\n{output}")


class Signals(RunTest):
    def stop(self, process, number=signal.SIGTERM, rank=0):
        """Sends a signal to one rank; the job must end in time with the code of a stop."""
        start = time.monotonic()
        os.kill(rank_ids(process.pid)[rank], number)
        code, output = self.finish(process)
        self.assertLess(time.monotonic() - start, SECONDS, output)
        self.assertEqual(code, STOPPED, output)
        return output

    def deck_at(self, name, text, *arguments):
        """A run that has printed `text` a moment ago."""
        process = self.start(2, self.deck, f"job/folder={self.path(name)}", *PLAN, *arguments)
        output = read_until(process, text)
        time.sleep(0.5)
        return process, output

    def checkpoints(self, name):
        return sorted(path.name for path in (self.folder / name / "checkpoints").glob("*.h5"))

    def test_ranking(self):
        phases = "job/phases=pretrain,rank,elastic"
        process, _ = self.deck_at("rank", "ranking the parent", phases, f"rank/samples={ENDLESS}")
        self.assertIn("stopped as asked; --resume continues after step 6", self.stop(process, signal.SIGINT, rank=1))
        self.assertEqual(self.checkpoints("rank"), ["checkpoint_000006.h5"])
        self.assertFalse((self.folder / "rank/parent.h5").exists())
        self.run_deck("rank", *PLAN, phases, "--resume")
        self.run_deck("unbroken", *PLAN, phases)
        self.assertEqual(self.text("rank/history.csv"), self.text("unbroken/history.csv"))

    def test_validation(self):
        plan = ["job/phases=pretrain", "evaluate/every_steps=3", "evaluate/samples=6000"]
        self.run_deck("whole", *PLAN, *plan)
        process, _ = self.deck_at("validated", "step     2/6", *plan)
        output = self.stop(process, signal.SIGUSR1, rank=1)
        self.assertIn("stopped after step 3", output)
        with h5py.File(self.folder / "validated/checkpoints/checkpoint_000003.h5") as file:
            self.assertIn("text/pending_step", file)
        self.assertEqual(len(self.rows("validated")), 2)
        for again in range(2):  # the second time from the same checkpoint: the row is not written twice
            self.run_deck("validated", *PLAN, *plan, "--resume")
            self.assertEqual(self.text("validated/history.csv"), self.text("whole/history.csv"))
            for later in (self.folder / "validated/checkpoints").glob("checkpoint_000006.h5"):
                later.unlink()

    def test_evaluation_reached_by_resume(self):
        self.run_deck("evaluated", *PLAN)
        arguments = [self.deck, f"job/folder={self.path('evaluated')}", *PLAN, f"evaluate/samples={ENDLESS}", "--resume"]
        model = self.folder / "evaluated/model.h5"
        model.unlink()
        process = self.start(2, *arguments)
        read_until(process, "holds 3 submodels")
        time.sleep(0.5)
        self.assertIn("stopped as asked", self.stop(process))

    def test_user_signal_2_saves_and_goes_on(self):
        plan = ["job/phases=pretrain", "pretrain/steps=100000", "checkpoint/keep=99"]
        process, _ = self.deck_at("saved", "step     3/", *plan)
        pids = rank_ids(process.pid)
        os.kill(pids[1], signal.SIGUSR2)
        wait_for(lambda: len(self.checkpoints("saved")) == 1)
        (self.folder / "saved/save").touch()
        wait_for(lambda: len(self.checkpoints("saved")) == 2)
        self.assertFalse((self.folder / "saved/save").exists())
        self.assertIsNone(process.poll())
        start = time.monotonic()
        (self.folder / "saved/stop").touch()
        code, output = self.finish(process)
        self.assertLess(time.monotonic() - start, SECONDS)
        self.assertEqual(code, STOPPED, output)
        self.assertFalse((self.folder / "saved/stop").exists())
        self.assertEqual(output.count("saved as asked"), 2)
        self.assertEqual(len(self.checkpoints("saved")), 3)

    def test_verbs(self):
        self.run_deck("verbs", *PLAN, "job/phases=pretrain,rank,elastic,slice")
        model = self.path("verbs/model.h5")
        for arguments in (["evaluate", model, f"evaluate/samples={ENDLESS}"],
                          ["generate", model, "--text", "1+1=", "--stop", "-1", "--max-tokens", "500000"]):
            process = self.start(2 if arguments[0] == "evaluate" else 1, *arguments)
            time.sleep(1.5)
            self.assertIn("stopped as asked; nothing was written", self.stop(process))


if __name__ == "__main__":
    main()
