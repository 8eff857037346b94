# SPDX-License-Identifier: Apache-2.0
# The phase teach and stages that read what it wrote: the same files and the same course on any layout, after a stop in the
# phase and by other runs; what is missing, damaged or of another parent or deck is refused and stays as it is.
import os
import signal

from run_support import STOPPED, RunTest, main, rank_ids, wait_for

PLAN = ["job/deterministic=true", "pretrain/steps=2", "pretrain/warmup_steps=1", "rank/samples=2", "stage1/steps=3",
        "stage2/steps=2", "stage1/warmup_steps=1", "stage2/warmup_steps=1", "evaluate/every_steps=0",
        "evaluate/samples=1", "output/every_steps=1", "checkpoint/every_steps=0", "stage1/teacher=stored",
        "stage2/teacher=stored"]
WHOLE = [*PLAN, "job/phases=pretrain,rank,teach,elastic"]
HEADER, LENGTH, TOP_K = 1024, 64, 64
BLOCK = 16 + LENGTH * (2 + TOP_K * 4)  # of stage1


class Teach(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_deck("whole", *WHOLE)

    def file(self, folder, stage="stage1"):
        return self.folder / folder / f"{stage}.teacher"

    def test_files_and_course_are_those_of_any_layout(self):
        self.assertEqual(self.file("whole/teacher").stat().st_size, HEADER + 3 * 8 * BLOCK)
        self.run_deck("one", *WHOLE, "parallel/micro_batch_size=1", ranks=1)
        for stage in ("stage1", "stage2"):
            self.assertEqual(self.file("one/teacher", stage).read_bytes(), self.file("whole/teacher", stage).read_bytes())
        self.assertEqual(self.text("one/history.csv"), self.text("whole/history.csv"))

        rows = self.rows("whole")
        self.assertEqual([row["stage"] for row in rows], ["pretrain"] * 2 + ["stage1"] * 3 + ["stage2"] * 2)
        self.assertTrue(all(row["kl_1"] and not row["valid_kl_1"] for row in rows[2:]))
        self.assertTrue(rows[4]["valid_loss_1"])

    def test_stopped_phase_goes_on(self):
        plan = [*WHOLE, "checkpoint/every_steps=1", "checkpoint/keep=10"]
        process = self.start(2, self.deck, f"job/folder={self.path('stopped')}", *plan, "stage1/steps=40")
        part = self.file("stopped/teacher").with_suffix(".teacher.part")
        wait_for(part.exists)
        os.kill(rank_ids(process.pid)[1], signal.SIGTERM)
        code, output = self.finish(process)
        self.assertEqual(code, STOPPED, output)
        self.assertTrue(part.exists() and not self.file("stopped/teacher").exists())
        # On other ranks, of which two share the model.
        self.run_deck("stopped", *plan, "parallel/tensor_parallel_size=2", "--resume")
        written, whole = (self.file(f"{run}/teacher").read_bytes() for run in ("stopped", "whole"))
        self.assertEqual(len(written), HEADER + 40 * 8 * BLOCK)
        self.assertEqual(written[:len(whole)], whole)
        self.assertEqual(self.text("stopped/history.csv"), self.text("whole/history.csv"))

        # Back to before the ranking, and to another parent: the files of the old one are kept.
        output = self.run_deck("stopped", *plan, "pretrain/learning_rate=1e-3", "--resume", "--from", "1",
                               "--accept-changes")
        self.assertIn("stage1.teacher: is of parent ", output)
        self.assertEqual((self.folder / "stopped/abandoned/2/stage1.teacher").read_bytes(), written)
        self.assertEqual(self.file("stopped/teacher").stat().st_size, len(whole))

    def test_other_runs_read_the_same_files(self):
        parent = [*PLAN, f"job/parent={self.path('whole/parent.h5')}", f"teach/folder={self.path('shared')}"]
        reads = [*parent, "job/phases=rank,elastic"]
        file = self.file("shared")
        self.assertIn("stage1.teacher: is missing", self.run_deck("a", *reads, ranks=1, code=1))
        self.assertIn("stage1.teacher: is missing", self.run_deck("a", *reads, "--check", ranks=1, code=1))

        self.run_deck("a", *parent, "job/phases=teach", ranks=1)
        written = file.read_bytes()
        plan = self.run_deck("b", *reads, "--check", ranks=1)
        self.assertIn("stage1: 24 sequences of 64 tokens, 64 words each: 397.70 kB in ", plan)
        # Another order of units is the same parent.
        self.run_deck("b", *reads, "rank/order=reversed", "stage1/learning_rate=1e-3")
        self.assertEqual(len(self.rows("b")), 5)

        for change, message in (("distill/temperature=2", "is of temperature 1, expected 2 (distill/temperature)"),
                                ("job/seed=7", "is of seed 1234, expected 7 (job/seed)"),
                                ("stage1/steps=4", "holds 24 sequences, expected 32"),
                                ("data/max_digits=1", "is of other data: its sequence")):
            output = self.run_deck("c", *reads, change, ranks=1, code=1)
            self.assertIn(f"stage1.teacher: {message}", output)
        file.write_bytes(written[:HEADER + BLOCK + 99] + b"?" + written[HEADER + BLOCK + 100:])
        output = self.run_deck("c", *reads, code=1)
        self.assertIn(f"stage1.teacher: damaged: block 1 (bytes {HEADER + BLOCK} to {HEADER + 2 * BLOCK})", output)

        # A new parent writes to no file of the old one.
        output = self.run_deck("d", *WHOLE, "pretrain/steps=3", f"teach/folder={self.path('whole/teacher')}", ranks=1,
                               code=1)
        self.assertIn("stage1.teacher: is of parent ", output)


if __name__ == "__main__":
    main()
