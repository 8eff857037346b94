# SPDX-License-Identifier: Apache-2.0
# Nested speculative decoding on a model of a million parameters, trained briefly: the same tokens as greedy decoding, and
# those are the most likely ones by the logits of whole texts.
import re

import h5py
import numpy as np
from run_support import MILLION, RunTest, main

BRIEF = [*MILLION, "job/phases=pretrain,rank,elastic,slice", "pretrain/steps=80", "pretrain/global_batch_size=8",
         "pretrain/warmup_steps=10", "rank/samples=8", "stage1/steps=12", "stage1/global_batch_size=8",
         "stage2/steps=3", "stage2/global_batch_size=8", "parallel/micro_batch_size=4",
         "evaluate/every_steps=0", "checkpoint/save=false"]
PROBLEMS = ["743+509=", "12+9=", "88-41=", "5<7<9:", "a=3;b=a+4;b=", "900-1="]
RANDOM_TOKENS = 6   # prompts that are no problems
LONGEST = 100
TIE = 1e-4          # logits closer than this may be ordered either way


class Speculative(RunTest):
    deck = "input/quickstart.in"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_deck("run", *BRIEF)
        cls.model = cls.path("run/model.h5")
        draw = np.random.default_rng(7)
        cls.prompts = [draw.integers(0, 64, draw.integers(1, 40)).tolist() for _ in range(RANDOM_TOKENS)]
        cls.write("prompts.txt", "".join(" ".join(map(str, prompt)) + "\n" for prompt in cls.prompts))

    def generate(self, *options):
        """Token ids of the continuations and the report."""
        out = self.path("out.txt")
        report = self.elastic(1, "generate", self.model, "--tokens", self.path("prompts.txt"), "--max-tokens", LONGEST,
                              "--stop", "-1", "--out", out, "--force", *options)
        with open(out) as file:
            return [list(map(int, line.split())) for line in file], report

    def test_the_same_tokens(self):
        for budget in ([], ["--budget", "0.75"]):
            greedy, _ = self.generate(*budget)
            self.assertEqual([len(text) for text in greedy], [LONGEST] * RANDOM_TOKENS)
            self.assertGreater(len({tuple(text) for text in greedy}), 1)
            for draft, length in (("0.5", 4), ("0.75", 1), ("0.5", 9)):
                fast, report = self.generate(*budget, "--draft-budget", draft, "--draft-length", length)
                self.assertEqual(fast, greedy, report)
                self.assertIn("the same tokens", report)
                accepted, drafted = map(int, re.search(r"(\d+) of (\d+) drafted tokens", report).groups())
                self.assertGreater(accepted, 0)
                self.assertLessEqual(accepted, drafted)
                self.assertRegex(report, r"speed-up \d+\.\d+")

    def test_problems_as_texts(self):
        for problem in PROBLEMS:
            plain, fast = (self.elastic(1, "generate", self.model, "--text", problem, "--max-tokens", LONGEST, *draft)
                           for draft in ([], ["--draft-budget", "0.5"]))
            self.assertEqual(plain.splitlines()[0], fast.splitlines()[0], problem)

    def test_one_budget_thinks_and_another_answers(self):
        def text(problem, *options):
            return self.elastic(1, "generate", self.model, "--text", problem, *options)
        alone = text(PROBLEMS[0], "--budget", "0.5", "--max-tokens", LONGEST).splitlines()[0]
        marker = alone[len(alone) // 2]  # it need not be # after so brief a training
        thoughts = alone[:alone.index(marker) + 1]
        answer = text(PROBLEMS[0] + thoughts, "--budget", "1", "--max-tokens", LONGEST - len(thoughts)).splitlines()[0]
        mixed = text(PROBLEMS[0], "--budget", "0.5", "--max-tokens", LONGEST, "--switch", f"1@text:{marker}")
        self.assertEqual(mixed.splitlines()[0], thoughts + answer)
        self.assertIn(f"0.5: {len(thoughts)} tokens, then 1@text:{marker}: {len(answer)} tokens", mixed)

    def test_greedy_tokens_are_the_most_likely_ones(self):
        greedy, _ = self.generate()
        for prompt, text in zip(self.prompts, greedy):
            whole = prompt + text
            self.elastic(1, "logits", self.model, "--tokens", self.write("whole.txt", " ".join(map(str, whole))),
                         "--out", self.path("logits.h5"), "--force")
            with h5py.File(self.path("logits.h5"), "r") as file:
                logits = file["logits"][len(prompt) - 1:len(whole) - 1]
            chosen = logits[np.arange(len(text)), text]
            self.assertLess(float((logits.max(axis=1) - chosen).max()), TIE)


if __name__ == "__main__":
    main()
