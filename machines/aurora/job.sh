#!/bin/bash -l
# SPDX-License-Identifier: Apache-2.0
# Aurora: 64 million parameters on 24 ranks = 2 nodes x 12 tiles, one rank per tile of a GPU, under PBS
#
#   qsub -A PROJECT -v OPTIONS="data/train=FILE block/key=value" machines/aurora/job.sh         in the root of the tree
#
# The queue capacity takes 1 to 16 nodes for up to 7 days. A job that is out of time (the program asks qstat) submits the next one.
# Batches are multiples of 24 sequences, so that no rank waits. Plan: elastic.x input/text64m.in --check
# --machine machines/aurora/machine.in --ranks 24. Runs lie below the working folder, which must be on Flare.
#PBS -N elastic
#PBS -q capacity
#PBS -l select=2
#PBS -l place=scatter
#PBS -l walltime=06:00:00
#PBS -l filesystems=flare
#PBS -k doe
#PBS -j oe
cd "${PBS_O_WORKDIR:?}" || exit 1
source machines/aurora/profile.sh
source machines/lib.sh

ranks_per_node=12
nodes=$(sort -u "$PBS_NODEFILE" | wc -l)
elastic=${ELASTIC:-build-sycl-pvc/elastic.x}
deck=${DECK:-input/text64m.in}
folder=${FOLDER:-runs/$PBS_JOBNAME}
read -ra options <<<"${OPTIONS:-}"
options=(pretrain/global_batch_size=144 stage1/global_batch_size=144 stage2/global_batch_size=48 "${options[@]}")
export OMP_NUM_THREADS=1
# Cores 0 and 52 are the system's; six tiles belong to each socket.
launcher=(mpiexec -n "$((nodes * ranks_per_node))" -ppn "$ranks_per_node"
  --cpu-bind=list:1-8:9-16:17-24:25-32:33-40:41-48:53-60:61-68:69-76:77-84:85-92:93-100 gpu_tile_compact.sh)
next_job() { CONTINUE=1 qsub -V -A "${PBS_ACCOUNT:?}" machines/aurora/job.sh; }
run_and_continue next_job
