#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# many_nodes.sh - Nemotron Nano v2 12B made elastic (input/nano12b.in) on 64 nodes of 8 GPUs
#
#   build/elastic.x import HF_DIR parent.h5                                            once
#   sbatch jobscripts/many_nodes.sh [block/key=value ...]                              in the root of the tree
#
# Arithmetic (the command line below with --check):
#   parameters N     12.31e9
#   tokens           65e9 + 45e9 at mean budgets 0.75 and 0.825
#   FLOP             N ((2 + 8 x 0.75) x 65e9 + (2 + 8 x 0.825) x 45e9) = 1.12e22: teacher forward 2, student 6 and its recomputed
#                    forward 2; counted, scan and attention included: 1.13e22 to 1.36e22
#   rate             512 GPUs x 27 TFLOP/s (40% of 67 TFLOP/s, H100, fp32) = 13.7 PFLOP/s
#   time             1.36e22 / 1.37e16 = 990,000 s = 11.5 days = 12 jobs of 24 h
#   GPU hours        512 x 275 h = 141,000
#   memory           weights, gradients, teacher 12 x N = 148 GB over 8 GPUs of a node: 18.5 GB each; moments 98 GB over all 512
#                    GPUs: 0.2 GB each; activations of one sequence of 49,152 tokens 97 GB over 8: 12 GB each
#   checkpoint       148 GB, at 100 GB/s of a parallel file system 1.5 s, 3 s read back; every 200 steps
#   files            100 GB/s for all ranks together, here, in benchmarks/scaling/machines/h100_fp32.in and in doc/performance.md; at a
#                    tenth of that a save takes 30 s beside steps of 60 to 170 s, which go on meanwhile
#   ranks            512 = 8 (tensor) x 64 (data): 512 sequences of a step of the last stage, 8 for each replica
#SBATCH --job-name=nano12b
#SBATCH --nodes=64
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@600          # without B: it goes to every rank, not to this script
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
set -euo pipefail

elastic=${ELASTIC:-build/elastic.x}
deck=${DECK:-input/nano12b.in}
folder=${FOLDER:-runs/$SLURM_JOB_NAME}
set -- --kokkos-map-device-id-by=mpi_rank parallel/tensor_parallel_size=8 parallel/sequence_parallel=true "$@"
export OMP_NUM_THREADS=1 SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

# The first job moves an earlier run of this folder aside; a requeued one continues from the newest checkpoint.
arguments=(job/folder="$folder" "$@")
if ((${SLURM_RESTART_COUNT:-0} > 0)) && compgen -G "$folder/checkpoints/*.h5" >/dev/null; then arguments+=(--resume); fi

# --wait: should a rank die, the others end 20 s later at most. Not --kill-on-bad-exit, which turns our exit code 85 into 143.
code=0
srun --mpi=pmix --wait=20 "$elastic" "$deck" "${arguments[@]}" || code=$?
if ((code == 85 && ${SLURM_RESTART_COUNT:-0} < ${MAX_RESTARTS:-100})); then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
