# SPDX-License-Identifier: Apache-2.0
# Hugging Face folders out of a run and back: for every budget the prefix in the elastic model, the sliced file, the
# exported and re-imported file and an implementation of its own (nemotron_h_reference.py) on the exported folder give the
# same logits; so do layers that differ and were padded. That implementation in turn gives the logits of the transformers library (fixtures/make_hf_fixtures.py).
import json
import pathlib
import random
import re
import unittest

import h5py
import numpy as np
from nemotron_h_reference import Model, metadata, numbers, read_config, stored_tensors, weight_files
from run_support import RunTest, Settings, main, tensors

BUDGETS = ["1", "0.75", "0.5", "0.6"]  # the last one was never trained
ROUNDING = 1e-5     # fp32 sums in another order, relative to the largest logit
REFERENCE = 2e-4    # fp32 against fp64, absolute
FAR = 1e-2          # what is not the same differs by more
BRIEF = ["pretrain/steps=12", "stage1/steps=6", "stage2/steps=3", "evaluate/problems=0", "evaluate/every_steps=0",
         "evaluate/extra_budgets=0.6", "elastic/mamba_head_dim=16,12", "checkpoint/save=false"]


def difference(a, b):
    return float(np.abs(a - b).max())


def byte_level():
    """{character: byte} of the ByteLevel pre-tokenizer: what Latin-1 prints stands for itself, the rest from U+0100 on."""
    printed = [byte for byte in range(256) if chr(byte).isprintable() and byte not in (0x20, 0xa0, 0xad)]
    moved = [byte for byte in range(256) if byte not in printed]
    return {**{chr(byte): byte for byte in printed}, **{chr(256 + i): byte for i, byte in enumerate(moved)}}


def encode(tokenizer, text):
    """What the tokenizers library does with the two kinds of tokenizer.json that are written here."""
    vocabulary, kind = tokenizer["model"]["vocab"], tokenizer["model"]["type"]
    if kind == "BPE":
        assert tokenizer["model"]["merges"] == [] and tokenizer["pre_tokenizer"]["type"] == "ByteLevel"
        assert not tokenizer["pre_tokenizer"]["use_regex"] and not tokenizer["pre_tokenizer"]["add_prefix_space"]
        character_of = {byte: character for character, byte in byte_level().items()}
        return [vocabulary[character_of[byte]] for byte in text.encode()]
    assert kind == "WordLevel" and tokenizer["pre_tokenizer"]["behavior"] == "Isolated"
    pieces = re.findall(tokenizer["pre_tokenizer"]["pattern"]["Regex"], text)
    before = [tokenizer["post_processor"]["special_tokens"][part["SpecialToken"]["id"]]["ids"][0]
              for part in tokenizer["post_processor"]["single"] if "SpecialToken" in part]
    return before + [vocabulary[piece] for piece in pieces]


class Reference(unittest.TestCase):
    """Anchors the reference to transformers."""

    def test_fixtures(self):
        hf = pathlib.Path(Settings.root, "unit_tests/fixtures/hf")
        models = sorted(path.parent for path in hf.glob("*/expected.safetensors"))
        self.assertGreaterEqual(len(models), 4)
        for folder in models:
            tokens = numbers(folder / "expected.safetensors")["tokens"]
            for part in filter(pathlib.Path.exists, (folder, folder / "sliced")):
                expected = numbers(part / "expected.safetensors")["logits"]
                self.assertLessEqual({"torch", "transformers"}, metadata(part / "expected.safetensors").keys())
                model = Model(part)
                for row, logits in zip(tokens, expected):
                    self.assertLess(difference(model.logits(row), logits), REFERENCE, part)
                self.assertGreater(difference(expected[0], expected[1]), FAR)


