# SPDX-License-Identifier: Apache-2.0
# input/text.in, made small, on a real file: the held-out loss of every budget falls.
import pathlib

from run_support import RunTest, Settings, main

GPL = "/usr/share/common-licenses/GPL-3"
SMALL = ["model/hybrid_layer_pattern=M-*-", "model/hidden_size=64", "elastic/hidden_size=64,56,48,40",
         "mamba/num_heads=4", "elastic/mamba_num_heads=4,2", "mlp/ffn_hidden_size=192",
         "elastic/ffn_hidden_size=192,160,128,96,64", "router/hidden_size=16",
         "pretrain/steps=40", "pretrain/seq_length=64", "pretrain/learning_rate=4e-3", "rank/samples=8", "rank/seq_length=64",
         "stage1/steps=30", "stage1/seq_length=64", "stage2/steps=15", "stage2/seq_length=64",
         "evaluate/samples=16", "evaluate/every_steps=5",
         "distill/cross_entropy_weight=0.5"]


class Text(RunTest):
    deck = "input/text.in"

    def test_losses_fall(self):
        file = GPL if pathlib.Path(GPL).exists() else str(pathlib.Path(Settings.root, "CMakeLists.txt"))
        self.run_deck("run", *SMALL, f"data/train={file}")
        rows = self.rows("run")
        parent = [float(row["valid_loss_parent"]) for row in rows if row["valid_loss_parent"]]
        self.assertLess(parent[-1], 0.9 * parent[0])
        budgets = self.results("run")["budgets"]
        self.assertEqual([entry["name"] for entry in budgets], ["1", "0.75", "0.5"])
        for entry in budgets:
            losses = [float(row[f"valid_loss_{entry['name']}"]) for row in rows if row[f"valid_loss_{entry['name']}"]]
            self.assertGreater(len(losses), 3)
            self.assertLess(losses[-1], losses[0], entry["name"])
            self.assertIsNone(entry["accuracy"])  # text has no answers to check


if __name__ == "__main__":
    main()
