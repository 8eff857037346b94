#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds elastic.x on a login node of Tuolumne: machines/tuolumne/build.sh [options of cmake]
set -eo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source machines/tuolumne/profile.sh
machines/dependencies.sh "$ELASTIC_PREFIX" -DCMAKE_CXX_COMPILER=hipcc -DKokkos_ENABLE_HIP=ON -DKokkos_ARCH_AMD_GFX942_APU=ON \
  -DKokkos_ARCH_ZEN4=ON -- -DCMAKE_CXX_COMPILER=hipcc -DKokkosKernels_ENABLE_TPL_ROCBLAS=ON
cmake --preset hip-mi300a -DELASTIC_UNIT_TESTS=OFF -DMPI_HOME="${MPICH_DIR:-}" -DHDF5_ROOT="${HDF5_DIR:-}" -DCMAKE_EXE_LINKER_FLAGS="\
${CRAY_XPMEM_POST_LINK_OPTS:-} -lxpmem ${PE_MPICH_GTL_DIR_amd_gfx942:-} ${PE_MPICH_GTL_LIBS_amd_gfx942:-}" "$@"
cmake --build --preset hip-mi300a --target elastic.x --parallel 16
