#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Do the tests notice faults? Applies the stated faults of unit_tests/mutants one by one in a scratch copy of the tree
# (MUTANTS_FOLDER, default /tmp/elastic_mutants), builds and runs what should notice, prints killed or survived. Exit code 1
# unless all are killed.
#
#   scripts/mutants.sh [--sample N] [--list] [--write] [NAME or part of a FILE...]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

exec python3 -B unit_tests/mutants/run.py --jobs "$(build_jobs)" "$@"
