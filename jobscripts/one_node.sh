#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# one_node.sh - the quickstart on the cores of one node, one rank per core
#
#   sbatch jobscripts/one_node.sh [block/key=value ...]         in the root of the tree
#
# Arithmetic (elastic.x input/quickstart.in --check):
#   parameters N     0.25 million
#   tokens           4.10 million pretraining; 1.23 + 0.41 million elastic at mean budgets 0.75 and 0.825
#   FLOP             N (6 x 4.10e6 + (2 + 6 x 0.75) x 1.23e6 + (2 + 6 x 0.825) x 0.41e6) = 0.89e13; counted, scan and attention
#                    included: 1.03e13 to 1.10e13
#   rate             32 cores x 30 GFLOP/s (20% of 154 GFLOP/s, AVX-512 at 2.4 GHz) = 0.96 TFLOP/s
#   time             1.1e13 / 0.96e12 = 12 s; evaluation, small batches and start-up: ask for 10 minutes
#   core hours       32 x 10 min = 5.3 at most
#   ranks            up to 32: a step has 32 sequences, and each rank takes at least one (16 in the last stage)
#SBATCH --job-name=quickstart
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=32
#SBATCH --cpus-per-task=1
#SBATCH --time=00:10:00
#SBATCH --signal=USR1@60           # without B: it goes to every rank, not to this script
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
set -euo pipefail

elastic=${ELASTIC:-build/elastic.x}
deck=${DECK:-input/quickstart.in}
folder=${FOLDER:-runs/$SLURM_JOB_NAME}
set -- parallel/micro_batch_size=1 "$@"
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

# The first job moves an earlier run of this folder aside; a requeued one continues from the newest checkpoint.
arguments=(job/folder="$folder" "$@")
if ((${SLURM_RESTART_COUNT:-0} > 0)) && compgen -G "$folder/checkpoints/*.h5" >/dev/null; then arguments+=(--resume); fi

# --wait: should a rank die, the others end 20 s later at most. Not --kill-on-bad-exit, which turns our exit code 85 into 143.
code=0
srun --mpi=pmix --wait=20 "$elastic" "$deck" "${arguments[@]}" || code=$?
if ((code == 85 && ${SLURM_RESTART_COUNT:-0} < ${MAX_RESTARTS:-100})); then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
