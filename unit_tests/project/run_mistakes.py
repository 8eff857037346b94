# SPDX-License-Identifier: Apache-2.0
# What a person does wrong, and what breaks: one clear message, the documented exit code, no hang, nothing saved is lost.
import os
import pathlib
import re
import shutil
import time

from run_support import STOPPED, RunTest, main

INPUT, RUNTIME, NUMERICS = 1, 2, 3
QUICK_SECONDS = 10
SMALL = ["job/phases=pretrain,rank,elastic,slice", "pretrain/steps=6", "stage1/steps=4", "stage2/steps=2",
         "evaluate/every_steps=0", "output/every_steps=1", "checkpoint/every_steps=2", "checkpoint/keep=3"]

SIX_MISTAKES = """\
<job>
name = wrong
sed = 7
<modle>
hidden_size = 64
<model>
hybrid_layer_pattern = M-*-
hidden_size = wide
<mamba>
state_dim = 0
<pretrain>
steps = 4
learning_rat = 1e-3
global_batch_size = 3
<parallel>
micro_batch_size = 2
<stage1>
steps = 4
global_batch_size = 4
"""
EXPECTED_MISTAKES = [(3, "<job>/sed", "'seed'"), (4, "<modle>", "'model'"), (8, "<model>/hidden_size = wide", "integer"),
                     (10, "<mamba>/state_dim = 0", "in [1, "), (13, "<pretrain>/learning_rat", "'learning_rate'"),
                     (14, "<pretrain>/global_batch_size = 3", "multiple of <parallel>/micro_batch_size = 2")]


class Refused(RunTest):
    """Before anything runs."""

    def refused(self, *arguments, code=INPUT):
        """The one message of a command line that must fail."""
        start = time.monotonic()
        output = self.elastic(2, *arguments, code=code)
        self.assertLess(time.monotonic() - start, QUICK_SECONDS)
        self.assertEqual(output.count("elastic.x: "), 1, output)
        return output

    def test_six_mistakes_in_one_message(self):
        deck = self.write("wrong.in", SIX_MISTAKES)
        lines = self.refused(deck).splitlines()
        first = next(i for i, line in enumerate(lines) if line.startswith("elastic.x: 6 mistakes in "))
        for line, (number, what, hint) in zip(lines[first + 1:], EXPECTED_MISTAKES):
            self.assertTrue(line.startswith(f"  {deck}:{number} {what}"), line)
            self.assertIn(hint, line)
        self.assertFalse(any(re.match(r"  \S+:\d+ <", line) for line in lines[first + 7:]))

    def test_mistakes_on_the_command_line(self):
        output = self.refused(self.deck, "job/sed=3", "pretrain/steps=-1", "stage3/step=4")
        for part in ("'seed'", "<pretrain>/steps = -1", "<stage3>/step = 4"):
            self.assertIn(part, output)

    def test_files_that_are_not_there(self):
        self.assertIn("no.in", self.refused(self.path("no.in")))
        self.assertIn("no.txt", self.refused(self.deck, "data/source=text", f"data/train={self.path('no.txt')}",
                                             f"job/folder={self.path('unused')}"))
        self.assertIn("no.h5", self.refused("inspect", self.path("no.h5")))
        self.assertFalse((self.folder / "unused").exists())

    def test_verbs_need_a_checkpoint(self):
        file = self.write("other.h5", "text")
        for verb in (["inspect", file], ["evaluate", file], ["slice", file, "--budget", "1", "--out", self.path("x.h5")]):
            self.assertIn(file, self.refused(*verb))

    def test_command_line(self):
        for wrong in (["--no-such-flag"], ["inspect"], ["slice", "x.h5"]):
            self.assertIn("--help", self.refused(*wrong))

    def test_help_is_ours(self):
        # Kokkos and MPI have a --help, too.
        for verb in ([], ["import"], ["export"], ["generate"], ["logits"], ["slice"], ["inspect"], ["evaluate"]):
            output = self.elastic(2, *verb, "--help")
            self.assertEqual(output.count("Usage: "), 1, output)
            self.assertIn(" ".join(["Usage: elastic.x", *verb]), output)
            self.assertNotIn("kokkos", output.lower())

    def test_numbers_that_lose_their_meaning(self):
        for override, names in (("pretrain/tokens=1e30", "<pretrain>/tokens = 1e30"),
                                ("model/hidden_size=9000000000000000000", "<model>/hidden_size = 9000000000000000000"),
                                ("parallel/tensor_parallel_size=4294967297", "<parallel>/tensor_parallel_size"),
                                ("elastic/mamba_num_heads=2", "the only width is 2, expected the full one, 4")):
            for check in ([], ["--check"]):
                steps = ["pretrain/steps=0"] if "tokens" in override else []
                output = self.refused(self.deck, override, *steps, *check, f"job/folder={self.path('unused')}")
                self.assertIn(names, output)
        self.assertFalse((self.folder / "unused").exists())

    def test_runs_that_no_machine_holds(self):
        for overrides, part in ((["model/hidden_size=200000000", "elastic/hidden_size=", "parallel/micro_batch_size=1"], "<model>"),
                                (["pretrain/seq_length=16777216", "parallel/micro_batch_size=1000000",
                                  "pretrain/global_batch_size=1000000"], "<parallel>/micro_batch_size")):
            output = self.refused(self.deck, *overrides, f"job/folder={self.path('unused')}")
            self.assertIn("a rank of this run needs", output)
            self.assertIn(part, output)
        self.assertIn("--ranks", self.refused(self.deck, "--check", "--ranks", "2000000000"))
        self.assertIn("expected a multiple of", self.refused(self.deck, "parallel/tensor_parallel_size=2", "--check",
                                                            "--ranks", "3"))

    def test_folder_that_cannot_be_made(self):
        file = self.write("file", "a file")
        self.assertIn("file/run", self.refused(self.deck, f"job/folder={file}/run", code=RUNTIME))

    def test_folder_with_other_files(self):
        kept = self.write("mine/notes.txt", "keep me")
        self.assertIn("mine", self.refused(self.deck, f"job/folder={self.path('mine')}"))
        self.assertEqual(pathlib.Path(kept).read_text(), "keep me")
        self.assertEqual([f.name for f in (self.folder / "mine").iterdir()], ["notes.txt"])

    def test_budgets_out_of_reach(self):
        output = self.refused(self.deck, "elastic/budgets=1,0.75,0.1", f"job/folder={self.path('unreachable')}")
        self.assertIn("0.1", output)
        self.assertIn("nearest reachable", output)
        self.assertFalse((self.folder / "unreachable").exists())

    def test_budget_names_are_file_names(self):
        for names in ("../big,b,c", "a,a,b", "a b,b,c", ".,b,c"):
            output = self.refused(self.deck, f"elastic/budget_names={names}", f"job/folder={self.path('names')}")
            self.assertIn("<elastic>/budget_names", output)


