#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A workstation with one GPU, without a batch system: 64 million parameters on 1 rank = 1 node x 1 GPU
#
#   machines/workstation/job.sh data/train=FILE [block/key=value ...]         in the root of the tree; CONTINUE=1: goes on
#
# Ctrl-C saves a checkpoint and ends with exit code 85. Plan: elastic.x input/text64m.in --check
# --machine machines/workstation/machine.in --ranks 1.
source machines/workstation/profile.sh
source machines/lib.sh

elastic=${ELASTIC:-build-cuda-other/elastic.x}
deck=${DECK:-input/text64m.in}
folder=${FOLDER:-runs/elastic}
options=("$@")
export OMP_NUM_THREADS=1
launcher=(mpirun -n 1)
run_and_continue echo "stopped in time; go on with CONTINUE=1 machines/workstation/job.sh $*"
