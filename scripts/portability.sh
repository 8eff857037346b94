#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the tree with other Kokkos installations and runs what can run; prints a table. It informs, and never gates.
#
#   scripts/portability.sh openmp=FOLDER cuda-h100=FOLDER ...      preset = folder of a Kokkos installation
#
# Every preset of CMakePresets.json serves. Tests run where the device of the preset is there; elsewhere "built" is the result.
# Logs lie in build-PRESET/portability.log.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if (($# == 0)); then
  echo "usage: scripts/portability.sh PRESET=KOKKOS_FOLDER ... (presets: $(cmake --list-presets | sed -n 's/^ *"\([^"]*\)".*/\1/p' | xargs))" >&2
  exit 1
fi

can_run() {
  case $1 in
    cuda*) nvidia-smi >/dev/null 2>&1 ;;
    hip*) rocm-smi >/dev/null 2>&1 ;;
    sycl*) sycl-ls 2>/dev/null | grep -q gpu ;;
  esac
}

rows=()
for pair in "$@"; do
  preset=${pair%%=*} kokkos=${pair#*=}
  log=build-$preset/portability.log
  mkdir -p "build-$preset"
  version=$(sed -n 's/^set(PACKAGE_VERSION "\(.*\)")/\1/p' "$(find "$kokkos" -name KokkosConfigVersion.cmake | head -n 1)" 2>/dev/null || true)
  say "$preset: Kokkos ${version:-?} in $kokkos, log in $log"
  built=no warnings=- tests=-
  if Kokkos_ROOT=$kokkos NVCC_WRAPPER_DEFAULT_COMPILER=${CXX:-g++} cmake --preset "$preset" -DELASTIC_BENCHMARKS=ON >"$log" 2>&1 &&
    NVCC_WRAPPER_DEFAULT_COMPILER=${CXX:-g++} cmake --build --preset "$preset" --parallel "$(build_jobs)" >>"$log" 2>&1; then
    built=yes
    warnings=$(grep -c 'warning' "$log" || true)
    if can_run "$preset"; then
      ctest --preset "$preset" >>"$log" 2>&1 || true
      tests=$(sed -n 's/^\([0-9]*%\) tests passed, \(.*\)/\1, \2/p' "$log" | tail -n 1)
    else
      tests="no device here"
    fi
  fi
  rows+=("$(printf '%-12s %-10s %-6s %-9s %s' "$preset" "${version:-?}" "$built" "$warnings" "$tests")")
done
printf '\n%-12s %-10s %-6s %-9s %s\n' preset Kokkos built warnings tests
printf '%s\n' "${rows[@]}"
