# SPDX-License-Identifier: Apache-2.0
# Flips bytes and cuts ends of every kind of file that a run writes: every verb and --resume refuse it with exit code 1 and a
# message that names the file, without a crash, and with fallback a run goes on from the checkpoint before.
#
#   damage_test.py PROGRAM --flips 500 --truncations 200 --seed 1
#
# Damage lies anywhere in a file with equal probability; half of the flips are put into its first and last 8 KiB, where
# structure is. Each damaged file is given to one command in turn. Ends with "N passed, N failed"; exit code 1 if one failed.
import argparse
import concurrent.futures
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

LIMIT_SECONDS = 60
DECK = ["input/tiny.in", "job/phases=pretrain,rank,elastic,slice", "pretrain/steps=6", "pretrain/warmup_steps=3",
        "stage1/steps=4", "stage2/steps=2", "evaluate/every_steps=0", "evaluate/samples=2", "evaluate/problems=0",
        "rank/samples=8", "output/every_steps=1", "checkpoint/every_steps=4", "checkpoint/keep=9"]
EDGE = 8192  # bytes


class Damage:
    def __init__(self, options, scratch):
        self.options, self.scratch, self.random = options, scratch, random.Random(options.seed)
        self.root = pathlib.Path(__file__).resolve().parents[2]
        self.tokens = scratch / "tokens"
        self.tokens.write_text("1 2 3 4\n")
        self.whole = scratch / "whole"

    def elastic(self, *arguments):
        try:
            result = subprocess.run([self.options.program, *map(str, arguments)], cwd=self.root, text=True,
                                    errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                    stdin=subprocess.DEVNULL, timeout=LIMIT_SECONDS)
            return result.returncode, result.stdout
        except subprocess.TimeoutExpired:
            return "none: it hangs", ""

    def commands(self, file, copy):
        """What is done with a damaged copy of each kind of file, in a folder of its own."""
        out = copy.parent
        verbs = [["inspect", copy, "--verify"], ["inspect", copy, "--tensors", "--verify"],
                 ["logits", copy, "--tokens", self.tokens, "--out", out / "logits.h5"],
                 ["evaluate", copy, "evaluate/samples=2"], ["export", copy, "--out", out / "hf"]]
        if file.name == "model.h5":
            verbs += [["slice", copy, "--budget", "0.75", "--out", out / "cut.h5"],
                      ["generate", copy, "--tokens", self.tokens, "--max-tokens", "2"]]
        return verbs

    def judge(self, file, code, output):
        if code != 1:
            return f"exit code {code}, expected 1"
        if file.name not in output:
            return "the message does not name the file"
        return None

    def damaged(self, data, kind):
        """The bytes with one fault, and what it is."""
        if kind == "cut":
            size = self.random.randrange(len(data))
            return data[:size], f"cut to {size} of {len(data)} bytes"
        at = self.random.randrange(len(data))
        if self.random.random() < 0.5:
            at = self.random.randrange(min(EDGE, len(data)))
            at = len(data) - 1 - at if self.random.random() < 0.5 else at
        bit = 1 << self.random.randrange(8)
        return data[:at] + bytes([data[at] ^ bit]) + data[at + 1:], f"byte {at} of {len(data)} with bit {bit} flipped"

    def trial_of_verb(self, number, file, kind):
        folder = self.scratch / f"verb_{number}"
        folder.mkdir()
        data, what = self.damaged(file.read_bytes(), kind)
        copy = folder / file.name
        copy.write_bytes(data)
        verbs = self.commands(file, copy)
        return folder, what, file, verbs[number % len(verbs)], None

    def trial_of_resume(self, number, kind, fallback):
        """The newest checkpoint or the teacher of a stopped run is damaged."""
        folder = self.scratch / f"resume_{number}"
        shutil.copytree(self.whole, folder)
        newest = sorted((folder / "checkpoints").glob("checkpoint_*.h5"))[-1]
        data, what = self.damaged(newest.read_bytes(), kind)
        newest.write_bytes(data)
        command = [*DECK, f"job/folder={folder}", "--resume", *(["--allow-fallback"] if fallback else [])]
        return folder, f"{what}{', fallback allowed' if fallback else ''}", newest, command, 0 if fallback else None

    def run_trial(self, trial):
        folder, what, file, command, expected = trial
        code, output = self.elastic(*command)
        problem = self.judge(file, code, output) if expected is None else (
            None if code == expected and file.name in output else f"exit code {code}, expected {expected}, with a warning")
        shutil.rmtree(folder)
        name = command[0] if expected is None and command[0] != DECK[0] else "resume"
        return problem, f"{file.name}, {what}: {name}", output

    def trials(self):
        kinds = ["flip"] * self.options.flips + ["cut"] * self.options.truncations
        files = [sorted((self.whole / "checkpoints").glob("checkpoint_*.h5"))[-1], self.whole / "parent.h5",
                 self.whole / "model.h5", sorted((self.whole / "submodels").glob("*.h5"))[0]]
        number = 0
        for file in files:
            for kind in kinds:
                yield self.trial_of_verb(number, file, kind)
                number += 1
        for i, kind in enumerate(kinds[::max(1, len(kinds) // self.options.resumes)]):
            yield self.trial_of_resume(number + i, kind, fallback=i % 3 == 2)

    def all(self):
        code, output = self.elastic(*DECK, f"job/folder={self.whole}")
        if code != 0:
            sys.exit(f"damage test: the whole run ends with {code}:\n{output}")
        passed = failed = 0
        with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for problem, name, output in pool.map(self.run_trial, self.trials()):
                passed, failed = (passed, failed + 1) if problem else (passed + 1, failed)
                if problem:
                    print(f"FAILED  {name}: {problem}\n    " + "\n    ".join(output.splitlines()[-8:]), flush=True)
        print(f"{passed} passed, {failed} failed")
        return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description="Damages files of a run; every command must notice.")
    parser.add_argument("program")
    parser.add_argument("--flips", type=int, default=500, help="of each kind of file")
    parser.add_argument("--truncations", type=int, default=200, help="of each kind of file")
    parser.add_argument("--resumes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.program = str(pathlib.Path(options.program).resolve())
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="elastic_damage_"))
    try:
        return Damage(options, scratch).all()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
