#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a clean clone to the report of a whole run: set-up, build, input/quickstart.in on 2 MPI ranks.
# Arguments go to elastic.x: scripts/quickstart.sh job/folder=/tmp/run
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scripts/setup.sh
say "build"
build elastic.x
say "run: input/quickstart.in on 2 ranks"
on_ranks 2 "$BUILD/elastic.x" input/quickstart.in "$@"

folder=runs/quickstart
for argument in "$@"; do
  if [[ $argument == job/folder=* ]]; then folder=${argument#job/folder=}; fi
done
[[ -s $folder/report.md ]] || { echo "quickstart: the run left no $folder/report.md" >&2; exit 1; }
say "report: $folder/report.md   numbers: $folder/results.json"
