# SPDX-License-Identifier: Apache-2.0
# The course of a run does not depend on how model and sequences are spread over ranks: to the bit in deterministic mode,
# and a checkpoint of one layout goes on in any other; within rounding in fast mode. Impossible layouts are refused.
import shutil

from run_support import MILLION, STOPPED, RunTest, main, tensors

WIDE = ["mamba/num_groups=4", "mamba/num_heads=8", "attention/num_heads=8", "attention/num_query_groups=4",
        "elastic/mamba_num_heads=8,4", "elastic/num_attention_heads=8,4"]
SHORT = [*WIDE, "job/phases=pretrain,rank,elastic,slice", "pretrain/steps=6", "stage1/steps=5", "stage2/steps=3",
         "stage2/teacher=trainable", "stage2/teacher_cross_entropy_weight=0.5",
         "evaluate/every_steps=4", "output/every_steps=1", "checkpoint/every_steps=4"]
EXACT = [*SHORT, "job/deterministic=true"]
FAST_TOLERANCE = 1e-3  # relative, after 14 steps: rounding of sums, amplified by training


def tensor(size):
    return f"parallel/tensor_parallel_size={size}"


def context(size):
    return f"parallel/context_parallel_size={size}"


class Deterministic(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_deck("whole", *EXACT, ranks=1)

    def test_every_layout_gives_the_same_bits(self):
        sizes = (1, 2, 4)
        for t, c, d in ((t, c, d) for t in sizes for c in sizes for d in sizes if 1 < t * c * d <= 8):
            name = f"{t}_tensor_{c}_context_{d}_data"
            with self.subTest(name):
                self.run_deck(name, *EXACT, tensor(t), context(c), ranks=t * c * d)
                self.assert_same_course("whole", name)

    def test_tokens_of_the_residual_stream_shared_out(self):
        for t, c in ((2, 1), (2, 2)):
            name = f"sequence_{t}_{c}"
            with self.subTest(name):
                self.run_deck(name, *EXACT, tensor(t), context(c), "parallel/sequence_parallel=true", ranks=t * c)
                self.assert_same_course("whole", name)

    def test_micro_batches_of_any_size(self):
        for size in (1, 4):
            name = f"micro_{size}"
            self.run_deck(name, *EXACT, f"parallel/micro_batch_size={size}")
            self.assert_same_course("whole", name)

    def test_recomputation(self):
        self.run_deck("recomputed", *EXACT, context(2), "parallel/recompute=true")
        self.assert_same_course("whole", "recomputed")

    def test_a_checkpoint_of_any_layout_goes_on_in_any_other(self):
        # All layouts write the same checkpoint, and that checkpoint goes on in each of them: every pair of layouts.
        for step in (3, 8):  # in pretraining, in an elastic stage
            checkpoint = f"checkpoints/checkpoint_{step:06d}.h5"
            for t, c, d in ((1, 1, 1), (1, 1, 4), (2, 1, 2), (4, 1, 1), (2, 2, 1), (1, 4, 1)):
                name, ranks = f"{t}_{c}_{d}_at_{step}", t * c * d
                with self.subTest(name):
                    layout = [tensor(t), context(c)]
                    self.run_deck(name, *EXACT, *layout, f"job/stop_after_step={step}", ranks=ranks, code=STOPPED)
                    written = tensors(self.path(f"{name}/{checkpoint}"))
                    if ranks == 1:
                        first, folder = written, self.path(name)
                        continue
                    self.assertEqual(first, written)
                    resumed = f"resumed_{name}"
                    shutil.copytree(folder, self.path(resumed))
                    self.run_deck(resumed, "--resume", *EXACT, *layout, ranks=ranks)
                    self.assert_same_course("whole", resumed)


class Larger(RunTest):
    """A model of a million parameters and ten layers, some steps of it."""
    deck = "input/quickstart.in"

    def test_every_layout_gives_the_same_bits(self):
        few = [*MILLION, "job/phases=pretrain,rank,elastic,slice", "job/deterministic=true", "pretrain/steps=2", "stage1/steps=2",
               "stage2/steps=1", "pretrain/global_batch_size=4", "stage1/global_batch_size=4", "stage2/global_batch_size=4",
               "parallel/micro_batch_size=4", "rank/samples=4", "evaluate/every_steps=2", "evaluate/samples=4",
               "output/every_steps=1"]
        self.run_deck("whole", *few, ranks=1)
        for t, c, d in ((2, 1, 1), (1, 2, 1), (1, 1, 2), (2, 2, 1), (1, 4, 2)):
            name = f"{t}_{c}_{d}"
            with self.subTest(name):
                self.run_deck(name, *few, tensor(t), context(c), ranks=t * c * d)
                self.assert_same_course("whole", name)


class Fast(RunTest):
    def test_losses_agree_within_rounding(self):
        self.run_deck("whole", *SHORT, ranks=1)
        expected = self.rows("whole")
        for name, arguments in (("tensor", [tensor(2)]),
                                ("sequence", [tensor(2), "parallel/sequence_parallel=true"]),
                                ("context", [context(2)])):
            self.run_deck(name, *SHORT, *arguments)
            for got, row in zip(self.rows(name), expected, strict=True):
                for column in ("loss", "gradient_norm"):
                    a, b = float(got[column]), float(row[column])
                    self.assertLessEqual(abs(a - b), FAST_TOLERANCE * abs(b), f"{name}: {column}, step {row['step']}")


class Refused(RunTest):
    def refused(self, ranks, *arguments):
        return self.run_deck("refused", *arguments, ranks=ranks, code=1)

    def test_ranks_that_the_group_does_not_divide(self):
        message = self.refused(3, *SHORT, tensor(2))
        self.assertIn("3", message)
        self.assertIn("2", message)

    def test_groups_that_the_ranks_do_not_divide(self):
        message = self.refused(1, *SHORT, tensor(3))
        self.assertIn("<mamba>/num_groups = 4", message)
        self.assertIn("<attention>/num_query_groups = 4", message)

    def test_tokens_shared_out_among_one(self):
        self.assertIn("tensor_parallel_size", self.refused(2, *SHORT, "parallel/sequence_parallel=true"))

    def test_spans_that_deterministic_mode_does_not_have(self):
        self.assertIn("1, 2, 4 or 8", self.refused(3, *EXACT, context(3)))
        self.assertIn("8 spans", self.refused(2, *EXACT, tensor(4), context(4), "parallel/sequence_parallel=true"))

    def test_sequences_that_cannot_be_cut_into_spans(self):
        message = self.refused(2, *SHORT, context(2), "stage2/seq_length=90")
        self.assertIn("<stage2>", message)
        self.assertIn("multiple of 4", message)
        self.assertIn("nearest is 92", message)
        self.assertIn("at least 24", self.refused(1, *EXACT, "pretrain/seq_length=16"))


if __name__ == "__main__":
    main()
