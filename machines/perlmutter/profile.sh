# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Modules and environment of the GPU nodes of Perlmutter (NERSC). Source it before building; build.sh and job.sh do.
module load gpu PrgEnv-gnu
module load craype-accel-nvidia80 cudatoolkit cray-hdf5-parallel cmake
export MPICH_GPU_SUPPORT_ENABLED=1 # ranks send from GPU memory
export ELASTIC_PREFIX=${ELASTIC_PREFIX:-$HOME/elastic-libraries/perlmutter}
export Kokkos_ROOT=$ELASTIC_PREFIX CMAKE_PREFIX_PATH=$ELASTIC_PREFIX:${CMAKE_PREFIX_PATH:-}
export LD_LIBRARY_PATH=${CRAY_LD_LIBRARY_PATH:-}:${LD_LIBRARY_PATH:-} # modules that are not the default ones
