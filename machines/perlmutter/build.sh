#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds elastic.x on a login node of Perlmutter: machines/perlmutter/build.sh [options of cmake]
set -eo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source machines/perlmutter/profile.sh
export NVCC_WRAPPER_DEFAULT_COMPILER=CC # the wrapper of Cray knows MPI and its library for GPUs
machines/dependencies.sh "$ELASTIC_PREFIX" -DCMAKE_CXX_COMPILER=CC -DKokkos_ENABLE_CUDA=ON -DKokkos_ARCH_AMPERE80=ON \
  -DKokkos_ARCH_ZEN3=ON
cmake --preset cuda-a100 -DELASTIC_UNIT_TESTS=OFF -DMPI_HOME="${MPICH_DIR:-}" -DHDF5_ROOT="${HDF5_DIR:-}" "$@"
cmake --build --preset cuda-a100 --target elastic.x --parallel 16
