#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Perlmutter: 64 million parameters on 8 ranks = 2 nodes x 4 GPUs, one rank per A100
#
#   sbatch --account=PROJECT_g machines/perlmutter/job.sh data/train=FILE [block/key=value ...]         in the root of the tree
#
# Plan: elastic.x input/text64m.in --check --machine machines/perlmutter/machine.in --ranks 8. Runs lie below the working folder:
# submit in $PSCRATCH.
#SBATCH --job-name=elastic
#SBATCH --constraint=gpu
#SBATCH --qos=regular
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --gpu-bind=none
#SBATCH --time=06:00:00
#SBATCH --signal=USR1@120          # without B: it goes to every rank, not to this script
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
source machines/perlmutter/profile.sh
source machines/lib.sh

elastic=${ELASTIC:-build-cuda-a100/elastic.x}
deck=${DECK:-input/text64m.in}
folder=${FOLDER:-runs/$SLURM_JOB_NAME}
options=(--kokkos-map-device-id-by=mpi_rank "$@") # a rank sees all four GPUs, and takes its own
export OMP_NUM_THREADS=1 SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-32}
launcher=(srun --wait=20 --cpu-bind=cores --gpu-bind=none)
run_and_continue scontrol requeue "$SLURM_JOB_ID"
