# SPDX-License-Identifier: Apache-2.0
# Stated faults: what the files FOLDER.mutants hold, and whether each fits the sources as they are.
#
#   mutant  name_of_the_fault
#   file    src/elastic/budget_loss.cpp
#   tests   elastic/test_budget_loss model/test_mpi_losses    files of unit_tests/ that notice it, the cheapest first
#   fault   One sentence that says what is wrong then.
#   - the exact text, any part of consecutive lines, that occurs once in the file
#   + what stands there instead; no line if it is left out
#
# Entries are separated by empty lines; lines that begin with # are comments.
import dataclasses
import hashlib
import pathlib
import re

KEYS = ("mutant", "file", "tests", "fault")
TEST = re.compile(r"^(?:TEST|TEST_F|TEST_P|TYPED_TEST)\(\s*(\w+)\s*,\s*(\w+)", re.M)


@dataclasses.dataclass
class Mutant:
    place: str  # file and line that state it
    name: str = ""
    file: str = ""
    tests: tuple = ()
    fault: str = ""
    old: str = ""
    new: str = ""

    def digest(self):
        """Names this text of the fault: a result of another text is none."""
        return hashlib.sha256("\0".join((self.file, self.old, self.new)).encode()).hexdigest()[:8]

    def apply(self, text):
        """The text of its file with the fault; None unless the old text occurs exactly once."""
        return text.replace(self.old, self.new) if self.old and text.count(self.old) == 1 else None


def program(test):
    """The test program that holds unit_tests/TEST.cpp."""
    folder, _, name = test.partition("/")
    return f"test_mpi_{folder}" if name.rpartition("/")[2].startswith("test_mpi_") else f"test_{folder}"


def gtest_filter(root, test):
    """The filter that chooses the tests of this file."""
    found = sorted(set(TEST.findall((root / f"unit_tests/{test}.cpp").read_text())))
    return ":".join(f"{suite}.{name}:{suite}/*.{name}" for suite, name in found)


def parse(text, place):
    """Mutants of one file, and problems as (line, message)."""
    mutants, problems, current, old, new = [], [], None, [], []

    def finish():
        nonlocal current
        if current:
            current.old, current.new = "\n".join(old), "\n".join(new)
            missing = [key for key in KEYS[1:] if not getattr(current, key)] + ([] if old else ["- text"])
            if missing:
                problems.append((int(current.place.rpartition(":")[2]), f"{current.name}: no {', '.join(missing)}"))
            mutants.append(current)
        current = None
        old.clear()
        new.clear()

    for number, line in enumerate(text.split("\n"), 1):
        key, _, value = line.partition(" ")
        if line.startswith("#"):
            continue
        if not line.strip():
            finish()
        elif key == "mutant":
            finish()
            current = Mutant(f"{place}:{number}", value.strip())
        elif current and key in KEYS:
            setattr(current, key, tuple(value.split()) if key == "tests" else value.strip())
        elif current and key in ("-", "+"):
            (old if key == "-" else new).append(line[2:])
        else:
            problems.append((number, f"'{line}' is no line of an entry"))
    finish()
    return mutants, problems


def load(root):
    """All mutants in the order of files and lines; problems as "file:line: message"."""
    mutants, problems = [], []
    for file in sorted((pathlib.Path(root) / "unit_tests/mutants").glob("*.mutants")):
        place = file.relative_to(root).as_posix()
        found, wrong = parse(file.read_text(), place)
        mutants += found
        problems += [f"{place}:{line}: {message}" for line, message in wrong]
    return mutants, problems


def check(root):
    """Problems that keep a mutant from being applied or run."""
    root = pathlib.Path(root)
    mutants, problems = load(root)
    yield from problems
    seen = {}
    for m in mutants:
        if m.name in seen:
            yield f"{m.place}: mutant {m.name} is also in {seen[m.name]}"
        seen.setdefault(m.name, m.place)
        if not (root / m.file).is_file():
            yield f"{m.place}: {m.name}: there is no {m.file}"
            continue
        count = (root / m.file).read_text().count(m.old) if m.old else 1
        if count != 1:
            yield f"{m.place}: {m.name}: the old text occurs {count} times in {m.file}, expected once"
        if m.old == m.new:
            yield f"{m.place}: {m.name}: changes nothing"
        for test in m.tests:
            if not (root / f"unit_tests/{test}.cpp").is_file():
                yield f"{m.place}: {m.name}: there is no unit_tests/{test}.cpp"
            elif not gtest_filter(root, test):
                yield f"{m.place}: {m.name}: unit_tests/{test}.cpp holds no test"
