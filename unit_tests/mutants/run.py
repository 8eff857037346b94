# SPDX-License-Identifier: Apache-2.0
# Applies stated faults one after the other in a scratch copy of the tree, builds what they touch and runs the tests that
# should notice. Called by scripts/mutants.sh.
import argparse
import datetime
import fcntl
import os
import pathlib
import random
import re
import subprocess
import sys
import time

import mutants

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVIDENCE = ROOT / "doc/evidence.md"
BEGIN, END = "<!-- mutants -->", "<!-- end of mutants -->"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
               "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1"}
TIME_LIMIT = 300  # seconds of one test file; a fault that makes it hang is found, too


class Scratch:
    """A copy of the tree with a build folder of its own; both stay, so that the next mutant builds little."""

    def __init__(self, folder, jobs):
        self.root, self.build, self.jobs, self.good = folder, folder / "build", jobs, set()
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = open(folder / "lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def synchronise(self):
        """Makes the copy equal to the tree; files that are equal keep their times."""
        names = set(subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True,
                                   capture_output=True, text=True).stdout.split("\0")) - {""}
        for name in names:
            source, target = ROOT / name, self.root / name
            if not source.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.is_file() or target.read_bytes() != source.read_bytes():
                target.write_bytes(source.read_bytes())
                target.chmod(source.stat().st_mode & 0o777)
        for folder in ("src", "unit_tests", "cmake"):
            for file in (self.root / folder).rglob("*"):
                if file.is_file() and "__pycache__" not in file.parts and \
                        not (ROOT / file.relative_to(self.root)).is_file():
                    file.unlink()

    def configure(self):
        generator = [] if (self.build / "CMakeCache.txt").exists() else ["-G", "Ninja"]
        run(["cmake", "-S", ".", "-B", "build", *generator, f"-DCMAKE_BUILD_TYPE={os.environ.get('BUILD_TYPE', 'Release')}",
             f"-DELASTIC_WERROR={os.environ.get('WERROR') or 'OFF'}"], self.root)
        cache = (self.build / "CMakeCache.txt").read_text()
        self.launcher = re.search(r"^MPIEXEC_EXECUTABLE:\w+=(.*)$", cache, re.M).group(1)

    def compile(self, programs):
        """The compiler's output if it fails."""
        result = subprocess.run(["cmake", "--build", "build", "--parallel", str(self.jobs), "--target", *programs],
                                cwd=self.root, capture_output=True, text=True)
        return result.stdout + result.stderr if result.returncode else None

    def require(self, tests):
        """These test files must pass as they are, or they would kill every mutant."""
        tests = [test for test in tests if test not in self.good]
        output = self.compile(sorted({mutants.program(test) for test in tests})) if tests else None
        if output:
            sys.exit(f"mutants: the tree without faults does not build\n{output[-4000:]}")
        for test in tests:
            noticed = self.test(test)
            if noticed:
                sys.exit(f"mutants: without any fault unit_tests/{test}.cpp fails: {noticed}")
            self.good.add(test)

    def test(self, name):
        """The first test of the file that fails, "a time limit" or "an abort"; None if all pass."""
        binary = self.build / "unit_tests" / mutants.program(name)
        command = [str(binary), f"--gtest_filter={mutants.gtest_filter(self.root, name)}", "--gtest_brief=1"]
        if mutants.program(name).startswith("test_mpi_"):
            command = [self.launcher, "-n", "2", *command]
        try:
            result = subprocess.run(command, cwd=self.build, capture_output=True, text=True, timeout=TIME_LIMIT,
                                    env=dict(os.environ, **ENVIRONMENT), errors="replace")
        except subprocess.TimeoutExpired:
            return "a time limit"
        if result.returncode == 0:
            return None
        failed = re.search(r"^\[  FAILED  \] ([\w./]+)", result.stdout, re.M)
        return re.sub(r"/\d+(?=\.)|(?<=\.)\w+/", "", failed.group(1)) if failed else f"an abort of {name}"


def run(command, folder):
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"mutants: {' '.join(command)} failed\n{result.stdout}{result.stderr}")


