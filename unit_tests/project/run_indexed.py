# SPDX-License-Identifier: Apache-2.0
# Megatron's .bin/.idx files as data: two small pairs, written here byte by byte, blended 3 to 1.
import random
import struct
import time

from run_support import RunTest, main

VOCABULARY = 40


def indexed(documents):
    """(.bin, .idx) of lists of token ids, as Megatron-LM writes them: u16 ids, one sequence per document."""
    lengths = [len(document) for document in documents]
    offsets = [2 * sum(lengths[:i]) for i in range(len(lengths))]
    count = len(documents)
    index = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, count, count + 1)
    index += struct.pack(f"<{count}i", *lengths) + struct.pack(f"<{count}q", *offsets)
    index += struct.pack(f"<{count + 1}q", *range(count + 1))
    tokens = [token for document in documents for token in document]
    return struct.pack(f"<{len(tokens)}H", *tokens), index


def counting(begin, step, noise):
    """Documents that count on in steps: easy to learn, and of one source or the other."""
    documents = []
    for _ in range(120):
        start, length = noise.randrange(20), noise.randrange(30, 90)
        documents.append([begin + (start + step * i) % 20 for i in range(length)])
    return documents


class Indexed(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        noise = random.Random(1)
        for name, documents in (("low", counting(0, 1, noise)), ("high", counting(20, 3, noise))):
            binary, index = indexed(documents)
            cls.write(f"{name}.bin", binary)
            cls.write(f"{name}.idx", index)
        cls.data = ["data/source=indexed", f"data/vocab_size={VOCABULARY}", "data/weights=3,1",
                    f"data/train={cls.path('low')},{cls.path('high')}"]

    def test_blended_files_train(self):
        self.run_deck("run", *self.data, "stage1/steps=20", "stage2/steps=10")
        parent = [float(row["valid_loss_parent"]) for row in self.rows("run") if row["valid_loss_parent"]]
        self.assertLess(parent[-1], 0.5 * parent[0])
        entries = self.results("run")["budgets"]
        self.assertEqual(len(entries), 3)
        for entry in entries:
            self.assertLess(entry["valid_loss"], parent[0])
            self.assertIsNone(entry["accuracy"])

    def test_stop_and_resume(self):
        plan = [*self.data, "job/phases=pretrain,rank,elastic,slice", "pretrain/steps=10", "stage1/steps=6",
                "stage2/steps=4", "output/every_steps=1", "evaluate/every_steps=5"]
        self.run_deck("whole", *plan)
        self.run_deck("parts", *plan, "job/stop_after_step=13", code=85)
        self.run_deck("parts", *plan, "--resume")
        self.assert_same_course("whole", "parts")

    def test_ids_past_the_vocabulary(self):
        # Only one rank reads the wrong id; the others learn of it at once, not after waiting for that rank.
        start = time.monotonic()
        output = self.run_deck("wrong", *self.data[:1], "data/vocab_size=30", *self.data[2:], code=1)
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual(output.count("elastic.x: "), 1)
        self.assertIn("high", output)
        self.assertIn("30", output)


if __name__ == "__main__":
    main()
