# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Shared by the job scripts of this folder: starts the deck, goes on from the newest checkpoint, and submits the next job of a
# chain. The script has set
#   launcher   words that start the ranks
#   elastic, deck, folder, options   program, deck, run folder, further words of its command line
set -euo pipefail

# The newest checkpoint; their names rise with the step.
newest() { compgen -G "$folder/checkpoints/*.h5" | sort | tail -n 1 || true; }

# run_and_continue COMMAND...: runs the deck. If it stopped in time (exit code 85), COMMAND puts the next job into the queue. A
# first job moves an earlier run of the folder aside; one that was requeued, or has CONTINUE=1, resumes. A chain ends that gains
# no checkpoint.
run_and_continue() {
  local before='' code=0 arguments=(job/folder="$folder" "${options[@]}")
  if ((${CONTINUE:-0} || ${SLURM_RESTART_COUNT:-0})); then before=$(newest); fi
  if [[ -n $before ]]; then arguments+=(--resume); fi
  "${launcher[@]}" "$elastic" "$deck" "${arguments[@]}" || code=$?
  if ((code != 85)); then exit "$code"; fi
  if [[ $(newest) == "$before" ]]; then
    echo "$0: no newer checkpoint than '$before': the chain ends here" >&2
    exit 1
  fi
  "$@" || echo "$0: the next job was not submitted; do so by hand, with CONTINUE=1 in its environment: $*" >&2
  exit 85
}
