# SPDX-License-Identifier: Apache-2.0
"""Chats to one text and the spans of it that count: what the assistant says, up to the end of its turn.

A template that marks them ({% generation %}) is believed. Otherwise the text before an answer is the template's of all
messages before it, with the prompt for an answer, and the text up to the end of the answer that of all messages up to it;
each must be the beginning of the next, and the last of the whole chat.
"""
import json
import re

from problem import BadLine, Problem
from vocabularies import read_json

MARKS = "\U0010F0F0", "\U0010F0F1"  # around the blocks of {% generation %}; for private use, in no text


class BuiltInChat:
    """Without a template. Bytes: a line `role: content`, answers ended by byte 0; characters: as generated problems."""

    def __init__(self, vocabulary):
        self.names_roles = not hasattr(vocabulary, "begin_text")
        self.end = vocabulary.eos_text

    def render(self, messages, targets, _extra):
        text, spans = "", []
        for i, message in enumerate(messages):
            role = message["role"]
            text += f"{role}: " if self.names_roles else ""
            start = len(text)
            text += content_text(message) + (
                self.end if role == "assistant" else "\n" if self.names_roles else "")
            if i in targets:
                spans.append((start, len(text)))
        return text, spans


class TemplateChat:
    def __init__(self, source, origin, special_tokens, special_texts, date):
        try:
            import jinja2.ext
            import jinja2.sandbox
        except ImportError:
            raise Problem("a chat template needs the Python package jinja2 (Debian: python3-jinja2)") from None
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", generation_blocks(jinja2)])
        environment.filters["tojson"] = lambda value, indent=None, **_: json.dumps(
            value, ensure_ascii=False, indent=indent)
        environment.globals["raise_exception"] = refuse
        environment.globals["strftime_now"] = date.strftime
        self.failure = jinja2.TemplateError
        self.origin, self.special_tokens = origin, special_tokens
        self.marks_answers = re.search(r"\{%-?\s*generation\b", source) is not None
        # The last special token of an answer ends its turn; the template may put blanks behind it.
        ends = "|".join(map(re.escape, sorted(special_texts, key=len, reverse=True)))
        self.after_turn = re.compile(f"(?:{ends})(\\s+)$") if ends else None
        try:
            self.template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise Problem(f"{origin}: {error}") from None

    def text(self, messages, extra, prompt=False):
        try:
            return self.template.render(messages=messages, add_generation_prompt=prompt,
                                        **{"tools": None, "documents": None, **self.special_tokens, **extra})
        except self.failure as error:
            raise BadLine(f"the chat template refuses messages 1 to {len(messages)}: {error}") from None
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BadLine(f"the chat template fails on messages 1 to {len(messages)}: {error}") from None

    def render(self, messages, targets, extra):
        marked = self.text(messages, extra)
        if self.marks_answers:
            return self.marked_spans(marked, messages, targets)
        spans = []
        for i in sorted(targets):
            before = self.text(messages[:i], extra, prompt=True)
            after = self.text(messages[:i + 1], extra)
            if not after.startswith(before):
                raise BadLine(f"message {i + 1}: the chat template does not begin the answer as its prompt for an answer "
                              f"ends ({tail(before)}); expected a template with {{% generation %}} blocks")
            if not marked.startswith(after):
                raise BadLine(f"message {i + 1}: the chat template writes this answer otherwise when messages follow it; "
                              "expected --targets last, or a template with {% generation %} blocks")
            spans.append((len(before), self.end_of_turn(marked, len(before), len(after))))
        return marked, spans

    def end_of_turn(self, text, begin, end):
        found = self.after_turn.search(text[begin:end]) if self.after_turn else None
        return begin + found.start(1) if found else end

    def marked_spans(self, marked, messages, targets):
        """Takes the marks out. One block belongs to each message of the assistant, or blocks cannot be told apart."""
        pieces, spans, length = re.split(f"([{''.join(MARKS)}])", marked), [], 0
        text = "".join(piece for piece in pieces if piece not in MARKS)
        opened = None
        for piece in pieces:
            if piece == MARKS[0]:
                opened = length
            elif piece == MARKS[1]:
                spans.append((opened, length))
            else:
                length += len(piece)
        answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        if len(targets) < len(answers):
            if len(spans) != len(answers):
                raise BadLine(f"{len(spans)} blocks {{% generation %}} for {len(answers)} messages of the assistant; "
                              "expected one each, or --targets all")
            spans = [span for span, i in zip(spans, answers) if i in targets]
        return text, [span for span in spans if span[0] < span[1]]


def generation_blocks(jinja2):
    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("mark"), [], [], body).set_lineno(line)

        def mark(self, caller):
            return MARKS[0] + caller() + MARKS[1]

    return Generation


def refuse(message):
    import jinja2
    raise jinja2.TemplateError(message)


def tail(text):
    return repr(text[-40:])


def content_text(message):
    content = message.get("content")
    if not isinstance(content, str):
        raise BadLine(f"a message of the {message['role']} has no text as content")
    return content


def find_template(vocabulary, file):
    """(template, where it stands); None if there is none."""
    if file:
        try:
            with open(file, encoding="utf-8") as opened:
                return opened.read(), file
        except (OSError, ValueError) as error:
            raise Problem(f"{file}: {error}") from None
    folder = getattr(vocabulary, "folder", None)
    if folder is None:
        return None
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        return jinja.read_text(encoding="utf-8"), str(jinja)
    for name in ("tokenizer_config.json", "chat_template.json"):
        found = read_json(folder / name).get("chat_template")
        if isinstance(found, list):  # several, by name
            found = {entry.get("name"): entry.get("template") for entry in found}.get("default")
        if isinstance(found, str):
            return found, str(folder / name)
    return None
