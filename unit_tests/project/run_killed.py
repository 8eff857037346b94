# SPDX-License-Identifier: Apache-2.0
# A rank that is killed takes all others with it, with a message, and costs no more than the steps since the last
# checkpoint. The same under srun: unit_tests/slurm.
import os
import pathlib
import re
import signal
import time

from run_support import STOPPED, RunTest, main, rank_ids, wait_for

PLAN = ["job/phases=pretrain,rank,elastic,slice", "evaluate/every_steps=8", "output/every_steps=2", "pretrain/steps=60",
        "checkpoint/every_steps=20", "checkpoint/keep=99"]
LIMIT_SECONDS = 30  # from the kill to the end of all


def is_running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Killed(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_deck("whole", *PLAN)

    def check(self, name, kill, ranks=2):
        process = self.start(ranks, self.deck, f"job/folder={self.path(name)}", *PLAN)
        checkpoint = self.folder / name / "checkpoints/checkpoint_000020.h5"
        wait_for(lambda: checkpoint.exists() or process.poll() is not None)
        self.assertIsNone(process.poll(), "the run has ended before the kill")
        pids = rank_ids(process.pid)
        self.assertEqual(len(pids), ranks)
        saved = checkpoint.read_bytes()
        kill(process.pid, pids)
        start = time.monotonic()
        code, output = self.finish(process)
        wait_for(lambda: not any(map(is_running, pids)))
        self.assertLess(time.monotonic() - start, LIMIT_SECONDS)
        self.assertNotIn(code, (0, STOPPED), output)
        self.assertEqual(checkpoint.read_bytes(), saved)
        return output

    def resume(self, name):
        self.assertIn("resumed from", self.run_deck(name, *PLAN, "--resume"))
        self.assert_same_course("whole", name)

    def test_first_rank(self):
        output = self.check("first", lambda launcher, ranks: os.kill(ranks[0], signal.SIGKILL))
        self.assertTrue(re.search(r"exited on signal 9|KILLED BY SIGNAL: 9", output), output)
        self.resume("first")

    def test_last_rank(self):
        output = self.check("last", lambda launcher, ranks: os.kill(ranks[-1], signal.SIGKILL))
        self.assertTrue(re.search(r"exited on signal 9|KILLED BY SIGNAL: 9", output), output)
        self.resume("last")

    def test_launcher(self):
        self.check("launcher", lambda launcher, ranks: os.kill(launcher, signal.SIGKILL))
        self.resume("launcher")


if __name__ == "__main__":
    main()
