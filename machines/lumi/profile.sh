# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Modules and environment of LUMI-G (CSC). Source it before building; build.sh and job.sh do.
module load LUMI partition/G PrgEnv-amd
module load craype-accel-amd-gfx90a rocm cray-hdf5-parallel buildtools
export MPICH_GPU_SUPPORT_ENABLED=1 # ranks send from GPU memory
export ELASTIC_PREFIX=${ELASTIC_PREFIX:-$HOME/elastic-libraries/lumi}
export Kokkos_ROOT=$ELASTIC_PREFIX CMAKE_PREFIX_PATH=$ELASTIC_PREFIX:${CMAKE_PREFIX_PATH:-}
export LD_LIBRARY_PATH=${CRAY_LD_LIBRARY_PATH:-}:${LD_LIBRARY_PATH:-} # modules that are not the default ones
