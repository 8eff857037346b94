#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the libraries that a site has no modules for, from their releases, into one folder.
#
#   machines/dependencies.sh PREFIX KOKKOS_OPTIONS... [-- KOKKOS_KERNELS_OPTIONS...]
#
# KOKKOS_OPTIONS go to CMake, e.g. -DKokkos_ENABLE_HIP=ON -DKokkos_ARCH_AMD_GFX90A=ON. With `--` Kokkos Kernels are built, too:
# on AMD and Intel GPUs they bring in rocBLAS or MKL. Not built here: compiler, CMake, MPI, parallel HDF5, and on processors
# oneDNN or a BLAS. What PREFIX holds already is left alone; to build it anew, remove PREFIX/built/NAME.
# SOURCES=FOLDER: where FOLDER/NAME holds a source tree, it is taken instead of a clone of the release (machines without internet).
set -euo pipefail
usage() { sed -n '3,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }
case ${1:-} in
  -h | --help) usage; exit 0 ;;
  '' | -*) echo "dependencies: expected a folder first, e.g. machines/dependencies.sh \$HOME/elastic -DKokkos_ENABLE_SERIAL=ON" >&2; exit 1 ;;
esac
prefix=$(mkdir -p "$1/built" && cd "$1" && pwd)
shift
kokkos=() kernels=() with_kernels=false
for option in "$@"; do
  if [[ $option == -- ]]; then with_kernels=true
  elif $with_kernels; then kernels+=("$option")
  else kokkos+=("$option"); fi
done
if ((${#kokkos[@]} == 0)); then
  echo "dependencies: expected options of Kokkos after the folder, at least one of -DKokkos_ENABLE_{SERIAL,OPENMP,CUDA,HIP,SYCL}=ON" >&2
  exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# source_of NAME REPOSITORY TAG: prints the folder of the sources.
source_of() {
  if [[ -n ${SOURCES:-} && -d $SOURCES/$1 ]]; then echo "$SOURCES/$1"; return; fi
  git clone --quiet --depth 1 --branch "$3" "https://github.com/$2.git" "$work/$1" >&2
  echo "$work/$1"
}
# library NAME REPOSITORY TAG FOLDER OPTIONS...: builds and installs what lies in FOLDER of the sources.
library() {
  local name=$1 source
  if [[ -e $prefix/built/$name ]]; then return; fi
  echo "== $name $3"
  source=$(source_of "$1" "$2" "$3")/$4
  cmake -S "$source" -B "$work/build-$name" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$prefix" \
    -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_POSITION_INDEPENDENT_CODE=ON "${@:5}"
  cmake --build "$work/build-$name" --target install --parallel "${JOBS:-8}"
  touch "$prefix/built/$name"
}

library kokkos kokkos/kokkos 4.7.01 . -DCMAKE_CXX_STANDARD=20 -DKokkos_ENABLE_SERIAL=ON "${kokkos[@]}"
if $with_kernels; then
  library kokkos-kernels kokkos/kokkos-kernels 4.7.01 . -DCMAKE_CXX_STANDARD=20 -DKokkosKernels_ENABLE_ALL_COMPONENTS=OFF \
    -DKokkosKernels_ENABLE_COMPONENT_BLAS=ON -DKokkosKernels_INST_FLOAT=ON "${kernels[@]}"
fi
# These are the versions of Debian 12, with which the tests run.
library fmt fmtlib/fmt 9.1.0 . -DFMT_TEST=OFF -DFMT_DOC=OFF
library spdlog gabime/spdlog v1.10.0 . -DSPDLOG_FMT_EXTERNAL=ON -DSPDLOG_BUILD_EXAMPLE=OFF
library nlohmann_json nlohmann/json v3.11.2 . -DJSON_BuildTests=OFF
library CLI11 CLIUtils/CLI11 v2.1.2 . -DCLI11_BUILD_TESTS=OFF -DCLI11_BUILD_EXAMPLES=OFF -DCLI11_BUILD_DOCS=OFF
library xxHash Cyan4973/xxHash v0.8.1 cmake_unofficial -DXXHASH_BUILD_XXHSUM=OFF
if [[ ! -e $prefix/built/random123 ]]; then # headers only
  echo "== random123 v1.14.0"
  cp -r "$(source_of random123 DEShawResearch/random123 v1.14.0)/include/Random123" "$prefix/include/"
  touch "$prefix/built/random123"
fi
echo "== libraries: $prefix"
