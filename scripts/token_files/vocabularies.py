# SPDX-License-Identifier: Apache-2.0
"""Texts to ids: a tokenizer.json, or the built-in vocabularies of bytes and characters.

Each has: name, size (largest id + 1), eos_id, special_texts (what ends a turn), special_ids and
encode(text) -> (ids, first character of each token, one past its last).
"""
import json
import pathlib

from problem import BadLine, Problem


class Bytes:
    """V = 256, as data/source = text reads files; byte 0 ends documents and answers."""
    name, size, eos_id, eos_text = "bytes", 256, 0, "\0"
    special_texts, special_ids = ("\0",), frozenset([0])

    @staticmethod
    def encode(text):
        if text.isascii():
            return list(text.encode()), range(len(text)), range(1, len(text) + 1)
        ids, starts = [], []
        for place, character in enumerate(text):
            raw = character.encode()
            ids += raw
            starts += [place] * len(raw)
        return ids, starts, [start + 1 for start in starts]


class Characters:
    """V = 64: pad, begin, end, then the characters of the generated problems (src/data/character_vocabulary.cpp)."""
    name, size, eos_id, eos_text = "characters", 64, 2, "\2"
    special_texts, special_ids = ("\2",), frozenset([1, 2])
    begin_text = "\1"
    known = "0123456789abcdefghijklmnopqrstuvwxyz+-=<>,:#?*/.;!()[]{}|&^_ "
    ids = {"\1": 1, "\2": 2, **{character: 3 + i for i, character in enumerate(known)}}

    @classmethod
    def encode(cls, text):
        try:
            return [cls.ids[c] for c in text], range(len(text)), range(1, len(text) + 1)
        except KeyError as error:
            raise BadLine(f"character {error.args[0]!r} has no token; expected those of \"{cls.known}\"") from None


class Subwords:
    """A tokenizer.json through the package `tokenizers`; `eos` overrides the token of tokenizer_config.json."""

    def __init__(self, path, eos=None, add_special_tokens=False):
        path = pathlib.Path(path)
        self.folder = path if path.is_dir() else path.parent
        file = path / "tokenizer.json" if path.is_dir() else path
        if not file.is_file():
            raise Problem(f"{file}: cannot be read; expected a tokenizer.json, or the folder of one")
        try:
            import tokenizers
        except ImportError:
            raise Problem("--tokenizer needs the Python package tokenizers (pip install tokenizers); "
                          "--vocabulary bytes and --vocabulary characters need none") from None
        try:
            self.tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the package raises Exception itself
            raise Problem(f"{file}: {error}") from None
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.add_special_tokens = add_special_tokens
        self.name = str(file)
        self.size = max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        added = json.loads(file.read_text(encoding="utf-8")).get("added_tokens") or []
        special = {token["content"]: token["id"] for token in added if token.get("special")}
        self.config = read_json(self.folder / "tokenizer_config.json") | {}
        self.eos_text = eos or token_text(self.config.get("eos_token"))
        self.eos_id = self.tokenizer.token_to_id(self.eos_text) if self.eos_text else None
        if self.eos_text and self.eos_id is None:
            raise Problem(f"{file}: has no token {self.eos_text!r}; expected the end of a document, e.g. one of "
                          f"{', '.join(list(special)[:8]) or 'its vocabulary'} (--eos)")
        if self.eos_text:
            special[self.eos_text] = self.eos_id
        self.special_texts, self.special_ids = tuple(special), frozenset(special.values())

    def special_tokens(self):
        """What a chat template calls bos_token, eos_token, ..."""
        merged = read_json(self.folder / "special_tokens_map.json") | self.config
        found = {name: token_text(value) for name, value in merged.items() if name.endswith("_token")}
        return {name: text for name, text in found.items() if text is not None} | (
            {"eos_token": self.eos_text} if self.eos_text else {})

    def encode(self, text):
        encoding = self.tokenizer.encode(text, add_special_tokens=self.add_special_tokens)
        offsets = encoding.offsets
        return encoding.ids, [begin for begin, _ in offsets], [end for _, end in offsets]


def token_text(value):
    """Tokens stand in tokenizer_config.json as a text or with their properties."""
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None


def read_json(file):
    """{} if there is no such file."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise Problem(f"{file}: {error}") from None
    if not isinstance(content, dict):
        raise Problem(f"{file}: expected an object")
    return content
