# SPDX-License-Identifier: Apache-2.0
# Shared by the scripts of this folder: stops on the first error, goes to the root of the tree, builds, starts ranks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
BUILD=${BUILD:-build}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}

say() { printf '\n== %s\n' "$*"; }

# Cores of this machine that we may use (nproc alone would answer OMP_NUM_THREADS).
cores() { env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || getconf _NPROCESSORS_ONLN; }

# One compiler per core, but not more than fit into memory (2 GiB each).
build_jobs() {
  local jobs by_memory
  jobs=$(cores)
  by_memory=$(awk '/^MemAvailable:/ { print int($2 / 2097152) }' /proc/meminfo 2>/dev/null || true)
  ((${by_memory:-$jobs} >= jobs)) || jobs=$by_memory
  echo $((jobs > 1 ? jobs : 1))
}

# build TARGET: configures (once; later runs only what changed) and compiles a target, `all` for everything. WERROR=ON makes
# warnings errors, there and in later builds of the folder.
build() {
  local generator=() werror=()
  if [[ ! -f $BUILD/CMakeCache.txt ]] && command -v ninja >/dev/null; then generator=(-G Ninja); fi
  if [[ -n ${WERROR:-} ]]; then werror=(-DELASTIC_WERROR="$WERROR"); fi
  cmake -S . -B "$BUILD" "${generator[@]}" "${werror[@]}" -DCMAKE_BUILD_TYPE="${BUILD_TYPE:-Release}"
  cmake --build "$BUILD" --target "$1" --parallel "$(build_jobs)"
}

# The launcher of N ranks and its flags: also as root and on machines with fewer cores than ranks (Open MPI refuses both unasked).
launcher() {
  local flags=()
  if mpirun --version 2>/dev/null | grep -qi 'open.mpi\|open-rte'; then
    if ((EUID == 0)); then flags+=(--allow-run-as-root); fi
    if (($(cores) < $1)); then flags+=(--oversubscribe); fi
  fi
  echo mpirun "${flags[@]}" -n
}

# on_ranks N PROGRAM ARGUMENTS...
on_ranks() {
  local ranks=$1 words
  shift
  read -ra words <<<"$(launcher "$ranks")"
  "${words[@]}" "$ranks" "$@"
}

# The python that the packages belong to.
python() { if [[ -x /usr/bin/python3 ]]; then /usr/bin/python3 -B "$@"; else python3 -B "$@"; fi; }
