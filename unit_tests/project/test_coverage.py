# SPDX-License-Identifier: Apache-2.0
# Every component of src/ has a test: a file or a pair X.hpp, X.cpp with more than 40 lines in one of them is tested by
# unit_tests/FOLDER/test_X.cpp or test_mpi_X.cpp, or the README.md of its folder says by what else, in the section
#
#   ## Tests
#   | file | tested by |
#   |---|---|
#   | `mamba_mixer_forward`, `mamba_mixer_backward` | `layers/test_mamba_mixer.cpp` |
#
# with names of components in that folder or its sub-folders, and of files below unit_tests/. A row whose component has a test of its own must go.
import re

import tree

UNTESTED_LINES = 40


def components(root):
    """{component, e.g. "kernels/scan/ssd": lines of its longest file}"""
    found = {}
    for file in tree.sources(root):
        name = file.relative_to(root / "src").with_suffix("").as_posix()
        found[name] = max(found.get(name, 0), len(file.read_text().splitlines()))
    return found


def rows(readme):
    """(line, names of the first column, names of the second) of each row in the section "## Tests"."""
    inside = False
    for line, text in enumerate(readme.read_text().splitlines(), 1):
        if text.startswith("#"):
            inside = text.strip() == "## Tests"
        cells = text.split("|")
        if inside and len(cells) == 4 and "`" in text:
            yield line, re.findall(r"`([^`]+)`", cells[1]), re.findall(r"`([^`]+)`", cells[2])


def has_own_test(root, component):
    folder, _, name = component.rpartition("/")
    return any((root / "unit_tests" / folder / f"{kind}{name}.cpp").exists() for kind in ("test_", "test_mpi_"))


def check(root):
    found = components(root)
    elsewhere = set()
    for readme in sorted((root / "src").rglob("README.md")):
        place = readme.relative_to(root)
        folder = "" if readme.parent == root / "src" else f"{readme.parent.relative_to(root / 'src').as_posix()}/"
        for line, names, tests in rows(readme):
            if not tests:
                yield f"{place}:{line}: no test file is named"
            for test in tests:
                if not (root / "unit_tests" / test).is_file():
                    yield f"{place}:{line}: there is no unit_tests/{test}"
            for name in names:
                meant = {c for c in found if c.startswith(folder) and f"/{c}".endswith(f"/{name}")}
                if not meant:
                    yield f"{place}:{line}: there is no {name} in src/{folder}"
                for component in meant:
                    if has_own_test(root, component):
                        yield f"{place}:{line}: {name} has a test of its own; remove it here"
                elsewhere |= meant
    for component, lines in found.items():
        if lines > UNTESTED_LINES and component not in elsewhere and not has_own_test(root, component):
            readme = f"src/{component.split('/')[0]}/README.md" if "/" in component else "src/README.md"
            folder, _, name = component.rpartition("/")
            wanted = "/".join(filter(None, ["unit_tests", folder, f"test_{name}.cpp"]))
            yield f"src/{component}: {lines} lines; neither {wanted} nor a row of {readme} tests it"


if __name__ == "__main__":
    tree.main(check)
