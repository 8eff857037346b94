#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# JSON lines (texts, chats, prompts with completions) to Megatron's .bin/.idx, with a mask in which only answers count.
# Python 3.11; the package `tokenizers` with --tokenizer, `jinja2` where chats have a template. Formats: doc/data.md.
#
#   tokenize.py --input chats.jsonl.gz --output data/chats --tokenizer MODEL_FOLDER --workers 8
#   tokenize.py --input problems.jsonl --output data/problems --vocabulary characters
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
if __name__ == "tokenize":
    # A script of this folder, or a library of it, asks for the standard library's module of this name.
    with open(os.path.join(os.path.dirname(os.__file__), "tokenize.py"), encoding="utf-8") as _file:
        exec(compile(_file.read(), _file.name, "exec"))
else:
    sys.path[:] = [os.path.join(HERE, "token_files")] + [p for p in sys.path if os.path.abspath(p or ".") != HERE]
    from command_line import main
    if __name__ == "__main__":
        sys.exit(main(sys.argv[1:]))
