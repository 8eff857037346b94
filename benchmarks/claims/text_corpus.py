#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# English text from the manual pages and documents of this system's packages: one file for byte-level models.
#
#   text_corpus.py OUT [--megabytes 24]
#
# Reads what the packages installed, in the order of names: plain documents of /usr/share/doc, licences, Perl's
# documentation, Python's docstrings. A paragraph is kept once, if it reads like prose: at least 200 bytes of ASCII, most
# of them letters and blanks. The corpus therefore depends on the packages; results name its size and SHA-256.
import argparse
import gzip
import hashlib
import pathlib
import re
import sys

ROOTS = ("/usr/share/doc", "/usr/share/common-licenses", "/usr/share/perl", "/usr/lib/python3", "/usr/lib/python3.11",
         "/usr/include", "/usr/share/info", "/usr/share/man/man1", "/usr/share/man/man3", "/usr/share/cmake-3.25/Help")
MARKUP = re.compile(r"^[ \t]*(//+|/\*+|\*+/?|#+|\.\\\"|;+)[ \t]?", re.M)  # of comments


def text_of(path):
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, gzip.BadGzipFile):
        return ""
    return raw.decode("ascii", errors="ignore") if b"\0" not in raw[:4096] else ""


def is_prose(paragraph):
    if len(paragraph) < 200:
        return False
    plain = sum(c.isalpha() or c == " " for c in paragraph)
    words = re.findall(r"[a-z]{2,}", paragraph)
    return plain > 0.9 * len(paragraph) and len(words) > len(paragraph) / 9 and " the " in paragraph


def paragraphs(text):
    for block in re.split(r"\n\s*\n", MARKUP.sub("", text)):
        paragraph = re.sub(r"\s+", " ", block).strip()
        if is_prose(paragraph):
            yield paragraph


def main():
    parser = argparse.ArgumentParser(description="Collects English text of this system's packages.")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--megabytes", type=float, default=24)
    arguments = parser.parse_args()
    limit, size, seen, digest = arguments.megabytes * 1e6, 0, set(), hashlib.sha256()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with open(arguments.out, "w") as out:
        for path in (p for root in ROOTS if pathlib.Path(root).is_dir() for p in sorted(pathlib.Path(root).rglob("*"))):
            if size >= limit or not path.is_file() or path.is_symlink():
                continue
            for paragraph in paragraphs(text_of(path)):
                key = hash(paragraph)
                if key in seen or size >= limit:
                    continue
                seen.add(key)
                out.write(paragraph + "\n\n")
                digest.update(paragraph.encode())
                size += len(paragraph) + 2
    print(f"{arguments.out}: {size} bytes in {len(seen)} paragraphs, sha256 of the paragraphs {digest.hexdigest()}")
    if size < 0.8 * limit:
        sys.exit(f"text_corpus.py: only {size / 1e6:.1f} MB of text in the packages of this machine; "
                 f"install more documentation or ask for less with --megabytes")


if __name__ == "__main__":
    main()
