# SPDX-License-Identifier: Apache-2.0
# Kills ranks and lets the disk fail, again and again: no damaged file is ever committed, exit codes are the documented
# ones, and every resume ends with history and weights equal to the unbroken run's to the bit.
#
#   crash_test.py PROGRAM INJECTOR --launcher "mpirun -n" --kills 50 --failures 60 --seed 1
#
# A trial is a run of the deck below in a folder of its own that is hurt once, then resumed until it is done.
#   kills      SIGKILL of one rank: every other one at a random moment, the rest at a random call inside a save
#   failures   one call on the files of a save fails (EIO, ENOSPC, EROFS, a short write), or it and all after it,
#              on a file system with and without fallocate
# Prints a line per trial and ends with "N passed, N failed"; exit code 1 if one failed.
import argparse
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "project"))
from run_support import Settings, rank_ids, tensors  # noqa: E402

LIMIT_SECONDS = 120
RANKS = 2
DECK = ["input/tiny.in", "job/deterministic=true", "job/phases=pretrain,rank,elastic,slice", "pretrain/steps=8",
        "pretrain/warmup_steps=3", "stage1/steps=6", "stage2/steps=4", "evaluate/every_steps=6", "evaluate/samples=4",
        "evaluate/problems=0", "rank/samples=8", "output/every_steps=1", "checkpoint/every_steps=2", "checkpoint/keep=3"]
OPERATIONS = ["write", "fsync", "rename", "ftruncate", "fallocate", "close"]
ERRORS = ["EIO", "ENOSPC", "EROFS", "short"]
EXIT_CODES = {0, 2}  # of a run with a failing disk: a failure that cost nothing, or one that ended the run


class Failure(Exception):
    pass


