# SPDX-License-Identifier: Apache-2.0
# Documents name files that exist: every path in backticks and every link of README.md, CONTRIBUTING.md, doc/ and the READMEs
# of folders; every file in the tables of src/*/README.md, which name all files of their folder; the map of the tree; and
# the reading order for newcomers, which takes less than an hour.
#
# A path may be meant from the root, from src/ or unit_tests/, or from the folder of its document, without .hpp or .cpp
# too; {a,b} and * stand for what they stand for in a shell. Words in capitals (src/FOLDER/X.cpp) are examples.
import glob
import re

import tree

DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "doc", "src", "input", "jobscripts", "machines", "packaging", "benchmarks", "unit_tests"]
FENCE = re.compile(r"^```.*?^```[ \t]*$", re.M | re.S)
QUOTED = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PATH = re.compile(r"[\w.{},*-]+(/[\w.{},*-]+)+/?")
FILE = re.compile(r"[\w.{},*-]+\.(hpp|cpp|py|sh|md|cmake)")
EXAMPLE = re.compile(r"(^|[/_])(?!README|CONTRIBUTING|LICENSE|CMake)[A-Z]+\b")
CODE = (".hpp", ".cpp", ".hpp.in")
WRITTEN_LATER = re.compile(r"runs|build(-\w+)*|report\.md")  # by builds and runs
LINES_PER_HOUR = 2400


def check(root):
    names = {f.name for f in tree.files(root, ["."], [""])}
    keys = deck_keys(root)
    for document in tree.files(root, DOCUMENTS, [".md"]):
        name, text = document.relative_to(root), document.read_text()
        prose = FENCE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)
        for match in QUOTED.finditer(prose):
            if not is_true(root, document, match.group(1), names, keys):
                yield f"{name}:{tree.line_of(prose, match.start())}: there is no {match.group(1)}"
        for match in LINK.finditer(prose):
            if "://" not in match.group(1) and not (document.parent / match.group(1)).exists():
                yield f"{name}:{tree.line_of(prose, match.start())}: the link to {match.group(1)} leads nowhere"
    for readme in tree.files(root, ["src"], ["README.md"]):
        if readme.parent != root / "src":
            yield from check_table(root, readme)
    yield from check_map(root)
    yield from check_reading_order(root)


def deck_keys(root):
    """{"block/key"} of doc/input_reference.md; blocks share names with folders."""
    block, keys = "", set()
    reference = root / "doc/input_reference.md"
    for line in reference.read_text().splitlines() if reference.exists() else []:
        heading, row = re.match(r"## `<(\w+)>`", line), re.match(r"\| `(\w+)` ", line)
        block = heading.group(1) if heading else block
        keys |= {f"{block}/{row.group(1)}"} if row else set()
    return keys


def found(folder, path):
    """Everything that a path with braces and stars stands for exists below the folder."""
    braces = re.search(r"\{([^{}]*)\}", path)
    if braces:
        return all(found(folder, path[:braces.start()] + part + path[braces.end():]) for part in braces.group(1).split(","))
    return any(glob.glob(glob.escape(str(folder)) + "/" + path + ending) for ending in ("",) + CODE)


def is_true(root, document, word, names, keys):
    if EXAMPLE.search(word) or word in keys or WRITTEN_LATER.fullmatch(word.split("/")[0]):
        return True
    if FILE.fullmatch(word):
        return word in names or found(document.parent, word) or word.endswith(".py")  # scripts of others are named too
    if not PATH.fullmatch(word):
        return True
    first, bases = word.split("/")[0], (root, root / "src", root / "unit_tests", document.parent)
    if not (any((base / first).is_dir() for base in bases) or FILE.fullmatch(word.split("/")[-1])):
        return True
    return any(found(base, word) for base in bases)


def check_table(root, readme):
    folder, text = readme.parent, readme.read_text()
    name = readme.relative_to(root)
    stems = {re.sub(r"\.hpp\.in$|\.[hc]pp$", "", f.name) for f in tree.files(folder, ["."], CODE)}
    for table in re.finditer(r"^\| file \|.*\n\|[-|]+\n((?:\|.*\n)*)", text, re.M):
        for row in re.finditer(r"^\|([^|]*)\|", table.group(1), re.M):
            for word in QUOTED.findall(row.group(1)):
                if re.sub(r"\.hpp\.in$|\.[hc]pp$", "", word.split("/")[-1]) not in stems:
                    line = tree.line_of(text, table.start(1) + row.start())
                    yield f"{name}:{line}: there is no {folder.relative_to(root)}/{word}"
    words = {re.sub(r"\.hpp\.in$|\.[hc]pp$", "", word.split("/")[-1]) for word in QUOTED.findall(text)}
    for stem in sorted(stems - words):
        yield f"{name}:1: does not say what {stem} is"


def check_map(root):
    """The map `## The tree` of README.md: folders that exist, all of src's among them."""
    text = (root / "README.md").read_text() if (root / "README.md").exists() else ""
    match = re.search(r"^## The tree\n+```\n(.*?)^```", text, re.M | re.S)
    if not match:
        yield "README.md:1: has no map of the tree (## The tree)"
        return
    line = tree.line_of(text, match.start(1))
    for folder in re.findall(r"^([\w.]+)/", match.group(1), re.M):
        if not (root / folder).is_dir():
            yield f"README.md:{line}: there is no folder {folder}"
    words = set(re.findall(r"\w+", match.group(1)))
    for folder in sorted((root / "src").iterdir()):
        if folder.is_dir() and folder.name not in words:
            yield f"README.md:{line}: the map of the tree does not name src/{folder.name}"


def check_reading_order(root):
    text = (root / "README.md").read_text() if (root / "README.md").exists() else ""
    match = re.search(r"^\*\*Reading order.*?(?=\n\n)", text, re.M | re.S)
    order = [p for p in re.findall(r"`([^`\n]+)`|\]\(([^)\s]+)\)", match.group()) if "/" in "".join(p)] if match else []
    files = [root / "".join(paths) for paths in order]
    if not files:
        yield "README.md:1: has no reading order for newcomers (**Reading order ...)"
        return
    line = tree.line_of(text, match.start())
    for file in files:
        if not file.is_file():
            yield f"README.md:{line}: there is no {file.relative_to(root)} to read"
    lines = sum(len(file.read_text().splitlines()) for file in files if file.is_file())
    if lines > LINES_PER_HOUR:
        yield f"README.md:{line}: the reading order has {lines} lines, at most {LINES_PER_HOUR} fit into an hour"


if __name__ == "__main__":
    tree.main(check)