def judge(scratch, mutant):
    """(result, what noticed): "killed", "survived" or "does not build"."""
    file = scratch.root / mutant.file
    original = file.read_text()
    try:
        for name in mutant.tests:
            scratch.require([name])
            file.write_text(mutant.apply(original))
            output = scratch.compile([mutants.program(name)])
            if output:
                print(output[-4000:])
                return "does not build", ""
            noticed = scratch.test(name)
            if noticed:
                return "killed", noticed
            file.write_text(original)
        return "survived", ""
    finally:
        file.write_text(original)


def table(found, results):
    """Rows of all mutants; `results` {name: text} of those that were run, now or before."""
    killed = sum(text.startswith("killed") for text in results.values())
    lines = [BEGIN, f"{len(found)} mutants; {killed} killed, "
             f"{sum(text.startswith('survived') for text in results.values())} survived, "
             f"{len(found) - len(results)} not run.", "", "| mutant | file | fault | result |", "|---|---|---|---|"]
    for m in found:
        result = f"{results[m.name]} <!-- {m.digest()} -->" if m.name in results else "not run"
        lines.append(f"| `{m.name}` | `{m.file.removeprefix('src/')}` | {m.fault} | {result} |")
    return "\n".join(lines + [END])


def write(found, results):
    """Puts the results into the document; those of mutants that were not run stay while their text does."""
    text = EVIDENCE.read_text() if EVIDENCE.exists() else "# Evidence\n"
    if BEGIN not in text:
        text = text.rstrip("\n") + f"\n\n## Mutants\n\n{BEGIN}\n{END}\n"
    head, rest = text.split(BEGIN)
    before, tail = rest.split(END)
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*?) <!-- (\w+) --> \|$", before, re.M)
    known = {name: result for name, result, digest in rows if (name, digest) in {(m.name, m.digest()) for m in found}}
    merged = {**known, **results}
    EVIDENCE.write_text(head + table(found, merged) + tail)


def main():
    parser = argparse.ArgumentParser(prog="scripts/mutants.sh", description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants to run, or parts of their files' names; default: all")
    parser.add_argument("--sample", type=int, metavar="N", help="N of them, chosen by the date")
    parser.add_argument("--list", action="store_true", help="say what there is, run nothing")
    parser.add_argument("--write", action="store_true", help=f"put the results into {EVIDENCE.relative_to(ROOT)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    problems = list(mutants.check(ROOT))
    if problems:
        sys.exit("\n".join(problems))
    found, _ = mutants.load(ROOT)
    chosen = [m for m in found if not arguments.names or any(n == m.name or n in m.file for n in arguments.names)]
    if not chosen:
        sys.exit(f"mutants: none is called or lies in {' '.join(arguments.names)}; --list shows them")
    if arguments.sample:
        today = random.Random(datetime.date.today().toordinal())
        chosen = today.sample(chosen, min(arguments.sample, len(chosen)))
    if arguments.list:
        for m in chosen:
            print(f"{m.name:36} {m.file:44} {m.fault}")
        return 0
    scratch = Scratch(pathlib.Path(os.environ.get("MUTANTS_FOLDER", "/tmp/elastic_mutants")), arguments.jobs)
    scratch.synchronise()
    scratch.configure()
    begin = time.time()
    tests = sorted({m.tests[0] for m in chosen})
    scratch.require(tests)
    print(f"built {len(tests)} test files, all pass without faults ({time.time() - begin:.0f} s)", flush=True)
    results = {}
    for m in chosen:
        begin = time.time()
        verdict, noticed = judge(scratch, m)
        results[m.name] = f"{verdict} by {noticed}" if noticed else verdict
        print(f"{m.name:36} {results[m.name]} ({time.time() - begin:.0f} s)", flush=True)
        if arguments.write:
            write(found, results)
    bad = [name for name, text in results.items() if not text.startswith("killed")]
    print(f"{len(chosen) - len(bad)} of {len(chosen)} mutants killed" + (f"; not killed: {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
