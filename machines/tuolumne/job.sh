#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tuolumne: 64 million parameters on 8 ranks = 2 nodes x 4 APUs, one rank per MI300A, under Flux
#
#   flux batch machines/tuolumne/job.sh data/train=FILE [block/key=value ...]         in the root of the tree
#
# A job that is out of time (the program asks flux job timeleft) submits the next one to the instance that runs it. Plan:
# elastic.x input/text64m.in --check --machine machines/tuolumne/machine.in --ranks 8.
#flux: --job-name=elastic
#flux: --queue=pbatch
#flux: --nodes=2
#flux: --exclusive
#flux: --time-limit=6h
#flux: --signal=USR1@2m
#flux: --output={{name}}-{{id}}.out
source machines/tuolumne/profile.sh
source machines/lib.sh
trap : USR1 # Flux signals this script, too, which must outlive its ranks

nodes=2
ranks_per_node=4
elastic=${ELASTIC:-build-hip-mi300a/elastic.x}
deck=${DECK:-input/text64m.in}
folder=${FOLDER:-runs/elastic}
options=("$@")
export OMP_NUM_THREADS=1
# exit-timeout: should a rank die, the others end 20 s later.
launcher=(flux run --nodes="$nodes" --ntasks="$((nodes * ranks_per_node))" --exclusive --gpus-per-task=1
  --setopt=gpu-affinity=per-task --setopt=exit-timeout=20s)
run_and_continue flux --parent batch --env=CONTINUE=1 machines/tuolumne/job.sh "$@"
