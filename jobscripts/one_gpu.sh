#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# one_gpu.sh - 64 million parameters on one GPU, from random weights to submodels in less than a day
#
#   sbatch jobscripts/one_gpu.sh data/train=FILE [block/key=value ...]         in the root of the tree
#
# Arithmetic (elastic.x input/text64m.in --check):
#   parameters N     64.3 million
#   tokens           1.2e9 pretraining (20 N); 2.4e8 + 1.2e8 elastic at mean budgets 0.75 and 0.825
#   FLOP             N (6 x 1.2e9 + (2 + 6 x 0.75) x 2.4e8 + (2 + 6 x 0.825) x 1.2e8) = 6.2e17; counted, scan and attention
#                    included: 6.5e17 to 6.8e17
#   rate             one GPU of 67 TFLOP/s (H100, fp32) at 40% MFU = 27 TFLOP/s; measure yours in 100 steps: tokens/s x 6 N
#   time             6.8e17 / 2.7e13 = 25,000 s = 7 h
#   GPU hours        7
#   memory           24 GB (8 sequences of 4096 tokens at a time)
#SBATCH --job-name=one_gpu
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=USR1@120          # without B: it goes to every rank, not to this script
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
set -euo pipefail

elastic=${ELASTIC:-build/elastic.x}
deck=${DECK:-input/text64m.in}
folder=${FOLDER:-runs/$SLURM_JOB_NAME}
export OMP_NUM_THREADS=1

# The first job moves an earlier run of this folder aside; a requeued one continues from the newest checkpoint.
arguments=(job/folder="$folder" "$@")
if ((${SLURM_RESTART_COUNT:-0} > 0)) && compgen -G "$folder/checkpoints/*.h5" >/dev/null; then arguments+=(--resume); fi

# --wait: should a rank die, the others end 20 s later at most. Not --kill-on-bad-exit, which turns our exit code 85 into 143.
code=0
srun --mpi=pmix --wait=20 "$elastic" "$deck" "${arguments[@]}" || code=$?
if ((code == 85 && ${SLURM_RESTART_COUNT:-0} < ${MAX_RESTARTS:-100})); then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
