# SPDX-License-Identifier: Apache-2.0
# Shared by the checks of the tree: which files there are, comments stripped, and how a check reports.
#
# A check is a script with a function check(root) that yields "file:line: message"; main() prints them and fails if any.
import pathlib
import re
import sys

SKIPPED = re.compile(r"(^|/)(\.git|build[^/]*|runs|__pycache__)(/|$)")


def files(root, folders, suffixes):
    """Files below the folders (or files) of `root` with one of the suffixes, sorted, build folders left out."""
    root = pathlib.Path(root)
    found = []
    for folder in folders:
        start = root / folder
        candidates = [start] if start.is_file() else start.rglob("*")
        found += [f for f in candidates
                  if f.is_file() and f.name.endswith(tuple(suffixes)) and not SKIPPED.search(str(f.relative_to(root)))]
    return sorted(set(found))


def sources(root):
    return files(root, ["src"], [".hpp", ".cpp"])


def without_comments(text):
    """C++ with comments replaced by blanks; line breaks and string literals stay where they are."""
    pattern = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()) if m.group().startswith("/") else m.group(), text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def main(check):
    """Runs check(root) on the folder named on the command line."""
    problems = list(check(pathlib.Path(sys.argv[1])))
    for problem in problems:
        print(problem)
    print(f"{pathlib.Path(sys.argv[0]).stem}: {len(problems)} problem(s)")
    sys.exit(1 if problems else 0)