class Exported(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        draw = random.Random(3)
        cls.tokens = [draw.randrange(64) for _ in range(50)]
        cls.write("ids.txt", " ".join(map(str, cls.tokens)))

    def logits(self, checkpoint, *budget):
        out = self.path("logits.h5")
        self.elastic(1, "logits", self.path(checkpoint), *budget, "--tokens", self.path("ids.txt"), "--out", out,
                     "--force")
        with h5py.File(out, "r") as file:
            return file["logits"][...].astype(np.float64)

    def check_budgets(self, run, budgets, *options, padded=False):
        """Submodels of a run; returns the configs of the exported folders."""
        configs, seen = {}, []
        for name in budgets:
            with self.subTest(run=run, budget=name):
                folder, again = f"{run}/hf-{name}", f"{run}/again-{name}.h5"
                self.elastic(2, "export", self.path(f"{run}/model.h5"), "--budget", name, "--out", self.path(folder),
                             *options)
                self.elastic(2, "import", self.path(folder), self.path(again))
                prefix = self.logits(f"{run}/model.h5", "--budget", name)
                sliced = self.logits(f"{run}/submodels/{name}.h5")
                returned = self.logits(again)
                size = max(1, float(np.abs(prefix).max()))
                self.assertLess(difference(prefix, sliced), ROUNDING * size)
                if padded:
                    self.assertLess(difference(returned, sliced), ROUNDING * size)
                else:
                    self.assertEqual(difference(returned, sliced), 0)
                    self.assert_same_tensors(f"{run}/submodels/{name}.h5", again)
                self.assertLess(difference(Model(self.path(folder)).logits(self.tokens), prefix), REFERENCE)
                for other in seen:
                    self.assertGreater(difference(prefix, other), FAR)
                seen.append(prefix)
                configs[name] = read_config(self.path(f"{folder}/config.json"))
        self.assertEqual(len(configs), len(budgets))
        return configs

    def assert_same_tensors(self, a, b):
        first, second = ({name: content for name, content in tensors(self.path(file)).items()
                          if name.startswith("model/")} for file in (a, b))
        self.assertGreater(len(first), 10)
        self.assertEqual(first, second)

    def test_equal_layers(self):
        self.run_deck("equal", *BRIEF, "elastic/per_layer=")
        configs = self.check_budgets("equal", BUDGETS)
        self.assertFalse(any("block_configs" in config for config in configs.values()))
        widths = {(c["hidden_size"], c["mamba_num_heads"], c["mamba_head_dim"], c["num_attention_heads"],
                   c["intermediate_size"], c["num_hidden_layers"]) for c in configs.values()}
        self.assertEqual(len(widths), len(BUDGETS))
        self.check_deck_of_an_import("equal/hf-1")

    def check_deck_of_an_import(self, folder):
        """It is whole: --check takes it as it is, and with other data and shorter stages it runs."""
        deck = self.path("imported.in")
        self.elastic(1, "import", self.path(folder), self.path("imported.h5"), "--deck", deck)
        self.elastic(1, deck, "--check")
        self.elastic(2, deck, f"job/folder={self.path('from_import')}", "data/source=reasoning", "data/train=",
                     "rank/samples=4", "rank/seq_length=64",
                     *(f"{stage}/{key}" for stage in ("stage1", "stage2") for key in
                       ("steps=2", "seq_length=64", "global_batch_size=4", "warmup_steps=1")))
        self.assertEqual(len(list(pathlib.Path(self.path("from_import/submodels")).glob("*.h5"))), 3)

    def test_layers_that_differ(self):
        self.run_deck("differ", *BRIEF, "elastic/per_layer=ffn_hidden_size,mamba_num_heads,mamba_head_dim")
        configs = self.check_budgets("differ", BUDGETS[2:3], "--heterogeneous")
        self.assertTrue(any("block_configs" in config for config in configs.values()))

    def test_budgets_of_the_quickstart(self):
        # Its widths differ from layer to layer, and stock loaders read all of them.
        self.elastic(2, "input/quickstart.in", f"job/folder={self.path('quick')}", *BRIEF, "pretrain/warmup_steps=2",
                     "stage1/warmup_steps=1", "stage2/warmup_steps=1", "elastic/mamba_head_dim=32")
        configs = self.check_budgets("quick", ["1", "0.75", "0.5"], padded=True)
        zeros = 0
        for name, config in configs.items():
            self.assertNotIn("block_configs", config)
            self.assertIsInstance(config["intermediate_size"], int)
            self.assertEqual([config[f"{key}_token_id"] for key in ("pad", "bos", "eos")], [0, 1, 2])
            for file in weight_files(pathlib.Path(self.path(f"quick/hf-{name}"))):
                zeros += sum(int((values == 0).all(axis=1).sum()) for key, values in numbers(file).items()
                             if key.endswith("up_proj.weight"))
        self.assertGreater(zeros, 0)
        # A prompt of the verb `generate` is the text behind the token of its begin.
        tokenizer = json.loads(self.text("quick/hf-0.5/tokenizer.json"))
        self.assertEqual(tokenizer["decoder"], {"type": "Fuse"})
        for text in ("12+34=", "a b", "<pad>"):
            ids = encode(tokenizer, text)
            self.write("prompt.txt", " ".join(map(str, ids)))
            self.assertEqual(ids[0], 1)
            said, spelled = (
                self.elastic(1, "generate", self.path("quick/model.h5"), "--max-tokens", 8, "--stop", -1, *prompt)
                .splitlines()[-2] for prompt in (("--text", text), ("--tokens", self.path("prompt.txt"))))
            words = {id: word for word, id in tokenizer["model"]["vocab"].items()}
            spelled = [int(word) for word in spelled.split()]
            if 2 in spelled:  # the end
                spelled = spelled[:spelled.index(2)]
            self.assertEqual(said, "".join(words[id] for id in spelled if id > 2))
        with self.assertRaises(KeyError):
            encode(tokenizer, "A")

    def test_tokenizer_of_bytes(self):
        text = "".join(map(chr, range(0x250))) + "\u2028\U0001f600"
        self.write("words.txt", text * 8)
        self.elastic(2, "input/text.in", f"job/folder={self.path('bytes')}", "job/phases=pretrain,rank",
                     "model/hybrid_layer_pattern=M-", "pretrain/steps=2", "pretrain/warmup_steps=0",
                     "pretrain/seq_length=32", "pretrain/global_batch_size=8", "rank/samples=8", "rank/seq_length=32",
                     "evaluate/every_steps=0", "evaluate/samples=8", f"data/train={self.path('words.txt')}")
        self.elastic(1, "export", self.path("bytes/parent.h5"), "--out", self.path("bytes/hf"))
        tokenizer = json.loads(self.text("bytes/hf/tokenizer.json"))
        self.assertEqual(encode(tokenizer, text), list(text.encode()))
        self.assertEqual({byte_level()[word]: id for word, id in tokenizer["model"]["vocab"].items()},
                         {byte: byte for byte in range(256)})
        self.assertIsNone(read_config(self.path("bytes/hf/config.json"))["eos_token_id"])

    def test_imported_again_without_training_is_the_same_folder(self):
        # Two trips through the files, all element types, on 1 and 2 ranks.
        hf = pathlib.Path(Settings.root, "unit_tests/fixtures/hf")
        for ranks, name in enumerate(("groups", "gqa", "tied", "bf16", "fp16")):
            file, out = self.path(f"{name}.h5"), pathlib.Path(self.path(f"hf-{name}"))
            self.elastic(1 + ranks % 2, "import", hf / name, file)
            self.elastic(2 - ranks % 2, "export", file, "--out", out)
            before, after = ({name: content for path in weight_files(folder)
                              for name, content in stored_tensors(path).items()} for folder in (hf / name, out))
            self.assertGreater(len(before), 10, name)
            if read_config(hf / name / "config.json")["tie_word_embeddings"]:  # loaders want both
                before["lm_head.weight"] = before["backbone.embeddings.weight"]
            self.assertEqual(before, after, name)


if __name__ == "__main__":
    main()
