#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds what measures and writes benchmarks/results/latest.json: kernels beside their floors, steps in both precisions, and
# with --peers the same steps in PyTorch (--python: a Python that has it). Other options: scripts/bench.sh --help
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scripts/setup.sh
say "build"
cmake -S . -B "$BUILD" -DELASTIC_BENCHMARKS=ON -DCMAKE_BUILD_TYPE="${BUILD_TYPE:-Release}" >/dev/null
build elastic.x
build bench_kernels
say "measure"
read -ra words <<<"$(launcher 2)"
python benchmarks/bench.py "$BUILD" --launcher "${words[*]}" "$@"
