#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Kills ranks of a small run and lets its disk fail: no damaged file is ever committed, and every resume ends with history and
# weights equal to the unbroken run's to the bit. Ends with "N passed, N failed"; what a trial is: unit_tests/faults/crash_test.py.
#   scripts/crash_test.sh [--kills 50] [--failures 60] [--seed 1]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

{
  build elastic.x
  build fault_injector
} >&2
python unit_tests/faults/crash_test.py "$BUILD/elastic.x" "$BUILD/unit_tests/faults/libfault_injector.so" \
  --launcher "$(launcher 2)" "$@"
