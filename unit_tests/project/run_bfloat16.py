# SPDX-License-Identifier: Apache-2.0
# What runs in fp32 promise, in bfloat16: the same bits on any layout of ranks in deterministic mode, and after every stop
# and resume; a submodel cut out is the one that was trained, to the bit; and losses like those of fp32.
import shutil

from run_support import STOPPED, RunTest, h5py, main

BFLOAT16 = "precision/compute=bfloat16"
SHORT = [BFLOAT16, "job/phases=pretrain,rank,elastic,slice", "pretrain/steps=6", "stage1/steps=5", "stage2/steps=3",
         "stage2/teacher=trainable", "stage2/teacher_cross_entropy_weight=0.5", "evaluate/every_steps=4",
         "output/every_steps=1", "checkpoint/every_steps=4"]
EXACT = [*SHORT, "job/deterministic=true", "evaluate/problems=8"]
UNTOLD = [word for word in SHORT if word != BFLOAT16]  # the tiny model itself would be trained in float32
LIKE_FLOAT32 = 0.01  # relative, of losses within 100 steps of the tiny model
# Relative, of one weight's losses: 20 steps of it differ by less than 0.001 in the mean, gradients by some percent at random.
SAME_WEIGHTS, SAME_GRADIENTS = 0.003, 0.03


class Deterministic(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_deck("whole", *EXACT, "job/phases=pretrain,rank,elastic,slice,evaluate,report", ranks=1)

    def test_every_layout_gives_the_same_bits(self):
        for t, c, d, more in ((2, 1, 1, []), (1, 2, 1, []), (1, 1, 2, []), (2, 2, 1, []), (2, 1, 2, []),
                              (2, 1, 1, ["parallel/sequence_parallel=true"]), (1, 1, 1, ["parallel/micro_batch_size=4"]),
                              (1, 2, 1, ["parallel/recompute=true"])):
            name = "_".join(map(str, (t, c, d, *more))).replace("/", "_")
            with self.subTest(name):
                self.run_deck(name, *EXACT, f"parallel/tensor_parallel_size={t}", f"parallel/context_parallel_size={c}",
                              *more, ranks=t * c * d)
                self.assert_same_course("whole", name)

    def test_a_checkpoint_of_one_layout_goes_on_in_another(self):
        for step in (3, 8):  # in pretraining, in an elastic stage
            self.run_deck(f"one_{step}", *EXACT, f"job/stop_after_step={step}", ranks=1, code=STOPPED)
            for name, layout, ranks in (("tensor", "parallel/tensor_parallel_size=2", 2),
                                        ("data", "parallel/tensor_parallel_size=1", 2)):
                resumed = f"{name}_{step}"
                shutil.copytree(self.path(f"one_{step}"), self.path(resumed))
                self.run_deck(resumed, "--resume", *UNTOLD, *EXACT[len(SHORT):], layout, ranks=ranks)
                self.assert_same_course("whole", resumed)

    def test_submodels_cut_out_are_those_that_were_trained(self):
        for budget in self.results("whole")["budgets"]:
            self.assertEqual(budget["max_abs_diff_sliced_vs_prefix"], 0)


class Resume(RunTest):
    def test_the_same_bits_after_a_stop_anywhere(self):
        self.run_deck("whole", *SHORT)
        for step in (4, 6, 9, 11, 13):  # every part of the plan, and its borders
            with self.subTest(step):
                self.run_deck(f"at_{step}", *SHORT, f"job/stop_after_step={step}", code=STOPPED)
                self.run_deck(f"at_{step}", *UNTOLD, "--resume")
                self.assert_same_course("whole", f"at_{step}")

    def test_checkpoints_hold_masters_and_models_what_was_computed_with(self):
        self.run_deck("stopped", *SHORT, "job/stop_after_step=5", code=STOPPED)
        self.assertEqual(set(self.bytes_of_elements("stopped/checkpoints/checkpoint_000005.h5").values()), {4})
        self.run_deck("stopped", *SHORT, "--resume")
        for name, size in self.bytes_of_elements("stopped/model.h5").items():
            self.assertEqual(size, 4 if name.endswith((".A_log", ".D", ".dt_bias")) else 2, name)

    def bytes_of_elements(self, path):
        """As the file has them; h5py gives bfloat16 as float32."""
        with h5py.File(self.path(path), "r") as file:
            return {name: item.id.get_type().get_size() for name, item in file["model"].items()}


class Losses(RunTest):
    def test_they_are_those_of_float32(self):
        for name, precision in (("a", "float32"), ("b", "bfloat16")):
            self.run_deck(name, f"precision/compute={precision}", "job/phases=pretrain,rank,elastic,slice")
        a, b = self.rows("a"), self.rows("b")
        self.assertNotEqual(a, b)
        compared = 0
        for x, y in zip(a, b, strict=True):
            # The loss of elastic stages is small in the end, and its part that says how far a budget is missed has steps.
            columns = ["valid_loss_1", "valid_loss_0.75", "valid_loss_0.5"] if x["stage"] != "pretrain" else ["loss"]
            for column in columns:
                if x[column]:
                    compared += 1
                    self.assertLess(abs(float(y[column]) / float(x[column]) - 1), LIKE_FLOAT32, f"{column}, step {x['step']}")
        self.assertGreaterEqual(compared, 17)

    def test_of_the_same_weights_they_are_those_of_float32(self):
        # Courses drift apart from any rounding. Here both precisions see the weights of one checkpoint, which no longer move.
        deck = ["job/phases=pretrain", "pretrain/steps=80", "output/every_steps=1", "evaluate/every_steps=0"]
        self.run_deck("trained", *deck, "precision/compute=float32", "job/stop_after_step=60", code=STOPPED)
        losses, norms = [], []
        for precision in ("float32", "bfloat16"):
            shutil.copytree(self.path("trained"), self.path(precision))
            self.run_deck(precision, *deck, f"precision/compute={precision}", "pretrain/learning_rate=1e-30", "--resume", "--accept-changes")
            rows = self.rows(precision)[60:]
            self.assertEqual(len(rows), 20)
            losses.append([float(row["loss"]) for row in rows])
            norms.append([float(row["gradient_norm"]) for row in rows])
        self.assertNotEqual(*losses)
        for (a, b), allowed in ((losses, SAME_WEIGHTS), (norms, SAME_GRADIENTS)):
            self.assertLess(abs(sum(y / x - 1 for x, y in zip(a, b)) / len(a)), allowed)


class Refused(RunTest):
    def test_precisions_that_do_not_exist(self):
        message = self.run_deck("refused", "precision/compute=bf16", code=1)
        self.assertIn("bfloat16", message)
        self.assertIn("<precision>", message)


if __name__ == "__main__":
    main()
