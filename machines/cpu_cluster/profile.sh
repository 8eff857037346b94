# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Modules and environment of a cluster without GPUs: names differ between sites. Source it before building; build.sh and job.sh do.
module load gcc cmake openmpi hdf5 openblas
export ELASTIC_PREFIX=${ELASTIC_PREFIX:-$HOME/elastic-libraries/cpu_cluster}
export Kokkos_ROOT=$ELASTIC_PREFIX CMAKE_PREFIX_PATH=$ELASTIC_PREFIX:${CMAKE_PREFIX_PATH:-}
export OPENBLAS_NUM_THREADS=1
