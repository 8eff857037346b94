# SPDX-License-Identifier: Apache-2.0
# The job scripts without Slurm: a stand-in for srun takes down what they start. Parameters and FLOP in their headers are
# those that the program plans for this command line; they requeue and resume when they should, and not otherwise.
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT, PROGRAM = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
SCRIPTS = sorted((ROOT / "jobscripts").glob("*.sh"))
UNITS = {"TFLOP": 1e12, "PFLOP": 1e15, "EFLOP": 1e18, "ZFLOP": 1e21, "million": 1e6}

SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do echo "$1"; shift; done >"$OUT/srun"   # its own options
printf '%s\\n' "$@" >"$OUT/command"
[[ -z ${MAKES:-} ]] || { mkdir -p "$FOLDER/checkpoints" && touch "$FOLDER/checkpoints/$MAKES"; }
exit "$CODE"
"""
SCONTROL = """#!/bin/bash
echo "$@" >"$OUT/scontrol"
"""


class Jobscripts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name)
        (self.out / "bin").mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (self.out / "bin" / name).write_text(text)
            (self.out / "bin" / name).chmod(0o755)

    def start(self, script, *arguments, code=0, checkpoints=(), **variables):
        """Exit code, command line of elastic.x, and what scontrol was told."""
        run = self.out / "run"
        for name in checkpoints:
            (run / "checkpoints").mkdir(parents=True, exist_ok=True)
            (run / "checkpoints" / name).touch()
        for name in ("command", "scontrol"):
            (self.out / name).unlink(missing_ok=True)
        environment = dict(os.environ, PATH=f"{self.out}/bin:{os.environ['PATH']}", OUT=str(self.out), CODE=str(code),
                           ELASTIC=str(PROGRAM), FOLDER=str(run), SLURM_JOB_NAME="job", SLURM_JOB_ID="7",
                           SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="3", **variables)
        done = subprocess.run(["bash", str(script), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
        read = lambda name: (self.out / name).read_text() if (self.out / name).exists() else ""  # noqa: E731
        return done.returncode, read("command").splitlines(), read("scontrol").strip()

    def test_headers_are_what_the_program_plans(self):
        self.assertGreaterEqual(len(SCRIPTS), 6)
        for script in SCRIPTS:
            with self.subTest(script.name):
                header = " ".join(line.lstrip("# ") for line in script.read_text().splitlines() if line.startswith("#"))
                _, command, _ = self.start(script)
                plan = subprocess.run([*command, "--check"], cwd=ROOT, capture_output=True, text=True)
                self.assertEqual(plan.returncode, 0, plan.stdout + plan.stderr)
                self.check_parameters(header, plan.stdout)
                self.check_work(header, plan.stdout)

    def check_parameters(self, header, plan):
        stated, unit = re.search(r"parameters N\s+([\d.]+)(e\d+| million)", header).groups()
        stated = float(stated + unit) if unit[0] == "e" else float(stated) * UNITS[unit.strip()]
        planned = float(re.search(r"([\d,]+) parameters = ", plan).group(1).replace(",", ""))
        self.assertAlmostEqual(stated / planned, 1, delta=0.01)

    def check_work(self, header, plan):
        stated = [float(x) for x in re.search(r"counted(?:, scan and attention included:)? ([\de.+]+)(?: to ([\de.+]+))?",
                                              header).groups() if x]
        total = [line for line in plan.splitlines() if re.match(" +in all +[^:]*FLOP", line)][-1]
        planned = [float(x) * UNITS[unit] for x, unit in re.findall(r"([\d.]+) ([TPEZ]FLOP)(?! per step)", total.partition(":")[0])]
        for got in stated:
            self.assertTrue(0.97 * planned[0] <= got <= 1.03 * planned[-1], f"{stated}, planned {planned}")

    def test_many_nodes_states_one_rate_of_files(self):
        header = " ".join(line.lstrip("# ") for line in (ROOT / "jobscripts/many_nodes.sh").read_text().splitlines() if line.startswith("#"))
        machine = "benchmarks/scaling/machines/h100_fp32.in"
        rate = float(re.search(r"^total_bandwidth += (\S+)", (ROOT / machine).read_text(), re.M).group(1)) / 1e9
        size, stated, seconds, read_back = map(float, re.search(
            r"checkpoint +([\d.]+) GB, at ([\d.]+) GB/s of a parallel file system ([\d.]+) s, ([\d.]+) s read back", header).groups())
        self.assertEqual(stated, rate)
        self.assertAlmostEqual(size / rate, seconds, delta=0.05)
        self.assertAlmostEqual(2 * size / rate, read_back, delta=0.1)
        self.assertEqual({float(x) for x in re.findall(r"([\d.]+) GB/s", header)}, {rate})
        _, command, _ = self.start(ROOT / "jobscripts/many_nodes.sh")
        plan = subprocess.run([*command, "--check", "--machine", machine, "--ranks", "512"], cwd=ROOT, capture_output=True, text=True)
        self.assertIn(f"{rate:.2f} GB/s together", plan.stdout)
        self.assertAlmostEqual(float(re.search(r"a checkpoint ([\d.]+) GB", plan.stdout).group(1)), size, delta=0.5)
        for document in ("jobscripts/README.md", "doc/performance.md"):
            self.assertIn(f"{rate:.0f} GB/s", (ROOT / document).read_text(), document)

    def test_every_rank_is_signalled_and_the_job_may_be_requeued(self):
        for script in SCRIPTS:
            options = re.findall(r"^#SBATCH (\S+)", script.read_text(), re.M)
            self.assertTrue(any(option.startswith("--time=") for option in options), script)
            if "scaling" not in script.name:
                self.assertIn("--requeue", options, script)
                self.assertIn("--open-mode=append", options, script)
                self.assertTrue(any(re.match(r"--signal=USR1@\d+$", option) for option in options), script)

    def test_stopped_run_is_requeued_and_resumed(self):
        for script in SCRIPTS:
            if "scaling" in script.name:
                continue
            with self.subTest(script.name):
                code, command, told = self.start(script, "job/seed=7", code=85, MAKES="checkpoint_000003.h5")
                self.assertEqual((code, told), (85, "requeue 7"))
                self.assertEqual(command[-1], "job/seed=7")
                self.assertIn("--mpi=pmix", (self.out / "srun").read_text())
                code, command, told = self.start(script, SLURM_RESTART_COUNT="1")
                self.assertEqual((code, command[-1], told), (0, "--resume", ""))
                code, _, told = self.start(script, code=85, SLURM_RESTART_COUNT="100", MAKES="checkpoint_000004.h5")
                self.assertEqual((code, told), (85, ""))
                subprocess.run(["rm", "-r", str(self.out / "run")], check=True)

    def test_failed_run_is_not_requeued(self):
        for script in SCRIPTS:
            for wrong in (1, 2, 3, 137):
                code, _, told = self.start(script, code=wrong)
                self.assertEqual((code, told), (wrong, ""), script)

    def test_requeued_before_the_first_checkpoint_means_from_the_start(self):
        for script in SCRIPTS:
            _, command, _ = self.start(script, SLURM_RESTART_COUNT="1")
            self.assertNotIn("--resume", command, script)

    def test_chain_ends_if_a_job_gains_nothing(self):
        chain = ROOT / "jobscripts/requeue_chain.sh"
        old = ["checkpoint_000003.h5"]
        code, _, told = self.start(chain, code=85, checkpoints=old, SLURM_RESTART_COUNT="1")
        self.assertEqual((code, told), (1, ""))
        code, command, told = self.start(chain, code=85, CONTINUE="1", MAKES="checkpoint_000005.h5")
        self.assertEqual((code, command[-1], told), (85, "--resume", ""))  # the next one of the chain is queued already


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
