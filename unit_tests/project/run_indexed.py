# SPDX-License-Identifier: Apache-2.0
# Megatron's .bin/.idx files as data: two small pairs, written here byte by byte, blended 3 to 1.
import random
import struct
import time

from run_support import RunTest, main

VOCABULARY = 40
QUICK_SECONDS = 10


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


class WrongData(RunTest):
    """Refused before anything runs, in one message that names the file."""

    def refused(self, words, name, documents, *arguments):
        binary, index = indexed(documents)
        self.write(f"{name}.bin", binary)
        self.write(f"{name}.idx", index)
        start = time.monotonic()
        output = self.elastic(2, *(arguments or [self.deck, f"job/folder={self.path('unused')}"]),
                              "data/source=indexed", f"data/vocab_size={words}", f"data/train={self.path(name)}", code=1)
        self.assertLess(time.monotonic() - start, QUICK_SECONDS)
        self.assertEqual(output.count("elastic.x: "), 1, output)
        self.assertFalse((self.folder / "unused").exists())
        return output

    def test_no_token_has_a_target(self):
        output = self.refused(VOCABULARY, "ones", [[7]] * 200)
        self.assertIn("ones.idx: no token has a target for training: each of its 180 documents has one token", output)
        output = self.refused(VOCABULARY, "held_out", [[7] if d % 10 == 9 else [7, 8, 9] for d in range(200)])
        self.assertIn("held_out.idx: no token has a target for validation", output)

    def test_words_beyond_the_vocabulary(self):
        documents = [[7] * 50 for _ in range(200)]
        documents[150][20] = VOCABULARY
        output = self.refused(VOCABULARY, "words", documents)
        self.assertIn("words.bin: token 20 of document 150 is 40; expected an id of the vocabulary [0, 40)", output)

    def test_a_model_with_fewer_words(self):
        self.run_deck("model", "job/phases=pretrain", "pretrain/steps=2", "evaluate/every_steps=0")
        checkpoint = next((self.folder / "model/checkpoints").iterdir())
        output = self.refused(65000, "wide", [[1, 64999] * 40] * 200, "evaluate", checkpoint)
        self.assertIn("has a vocabulary of 64 tokens, the data that <data> describes one of 65000", output)


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

    def test_sequences_without_targets_among_others_do_no_harm(self):
        documents = [[7]] * 600 + [[d % 9, 3, 1, 4, 1, 5, 9, 2, 6, 5] for d in range(60)]
        binary, index = indexed(documents)
        self.write("sparse.bin", binary)
        self.write("sparse.idx", index)
        short = [f"{block}/seq_length=8" for block in ("pretrain", "rank", "stage1", "stage2")]
        self.run_deck("sparse", "data/source=indexed", f"data/vocab_size={VOCABULARY}", f"data/train={self.path('sparse')}",
                      *short, "job/phases=pretrain,rank,elastic,slice,evaluate", "pretrain/steps=20", "stage1/steps=6",
                      "stage2/steps=4", "parallel/micro_batch_size=1", "output/every_steps=1")
        for row in self.rows("sparse"):
            self.assertGreater(float(row["loss"]), 0)
            self.assertLess(float(row["loss"]), 100)

    def test_only_tokens_of_the_mask_count(self):
        # Noise, then an answer that is always the same: with its mask, there is next to nothing to lose.
        noise = random.Random(2)
        questions = [[noise.randrange(20) for _ in range(noise.randrange(10, 40))] for _ in range(200)]
        binary, index = indexed([question + list(range(20, 40)) for question in questions])
        self.write("chats.bin", binary)
        self.write("chats.idx", index)
        mask = b"".join(bytes(len(question)) + b"\1" * 20 for question in questions)
        self.write("chats.mask", mask)
        data = ["data/source=indexed", f"data/vocab_size={VOCABULARY}", f"data/train={self.path('chats')}", "output/every_steps=1",
                "evaluate/every_steps=0"]
        plan = ["job/phases=pretrain,rank,elastic", "pretrain/steps=40", "stage1/steps=6", "stage2/steps=2",
                "pretrain/learning_rate=1e-2"]
        self.run_deck("masked", *data, *plan, "data/loss_mask=required", "parallel/micro_batch_size=2")
        self.run_deck("unmasked", *data, "job/phases=pretrain", *plan[1:], "data/loss_mask=ignored")
        # Other ranks and micro-batches: means over the targets of the whole batch all the same.
        self.run_deck("alone", *data, *plan, "parallel/micro_batch_size=1", ranks=1)
        masked, unmasked, alone = ([float(row["loss"]) for row in self.rows(name)] for name in ("masked", "unmasked", "alone"))
        self.assertLess(masked[39], 0.4)
        self.assertGreater(unmasked[39], 1.5)
        for a, b in zip(masked[:20], alone):
            self.assertLess(abs(a / b - 1), 1e-3)
        self.assertEqual(len(alone), 48)
        output = self.elastic(1, self.deck, *data, *plan, "--check")
        self.assertIn(f"200 sequences, 200 documents, {len(mask):,} tokens, 4,000 targets (.mask)", output)
        self.write("chats.mask", mask[:-1])
        output = self.run_deck("short", *data, *plan, code=1)
        self.assertIn(f"chats.mask: {len(mask) - 1} bytes; expected {len(mask)}, one for each id of", output)

    def test_stop_and_resume(self):
        plan = [*self.data, "job/phases=pretrain,rank,elastic,slice", "pretrain/steps=10", "stage1/steps=6",
                "stage2/steps=4", "output/every_steps=1", "evaluate/every_steps=5"]
        self.run_deck("whole", *plan)
        self.run_deck("parts", *plan, "job/stop_after_step=13", code=85)
        binary = self.folder / "low.bin"
        before = binary.read_bytes()
        binary.write_bytes(before[2:4] + before[:2] + before[4:])
        output = self.run_deck("parts", *plan, "--resume", code=1)
        self.assertIn(f"{binary}: {len(before)} bytes", output)
        self.assertIn("--accept-changes", output)
        binary.write_bytes(before)
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
