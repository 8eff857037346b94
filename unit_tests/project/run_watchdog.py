# SPDX-License-Identifier: Apache-2.0
# A rank that was stopped (SIGSTOP) is named within the watchdog's time, and the job ends with exit code 2 on every rank. A
# job that was stopped as a whole and goes on is none of its business.
import os
import re
import signal
import time

from run_killed import is_running
from run_support import RunTest, main, rank_ids, wait_for

PATIENCE, ALLOWANCE = 3, 4  # seconds; the allowance is for the launcher and a busy machine
PLAN = ["pretrain/steps=100000", "job/phases=pretrain", f"job/watchdog_seconds={PATIENCE}", "output/every_steps=1"]


def number_of(pid):
    with open(f"/proc/{pid}/environ", encoding="ascii", errors="replace") as environment:
        return int(re.search(r"(?:OMPI_COMM_WORLD_RANK|PMI_RANK)=(\d+)", environment.read())[1])


class Stopped(RunTest):
    def start_run(self, name, ranks):
        process = self.start(ranks, self.deck, f"job/folder={self.path(name)}", *PLAN)
        history = self.folder / name / "history.csv"
        wait_for(lambda: (history.exists() and history.read_text().count("\n") > 5) or process.poll() is not None)
        self.assertIsNone(process.poll())
        return process, {number_of(pid): pid for pid in rank_ids(process.pid)}

    def check(self, ranks, stopped):
        process, pids = self.start_run(f"stopped_{ranks}_{stopped}", ranks)
        start = time.monotonic()
        os.kill(pids[stopped], signal.SIGSTOP)
        code, output = self.finish(process)
        self.assertLess(time.monotonic() - start, PATIENCE + ALLOWANCE, output)
        self.assertEqual(code, 2, output)
        report = re.findall(r"watchdog: no progress for 3 s\n(.*)\n", output)
        self.assertEqual(len(report), 1, output)
        self.assertRegex(report[0], rf"stopped or dead: rank {stopped} in .+ of step \d+")
        # A rank may have got what it needs from the stopped one, and wait further on.
        waiting = re.findall(r"ranks? ([\d, ]+) in .+? of step \d+", re.search(r"waiting: (.*)", output)[1])
        self.assertEqual(sorted(int(r) for r in ", ".join(waiting).split(", ")), [r for r in range(ranks) if r != stopped], output)
        wait_for(lambda: not any(map(is_running, pids.values())))

    def test_first_of_two(self):
        self.check(2, 0)

    def test_last_of_two(self):
        self.check(2, 1)

    def test_last_of_four(self):
        self.check(4, 3)

    def test_a_job_that_was_suspended_goes_on(self):
        process, pids = self.start_run("suspended", 2)
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)
        time.sleep(PATIENCE + 1)
        for pid in pids.values():
            os.kill(pid, signal.SIGCONT)
        time.sleep(1)
        self.assertIsNone(process.poll())
        os.kill(pids[0], signal.SIGTERM)
        code, output = self.finish(process)
        self.assertEqual(code, 85, output)
        self.assertNotIn("watchdog", output)


if __name__ == "__main__":
    main()