class Trials:
    def __init__(self, options, scratch):
        self.options, self.scratch, self.random = options, scratch, random.Random(options.seed)
        self.root = pathlib.Path(__file__).resolve().parents[2]
        self.passed = self.failed = self.inside_saves = self.too_late = 0

    # --- starting runs ---
    def start(self, folder, *arguments, faults=None):
        environment = dict(os.environ, OMPI_MCA_odls_base_sigkill_timeout="0")
        program = [self.options.program]
        if faults:  # only the ranks, not the launcher
            program = ["env", f"LD_PRELOAD={self.options.injector}", f"ELASTIC_FAULTS={faults}", *program]
        command = [*self.options.launcher, str(RANKS), *program, *DECK, f"job/folder={folder}", *arguments]
        return subprocess.Popen(command, cwd=self.root, env=environment, start_new_session=True, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def finish(self, process):
        try:
            output, _ = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Failure(f"no end after {LIMIT_SECONDS} s")
        return process.returncode, output

    def run(self, folder, *arguments, faults=None, codes=(0,)):
        code, output = self.finish(self.start(folder, *arguments, faults=faults))
        if code not in codes:
            raise Failure(f"exit code {code}, expected {' or '.join(map(str, codes))}:\n{tail(output)}")
        return code, output

    # --- what must hold ---
    def check_files(self, folder):
        """Whatever has its final name is whole."""
        for file in sorted(folder.rglob("*.h5")):
            result = subprocess.run([self.options.program, "inspect", file, "--verify"], cwd=self.root, text=True,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_SECONDS)
            if result.returncode != 0:
                raise Failure(f"a damaged file was committed: {file.relative_to(folder)}:\n{tail(result.stdout)}")

    def complete(self, folder):
        """Resumes until the run is done, or starts it if nothing was saved, and compares with the unbroken run."""
        has_checkpoint = any((folder / "checkpoints").glob("checkpoint_*.h5"))
        self.run(folder, *(["--resume"] if has_checkpoint else []))
        self.check_files(folder)
        found = outcome(folder)
        for name, digest in self.whole.items():
            if found.get(name) != digest:
                raise Failure(f"{name} differs from that of the unbroken run")

    # --- trials ---
    def kill_at_random(self, folder):
        moment = self.random.uniform(0.05, 1.0) * self.seconds
        process = self.start(folder)
        time.sleep(moment)
        ranks = rank_ids(process.pid)
        if ranks:
            os.kill(self.random.choice(ranks), signal.SIGKILL)
        self.finish(process)
        self.too_late += not ranks
        return f"SIGKILL after {moment:.2f} s" if ranks else f"ended before the kill after {moment:.2f} s"

    def kill_inside_save(self, folder):
        rank = self.random.randrange(RANKS)
        if self.calls[rank] == 0:
            rank = 0
        at = self.random.randint(1, self.calls[rank])
        code, _ = self.finish(self.start(folder, faults=f"path={SAVES} error=kill at={at} rank={rank}"))
        if code == 0:
            raise Failure(f"the run did not come to call {at} of rank {rank}")
        self.inside_saves += 1
        return f"SIGKILL of rank {rank} at call {at} of {self.calls[rank]} inside saves"

    def fail(self, folder, number):
        operation, error = OPERATIONS[number % len(OPERATIONS)], self.random.choice(ERRORS)
        if operation != "write" and error == "short":
            error = "EIO"
        count = max(1, self.calls_of[operation])
        at, persistent = self.random.randint(1, count), self.random.random() < 0.3
        can_fallocate = operation == "fallocate" or self.random.random() < 0.5
        faults = (f"path={folder.name}/ call={operation} error={error} at={at} persistent={int(persistent)} "
                  f"fallocate={'yes' if can_fallocate else 'no'}")
        code, output = self.run(folder, faults=faults, codes=EXIT_CODES)
        if code != 0 and not re.search(re.escape(str(folder)), output):
            raise Failure(f"the message names no file of the run:\n{tail(output)}")
        what = "short write" if error == "short" else error
        return f"{what} in {operation} {at}{' and all after it' if persistent else ''}" \
               f"{'' if can_fallocate else ', no fallocate'}: exit code {code}"

    def trial(self, kind, number, hurt):
        folder = self.scratch / f"{kind}_{number:03}"
        what = ""
        try:
            what = hurt(folder)
            if folder.exists():
                self.check_files(folder)
            self.complete(folder)
            self.passed += 1
            print(f"{kind} {number:3}  passed  {what}", flush=True)
        except Failure as failure:
            self.failed += 1
            print(f"{kind} {number:3}  FAILED  {what}\n{failure}", flush=True)
        for used in self.scratch.glob(folder.name + "*"):
            shutil.rmtree(used)

    def count(self, call, path):
        """Calls of each rank in an unhurt run."""
        file, folder = self.scratch / "calls", self.scratch / "counted"
        self.run(folder, faults=f"path={path} call={call} count={file}")
        calls = [0] * RANKS
        for line in file.read_text().splitlines():
            rank, number = map(int, line.split())
            calls[rank] = max(calls[rank], number)
        file.unlink()
        shutil.rmtree(folder)
        return calls

    def measure(self):
        whole, start = self.scratch / "whole", time.monotonic()
        self.run(whole)
        self.seconds = time.monotonic() - start
        self.check_files(whole)
        self.whole = outcome(whole)
        self.calls = self.count("any", SAVES)
        self.calls_of = {name: max(self.count(name, "counted/")) for name in OPERATIONS} if self.options.failures else {}

    def all(self):
        self.measure()
        print(f"the unbroken run: {self.seconds:.1f} s, calls inside saves {self.calls}", flush=True)
        for i in range(self.options.kills):
            self.trial("kill", i, self.kill_inside_save if i % 2 == 0 else self.kill_at_random)
        for i in range(self.options.failures):
            self.trial("failure", i, lambda folder, i=i: self.fail(folder, i))
        print(f"{self.inside_saves} of {self.options.kills} kills inside a save, {self.too_late} after the end of the run")
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


SAVES = ".h5.tmp"


def tail(text, lines=12):
    return "\n".join("    " + line for line in text.splitlines()[-lines:])


def outcome(folder):
    """Hashes of what a run must end with: tables to the byte, tensors to the bit."""
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("history.csv", "router.csv")
             if (folder / name).exists()}
    newest = sorted((folder / "checkpoints").glob("checkpoint_*.h5"))[-1:]
    for path in [folder / "model.h5", folder / "parent.h5", *newest]:
        if path.exists():
            found.update({f"{path.name}: {name}": hashlib.sha256(data).hexdigest()
                          for name, data in tensors(path).items()})
    return found


def main():
    parser = argparse.ArgumentParser(description="Kills ranks and lets the disk fail; compares what runs end with.")
    parser.add_argument("program")
    parser.add_argument("injector", help="the library built from fault_injector.cpp")
    parser.add_argument("--launcher", default="mpirun -n", type=str.split, help="the number of ranks follows it")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--failures", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", help="folder for the runs; default: a temporary one")
    options = parser.parse_args()
    Settings.program = options.program = str(pathlib.Path(options.program).resolve())
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="elastic_crash_", dir=options.scratch))
    try:
        return Trials(options, scratch).all()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
