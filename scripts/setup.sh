#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes sure that everything needed to build, test and run is installed. Debian 12: installs what is missing.
# Elsewhere: checks and names what is missing. Silent if nothing is.
# Arguments are further Debian packages: scripts/setup.sh mkdocs
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

packages=(
  build-essential cmake ninja-build ccache pkg-config clang-format-14 clang-14 libclang-rt-14-dev
  libtrilinos-kokkos-dev libtrilinos-kokkos-kernels-dev libdnnl-dev libopenblas-dev
  libopenmpi-dev openmpi-bin libhdf5-openmpi-dev hdf5-tools
  libcli11-dev libfmt-dev libspdlog-dev nlohmann-json3-dev librandom123-dev libxxhash-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  python3 python3-matplotlib python3-h5py
)
# For the test `slurm`, in containers only: without an init system these packages start no daemon, elsewhere they would be
# services from now on. A machine that has a Slurm keeps it.
if [[ ! -d /run/systemd/system ]] && ! command -v srun >/dev/null; then packages+=(slurmctld slurmd slurm-client); fi

packages+=("$@")

# Package names of the list that are not installed.
missing_packages() {
  { dpkg-query --show --showformat '${db:Status-Abbrev} ${Package}\n' "${packages[@]}" 2>/dev/null || true; } |
    awk -v wanted="${packages[*]}" '
      /^ii/ { installed[$2] = 1 }
      END { n = split(wanted, name, " "); for (i = 1; i <= n; ++i) if (!(name[i] in installed)) print name[i] }'
}

install_on_debian() {
  local missing root=()
  mapfile -t missing < <(missing_packages)
  if ((${#missing[@]} == 0)); then return; fi
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "setup: these packages are missing, and there is no sudo to install them: ${missing[*]}" >&2
      exit 1
    fi
    root=(sudo)
  fi
  say "installing ${#missing[@]} packages: ${missing[*]}"
  local install=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends
    --option Dpkg::Use-Pty=0 --quiet "${missing[@]}")
  # The package lists of this machine may know all packages already; only if not, they are fetched.
  if ! apt-get install --simulate --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
    "${root[@]}" apt-get update --quiet
    "${install[@]}" </dev/null
  elif ! "${install[@]}" </dev/null; then # known, but the archive has moved on
    "${root[@]}" apt-get update --quiet
    "${install[@]}" </dev/null
  fi
}

# Elsewhere the first configure of CMake is the check: it names all libraries that it does not find.
check_elsewhere() {
  local missing=() tool
  for tool in cmake c++ mpirun python3; do command -v "$tool" >/dev/null || missing+=("$tool"); done
  if ((${#missing[@]} == 0)) && [[ ! -f $BUILD/CMakeCache.txt ]]; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    if ! cmake -S . -B "$scratch/build" >"$scratch/out" 2>"$scratch/error"; then
      mapfile -t -O "${#missing[@]}" missing < <(grep 'Debian package' "$scratch/error" || tail -n 20 "$scratch/error")
    fi
  fi
  if ((${#missing[@]} == 0)); then return; fi
  {
    printf 'setup: missing: %s\n' "${missing[@]}"
    echo "This is not Debian 12, so nothing is installed for you. On a cluster load the modules of the compiler, CMake, MPI,"
    echo "parallel HDF5 and Kokkos; or let Spack provide everything: spack env activate . && spack install (see spack.yaml)."
  } >&2
  exit 1
}

if [[ -r /etc/os-release ]] && (source /etc/os-release && [[ ${ID:-} == debian && ${VERSION_ID:-} == 12 ]]); then
  install_on_debian
else
  check_elsewhere
fi
