#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Formats all C++ files with clang-format 14 and .clang-format. Versions differ in what they write, so it must be 14.
#   scripts/format.sh [FILES...]    formats them; without names: all
#   scripts/format.sh --check       changes nothing, lists what is not formatted; exit code 1 if there is any
# Exit code 77 if there is no clang-format 14 (Debian: package clang-format-14; elsewhere: pip install clang-format==14.0.6).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

formatter=
for program in clang-format-14 clang-format; do
  if "$program" --version 2>/dev/null | grep -q 'version 14\.'; then formatter=$program && break; fi
done
if [[ -z $formatter ]]; then
  echo "format: there is no clang-format 14 (Debian: package clang-format-14; elsewhere: pip install clang-format==14.0.6)" >&2
  exit 77
fi

check=
if [[ ${1:-} == --check ]]; then check=1 && shift; fi
files=("$@")
if ((${#files[@]} == 0)); then
  folders=()
  for folder in src unit_tests benchmarks; do if [[ -d $folder ]]; then folders+=("$folder"); fi; done
  mapfile -d '' files < <(find "${folders[@]}" '(' -name '*.hpp' -o -name '*.cpp' ')' -print0 | sort --zero-terminated)
fi
in_parallel() { printf '%s\0' "${files[@]}" | xargs -0 -n 16 -P "$(cores)" "$@"; }

if [[ -z $check ]]; then
  in_parallel "$formatter" -i
  exit
fi
# One line per replacement; a file is named once.
unformatted=$(in_parallel "$formatter" --dry-run 2>&1 | sed -n 's/^\([^:]*\):[0-9]*:[0-9]*: warning: .*/\1/p' | sort --unique)
if [[ -n $unformatted ]]; then
  sed 's/^/not formatted: /' <<<"$unformatted" >&2
  echo "format: run scripts/format.sh" >&2
  exit 1
fi
echo "format: ${#files[@]} files are formatted"
