# SPDX-License-Identifier: Apache-2.0
"""One line of JSON to token ids, and which of them count as targets."""
import difflib
import json

from chats import MARKS
from problem import BadLine

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
         "model": "assistant", "system": "system", "developer": "developer", "tool": "tool", "function": "tool",
         "observation": "tool", "ipython": "ipython"}
MESSAGES = ("messages", "conversations")
SYSTEM = ("system", "system_prompt")  # fields beside the messages


class Encoder:
    """vocabulary: vocabularies.py; chat: chats.py, or None; options: those of the command line."""

    def __init__(self, vocabulary, chat, options):
        self.vocabulary, self.chat, self.options = vocabulary, chat, options

    def document(self, line):
        """(ids, counts: bytes of 0 and 1, whether it has a mask, tokens across a boundary); None of a blank line."""
        try:
            line = line.decode("utf-8-sig")
            record = json.loads(line) if line.strip() else None
        except UnicodeDecodeError as error:
            raise BadLine(f"is not UTF-8 text: {error.reason} at byte {error.start + 1}") from None
        except (ValueError, RecursionError) as error:
            raise BadLine(f"is not JSON: {error}") from None
        if not line.strip():
            return None
        if not isinstance(record, dict):
            raise BadLine(f"expected an object, e.g. {{\"text\": \"...\"}}; got {json_type(record)}")
        text, spans = self.text_of(record)
        if begin := getattr(self.vocabulary, "begin_text", ""):  # of the built-in characters: begins every document
            text, spans = begin + text, spans and [(first + 1, past + 1) for first, past in spans]
        try:
            ids, starts, ends = self.vocabulary.encode(text)
        except UnicodeEncodeError as error:
            raise BadLine(f"holds half of a surrogate pair, {text[error.start]!r}") from None
        counts, across = count(spans, starts, ends) if spans is not None else (bytearray(b"\1" * len(ids)), 0)
        ids = list(ids)
        self.close(ids, counts)
        return ids, bytes(counts), spans is not None, across

    def close(self, ids, counts):
        """The token that ends a document counts where what it follows does, unless an answer has ended already."""
        eos = self.vocabulary.eos_id
        if not self.options.append_eos or (ids and ids[-1] == eos):
            return
        counts.append(1 if not ids or (counts[-1] and ids[-1] not in self.vocabulary.special_ids) else 0)
        ids.append(eos)

    # --- kinds of records ---
    def text_of(self, record):
        """(text, spans that count); the spans are None where all of it counts."""
        options = self.options
        if options.field:
            return self.string(record, options.field), None
        if options.messages:
            return self.chat_text(self.item(record, options.messages), record)
        if options.prompt or options.completion:
            return self.completion(record, options.prompt or "prompt", options.completion or "completion")
        for name in MESSAGES:
            if name in record:
                return self.chat_text(record[name], record)
        if "prompt" in record and "completion" in record:
            return self.completion(record, "prompt", "completion")
        return self.string(record, "text", also=(*MESSAGES, "prompt with completion")), None

    def item(self, record, name, also=()):
        if name in record:
            return record[name]
        near = difflib.get_close_matches(name, record, 1, 0.6)
        raise BadLine(f"has no field '{name}'" + "".join(f", nor '{other}'" for other in also) +
                      (f"; did you mean '{near[0]}'{' (--field)' if also else ''}?" if near else "; it has " +
                       (", ".join(map(repr, list(record)[:8])) or "none at all")))

    def string(self, record, name, also=()):
        value = self.item(record, name, also)
        if not isinstance(value, str):
            raise BadLine(f"field '{name}': expected a text, got {json_type(value)}")
        return value

    def completion(self, record, first, second):
        prompt, answer = self.item(record, first), self.item(record, second)
        if isinstance(prompt, str) and isinstance(answer, str):
            return prompt + answer, [(len(prompt), len(prompt) + len(answer))]
        if isinstance(prompt, list) and isinstance(answer, str):
            answer = [{"role": "assistant", "content": answer}]
        if isinstance(prompt, list) and isinstance(answer, list):
            return self.chat_text(prompt + answer, record, first=len(prompt))
        raise BadLine(f"fields '{first}' and '{second}': expected texts or lists of messages, "
                      f"got {json_type(prompt)} and {json_type(answer)}")

    def chat_text(self, messages, record, first=0):
        if self.chat is None:
            raise BadLine("is a chat, and the tokenizer has no chat template; expected chat_template in "
                          "tokenizer_config.json, a file chat_template.jinja beside it, or --chat-template FILE")
        if not isinstance(messages, list) or not messages:
            raise BadLine(f"expected a list of messages, got {json_type(messages)}")
        system = next((record[name] for name in SYSTEM if isinstance(record.get(name), str) and record[name]), None)
        messages = [read_message(message, i) for i, message in enumerate(messages)]
        if system and messages[0]["role"] != "system":
            messages, first = [{"role": "system", "content": system}, *messages], first + 1
        if any(mark in json.dumps(messages, ensure_ascii=False) for mark in MARKS):
            raise BadLine(f"holds a character for private use, one of {', '.join(map(ascii, MARKS))}")
        answers = [i for i, message in enumerate(messages) if message["role"] == "assistant" and i >= first]
        targets = [i for i in answers[-1 if self.options.targets == "last" else 0:] if messages[i].get("weight") != 0]
        if not targets:
            raise BadLine("has no message of the assistant that counts, so no token would be a target")
        extra = record.get("chat_template_kwargs") or {}
        if not isinstance(extra, dict):
            raise BadLine(f"field 'chat_template_kwargs': expected an object, got {json_type(extra)}")
        tools = record.get("tools")
        if isinstance(tools, str):  # some sets of data keep them as text
            try:
                tools = json.loads(tools) if tools.strip() else None
            except ValueError as error:
                raise BadLine(f"field 'tools': {error}") from None
        return self.chat.render(messages, set(targets), {**self.options.template_values, "tools": tools, **extra})


