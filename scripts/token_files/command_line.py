# SPDX-License-Identifier: Apache-2.0
"""tokenize.py: reads lines, has workers encode them in order, writes the files."""
import argparse
import collections
import concurrent.futures.process
import datetime
import gzip
import json
import multiprocessing
import os
import signal
import sys
import time

import chats
import vocabularies
from problem import BadLine, Problem
from records import Encoder
from writer import Writer, pack

CHUNK_BYTES = 1 << 18  # of lines for a worker; the result does not depend on it
LISTED = 5  # bad lines named where they are left out
_encoder = None  # of a worker


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="tokenize.py", description="JSON lines to Megatron's .bin/.idx. Of chats (fields messages or conversations) "
        "and of prompt with completion only the answers count as targets: PREFIX.mask. Formats: doc/data.md.")
    add = parser.add_argument
    add("--input", nargs="+", required=True, metavar="FILE", help="JSON lines, also .gz; read one after the other")
    add("--output", required=True, metavar="PREFIX", help="of PREFIX.bin, .idx, .json and, for answers, .mask")
    words = parser.add_mutually_exclusive_group(required=True)
    words.add_argument("--tokenizer", metavar="PATH", help="a tokenizer.json or its folder (package tokenizers)")
    words.add_argument("--vocabulary", choices=["bytes", "characters"], help="a built-in one; needs no package")
    add("--field", metavar="NAME", help="take the text of this field (default: found by the names of the fields, else text)")
    add("--messages", metavar="NAME", help="take the chat in this field (default: messages or conversations)")
    add("--prompt", metavar="NAME", help="take the question, a text or messages, from this field (default: prompt)")
    add("--completion", metavar="NAME", help="take the answer from this field (default: completion)")
    add("--chat-template", metavar="FILE", help="a Jinja template instead of the tokenizer's")
    add("--template-values", metavar="JSON", default="{}", help="what else the template is given, e.g. '{\"thinking\": true}'")
    add("--date", type=datetime.datetime.fromisoformat, default=None, metavar="YYYY-MM-DD",
        help="today, for templates that write it (default: today)")
    add("--targets", choices=["all", "last"], default="all", help="which answers of a chat count (default: all)")
    add("--eos", metavar="TOKEN", help="ends a document (default: eos_token of tokenizer_config.json)")
    add("--append-eos", action=argparse.BooleanOptionalAction, default=True, help="end documents with it (default: yes)")
    add("--add-special-tokens", action="store_true", help="those that the tokenizer puts around a text, e.g. its first")
    add("--workers", type=int, default=1, metavar="N", help="processes (default: 1); the files do not depend on it")
    add("--skip-bad-lines", action="store_true", help="leave out what cannot be used, and say how much")
    add("--force", action="store_true", help="replace PREFIX.bin and the others")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error("--workers: expected 1 or more")
    if sum(map(bool, (options.field, options.messages, options.prompt or options.completion))) > 1:
        parser.error("--field, --messages, --prompt with --completion: expected one of them")
    for name in ("eos", "add_special_tokens"):
        if options.vocabulary and getattr(options, name):
            parser.error(f"--{name.replace('_', '-')}: only for --tokenizer")
    try:
        options.template_values = json.loads(options.template_values)
    except ValueError as error:
        parser.error(f"--template-values: {error}")
    if not isinstance(options.template_values, dict):
        parser.error("--template-values: expected an object")
    options.date = options.date or datetime.datetime.now()
    return options


def make_encoder(options):
    vocabulary = {"bytes": vocabularies.Bytes, "characters": vocabularies.Characters}.get(options.vocabulary)
    vocabulary = vocabulary() if vocabulary else vocabularies.Subwords(
        options.tokenizer, options.eos, options.add_special_tokens)
    if options.append_eos and vocabulary.eos_id is None:
        raise Problem(f"{vocabulary.name}: no tokenizer_config.json beside it says which token ends a document; expected "
                      "--eos TOKEN, or --no-append-eos")
    found = chats.find_template(vocabulary, options.chat_template)
    special = vocabulary.special_tokens() if hasattr(vocabulary, "special_tokens") else {"eos_token": vocabulary.eos_text}
    chat = None
    if found:
        chat = chats.TemplateChat(*found, special, vocabulary.special_texts, options.date)
    elif options.vocabulary:
        chat = chats.BuiltInChat(vocabulary)
    return Encoder(vocabulary, chat, options)


def start_worker(options):
    global _encoder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _encoder = make_encoder(options)


def encode_lines(file, first, lines):
    return encode(_encoder, file, first, lines)


