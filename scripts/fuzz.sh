#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Feeds whatever reads a file (decks, token files, .bin/.idx, safetensors, config.json, checkpoints) with damaged and made-up
# inputs, under clang's sanitizers. What they begin with: unit_tests/fuzz/corpus. Exit code 1 if one crashes, hangs or leaks.
#   scripts/fuzz.sh [--seconds 20] [NAME...]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build elastic.x >&2
python unit_tests/fuzz/fuzz.py "$BUILD" "$@"
