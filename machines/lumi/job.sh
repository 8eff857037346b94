#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# LUMI-G: 64 million parameters on 16 ranks = 2 nodes x 8 GCDs, one rank per GCD
#
#   sbatch --account=project_NUMBER machines/lumi/job.sh data/train=FILE [block/key=value ...]         in the root of the tree
#
# standard-g gives whole nodes for up to 2 days; the job is requeued until the run is done. Plan: elastic.x input/text64m.in --check
# --machine machines/lumi/machine.in --ranks 16.
#SBATCH --job-name=elastic
#SBATCH --partition=standard-g
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@120          # without B: it goes to every rank, not to this script
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
source machines/lumi/profile.sh
source machines/lib.sh

elastic=${ELASTIC:-build-hip-mi250x/elastic.x}
deck=${DECK:-input/text64m.in}
folder=${FOLDER:-runs/$SLURM_JOB_NAME}
options=("$@")
export OMP_NUM_THREADS=1
# The GCD with the number of the rank on its node lies next to this core (the first core of each eight is the system's). A rank
# sees this GCD only.
launcher=(srun --wait=20 --cpu-bind=map_cpu:49,57,17,25,1,9,33,41
  bash -c 'export ROCR_VISIBLE_DEVICES=$SLURM_LOCALID; exec "$@"' rank)
run_and_continue scontrol requeue "$SLURM_JOB_ID"
