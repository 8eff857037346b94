#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# requeue_chain.sh - a run of many hours in a queue that gives two: one job, requeued until the run is done
#
#   sbatch jobscripts/requeue_chain.sh data/train=FILE [block/key=value ...]         in the root of the tree
#
# Arithmetic: that of one_gpu.sh
#   parameters N     64.3 million
#   tokens           1.2e9 pretraining (20 N); 2.4e8 + 1.2e8 elastic at mean budgets 0.75 and 0.825
#   FLOP             N (6 x 1.2e9 + (2 + 6 x 0.75) x 2.4e8 + (2 + 6 x 0.825) x 1.2e8) = 6.2e17; counted, scan and attention
#                    included: 6.5e17 to 6.8e17
#   rate             one GPU of 67 TFLOP/s (H100, fp32) at 40% MFU = 27 TFLOP/s
#   time             6.8e17 / 2.7e13 = 7 h = 4 jobs of 2 h: each loses its start, at most a minute, and its last checkpoint (0.8 GB,
#                    seconds); no step is computed twice, and history.csv is that of an unbroken run
#   GPU hours        7 to 7.2
# The chain ends when the run is done, when a job fails (exit code other than 85), when a job has brought no newer checkpoint, or
# after MAX_RESTARTS. Where requeueing is switched off, submit the jobs of the chain at once instead, each after the one before:
#   for i in 1 2 3 4; do id=$(CONTINUE=1 sbatch --parsable ${id:+--dependency=afterany:$id} jobscripts/requeue_chain.sh ...); done
#SBATCH --job-name=chain
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=02:00:00
#SBATCH --signal=USR1@120          # without B: it goes to every rank, not to this script
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
set -euo pipefail

elastic=${ELASTIC:-build/elastic.x}
deck=${DECK:-input/text64m.in}
folder=${FOLDER:-runs/$SLURM_JOB_NAME}
export OMP_NUM_THREADS=1

# The newest checkpoint; their names rise with the step.
newest() { compgen -G "$folder/checkpoints/*.h5" | sort | tail -n 1 || true; }

# The first job moves an earlier run of this folder aside; the others continue from the newest checkpoint.
before=
if ((${SLURM_RESTART_COUNT:-0} > 0 || ${CONTINUE:-0})); then before=$(newest); fi
arguments=(job/folder="$folder" "$@")
if [[ -n $before ]]; then arguments+=(--resume); fi

# --wait: should a rank die, the others end 20 s later at most. Not --kill-on-bad-exit, which turns our exit code 85 into 143.
code=0
srun --mpi=pmix --wait=20 "$elastic" "$deck" "${arguments[@]}" || code=$?
if ((code != 85)); then exit "$code"; fi
if [[ $(newest) == "$before" ]]; then
  echo "$SLURM_JOB_NAME: no newer checkpoint than $before: the chain ends here" >&2
  exit 1
fi
if ((${SLURM_RESTART_COUNT:-0} < ${MAX_RESTARTS:-100} && ! ${CONTINUE:-0})); then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
