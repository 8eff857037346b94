#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Hashes of all numbers of a run in deterministic mode: equal before and after a change that must not change numbers.
#   scripts/bits.sh input/tiny.in > before            (in the tree before the change)
#   scripts/bits.sh input/tiny.in | diff before -     (after it)
# Arguments after the deck override keys. Hashes hold for one compiler, one set of libraries and one processor type.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

folder=runs/bits # stored in the files: the same in every tree
rm -rf "$folder"
{
  build elastic.x
  on_ranks 2 "$BUILD/elastic.x" "$@" job/deterministic=true job/folder="$folder"
} >&2
cd "$folder"
sha256sum history.csv router.csv model.h5 submodels/*.h5
