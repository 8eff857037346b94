#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A cluster without GPUs: 64 million parameters on 128 ranks = 2 nodes x 64 cores, one rank per core
#
#   sbatch --account=PROJECT --partition=P machines/cpu_cluster/job.sh data/train=FILE [block/key=value ...]     in the root of the tree
#
# The arithmetic of this run is in jobscripts/cpu_cluster.sh. Plan: elastic.x input/text64m.in --check
# --machine machines/cpu_cluster/machine.in --ranks 128.
#SBATCH --job-name=elastic
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=64
#SBATCH --cpus-per-task=1
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@120          # without B: it goes to every rank, not to this script
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
source machines/cpu_cluster/profile.sh
source machines/lib.sh

elastic=${ELASTIC:-build/elastic.x}
deck=${DECK:-input/text64m.in}
folder=${FOLDER:-runs/$SLURM_JOB_NAME}
options=(parallel/micro_batch_size=1 "$@")
export OMP_NUM_THREADS=1
launcher=(srun --mpi=pmix --wait=20 --cpu-bind=cores)
run_and_continue scontrol requeue "$SLURM_JOB_ID"
