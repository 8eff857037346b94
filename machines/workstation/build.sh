#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds elastic.x for the GPU of this machine: machines/workstation/build.sh [options of cmake]
# KOKKOS_ARCH=NAME names the GPU where nvidia-smi does not, or for another machine.
set -eo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source machines/workstation/profile.sh
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 || true)
case $capability in
  7.0) arch=VOLTA70 ;; 7.5) arch=TURING75 ;; 8.0) arch=AMPERE80 ;; 8.6) arch=AMPERE86 ;; 8.9) arch=ADA89 ;; 9.0) arch=HOPPER90 ;;
  10.0) arch=BLACKWELL100 ;; 12.0) arch=BLACKWELL120 ;;
  *) arch= ;;
esac
arch=${KOKKOS_ARCH:-$arch}
if [[ -z $arch ]]; then
  echo "build: nvidia-smi names no GPU that is known here (compute capability '$capability'); give e.g. KOKKOS_ARCH=ADA89" >&2
  exit 1
fi
scripts/setup.sh
machines/dependencies.sh "$ELASTIC_PREFIX" -DKokkos_ENABLE_CUDA=ON -DKokkos_ARCH_"$arch"=ON -DKokkos_ARCH_NATIVE=ON
cmake --preset cuda-other -DELASTIC_UNIT_TESTS=OFF "$@"
cmake --build --preset cuda-other --target elastic.x
