# SPDX-License-Identifier: Apache-2.0
# The M model in PyTorch, beside ours: weights exported by elastic.x, logits compared before any time counts, then plain steps
# and steps of three budgets with masks in full width; eager and compiled, fp32 and bfloat16 autocast, each in a process of
# its own. The best of eager and compiled is the peer.
import json
import os
import pathlib
import statistics
import subprocess
import sys

from . import steps

MODEL = pathlib.Path(__file__).resolve().parent / "torch_step.py"
# Large tensors come from the heap and stay there: glibc otherwise maps and unmaps them in every step.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 34), "MALLOC_TRIM_THRESHOLD_": str(1 << 36), "MALLOC_TOP_PAD_": str(1 << 28)}
TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2}  # largest difference of logits, relative to the largest logit


def require(parser, python):
    """Version of PyTorch of that Python."""
    command = [python, "-c", "import torch, numpy, h5py; print(torch.__version__)"]
    result = subprocess.run(command, text=True, capture_output=True)
    if result.returncode != 0:
        parser.error(f"--python {python}: needs torch, numpy and h5py: {result.stderr.strip().splitlines()[-1]}")
    return result.stdout.strip()


def torch(options, *arguments):
    environment = dict(os.environ, OMP_NUM_THREADS=str(options.ranks), **ALLOCATOR)
    command = [options.python, MODEL, *map(str, arguments), "--threads", options.ranks]
    result = subprocess.run([str(word) for word in command], env=environment, text=True, capture_output=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def prepare(options):
    """Exports a model after two steps of training, compares logits, and returns one row per variant."""
    program, run = options.build / "elastic.x", options.scratch / "weights"
    arguments, _ = steps.deck_of(options, "plain", "fp32")
    steps.call([program, options.deck, "pretrain/steps=2", "checkpoint/save=true", f"job/folder={run}"])
    checkpoint = max((run / "checkpoints").glob("*.h5"))
    steps.call([program, "export", checkpoint, "--dtype", "fp32", "--out", options.scratch / "model"])
    tokens = options.scratch / "tokens.txt"
    tokens.write_text(" ".join(str(7919 * i % 8192) for i in range(256)))
    steps.call([program, "logits", checkpoint, "--tokens", tokens, "--out", options.scratch / "logits.h5"])
    rows = []
    for precision in steps.PRECISIONS:
        difference = torch(options, "compare", options.scratch, "--precision", precision)["relative_difference"]
        if difference > TOLERANCE[precision]:
            sys.exit(f"peer in {precision}: logits differ by {difference:.2e} of the largest; at most {TOLERANCE[precision]:.0e} expected")
        rows += [{"kind": kind, "precision": precision, "mode": mode, "logits_difference": difference, "seconds": [], "bytes": []}
                 for kind in ("plain", "elastic") for mode in ("eager", "compiled")]
    return rows


def measure_once(options, rows):
    for row in rows:
        got = torch(options, row["kind"], options.scratch, "--precision", row["precision"], "--mode", row["mode"],
                    "--steps", options.steps)
        row["seconds"].append(got["seconds"])
        row["bytes"].append(got["bytes"])
        print(f"torch {row['kind']} {row['precision']} {row['mode']}: {got['seconds']:.3f} s", file=sys.stderr, flush=True)


def best(rows, kind, precision):
    """The faster of eager and compiled."""
    return min((r for r in rows if (r["kind"], r["precision"]) == (kind, precision)), key=lambda r: statistics.median(r["seconds"]))


def ratios(ours, peers):
    """How many times as fast we are, and our memory over theirs."""
    def faster(kind, precision):
        return statistics.median(best(peers, kind, precision)["seconds"]) / steps.median(ours, kind, precision)
    memory = {p: steps.median(ours, "elastic", p, "bytes") / statistics.median(best(peers, "elastic", p)["bytes"])
              for p in steps.PRECISIONS}
    return {"step_over_torch": faster("plain", "fp32"), "bf16_step_over_torch_bf16": faster("plain", "bf16"),
            "elastic_over_torch_masked": {p: faster("elastic", p) for p in steps.PRECISIONS}, "memory_over_torch": memory}
