#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scaling_array.sh - strong and weak scaling from 1 to 32 cores of a node: an array of twelve short runs
#
#   sbatch jobscripts/scaling_array.sh [block/key=value ...]         in the root of the tree
#   column -s, -t runs/scaling-ARRAY_JOB_ID/*/rate.csv               afterwards: kind, ranks, tokens per second
#
# Element e runs on 2^(e mod 6) ranks; 0 to 5 with the same work in all (strong), 6 to 11 with the same work per rank (weak).
# Arithmetic (input/quickstart.in, pretraining only):
#   parameters N     0.25 million
#   tokens           strong: 200 steps x 32 sequences x 128 = 819,000; weak: 200 steps x 8 R sequences x 128 = 205,000 R on R ranks
#   FLOP             6 N tokens: strong 1.2e12; weak 3.1e11 R (counted 1.4e12 and 3.6e11 R)
#   rate             R cores x 30 GFLOP/s (20% of 154 GFLOP/s, AVX-512 at 2.4 GHz)
#   time             strong 47 s / R; weak 12 s; and about 10 s to start and measure: minutes for all, 10 asked for each
#   core hours       12 x 32 x 1 min = 6.4: every element holds a whole node, so that runs do not disturb each other
#SBATCH --job-name=scaling
#SBATCH --array=0-11%4
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=32
#SBATCH --cpus-per-task=1
#SBATCH --exclusive
#SBATCH --time=00:10:00
#SBATCH --output=%x-%A_%a.out
set -euo pipefail

elastic=${ELASTIC:-build/elastic.x}
deck=${DECK:-input/quickstart.in}
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
ranks=$((1 << SLURM_ARRAY_TASK_ID % 6))
if ((SLURM_ARRAY_TASK_ID < 6)); then kind=strong sequences=32; else kind=weak sequences=$((8 * ranks)); fi
folder=${FOLDER:-runs/$SLURM_JOB_NAME-$SLURM_ARRAY_JOB_ID}/${kind}_$ranks

srun --mpi=pmix --wait=20 --ntasks="$ranks" --cpu-bind=cores "$elastic" "$deck" job/folder="$folder" \
  job/phases=pretrain,report checkpoint/save=false evaluate/every_steps=0 parallel/micro_batch_size=1 \
  pretrain/steps=200 pretrain/global_batch_size="$sequences" "$@"
rate=$(sed -n 's/.*"tokens_per_second": *\([0-9.e+]*\).*/\1/p' "$folder/results.json")
echo "$kind,$ranks,$rate" >"$folder/rate.csv"