def encode(encoder, file, first, lines):
    """([packed ids, counts, masked], messages about bad lines, empty documents, tokens across a boundary)."""
    documents, bad, empty, across = [], [], 0, 0
    small = encoder.vocabulary.size < 65500
    for number, line in enumerate(lines, first):
        try:
            document = encoder.document(line)
            if document is None:
                continue
            ids, counts, masked, over = document
            across += over
            if len(ids) < 2:
                empty += 1  # nothing is predicted
                continue
            documents.append((pack(ids, small), counts, masked))
        except BadLine as problem:
            bad.append(f"{file}:{number}: {problem}")
            if not encoder.options.skip_bad_lines:
                break
    return documents, bad, empty, across


def chunks(files, progress):
    """(file, number of the first line, lines) of every file."""
    for name in files:
        try:
            with open(name, "rb") as raw:
                packed = raw.peek(2)[:2] == b"\x1f\x8b"
                stream = gzip.open(raw) if packed else raw
                number, first, lines, size = 0, 1, [], 0
                for line in stream:
                    number += 1
                    lines.append(line)
                    size += len(line)
                    if size >= CHUNK_BYTES:
                        yield name, first, lines
                        progress.show(raw.tell())
                        first, lines, size = number + 1, [], 0
                if lines:
                    yield name, first, lines
                progress.passed(raw.tell())
        except (OSError, EOFError, gzip.zlib.error) as error:
            raise Problem(f"{name}: {getattr(error, 'strerror', None) or error}") from None


class Progress:
    """A bar on a terminal; otherwise nothing."""

    def __init__(self, files):
        self.total = sum(os.path.getsize(name) for name in files if os.path.isfile(name)) or 1
        self.before, self.shown, self.start = 0, 0.0, time.monotonic()
        self.visible = sys.stderr.isatty()

    def show(self, place):
        now = time.monotonic()
        if self.visible and now - self.shown > 0.2:
            self.shown = now
            part = min(1.0, (self.before + place) / self.total)
            left = (now - self.start) * (1 - part) / max(part, 1e-9)
            bar = "#" * int(40 * part)
            sys.stderr.write(f"\r[{bar:<40}] {100 * part:5.1f} %, {left:.0f} s left \x1b[K")
            sys.stderr.flush()

    def passed(self, size):
        self.before += size

    def end(self):
        if self.visible:
            sys.stderr.write("\r\x1b[K")


def results(options, encoder, work):
    """The result of every chunk, in their order."""
    if options.workers == 1:
        for file, first, lines in work:
            yield encode(encoder, file, first, lines)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        options.workers, multiprocessing.get_context("fork"), initializer=start_worker, initargs=(options,))
    try:
        waiting = collections.deque()
        for chunk in work:
            waiting.append(pool.submit(encode_lines, *chunk))
            if len(waiting) > 3 * options.workers:  # so many chunks are in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def run(options):
    for name in options.input:
        if not os.path.isfile(name):
            raise Problem(f"{name}: cannot be read; expected a file of JSON lines")
    encoder = make_encoder(options)
    writer = Writer(options.output, encoder.vocabulary, options.force)
    progress = Progress(options.input)
    bad, skipped, empty, across = [], 0, 0, 0
    try:
        for documents, wrong, short, over in results(options, encoder, chunks(options.input, progress)):
            if wrong and not options.skip_bad_lines:
                raise Problem(wrong[0])
            for document in documents:
                writer.add(*document)
            bad += wrong[:LISTED - len(bad)]
            skipped, empty, across = skipped + len(wrong), empty + short, across + over
        progress.end()
        if not writer.tokens:
            raise Problem(f"{', '.join(options.input)}: {'nothing is left' if skipped or empty else 'nothing'} to write")
        summary = writer.finish(encoder.vocabulary.name)
    except BaseException as error:
        progress.end()
        writer.discard()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = options.output
        raise
    report(options, summary, bad, skipped, empty, across)


def report(options, summary, bad, skipped, empty, across):
    for message in bad:
        print(f"left out: {message}", file=sys.stderr)
    if skipped:
        print(f"left out: {skipped} bad lines in all", file=sys.stderr)
    if empty:
        print(f"left out: {empty} documents of less than two tokens, in which nothing is predicted", file=sys.stderr)
    if across:
        print(f"note: {across} tokens hold the end of a prompt and the beginning of an answer; they do not count",
              file=sys.stderr)
    masked = summary["mask_crc32"] is not None
    print(f"{options.output}: {summary['documents']:,} documents, {summary['tokens']:,} tokens, {summary['targets']:,} targets"
          f"{' (PREFIX.mask)' if masked else ''}, ids {summary['smallest_id']} to {summary['largest_id']}")
    print(f"in the deck: data/source = indexed, data/train = {options.output}, data/vocab_size = {summary['vocab_size']}")


def main(arguments):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(parse(arguments))
    except Problem as problem:
        print(f"tokenize.py: {problem}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"tokenize.py: {error.filename}: {error.strerror or error}", file=sys.stderr)
        return 2
    except concurrent.futures.process.BrokenProcessPool:
        print("tokenize.py: a worker was killed (no memory?)", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tokenize.py: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0
