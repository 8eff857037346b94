# SPDX-License-Identifier: Apache-2.0
# Steps whose numbers are not to be trusted, in whole runs: skipped, or undone with their data left out, alike after a resume
# and on any number of ranks; and nothing that is not finite is ever saved.
from run_support import STOPPED, RunTest, main

# Losses of a parent that hardly changes vary by chance; that of step 7 is a spike by 1%.
PLAN = ["job/phases=pretrain", "pretrain/steps=16", "pretrain/warmup_steps=1", "pretrain/learning_rate=1e-6",
        "evaluate/problems=0", "evaluate/every_steps=0", "output/every_steps=1", "checkpoint/every_steps=3",
        "checkpoint/keep=99", "guard/spike_factor=1.01", "guard/spike_window=5"]
SPIKE = "step 7 (pretrain): loss 4.39"


class Guard(RunTest):
    def events(self, name):
        return [int(row["guard_events"]) for row in self.rows(name)]

    def check_resumed(self, name, step, *plan):
        """Stopped there, the run takes the same course."""
        part = f"{name}_{step}"
        self.run_deck(part, *plan, f"job/stop_after_step={step}", code=STOPPED)
        self.run_deck(part, *plan, "--resume")
        self.assertEqual(self.text(f"{part}/history.csv"), self.text(f"{name}/history.csv"))

    def test_stop(self):
        output = self.run_deck("stop", *PLAN, code=3)
        self.assertEqual(output.count(SPIKE), 1)
        self.assertIn("a spike, above 1.01 times the median", output)
        self.assertEqual(len(self.rows("stop")), 6)
        self.assertNotIn("guard_events", self.rows("stop")[0])

    def test_skip(self):
        plan = [*PLAN, "guard/policy=skip"]
        output = self.run_deck("skip", *plan)
        self.assertIn("skipped, 1 of 3 (guard/limit)", output)
        self.assertEqual(self.events("skip"), 6 * [0] + 10 * [1])
        self.check_resumed("skip", 5, *plan)

    def test_rollback(self):
        plan = [*PLAN, "guard/policy=rollback"]
        output = self.run_deck("back", *plan)
        self.assertIn(SPIKE, output)
        self.assertIn("goes back to step 6 and leaves out the data of that step, 1 of 3", output)
        self.assertEqual([int(row["step"]) for row in self.rows("back")], list(range(1, 17)))
        self.assertEqual(self.events("back"), 6 * [0] + 10 * [1])
        losses = [row["loss"] for row in self.rows("back")]
        self.run_deck("unguarded", *PLAN, "guard/spike_factor=0")
        plain = [row["loss"] for row in self.rows("unguarded")]
        self.assertEqual(losses[:6], plain[:6])
        # From there on each step trains on the data of the one after it.
        for k in range(6, 15):
            self.assertAlmostEqual(float(losses[k]), float(plain[k + 1]), delta=1e-3)
        self.check_resumed("back", 9, *plan)

    def test_rollback_on_any_number_of_ranks(self):
        plan = [*PLAN, "guard/policy=rollback", "job/deterministic=true"]
        for ranks in (1, 2):
            self.run_deck(f"ranks_{ranks}", *plan, ranks=ranks)
        self.run_deck("tensors", *plan, "parallel/tensor_parallel_size=2")
        self.assertIn(1, self.events("ranks_1"))
        for name in ("ranks_2", "tensors"):
            self.assertEqual(self.text(f"{name}/history.csv"), self.text("ranks_1/history.csv"))

    def test_limit(self):
        output = self.run_deck("limit", *PLAN, "guard/policy=skip", "guard/limit=0", code=3)
        self.assertIn("0 steps were skipped or undone already (guard/limit)", output)

    def test_no_way_back(self):
        output = self.run_deck("no_way", *PLAN, "guard/policy=rollback", "checkpoint/every_steps=0", code=3)
        self.assertIn("there is no way back", output)

    def test_values_after_the_last_update(self):
        for policy in ("stop", "skip"):
            name = f"last_{policy}"
            output = self.run_deck(name, "pretrain/steps=4", "pretrain/warmup_steps=1", "stage1/steps=2", "stage2/steps=1",
                                   "pretrain/learning_rate=1e-16", "stage1/learning_rate=1e-16", "stage2/warmup_steps=0",
                                   "stage2/learning_rate=1e30", "optimizer/weight_decay=1e12", "evaluate/problems=0",
                                   f"guard/policy={policy}", code=3)
            self.assertRegex(output, r"step 7 \(stage2\): values of \S+ are not finite after the update at rate 1e\+\d+")
            self.assertFalse((self.folder / name / "model.h5").exists())
            self.assertFalse((self.folder / name / "checkpoints/checkpoint_000007.h5").exists())
            self.assertTrue((self.folder / name / "checkpoints/checkpoint_000006.h5").exists())


if __name__ == "__main__":
    main()