def read_message(message, i):
    """{"role", "content", ...}, also of {"from", "value"}; parts of a content are joined."""
    if not isinstance(message, dict):
        raise BadLine(f"message {i + 1}: expected an object, got {json_type(message)}")
    message = dict(message)
    if "role" not in message and "from" in message:
        message["role"], message["content"] = message.pop("from"), message.pop("value", None)
    role = message.get("role")
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise BadLine(f"message {i + 1}: role {role!r}; expected one of {', '.join(sorted(set(ROLES)))}")
    message["role"] = ROLES[role.lower()]
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else part
                 for part in content]
        if not all(isinstance(part, str) for part in parts):
            raise BadLine(f"message {i + 1}: a part of its content is no text")
        message["content"] = "".join(parts)
    elif content is not None and not isinstance(content, str):
        raise BadLine(f"message {i + 1}: content: expected a text, got {json_type(content)}")
    elif content is None and not message.get("tool_calls") and not message.get("reasoning_content"):
        raise BadLine(f"message {i + 1}: has no content")
    return message


def count(spans, starts, ends):
    """A token counts if it begins inside a span. Second: tokens that begin before a span and reach into it."""
    counts, across, spans = bytearray(len(starts)), 0, iter(sorted(spans))
    begin, end = next(spans, (None, None))
    for i, (first, past) in enumerate(zip(starts, ends)):
        while begin is not None and first >= end:
            begin, end = next(spans, (None, None))
        if begin is None:
            break
        if first >= begin:
            counts[i] = 1
        elif past > begin:
            across += 1
    return counts, across


def json_type(value):
    return {dict: "an object", list: "an empty list" if value == [] else "a list", str: "a text", bool: "true or false",
            type(None): "null"}.get(type(value), "a number")
