#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Set-up, build, whole test suite. Arguments go to ctest: scripts/test.sh -R kernels
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scripts/setup.sh
say "build"
build all
say "tests"
# Tests that start MPI ranks take their share of the cores into account themselves (PROCESSORS).
ctest --test-dir "$BUILD" --parallel "$(cores)" --output-on-failure --no-tests=error "$@"
