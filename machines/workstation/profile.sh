# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Environment of a workstation with Debian 12, the driver and the CUDA toolkit of NVIDIA, and one GPU. build.sh and job.sh source it.
export PATH=${CUDA_HOME:-/usr/local/cuda}/bin:$PATH
export ELASTIC_PREFIX=${ELASTIC_PREFIX:-$HOME/elastic-libraries/workstation}
export Kokkos_ROOT=$ELASTIC_PREFIX CMAKE_PREFIX_PATH=$ELASTIC_PREFIX:${CMAKE_PREFIX_PATH:-}
