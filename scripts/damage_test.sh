#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Flips bytes and cuts ends of every kind of file that a run writes; every verb and --resume must refuse it by name. Ends with
# "N passed, N failed"; what a trial is: unit_tests/faults/damage_test.py.
#   scripts/damage_test.sh [--flips 500] [--truncations 200] [--seed 1]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build elastic.x >&2
python unit_tests/faults/damage_test.py "$BUILD/elastic.x" "$@"
