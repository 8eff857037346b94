# SPDX-License-Identifier: Apache-2.0
# Comments of C++ can be read alone: they fit the width of the code, say what they are about in their first words, and
# name only files that exist.
import fnmatch
import re

import tree

COLUMNS = 100  # as ColumnLimit of .clang-format, which leaves comments as they are
DANGLING = re.compile(r"(Of|The same)\b")  # what, is only clear from the line above
FILE_NAME = re.compile(r"[\w.*/-]*[\w*]\.(?:md|hpp|cpp)\b(?!\.\w)")
WRITTEN_BY_RUNS = {"report.md"}


def check(root):
    paths = ["/" + str(f.relative_to(root)) for f in
             tree.files(root, ["src", "unit_tests", "benchmarks", "doc", "README.md", "CONTRIBUTING.md"],
                        [".md", ".hpp", ".cpp"])]
    for file in tree.files(root, ["src", "unit_tests", "benchmarks"], [".hpp", ".cpp", ".hpp.in"]):
        lines = file.read_text().splitlines()
        above = (0, "")  # the last line that is all comment
        for line, comment in comments(lines):
            place, text = f"{file.relative_to(root)}:{line}", comment.lstrip("/<! ")
            alone = lines[line - 1].lstrip().startswith("//")
            goes_on = alone and above[0] == line - 1 and above[1] != ""
            if len(lines[line - 1]) > COLUMNS:
                yield f"{place}: a comment reaches column {len(lines[line - 1])}, at most {COLUMNS}"
            if DANGLING.match(text) and not goes_on:
                yield f'{place}: a comment starts with "{DANGLING.match(text).group()}"; name what it is about'
            for name in FILE_NAME.findall(text):
                if not exists(name, paths):
                    yield f"{place}: there is no file {name}"
            if alone:
                above = (line, text)


def comments(lines):
    """(number, text) of every line's comment, its slashes included."""
    kept = tree.without_comments("\n".join(lines)).split("\n")
    for number, (line, code) in enumerate(zip(lines, kept), 1):
        if line != code:
            yield number, line[len(code.rstrip()):].strip()


def exists(name, paths):
    name = name.removeprefix("../")
    return name in WRITTEN_BY_RUNS or any(fnmatch.fnmatch(path, f"*/{name}") for path in paths)


if __name__ == "__main__":
    tree.main(check)
