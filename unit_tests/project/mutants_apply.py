# SPDX-License-Identifier: Apache-2.0
# Every stated fault of unit_tests/mutants still fits the sources: its old text occurs once, its tests exist, names are unique.
import pathlib
import sys

import tree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "mutants"))
import mutants  # noqa: E402

check = mutants.check

if __name__ == "__main__":
    tree.main(check)
