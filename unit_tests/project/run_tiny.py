# SPDX-License-Identifier: Apache-2.0
# The deck of the tests with every phase on 2 ranks: what it must leave behind, and that the files it leaves give the same
# numbers when the verbs read them.
import html.parser
import math
import os
import subprocess
import sys
import unittest

from run_support import RunTest, main

PYTHON = os.environ.get("ELASTIC_HARNESS_PYTHON", sys.executable)
HAS_HARNESS = subprocess.run([PYTHON, "-c", "import importlib.util as u; "
                              "exit(not all(map(u.find_spec, ('lm_eval', 'torch', 'transformers'))))"]).returncode == 0
BUDGETS = {"1": 1.0, "0.75": 0.75, "0.5": 0.5}
KEYS = {"name", "budget", "parameters", "valid_loss", "kl_to_parent", "accuracy", "accuracy_cut_untrained",
        "max_abs_diff_sliced_vs_prefix", "max_abs_diff_masked_vs_prefix"}
EXTRA_BYTES_LIMIT = 4096
DIFFERENCE_LIMIT = 1e-5


def evaluated(output):
    """{name: (parameters, loss)} of the table that the verb evaluate prints."""
    lines = [line.split() for line in output.splitlines()]
    return {words[0]: (int(words[1]), float(words[2])) for words in lines
            if len(words) > 2 and words[1].isdigit() and words[2].replace(".", "").isdigit()}


