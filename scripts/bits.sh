#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Hashes of all numbers of a run in deterministic mode: equal before and after a change that must not change numbers.
#   scripts/bits.sh input/tiny.in > before            (in the tree before the change)
#   scripts/bits.sh input/tiny.in | diff before -     (after it)
# Arguments after the deck override keys. Hashes hold for one compiler, one set of libraries and one processor type. Of files
# they are those of the tensors: texts and attributes name the run.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

folder=runs/bits
rm -rf "$folder"
{
  build elastic.x
  on_ranks 2 "$BUILD/elastic.x" "$@" job/deterministic=true job/folder="$folder"
} >&2
cd "$folder"
sha256sum history.csv router.csv
PYTHONPATH=../../unit_tests/project python -c '
import hashlib, sys
from run_support import tensors
for path in sys.argv[1:]:
    for name, data in sorted(tensors(path).items()):
        print(hashlib.sha256(data).hexdigest(), f"{path}:{name}")
' model.h5 submodels/*.h5
