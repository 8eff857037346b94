#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds elastic.x for one rank per core: machines/cpu_cluster/build.sh [options of cmake], on a node with the processor of the jobs
set -eo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source machines/cpu_cluster/profile.sh
machines/dependencies.sh "$ELASTIC_PREFIX" -DKokkos_ENABLE_SERIAL=ON -DKokkos_ARCH_NATIVE=ON
cmake --preset release -G "Unix Makefiles" -DELASTIC_UNIT_TESTS=OFF "$@"
cmake --build --preset release --target elastic.x --parallel 16
