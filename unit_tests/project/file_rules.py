# SPDX-License-Identifier: Apache-2.0
# Rules of the files: licence in the first line, ASCII, short, no tabs, nothing unfinished, no paths of one machine; in
# src/ a README.md per folder, few components beside each other and a small median; fixtures of 2 MB at most in all.
import collections
import re
import statistics

import tree

CODE = (".hpp", ".cpp", ".py", ".sh")
BUILD = ("CMakeLists.txt", ".cmake", ".in", ".json", ".yaml")
FOLDERS = ["src", "unit_tests", "benchmarks", "scripts", "cmake", "jobscripts", "machines", "packaging", "input", ".ci/run", "CMakeLists.txt",
           "CMakePresets.json", "spack.yaml"]
MAX_LINES = 500
MAX_MEDIAN = 100     # lines of a file of src/: the median is below
MAX_COMPONENTS = 20  # of a folder of src/; a component is a .hpp/.cpp pair or a single file
MAX_FIXTURE_BYTES = 2_000_000
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:wo" r"rk|ho" r"me|ro" r"ot|Us" r"ers)/")


def check(root):
    for file in tree.files(root, FOLDERS, CODE + BUILD + ("run",)):
        name = file.relative_to(root)
        is_code = file.name.endswith(CODE) or str(name) == ".ci/run"
        yield from check_text(name, file.read_bytes(), is_code)
    for folder in sorted((root / "src").iterdir()):
        if folder.is_dir() and not (folder / "README.md").exists():
            yield f"{folder.relative_to(root)}: has no README.md"
    yield from check_sizes(root)
    fixtures = sum(file.stat().st_size for file in tree.files(root, ["unit_tests/fixtures"], [""]))
    if fixtures > MAX_FIXTURE_BYTES:
        yield f"unit_tests/fixtures: {fixtures} bytes, at most {MAX_FIXTURE_BYTES}"


def check_sizes(root):
    components, lines = collections.defaultdict(set), []
    for file in tree.sources(root):
        components[file.parent.relative_to(root)].add(file.stem)
        lines.append(file.read_bytes().count(b"\n"))
    for folder, stems in sorted(components.items()):
        if len(stems) > MAX_COMPONENTS:
            yield f"{folder}: {len(stems)} components beside each other, at most {MAX_COMPONENTS}"
    if lines and statistics.median(lines) >= MAX_MEDIAN:
        yield f"src: the median file has {statistics.median(lines):.0f} lines, must be less than {MAX_MEDIAN}"


def check_text(name, content, is_code):
    text = content.decode("utf-8", errors="replace")
    lines = text.split("\n")
    if is_code:
        first = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
        mark = "// " if name.suffix in (".hpp", ".cpp") else "# "
        if first != mark + "SPDX-License-Identifier: Apache-2.0":
            yield f"{name}:1: the first line is not {mark}SPDX-License-Identifier: Apache-2.0"
        if name.suffix == ".hpp" and "#pragma once" not in lines:
            yield f"{name}:1: has no #pragma once"
    if len(lines) - 1 > MAX_LINES:
        yield f"{name}:{MAX_LINES}: {len(lines) - 1} lines, at most {MAX_LINES}"
    if text and not text.endswith("\n"):
        yield f"{name}:{len(lines)}: no line break at the end"
    for number, line in enumerate(lines, 1):
        if not line.isascii():
            yield f"{name}:{number}: not ASCII"
        if "\t" in line:
            yield f"{name}:{number}: a tab"
        if "\r" in line:
            yield f"{name}:{number}: a carriage return"
        if UNFINISHED.search(line):
            yield f"{name}:{number}: unfinished work: {line.strip()[:60]}"
        if MACHINE_PATH.search(line):
            yield f"{name}:{number}: a path of one machine: {line.strip()[:60]}"


if __name__ == "__main__":
    tree.main(check)
