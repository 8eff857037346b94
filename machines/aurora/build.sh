#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds elastic.x on a login node of Aurora: machines/aurora/build.sh [options of cmake]
# The site's own Kokkos (module use /soft/modulefiles; module load kokkos) has the same devices, but no Kokkos Kernels, which bring MKL in.
set -eo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source machines/aurora/profile.sh
machines/dependencies.sh "$ELASTIC_PREFIX" -DCMAKE_CXX_COMPILER=icpx -DCMAKE_CXX_FLAGS=-fp-model=precise -DKokkos_ENABLE_OPENMP=ON \
  -DKokkos_ENABLE_SYCL=ON -DKokkos_ARCH_INTEL_PVC=ON -- -DCMAKE_CXX_COMPILER=icpx -DKokkosKernels_ENABLE_TPL_MKL=ON
cmake --preset sycl-pvc -G "Unix Makefiles" -DELASTIC_UNIT_TESTS=OFF -DCMAKE_CXX_FLAGS=-fp-model=precise "$@"
cmake --build --preset sycl-pvc --target elastic.x --parallel 16
