# SPDX-License-Identifier: Apache-2.0
# scripts/tokenize.py: which tokens count, against naive counts; any number of workers; every way to be wrong.
#
#   token_files.py ROOT
import contextlib
import gzip
import importlib.util
import io
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

import made_up_chats

ROOT = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(ROOT / "scripts/token_files"))
import command_line  # noqa: E402
CHATML = ("{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
# Thoughts of earlier answers are left out, as templates of reasoning models do.
FORGETS = ("{% for m in messages %}{{ '[' + m.role + ']' }}{% if m.role == 'assistant' and not loop.last %}"
           "{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}{{ '|' }}{% endfor %}"
           "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}")
MARKED = ("{% for m in messages %}{{ '[' + m.role + ']' }}{% if m.role == 'assistant' %}{% generation %}"
          "{{ m.content.split('</think>')[-1] }}|{% endgeneration %}{% else %}{{ m.content }}|{% endif %}{% endfor %}")


def has(package):
    return importlib.util.find_spec(package) is not None


def chat(*turns, key="messages"):
    roles = ("user", "assistant")
    return {key: [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]}


class Tokenize(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="elastic_tokens_"))
        self.addCleanup(shutil.rmtree, self.folder)

    def lines(self, *records, name="in.jsonl"):
        path = self.folder / name
        path.write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records))
        return path

    def run_script(self, *arguments, code=0):
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                got = command_line.main(list(map(str, arguments)))
            except SystemExit as end:  # of the command line's parser
                got = end.code
        self.assertEqual(got, code, output.getvalue())
        return output.getvalue()

    def make(self, source, *arguments, prefix="out", code=0, words=("--vocabulary", "bytes")):
        return self.run_script("--input", source, "--output", self.folder / prefix, *words, *arguments, code=code)

    def files(self, prefix="out"):
        return {path.suffix: path.read_bytes() for path in self.folder.glob(f"{prefix}.*") if path.suffix != ".jsonl"}

    def documents(self, prefix="out"):
        """Lists of (id, whether it counts), read by the format of doc/data.md."""
        files = self.files(prefix)
        index = files[".idx"]
        magic, version, kind, count, bounds = struct.unpack_from("<9sQBQQ", index)
        self.assertEqual((magic, version, bounds), (b"MMIDIDX\0\0", 1, count + 1))
        lengths = struct.unpack_from(f"<{count}i", index, 34)
        offsets = struct.unpack_from(f"<{count}q", index, 34 + 4 * count)
        self.assertEqual(struct.unpack_from(f"<{count + 1}q", index, 34 + 12 * count), tuple(range(count + 1)))
        self.assertEqual(len(index), 34 + 20 * count + 8)
        letter, size = {8: ("H", 2), 4: ("i", 4)}[kind]
        ids = struct.unpack(f"<{len(files['.bin']) // size}{letter}", files[".bin"])
        mask = files.get(".mask", b"\1" * len(ids))
        self.assertEqual(len(mask), len(ids))
        return [list(zip(ids[o // size:o // size + n], mask[o // size:o // size + n])) for n, o in zip(lengths, offsets)]

    def counted(self, prefix="out"):
        """The bytes that count, of each document."""
        return [bytes(i for i, counts in document if counts) for document in self.documents(prefix)]


class Answers(Tokenize):
    def test_only_answers_count(self):
        self.make(self.lines(chat("2+2?", "It is 4.", "sure?", "Yes \u00fc!"), {"text": "plain \u20ac"},
                             {"prompt": "a+b=", "completion": "c"},
                             {"conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "hi"},
                                                {"from": "gpt", "value": "ho"}]}))
        self.assertEqual(self.counted(), [b"It is 4.\0" + "Yes \u00fc!\0".encode(), "plain \u20ac\0".encode(), b"c\0", b"ho\0"])
        text = bytes(i for i, _ in self.documents()[0])
        self.assertEqual(text, "user: 2+2?\nassistant: It is 4.\0user: sure?\nassistant: Yes \u00fc!\0".encode())

    def test_hundreds_of_chats_against_a_naive_count(self):
        records, expected = list(made_up_chats.conversations(300)), 0
        for record in records:
            expected += sum(len(m["content"].encode()) + 1 for m in record["messages"] if m["role"] == "assistant")
        source = self.lines(*records)
        self.make(source)
        self.assertEqual(sum(map(len, self.counted())), expected)
        summary, files = json.loads(self.files()[".json"]), self.files()
        tokens = len(files[".bin"]) // 2
        self.assertEqual((summary["targets"], summary["documents"], summary["tokens"]), (expected, 300, tokens))
        self.assertEqual((summary["smallest_id"], summary["largest_id"], summary["vocab_size"]), (0, 0xC3, 256))
        self.assertEqual((summary["bin_bytes"], summary["bin_crc32"]), (2 * tokens, zlib.crc32(2 * files[".bin"])))
        self.assertEqual(summary["mask_crc32"], zlib.crc32(2 * files[".mask"]))
        # Other numbers of workers, a packed input, and the same in two parts.
        (self.folder / "packed.gz").write_bytes(gzip.compress(source.read_bytes()))
        self.make(self.folder / "packed.gz", "--workers", 3, prefix="three")
        self.assertEqual(self.files("three"), files)
        half = source.read_bytes().index(b"\n", source.stat().st_size // 2) + 1
        for name, part in (("a", slice(0, half)), ("b", slice(half, None))):
            (self.folder / name).write_bytes(source.read_bytes()[part])
        self.run_script("--input", self.folder / "a", self.folder / "b", "--output", self.folder / "two", "--vocabulary", "bytes")
        self.assertEqual(self.files("two"), files)

    def test_many_chunks_keep_their_order(self):
        source = self.lines(*({"text": f"{i} " + "x" * 5000} for i in range(200)))  # four chunks
        self.make(source, "--workers", 2)
        self.assertEqual([document.split()[0] for document in self.counted()], [str(i).encode() for i in range(200)])
        self.assertNotIn(".mask", self.files())

    def test_characters_are_those_of_generated_problems(self):
        self.make(self.lines(chat("1+2=", "#3")), words=("--vocabulary", "characters"))
        plus, equal, sharp = 39, 41, 46
        self.assertEqual(self.documents(), [[(1, 0), (4, 0), (plus, 0), (5, 0), (equal, 0), (sharp, 1), (6, 1), (2, 1)]])

    def test_fields_and_ends(self):
        self.make(self.lines({"body": "one", "text": "other"}), "--field", "body", "--no-append-eos")
        self.assertEqual(self.counted(), [b"one"])
        self.make(self.lines({"talk": chat("q", "a", "r", "b")["messages"]}), "--messages", "talk", "--targets", "last",
                  prefix="talk")
        self.assertEqual(self.counted("talk"), [b"b\0"])
        self.make(self.lines({"input": "1+1=", "output": "2"}, {"input": chat("q")["messages"], "output": "a", "system_prompt": "s"}),
                  "--prompt", "input", "--completion", "output", prefix="pairs")
        self.assertEqual(self.counted("pairs"), [b"2\0", b"a\0"])
        self.make(self.lines({**chat("q", "a", key="conversations"), "system": "Think."}), prefix="system")
        self.assertEqual(bytes(i for i, _ in self.documents("system")[0]), b"system: Think.\nuser: q\nassistant: a\0")
        record = chat("q", "a", "r", "b")
        record["messages"][3]["weight"] = 0
        self.make(self.lines(record), prefix="weight")
        self.assertEqual(self.counted("weight"), [b"a\0"])


class Mistakes(Tokenize):
    def test_bad_lines_are_named(self):
        good = {"text": "good"}
        for bad, words in ((b'{"text": 1', "is not JSON"), (b"\xff", "is not UTF-8"), ([1], "expected an object"),
                           ({"txt": "x"}, "did you mean 'txt'"), ({"text": None}, "field 'text': expected a text, got null"),
                           (chat("alone"), "no message of the assistant"), ({"messages": []}, "got an empty list"),
                           ({"messages": [{"role": "usr", "content": "x"}]}, "message 1: role 'usr'; expected one of"),
                           ({"messages": [{"role": "user", "content": 5}]}, "message 1: content: expected a text"),
                           ({"prompt": "x", "completion": []}, "expected texts or lists of messages"), ({"text": "\ud800"}, "surrogate")):
            output = self.make(self.lines(good, b"", bad, good), code=1)
            self.assertIn("in.jsonl:3: ", output)
            self.assertIn(words, output)
            self.assertEqual(output.count("\n"), 1, output)
            self.assertEqual(self.files(), {})
        output = self.make(self.lines(good, bad, {"text": ""}, good), "--skip-bad-lines", "--workers", 2)
        self.assertIn("in.jsonl:2: ", output)
        self.assertIn("1 bad lines in all", output)
        self.assertIn("1 documents of less than two tokens", output)
        self.assertEqual(self.counted(), [b"good\0"] * 2)
        self.assertIn("'A' has no token", self.make(self.lines({"text": "A"}), prefix="x", code=1,
                                                    words=("--vocabulary", "characters")))

    def test_what_is_there_is_kept_unless_told(self):
        self.make(self.lines(chat("q", "a")))
        before = self.files()
        texts = self.lines({"text": "more"}, name="text.jsonl")
        self.assertIn("--force", self.make(texts, code=1))
        self.make(self.lines({"text": 1}, name="bad.jsonl"), "--force", code=1)
        self.assertEqual(self.files(), before)
        self.make(texts, "--force")
        self.assertEqual(sorted(self.files()), [".bin", ".idx", ".json"])

    def test_a_full_disk(self):
        source = self.lines({"text": "x" * 100000})
        done = subprocess.run(["bash", "-c", "ulimit -f 100; trap '' XFSZ; exec \"$@\"", "bash", sys.executable,
                               ROOT / "scripts/tokenize.py", "--input", source, "--output", self.folder / "out",
                               "--vocabulary", "bytes"], text=True, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stderr, f"tokenize.py: {self.folder}/out: File too large\n")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["in.jsonl"])

    def test_arguments(self):
        source = self.lines({"text": "x y"})
        self.assertIn("no such folder", self.make(source, prefix="absent/out", code=1))
        self.assertIn("none.jsonl: cannot be read", self.make(self.folder / "none.jsonl", code=1))
        self.assertIn("expected a tokenizer.json", self.make(source, code=1, words=("--tokenizer", self.folder)))
        (self.folder / "cut.gz").write_bytes(gzip.compress(b'{"text": "abc"}\n' * 1000)[:-20])
        self.assertIn("cut.gz: ", self.make(self.folder / "cut.gz", code=1))
        self.assertEqual(self.files(), {})
        self.assertIn("only for --tokenizer", self.make(source, "--eos", "x", code=2))

    def test_as_a_program(self):
        done = subprocess.run([sys.executable, ROOT / "scripts/tokenize.py", "--input", self.lines({"text": 5}), "--output",
                               self.folder / "out", "--vocabulary", "bytes"], text=True, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertIn("in.jsonl:1: field 'text': expected a text, got a number", done.stderr)

    def test_the_module_of_the_standard_library_is_not_hidden(self):
        done = subprocess.run([sys.executable, "-c", "import sys; sys.path.insert(0, 'scripts'); import tokenize, inspect\n"
                               "print(tokenize.tok_name[tokenize.NUMBER], len(inspect.getsource(inspect)))"],
                              cwd=ROOT, text=True, stdout=subprocess.PIPE)
        self.assertEqual(done.stdout.split()[0], "NUMBER")


@unittest.skipUnless(has("jinja2"), "this python has no jinja2")
class Templates(Tokenize):
    def with_template(self, template, *records, arguments=(), code=0, prefix="out"):
        path = self.folder / "template.jinja"
        path.write_text(template)
        return self.make(self.lines(*records), "--chat-template", path, *arguments, code=code, prefix=prefix)

    def test_spans_are_found_by_prefixes(self):
        self.with_template(CHATML, chat("q", "the answer", "r", "more"))
        # Byte vocabularies know no special token <|im_end|>, so that the line end belongs to the turn.
        self.assertEqual(self.counted(), [b"the answer<|im_end|>\nmore<|im_end|>\n\0"])
        self.with_template(CHATML, chat("q", "a", "r"), prefix="open")
        self.assertEqual(self.counted("open"), [b"a<|im_end|>\n"])

    def test_blanks_behind_the_end_of_a_turn_do_not_count(self):
        self.with_template(CHATML.replace("<|im_end|>", "\\0"), chat("q", "a", "r", "b"))
        self.assertEqual(self.counted(), [b"a\0b\0"])

    def test_a_template_that_changes_its_mind(self):
        record = chat("q", "<think>x</think>a", "r", "<think>y</think>b")
        output = self.with_template(FORGETS, record, code=1)
        self.assertIn("in.jsonl:1: message 2: the chat template writes this answer otherwise", output)
        self.assertIn("--targets last", output)
        self.with_template(FORGETS, record, arguments=["--targets", "last"])
        self.assertEqual(self.counted(), [b"<think>y</think>b|\0"])
        output = self.with_template(CHATML.replace("{{ '<|im_start|>assistant\n' }}", "{{ '<think>' }}"), record, code=1,
                                    prefix="third")
        self.assertIn("message 2: the chat template does not begin the answer as its prompt", output)

    def test_a_template_that_marks_its_answers(self):
        record = chat("q", "<think>x</think>a", "r", "<think>y</think>b")
        self.with_template(MARKED, record)
        self.assertEqual(self.counted(), [b"a|b|\0"])
        self.assertEqual(bytes(i for i, _ in self.documents()[0]), b"[user]q|[assistant]a|[user]r|[assistant]b|\0")
        self.with_template(MARKED, record, arguments=["--targets", "last"], prefix="last")
        self.assertEqual(self.counted("last"), [b"b|\0"])

    def test_templates_that_fail(self):
        self.assertIn("template.jinja: ", self.with_template("{% for %}", chat("q", "a"), code=1))
        self.assertIn("only two", self.with_template("{{ raise_exception('only two') }}", chat("q", "a"), code=1))
        self.assertIn("no_such", self.with_template("{{ no_such.field }}", chat("q", "a"), code=1))


@unittest.skipUnless(has("jinja2") and has("tokenizers"), "this python has no tokenizers, or no jinja2")
class Subwords(Tokenize):
    def train(self, pieces, chat_template=CHATML, **config):
        """A folder with tokenizer.json: words in subwords, special tokens for turns and ends of documents."""
        import tokenizers
        from tokenizers import models, pre_tokenizers, trainers
        tokenizer = tokenizers.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False) if pieces == "bytes" else (
            pre_tokenizers.Metaspace())
        alphabet = pre_tokenizers.ByteLevel.alphabet() if pieces == "bytes" else []
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        self.records = list(made_up_chats.conversations(200))
        tokenizer.train_from_iterator(
            [message["content"] for record in self.records for message in record["messages"]] + ["system user assistant\n"] * 9,
            trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False))
        folder = self.folder / pieces
        folder.mkdir()
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(
            {"eos_token": {"content": "<|endoftext|>"}, "chat_template": chat_template, **config}))
        return folder, tokenizer

    def test_answers_and_the_tokens_that_end_them(self):
        for pieces in ("bytes", "words"):
            folder, tokenizer = self.train(pieces)
            self.make(self.lines(*self.records), "--workers", 2, words=("--tokenizer", folder), prefix=f"of_{pieces}")
            end, expected = tokenizer.token_to_id("<|im_end|>"), 0
            for record, document in zip(self.records, self.documents(f"of_{pieces}")):
                answers = [m["content"] for m in record["messages"] if m["role"] == "assistant"]
                counted = [i for i, counts in document if counts]
                self.assertEqual(counted.count(end), len(answers))
                self.assertEqual(counted[-1], end)
                self.assertEqual(document[-1], (tokenizer.token_to_id("<|endoftext|>"), 0))
                if pieces == "bytes":
                    expected += sum(len(tokenizer.encode(answer).ids) + 1 for answer in answers)
            if pieces == "bytes":
                self.assertEqual(json.loads(self.files("of_bytes")[".json"])["targets"], expected)

    def test_mistakes(self):
        folder, _ = self.train("bytes", eos_token=None)
        source = self.lines({"text": "two words"})
        self.assertIn("expected --eos TOKEN, or --no-append-eos", self.make(source, code=1, words=("--tokenizer", folder)))
        self.assertIn("has no token 'x y'", self.make(source, "--eos", "x y", code=1, words=("--tokenizer", folder)))
        self.make(source, "--eos", "<|im_end|>", words=("--tokenizer", folder / "tokenizer.json"))
        self.assertEqual(self.documents()[0][-1], (2, 1))
        (folder / "tokenizer.json").write_text("{}")
        self.assertIn("tokenizer.json: ", self.make(source, code=1, words=("--tokenizer", folder), prefix="no"))


if __name__ == "__main__":
    if not has("tokenizers"):
        print("tests of a tokenizer.json are left out: this python has no tokenizers")
    if not has("jinja2"):
        print("tests of chat templates are left out: this python has no jinja2")
    unittest.main(argv=sys.argv[:1], verbosity=1)
