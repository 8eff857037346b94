#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Writes what programs print into README.md. What they printed is recorded in doc/readme/NAME.txt; README.md shows it,
# shortened, in the block after the line <!-- output NAME -->, and sentences repeat single numbers of it.
#
#   scripts/readme_outputs.py                      writes README.md anew from the records
#   scripts/readme_outputs.py --record NAME...     runs the commands of these outputs first and records what they print
#   scripts/readme_outputs.py --check              changes nothing; fails if README.md is not what it would write, if what is
#                                                  cheap to run prints something else now, or if records contradict each other
#
# NAMEs: quickstart (minutes), tests (minutes; the build has to be up to date), inspect and generate (after quickstart),
# broken. The build folder is $BUILD (build).
import argparse
import difflib
import itertools
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODEL = "runs/quickstart/model.h5"
PLAN = r"plan  |         "  # the table of stages: its head and its rows
SHOWN_TESTS = "kernel_labels|file_rules|test_train|test_mpi_model|run_layouts|run_mistakes|run_export|run_speculative|slurm"


class Output:
    """What the command `run` prints. `begin`: recorded from the first line that starts so; `keep`: lines that README.md
    shows, others become "..."; `show`: the command as README.md shows it above, if it does; `code`: its exit code."""

    def __init__(self, run, begin="", keep="", show="", code=0):
        self.run, self.begin, self.keep, self.show, self.code = run, begin, keep, show, code

    def record(self, root):
        done = subprocess.run(["bash", "-c", f"source scripts/lib.sh; {self.run}"], cwd=root, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != self.code:
            raise SystemExit(f"{self.run}: exit code {done.returncode}\n{done.stdout[-3000:]}")
        lines = [line.rstrip() for line in done.stdout.splitlines()]
        while lines and not lines[0].startswith(self.begin):
            lines.pop(0)
        return "\n".join(lines).strip("\n") + "\n"

    def block(self, recorded):
        lines = []
        for line in recorded.splitlines():
            if not re.match(self.keep, line):
                line = "..."
            if line != "..." or not lines or lines[-1] != "...":
                lines.append(line)
        return "\n".join(([f"$ {self.show}"] if self.show else []) + lines) + "\n"


def verb(arguments, keep=""):
    return Output(f"$BUILD/elastic.x {arguments}", keep=keep, show=f"build/elastic.x {arguments}")


OUTPUTS = {
    "quickstart": Output("scripts/quickstart.sh", begin="== run:",
                         keep=rf"$|== |{PLAN}|step \d+: |ranking |.* holds \d+ submodels|budget  |(parent|[\d.]+)  +\d|report: |"
                              r"peak memory"),
    "tests": Output("scripts/test.sh | sed '/^Internal ctest/d; /^Test project/d; /^Label Time/,/^$/d'", begin="== tests",
                    keep=rf"$|== |.*Test +#\d+: ({SHOWN_TESTS}) |.*tests passed|Total Test"),
    "generate": verb(f'generate {MODEL} --budget 0.5 --text "34*12="'),
    "inspect": verb(f"inspect {MODEL}"),
    "broken": Output('program=$(realpath "$BUILD/elastic.x"); cd doc/readme; on_ranks 2 "$program" broken.in 2>&1 | '
                     "grep '^elastic.x\\|^  broken.in'; exit ${PIPESTATUS[0]}", code=1,
                     show="mpirun -n 2 build/elastic.x broken.in"),
}


def result_rows(quickstart):
    """{budget: (parameters, accuracy, accuracy cut untrained, widths)} of the table at the end of a run."""
    row = re.compile(r"^(parent|[\d.]+) +(\d+) +\S+ +\S+ +\S+ +(\S+) +(\S+) *(.*)$", re.M)
    return {m.group(1): m.groups()[1:] for m in row.finditer(quickstart[quickstart.find("\nbudget "):])}


def sentences(records):
    """(pattern, values of its groups) of every number that the text of README.md repeats."""
    if "quickstart" in records:
        rows = result_rows(records["quickstart"])
        parent, half = rows.get("parent"), rows.get("0.5")
        cost = re.search(r"one more costs (\d+) bytes", records["quickstart"])
        if parent and half and cost:
            accuracies = [value.rstrip("%") for value in (parent[1], half[1], half[2])]
            yield (r"The parent solves ([\d.]+) % of the problems, the submodel with half of its parameters ([\d.]+) %\. The same "
                   r"widths cut out of\s+the ranked parent without elastic training solve ([\d.]+) %"), accuracies
            yield r"each further submodel costs (\d+) bytes", [cost.group(1)]
    if "tests" in records:
        count = re.search(r"tests failed out of (\d+)", records["tests"])
        seconds = re.search(r"Total Test time \(real\) = +([\d.]+)", records["tests"])
        if count:
            yield r"(\d+) tests in less than \d+ minutes", [count.group(1)]
        if seconds:
            yield r"\d+ tests in less than (\d+) minutes", [str(int(float(seconds.group(1))) // 60 + 1)]


def read_records(root):
    return {name: path.read_text() for name in OUTPUTS if (path := root / f"doc/readme/{name}.txt").exists()}


def render(text, records):
    """README.md with the blocks and sentences of the records."""
    def block(match):
        name = match.group(2)
        if name not in records:
            raise SystemExit(f"README.md: there is no record of the output {name}")
        return f"{match.group(1)}```\n{OUTPUTS[name].block(records[name])}```\n"

    text = re.sub(r"^(<!-- output (\w+) -->\n)```\n.*?^```\n", block, text, flags=re.M | re.S)
    for pattern, values in sentences(records):
        match = re.search(pattern, text)
        if not match:
            raise SystemExit(f"README.md: there is no sentence /{pattern}/")
        for group in range(len(values), 0, -1):
            text = text[:match.start(group)] + values[group - 1] + text[match.end(group):]
    return text


def difference(name, held, now):
    lines = difflib.unified_diff(held.splitlines(), now.splitlines(), f"{name} as it is", "as it should be", lineterm="", n=1)
    return "\n".join(list(lines)[:30])


def contradictions(records):
    """Problems among records: they must come from one run."""
    if "quickstart" not in records or "inspect" not in records:
        return
    rows = {name: (row[0], row[3]) for name, row in result_rows(records["quickstart"]).items() if name != "parent"}
    found = re.findall(r" budget ([\d.]+) +(\d+) parameters \( *[\d.]+%\)  (.*)", records["inspect"])
    models = {name: (parameters, widths) for name, parameters, widths in found}
    for name in sorted(rows.keys() | models.keys()):
        if rows.get(name) != models.get(name):
            yield f"doc/readme: budget {name} is {rows.get(name)} in quickstart.txt, {models.get(name)} in inspect.txt"


def check(root, records):
    text = (root / "README.md").read_text()
    for name in sorted(records.keys() - set(re.findall(r"^<!-- output (\w+) -->$", text, re.M))):
        yield f"README.md has no block <!-- output {name} -->"
    changes = difference("README.md", text, render(text, records))
    if changes:
        yield changes + "\nwrite it anew: scripts/readme_outputs.py"
    yield from contradictions(records)


def check_program(root, records):
    """What costs seconds is run again."""
    changes = difference("doc/readme/broken.txt", records.get("broken", ""), OUTPUTS["broken"].record(root))
    if changes:
        yield changes + "\nrecord it anew: scripts/readme_outputs.py --record broken"
    plan = Output("$BUILD/elastic.x input/quickstart.in --check", begin="plan     stage").record(root).splitlines()
    stages = list(itertools.takewhile(lambda line: re.match(PLAN, line), plan))
    lines = [line for line in records.get("quickstart", "").splitlines() if re.match(PLAN, line)]
    if lines != stages:
        yield difference("the plan in doc/readme/quickstart.txt", "\n".join(lines), "\n".join(stages))
    codes = re.findall(r"(\d+) \w", Output("$BUILD/elastic.x --help", begin="Exit codes:").record(root))
    table = re.search(r"^\| exit code .*\n\|[-|]+\n((?:\| .*\n)*)", (root / "README.md").read_text(), re.M)
    listed = re.findall(r"^\| (\d+) \|", table.group(1), re.M) if table else []
    if codes != listed:
        yield f"README.md: exit codes {', '.join(listed)} in its table, {', '.join(codes)} in elastic.x --help"


def main():
    parser = argparse.ArgumentParser(description="Writes what programs print into README.md.")
    parser.add_argument("--record", nargs="+", choices=OUTPUTS, default=[], metavar="NAME", help=", ".join(OUTPUTS))
    parser.add_argument("--check", action="store_true", help="change nothing, fail if something is not as it should be")
    arguments = parser.parse_args()
    for name in arguments.record:
        (ROOT / f"doc/readme/{name}.txt").write_text(OUTPUTS[name].record(ROOT))
    records = read_records(ROOT)
    if arguments.check:
        problems = [*check(ROOT, records), *check_program(ROOT, records)]
        print("\n".join(problems) or "README.md shows what the programs print")
        sys.exit(1 if problems else 0)
    readme = ROOT / "README.md"
    readme.write_text(render(readme.read_text(), records))


if __name__ == "__main__":
    main()