class Page(html.parser.HTMLParser):
    """A page of HTML5: its elements, links, text, and what is not well formed."""
    VOID = {"meta", "img", "br", "hr", "input", "link"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.links, self.open, self.mistakes, self.text = [], [], [], [], ""
        if not text.startswith("<!DOCTYPE html>"):
            self.mistakes.append("no doctype")
        self.feed(text)
        self.close()
        self.mistakes += [f"<{tag}> is not closed" for tag in self.open]

    def count(self, tag):
        return self.elements.count(tag)

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag == "img" and not dict(attributes).get("alt"):
            self.mistakes.append("a picture without words")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        self.text += data


class Tiny(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.output = cls.run_deck("run", "evaluate/switch_marker=#")

    def budgets(self, name="run"):
        return {entry["name"]: entry for entry in self.results(name)["budgets"]}

    def test_results_of_every_budget(self):
        results = self.results("run")
        parent = results["parent"]["parameters"]
        self.assertLess(results["extra_bytes_per_submodel"], EXTRA_BYTES_LIMIT)
        self.assertEqual({n: e["budget"] for n, e in self.budgets().items()}, BUDGETS)
        for name, entry in self.budgets().items():
            with self.subTest(budget=name):
                self.assertLessEqual(KEYS, entry.keys())
                self.assertTrue(all(math.isfinite(entry[key]) for key in KEYS - {"name"}))
                self.assertLessEqual(abs(entry["parameters"] / (entry["budget"] * parent) - 1), 0.05)
                self.assertLessEqual(entry["max_abs_diff_sliced_vs_prefix"], DIFFERENCE_LIMIT)
                self.assertLessEqual(entry["max_abs_diff_masked_vs_prefix"], DIFFERENCE_LIMIT)

    def test_submodels_are_a_family(self):
        budgets = self.budgets()
        self.assertEqual(budgets["1"]["parameters"], self.results("run")["parent"]["parameters"])
        self.assertEqual(budgets["1"]["costs"]["parameters"]["relative"], 1)
        with open(self.path("run/report.md"), encoding="utf-8") as report:
            self.assertIn("Nested: every submodel is part of every larger one.", report.read())

    def test_training_helped(self):
        history = self.rows("run")
        parent = [float(row["valid_loss_parent"]) for row in history if row["valid_loss_parent"]]
        self.assertLess(parent[-1], 0.95 * parent[0])
        half = self.budgets()["0.5"]
        self.assertLess(half["valid_loss"], half["valid_loss_cut_untrained"] - 0.1)

    def test_every_phase_is_in_the_history(self):
        history, router = self.rows("run"), self.rows("run", "router.csv")
        self.assertEqual(list(dict.fromkeys(row["stage"] for row in history)), ["pretrain", "stage1", "stage2"])
        self.assertEqual(int(history[-1]["step"]), 100)
        self.assertEqual(int(history[-1]["tokens"]), self.results("run")["tokens"])
        self.assertEqual({row["axis"] for row in router},
                         {"hidden", "mamba_heads", "attention_heads", "ffn", "depth"})
        self.assertEqual({row["layer"] for row in router if row["axis"] == "ffn"}, {"1", "3", "5"})

    def test_report_and_pictures(self):
        report = self.text("run/report.md")
        for name, entry in self.budgets().items():
            self.assertIn(f"| {name} | {entry['parameters']:,} |", report)
        for picture in ("losses", "router", "accuracy", "switches"):
            image = (self.folder / "run" / f"{picture}.png").read_bytes()
            self.assertTrue(image.startswith(b"\x89PNG") and len(image) > 5000, picture)
            self.assertIn(f"{picture}.png", report)
        self.assertIn("all_reduce", self.output)  # the table of regions

    def test_the_report_as_one_html_file(self):
        page = Page(self.text("run/report.html"))
        self.assertEqual(page.mistakes, [])
        self.assertEqual(page.count("img"), 4)
        self.assertTrue(all(link.startswith("data:image/png;base64,") for link in page.links), page.links)
        self.assertEqual(page.count("script") + page.count("link") + page.count("a"), 0)
        self.assertEqual((page.count("h1"), page.count("table"), page.count("title")), (1, 3, 1))
        for entry in self.budgets().values():
            self.assertIn(f"{entry['parameters']:,}", page.text)
        self.assertIn("hybrid_layer_pattern", page.text)  # the deck
        self.assertIn("all_reduce", page.text)

    def test_every_pair_of_budgets(self):
        results, budgets = self.results("run"), self.budgets()
        pairs = {(pair["thinks"], pair["answers"]): pair for pair in results["pairs"]}
        self.assertEqual(results["switch_marker"], "#")
        self.assertEqual(set(pairs), {(a, b) for a in budgets for b in budgets})
        for (thinks, answers), pair in pairs.items():
            thought, answer = pair["thought_tokens"], pair["answer_tokens"]
            self.assertGreater(thought, 0)
            for key, of in (("parameters_per_token", "parameters"), ("relative_cost_per_token", "relative_cost"),
                            ("forward_flops_per_token", "forward_flops_per_token")):
                mean = (thought * budgets[thinks][of] + answer * budgets[answers][of]) / (thought + answer)
                self.assertAlmostEqual(pair[key], mean, delta=1e-9 * mean)
            if thinks == answers:
                self.assertEqual(pair["accuracy"], budgets[thinks]["accuracy"])
            self.assertEqual(thought, pairs[thinks, thinks]["thought_tokens"])  # whoever answers

    def test_stored_submodels_give_the_losses_of_the_run(self):
        # The verb evaluates on the sequences of the last stage, as the run does.
        table = evaluated(self.elastic(2, "evaluate", self.path("run/model.h5")))
        for name, entry in self.budgets().items():
            self.check_evaluated(table[name], entry)

    def test_sliced_files_give_the_losses_of_the_run(self):
        for name, entry in self.budgets().items():
            file = self.path(f"run/submodels/{name}.h5")
            self.assertIn("checksums of all", self.elastic(1, "inspect", file, "--verify"))
            (values,) = evaluated(self.elastic(1, "evaluate", file)).values()
            self.check_evaluated(values, entry)

    def test_slice_verb_cuts_the_same_file_and_budgets_between(self):
        self.elastic(1, "slice", self.path("run/model.h5"), "--budget", "0.5", "--out", self.path("half.h5"))
        (values,) = evaluated(self.elastic(1, "evaluate", self.path("half.h5"))).values()
        self.check_evaluated(values, self.budgets()["0.5"])
        self.elastic(1, "slice", self.path("run/model.h5"), "--budget", "0.6", "--out", self.path("between.h5"))
        (values,) = evaluated(self.elastic(1, "evaluate", self.path("between.h5"))).values()
        self.assertLessEqual(abs(values[0] / (0.6 * self.results("run")["parent"]["parameters"]) - 1), 0.05)

    def test_front_is_the_same_on_any_number_of_ranks(self):
        tables = []
        for ranks in 1, 2:
            output = self.elastic(ranks, "front", self.path("run/model.h5"), "--samples", "4", "--out",
                                  self.path(f"front{ranks}"), "elastic/seconds_seq_length=16")
            self.assertIn("budget 0.5: best ", output)
            tables.append(self.rows(f"front{ranks}", "front.csv"))
        losses, others = ([(row["widths"], row["valid_loss"]) for row in table] for table in tables)
        self.assertEqual(losses, others)
        for row in tables[0]:
            if row["origin"] == "router":
                self.assertAlmostEqual(float(row["valid_loss"]), self.budgets()[row["name"]]["valid_loss"], delta=2e-4)
        image = (self.folder / "front2" / "front.png").read_bytes()
        self.assertTrue(image.startswith(b"\x89PNG") and len(image) > 5000)
        self.elastic(1, "front", self.path("run/model.h5"), "--out", self.path("front1"), code=1)

    @unittest.skipUnless(HAS_HARNESS, f"needs the packages lm_eval, torch and transformers, which {PYTHON} has not all")
    def test_the_evaluation_harness_agrees(self):
        output = self.elastic(1, "evaluate", self.path("run/model.h5"), "--harness", self.path("harness"), "--python", PYTHON,
                              "evaluate/samples=8", "evaluate/problems=16")
        rows = [line.split() for line in output.splitlines()]
        for metric, off in (("bits_per_byte", 5e-5), ("exact_match", 0)):
            found = {row[0]: (float(row[3]), float(row[4])) for row in rows if len(row) == 5 and row[2] == metric}
            self.assertEqual(set(found), set(BUDGETS), output)
            for name, (theirs, ours) in found.items():
                self.assertAlmostEqual(theirs, ours, delta=off + 1e-9, msg=f"{metric} of {name}")

    def test_budgets_in_seconds_are_a_function_of_the_measured_times(self):
        short = ["elastic/budget_kind=seconds", "elastic/seconds_seq_length=64", "elastic/budgets=1,0.8",
                 "stage2/budget_probability=", "evaluate/problems=0", "evaluate/every_steps=0", "pretrain/steps=4",
                 "pretrain/warmup_steps=2", "stage1/steps=8", "stage2/steps=4", "output/every_steps=1"]
        measures = short + ["job/phases=pretrain,rank,measure,elastic,slice,evaluate,report"]
        self.run_deck("timed", *measures, "job/stop_after_step=9", code=85)
        output = self.run_deck("timed", *measures, "--resume")
        self.assertIn("time of the budgets: predictions differ", output)
        for entry in self.results("timed")["budgets"]:
            seconds = entry["costs"]["seconds"]
            self.assertLessEqual(abs(seconds["relative"] / entry["budget"] - 1), 0.05)
            self.assertGreater(seconds["measured"], 0)
        self.assertIn("## Time of inference", self.text("timed/report.md"))
        self.assertIn("measured for prefill of 1 x 64 tokens", self.elastic(1, "inspect", self.path("timed/model.h5")))
        # Another run with these times does the same steps, stopped or not.
        self.run_deck("given", *short, f"elastic/seconds_from={self.path('timed/seconds.json')}")
        self.assertEqual(self.rows("given"), self.rows("timed"))
        self.elastic(1, "slice", self.path("timed/model.h5"), "--budget", "0.9", "--out", self.path("timed09.h5"))

    def check_evaluated(self, values, entry):
        self.assertEqual(values[0], entry["parameters"])
        self.assertAlmostEqual(values[1], entry["valid_loss"], delta=2e-4)  # the table shows four digits

    def test_deterministic_models_agree_to_the_bit(self):
        self.run_deck("exact", "job/deterministic=true", "pretrain/steps=10", "stage1/steps=10", "stage2/steps=6",
                      "evaluate/problems=0")
        for name, entry in self.budgets("exact").items():
            self.assertEqual(entry["max_abs_diff_sliced_vs_prefix"], 0, name)
            self.assertEqual(entry["max_abs_diff_masked_vs_prefix"], 0, name)


if __name__ == "__main__":
    main()
