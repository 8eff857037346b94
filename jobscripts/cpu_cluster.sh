#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cpu_cluster.sh - 64 million parameters on 128 cores of a cluster without GPUs, one rank per core
#
#   sbatch jobscripts/cpu_cluster.sh data/train=FILE [block/key=value ...]         in the root of the tree
#
# Arithmetic (elastic.x input/text64m.in --check):
#   parameters N     64.3 million
#   tokens           1.2e9 pretraining (20 N); 2.4e8 + 1.2e8 elastic at mean budgets 0.75 and 0.825
#   FLOP             N (6 x 1.2e9 + (2 + 6 x 0.75) x 2.4e8 + (2 + 6 x 0.825) x 1.2e8) = 6.2e17; counted, scan and attention
#                    included: 6.5e17 to 6.8e17
#   rate             128 cores x 46 GFLOP/s (30% of 154 GFLOP/s, AVX-512 at 2.4 GHz) = 5.9 TFLOP/s
#   time             6.8e17 / 5.9e12 = 115,000 s = 32 h = 3 jobs of 12 h
#   core hours       128 x 32 = 4,100
#   ranks            up to 128: a step has 128 sequences, and each rank takes at least one (32 in the last stage)
#   memory           64 ranks x 4.1 GB (one sequence of 4096 tokens at a time) = 260 GB per node
#SBATCH --job-name=cpu_cluster
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=64
#SBATCH --cpus-per-task=1
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@120          # without B: it goes to every rank, not to this script
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
set -euo pipefail

elastic=${ELASTIC:-build/elastic.x}
deck=${DECK:-input/text64m.in}
folder=${FOLDER:-runs/$SLURM_JOB_NAME}
set -- parallel/micro_batch_size=1 "$@"
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# The first job moves an earlier run of this folder aside; a requeued one continues from the newest checkpoint.
arguments=(job/folder="$folder" "$@")
if ((${SLURM_RESTART_COUNT:-0} > 0)) && compgen -G "$folder/checkpoints/*.h5" >/dev/null; then arguments+=(--resume); fi

# --wait: should a rank die, the others end 20 s later at most. Not --kill-on-bad-exit, which turns our exit code 85 into 143.
code=0
srun --mpi=pmix --wait=20 "$elastic" "$deck" "${arguments[@]}" || code=$?
if ((code == 85 && ${SLURM_RESTART_COUNT:-0} < ${MAX_RESTARTS:-100})); then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
