#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Frontier: 64 million parameters on 16 ranks = 2 nodes x 8 GCDs, one rank per GCD
#
#   sbatch --account=PROJECT machines/frontier/job.sh data/train=FILE [block/key=value ...]         in the root of the tree
#
# Up to 91 nodes a job may take 2 hours; it is requeued until the run is done. Plan: elastic.x input/text64m.in --check
# --machine machines/frontier/machine.in --ranks 16. Runs lie below the working folder, which must be on Orion.
#SBATCH --job-name=elastic
#SBATCH --partition=batch
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=7          # 8 of 64 cores are the system's
#SBATCH --gpus-per-task=1
#SBATCH --gpu-bind=closest
#SBATCH --time=02:00:00
#SBATCH --signal=USR1@120          # without B: it goes to every rank, not to this script
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
source machines/frontier/profile.sh
source machines/lib.sh

elastic=${ELASTIC:-build-hip-mi250x/elastic.x}
deck=${DECK:-input/text64m.in}
folder=${FOLDER:-runs/$SLURM_JOB_NAME}
options=("$@")
export OMP_NUM_THREADS=1 SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-7}
launcher=(srun --wait=20 --gpus-per-task=1 --gpu-bind=closest)
run_and_continue scontrol requeue "$SLURM_JOB_ID"