class Broken(RunTest):
    """While running, and files that went bad."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_deck("run", *SMALL)

    def copy(self, name):
        shutil.copytree(self.folder / "run", self.folder / name)
        return sorted((self.folder / name / "checkpoints").iterdir())

    @staticmethod
    def damage(file):
        """Flips one bit in the middle of the largest run of numbers."""
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    def test_files_and_counts_of_verbs(self):
        model, out = self.path("run/model.h5"), self.path("run/link.h5")
        before = pathlib.Path(model).read_bytes()
        os.link(model, out)
        ids = self.write("ids.txt", "1 2 3\n")
        tokens = ["--tokens", ids]
        for arguments, part in ((["generate", model, *tokens, "--out", model, "--force"], "is the checkpoint itself"),
                                (["generate", model, *tokens, "--out", ids, "--force"], "the file of token ids itself"),
                                (["generate", model, "--tokens", "/dev/zero"], "a device, pipe or socket"),
                                (["generate", "/dev/zero", *tokens], "a device, pipe or socket"),
                                (["generate", model, *tokens, "--max-tokens", "9000000000000000000"], "--max-tokens"),
                                (["generate", model, *tokens, "--max-tokens", "9e18"], "--max-tokens"),
                                (["generate", model, *tokens, "--draft-budget", "0.5", "--draft-length", "1000000000"],
                                 "--draft-length 1000000000: expected 1 to"),
                                (["logits", model, *tokens, "--out", out], "is the checkpoint itself"),
                                (["logits", model, "--tokens", self.folder, "--out", "x.h5"], "is a folder"),
                                (["slice", model, "--budget", "0.5", "--out", out, "--force"], "is the checkpoint itself"),
                                (["slice", model, "--budget", "nan", "--out", "x.h5"], "a number in (0, 1]"),
                                (["export", model, "--out", ids], "exists"),
                                (["inspect", self.folder], "is a folder"),
                                (["evaluate", model, "optimizer/beta1=0.5"], "evaluate does not use")):
            output = self.elastic(1, *arguments, code=INPUT)
            self.assertIn(part, output)
            self.assertEqual(output.count("elastic.x: "), 1, output)
        self.assertEqual(pathlib.Path(model).read_bytes(), before)
        self.assertEqual(pathlib.Path(ids).read_text(), "1 2 3\n")
        os.remove(out)

    def test_damaged_checkpoint_is_passed_over_if_that_is_wished(self):
        checkpoints = [f for f in self.copy("damaged") if f.suffix == ".h5"]
        self.assertEqual([f.name for f in checkpoints], [f"checkpoint_{step:06}.h5" for step in (8, 10, 12)])
        self.damage(checkpoints[-1])
        output = self.run_deck("damaged", *SMALL, "--resume", code=INPUT)
        for part in ("checkpoint_000012.h5", "--allow-fallback", "--from", "8, 10, 12"):
            self.assertIn(part, output)
        output = self.run_deck("damaged", *SMALL, "--resume", "--allow-fallback")
        self.assertEqual(output.count("is passed over"), 1)
        self.assertIn("at step 10 of 12", output)
        self.assert_same_course("run", "damaged")
        left = sorted(f.name for f in (self.folder / "damaged/abandoned/1").iterdir())
        self.assertEqual(left, ["checkpoint_000012.h5", "history.csv", "model.h5", "resolved.in", "router.csv", "submodels"])

    def test_all_checkpoints_damaged(self):
        for file in self.copy("ruined"):
            self.damage(file)
        output = self.run_deck("ruined", *SMALL, "--resume", "checkpoint/allow_fallback=true", code=INPUT)
        self.assertEqual(output.count("none of the 3 checkpoints can be read"), 1)

    def test_parent_of_another_shape(self):
        parent = f"job/parent={self.path('run/parent.h5')}"
        phases = "job/phases=rank,elastic,slice"
        output = self.run_deck("other_shape", *SMALL, phases, parent, "model/hidden_size=56",
                               "elastic/hidden_size=56,40", code=INPUT)
        self.assertEqual(output.count("another shape"), 1)
        for part in ("parent.h5", "<model>/hidden_size: 56 in the deck, 48 in the file"):
            self.assertIn(part, output)
        self.assertFalse((self.folder / "other_shape").exists())
        checked = self.run_deck("checked", *SMALL, phases, parent, "model/norm_epsilon=1e-4", "data/vocab_size=80",
                                "--check", code=INPUT)
        for part in ("<model>/norm_epsilon: 0.0001 in the deck, 1e-05 in the file",
                     "<data>/vocab_size: 80 in the deck, 64 in the file"):
            self.assertEqual(checked.count(part), 1, checked)
        self.run_deck("same_shape", *SMALL, phases, parent, "mamba/chunk_size=8")  # which changes rounding only

    def test_parent_in_the_folder_of_the_earlier_run(self):
        self.copy("own")
        self.run_deck("own", *SMALL, "job/phases=rank,elastic,slice", f"job/parent={self.path('own/parent.h5')}")
        self.assertTrue((self.folder / "own.1/model.h5").exists())
        self.assertTrue((self.folder / "own/model.h5").exists())

    def test_resume_with_another_shape(self):
        self.copy("changed")
        output = self.run_deck("changed", *SMALL, "model/hidden_size=56", "elastic/hidden_size=56,40", "--resume",
                               code=INPUT)
        for key in ("<model>/hidden_size: 48 before, 56 now", "<elastic>/hidden_size"):
            self.assertEqual(output.count(key), 1, output)

    def test_numbers_overflow(self):
        output = self.run_deck("overflow", *SMALL, "pretrain/learning_rate=1e30", code=NUMERICS)
        self.assertRegex(output, r"elastic\.x: step \d+ \(pretrain\): loss .*; first tensor that is not finite: \w+")
        self.assertEqual(output.count("elastic.x: "), 1)

    def test_earlier_run_is_moved_aside(self):
        self.run_deck("again", *SMALL, "job/stop_after_step=3", code=STOPPED)
        first = self.text("again/history.csv")
        for number in (1, 2):
            output = self.run_deck("again", *SMALL, "job/stop_after_step=1", code=STOPPED)
            self.assertIn(f"again.{number}", output)
        self.assertEqual(self.text("again.1/history.csv"), first)
        self.assertEqual(len(self.rows("again.2")), 1)
        self.assertTrue((self.folder / "again.1/checkpoints/checkpoint_000003.h5").exists())


if __name__ == "__main__":
    main()
