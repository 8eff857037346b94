# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Modules and environment of Aurora (ALCF). Source it before building; build.sh and job.sh do. oneAPI and MPICH are there by default.
module load cmake hdf5
export MPIR_CVAR_ENABLE_GPU=1 # ranks send from GPU memory
export ZE_FLAT_DEVICE_HIERARCHY=COMPOSITE # what gpu_tile_compact.sh counts in
export ELASTIC_PREFIX=${ELASTIC_PREFIX:-$HOME/elastic-libraries/aurora}
export Kokkos_ROOT=$ELASTIC_PREFIX CMAKE_PREFIX_PATH=$ELASTIC_PREFIX:${CMAKE_PREFIX_PATH:-}
