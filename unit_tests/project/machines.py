# SPDX-License-Identifier: Apache-2.0
# What can be known of machines/ without the machines: scripts parse, presets and keys exist, machine files are read, ranks are
# nodes times ranks per node everywhere, and jobs resume and follow one another. Stand-ins for the commands of the sites take
# down what is started.
#
#   machines.py ROOT ELASTIC_X
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT, PROGRAM = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
MACHINES = sorted(file.parent for file in (ROOT / "machines").glob("*/job.sh"))
NAMES = ["aurora", "cpu_cluster", "frontier", "lumi", "perlmutter", "tuolumne", "workstation"]
SCRIPTS = sorted((ROOT / "machines").rglob("*.sh"))
# Variables of arrays and folders that one file sets and another reads; commas and words that launchers mean so.
SHELLCHECK_SAYS = "SC1091,SC2034,SC2054,SC2154"

TAKE_DOWN = """#!/bin/bash
printf '%s\\n' "$@" >"$OUT/$(basename "$0")"
"""
LAUNCH = """#!/bin/bash
if [[ $(basename "$0") == flux && $1 == --parent ]]; then printf '%s\\n' "$@" >"$OUT/next"; exit 0; fi
printf '%s\\n' "$@" >"$OUT/launched"
[[ -z ${MAKES:-} ]] || { mkdir -p "$FOLDER/checkpoints" && touch "$FOLDER/checkpoints/$MAKES"; }
exit "${CODE:-0}"
"""
NEXT = """#!/bin/bash
printf '%s\\n' "$(basename "$0")" "CONTINUE=${CONTINUE:-}" "$@" >"$OUT/next"
"""
GIT = """#!/bin/bash
echo "$*" >>"$OUT/clones"
mkdir -p "${@: -1}/include/Random123"
"""
CMAKE = """#!/bin/bash
echo "$*" >>"$OUT/cmake"
"""


class Machines(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name)
        (self.out / "bin").mkdir()
        scripts = {**dict.fromkeys(["module", "nvidia-smi"], TAKE_DOWN), "git": GIT, "cmake": CMAKE,
                   **dict.fromkeys(["srun", "mpiexec", "mpirun", "flux"], LAUNCH), **dict.fromkeys(["scontrol", "qsub"], NEXT)}
        for name, text in scripts.items():
            (self.out / "bin" / name).write_text(text)
            (self.out / "bin" / name).chmod(0o755)

    def run_script(self, script, *arguments, **variables):
        environment = dict(os.environ, PATH=f"{self.out}/bin:{os.environ['PATH']}", OUT=str(self.out), ELASTIC="elastic.x",
                           ELASTIC_PREFIX=str(self.out / "prefix"), FOLDER=str(self.out / "run"), **variables)
        return subprocess.run(["bash", str(script), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)

    def read(self, name):
        file = self.out / name
        return file.read_text().splitlines() if file.exists() else []

    def job(self, machine, *options, **variables):
        """(exit code, what was launched, what was submitted, stderr)"""
        text = (machine / "job.sh").read_text()
        select = re.search(r"^#PBS -l select=(\d+)", text, re.M)
        (self.out / "nodes").write_text("".join(f"node{i}\n" for i in range(int(select.group(1)) if select else 0)))
        for name in ("launched", "next"):
            (self.out / name).unlink(missing_ok=True)
        batch = {"SLURM_JOB_NAME": "job", "SLURM_JOB_ID": "7", "PBS_O_WORKDIR": str(ROOT), "PBS_NODEFILE": str(self.out / "nodes"),
                 "PBS_JOBNAME": "job", "PBS_ACCOUNT": "P", "OPTIONS": " ".join(options)}
        done = self.run_script(machine / "job.sh", *([] if select else options), **{**batch, **variables})
        return done.returncode, self.read("launched"), self.read("next"), done.stderr

    def directive(self, text, name):
        return int(re.search(rf"^#(?:SBATCH|flux:) --{name}=(\d+)", text, re.M).group(1))

    def ranks(self, machine):
        """(nodes, ranks per node) by the header's sentence."""
        found = re.search(r" on (\d+) ranks? = (\d+) nodes? x (\d+) \w+", (machine / "job.sh").read_text())
        ranks, nodes, per_node = map(int, found.groups())
        self.assertEqual(ranks, nodes * per_node)
        return nodes, per_node

    def test_every_machine_is_complete(self):
        self.assertEqual([machine.name for machine in MACHINES], NAMES)
        for machine in MACHINES:
            self.assertEqual(sorted(file.name for file in machine.iterdir()), ["build.sh", "job.sh", "machine.in", "profile.sh"])

    def test_scripts_parse(self):
        self.assertEqual(len(SCRIPTS), 3 * len(NAMES) + 2)
        for script in SCRIPTS:
            done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""), script)
        if shutil.which("shellcheck"):
            done = subprocess.run(["shellcheck", "-S", "warning", "-e", SHELLCHECK_SAYS, *SCRIPTS], capture_output=True, text=True)
            self.assertEqual(done.stdout, "")

    def test_builds_name_presets_that_exist_and_jobs_what_they_build(self):
        presets = {preset["name"]: preset for preset in json.loads((ROOT / "CMakePresets.json").read_text())["configurePresets"]}
        table = (ROOT / "machines/README.md").read_text()
        for machine in MACHINES:
            build = (machine / "build.sh").read_text()
            configured, = set(re.findall(r"cmake --preset (\S+)", build))
            self.assertEqual(re.findall(r"cmake --build --preset (\S+)", build), [configured])
            self.assertFalse(presets[configured].get("hidden"))
            program = presets[configured]["binaryDir"].replace("${sourceDir}/", "") if "binaryDir" in presets[configured] else "build"
            self.assertIn(f"elastic=${{ELASTIC:-{program}/elastic.x}}\n", (machine / "job.sh").read_text())
            self.assertRegex(table, rf"\| `{machine.name}` \|[^\n]*\| `{configured}` \|")
            for word in re.findall(r"\w+", presets[configured]["cacheVariables"].get("ELASTIC_KOKKOS_FOR", "")):
                self.assertRegex(build, rf"-DKokkos_(ENABLE|ARCH)_{word}=ON")  # what the preset asks of Kokkos

    def test_builds_start_from_releases(self):
        for machine in MACHINES:
            if machine.name == "workstation":
                continue  # installs packages of this machine
            for name in ("clones", "cmake"):
                (self.out / name).unlink(missing_ok=True)
            shutil.rmtree(self.out / "prefix", ignore_errors=True)
            (self.out / "prefix/include").mkdir(parents=True)
            done = self.run_script(machine / "build.sh", "-DELASTIC_WERROR=ON")
            self.assertEqual(done.returncode, 0, done.stderr)
            libraries = [re.search(r"--branch (\S+) https://github.com/\S+/(\S+)\.git", line).groups() for line in self.read("clones")]
            self.assertIn(("4.7.01", "kokkos"), libraries)
            self.assertEqual(("4.7.01", "kokkos-kernels") in libraries, "TPL_" in (machine / "build.sh").read_text())
            configure, compile_it = self.read("cmake")[-2:]
            self.assertRegex(configure, "^--preset .* -DELASTIC_WERROR=ON$")
            self.assertRegex(compile_it, "^--build --preset .* --target elastic.x")
            (self.out / "clones").unlink()
            self.run_script(machine / "build.sh")
            self.assertEqual(self.read("clones"), [], "libraries are built once")

    def test_dependencies_say_what_is_missing(self):
        script = ROOT / "machines/dependencies.sh"
        self.assertIn("expected a folder first", self.run_script(script).stderr)
        done = self.run_script(script, str(self.out / "prefix"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("expected options of Kokkos", done.stderr)
        done = self.run_script(script, "--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("machines/dependencies.sh PREFIX KOKKOS_OPTIONS...", done.stdout)
        done = self.run_script(ROOT / "machines/workstation/build.sh")  # this nvidia-smi names nothing
        self.assertEqual(done.returncode, 1)
        self.assertIn("KOKKOS_ARCH=ADA89", done.stderr)

    def test_ranks_are_nodes_times_ranks_per_node(self):
        table = (ROOT / "machines/README.md").read_text()
        for machine in MACHINES:
            with self.subTest(machine.name):
                nodes, per_node = self.ranks(machine)
                script = (machine / "job.sh").read_text()
                code, launched, _, error = self.job(machine, "data/train=FILE")
                self.assertEqual(code, 0, error)
                words = " ".join(launched)
                if "#SBATCH" in script:
                    self.assertEqual((self.directive(script, "nodes"), self.directive(script, "ntasks-per-node")), (nodes, per_node))
                    self.assertNotRegex(words, r"(^| )(-n|-N|--ntasks|--nodes)")  # what was asked for is what is started
                elif "#flux" in script:
                    self.assertEqual(self.directive(script, "nodes"), nodes)
                    self.assertIn(f"--nodes={nodes} --ntasks={nodes * per_node} ", words)
                elif "#PBS" in script:
                    self.assertEqual(int(re.search(r"^#PBS -l select=(\d+)", script, re.M).group(1)), nodes)
                    self.assertIn(f"-n {nodes * per_node} -ppn {per_node} ", words)
                    self.assertEqual(words.split("--cpu-bind=list:")[1].split()[0].count(":") + 1, per_node)
                else:
                    self.assertIn(f"-n {nodes * per_node} ", words)
                self.assertEqual(int(re.search(r"^ranks += (\d+)", (machine / "machine.in").read_text(), re.M).group(1)), per_node)
                self.assertRegex(table, rf"\| `{machine.name}` \|[^\n]*\| {nodes} x {per_node} ranks \|")
                self.assertIn(f"--ranks {nodes * per_node}", script.replace("\n# ", " "))

    def test_machine_files_predict_what_the_table_says(self):
        table = (ROOT / "machines/README.md").read_text()
        for machine in MACHINES:
            with self.subTest(machine.name):
                nodes, per_node = self.ranks(machine)
                _, launched, _, _ = self.job(machine)
                words = launched[launched.index("elastic.x") + 1:]
                done = subprocess.run([PROGRAM, *words, "--check", "--machine", machine / "machine.in", "--ranks", str(nodes * per_node)],
                                      cwd=ROOT, capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertIn(f"{per_node} to a node", done.stdout)
                steps = re.search(r"in all ([\d.]+ \w+) to [\d.]+ \w+ of steps", done.stdout).group(1)
                self.assertRegex(table, rf"\| `{machine.name}` \|[^\n]*\| {re.escape(steps)} \|\n")

    def test_a_machine_file_with_a_key_that_nobody_reads_is_refused(self):
        text = (MACHINES[0] / "machine.in").read_text().replace("<node>\n", "<node>\nmemory = 1e9\n")
        (self.out / "machine.in").write_text(text)
        done = subprocess.run([PROGRAM, "input/tiny.in", "--check", "--machine", self.out / "machine.in"], cwd=ROOT,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("<node>/memory", done.stdout + done.stderr)

    def test_jobs_follow_one_another_while_they_gain_checkpoints(self):
        for machine in MACHINES:
            with self.subTest(machine.name):
                shutil.rmtree(self.out / "run", ignore_errors=True)
                code, launched, submitted, error = self.job(machine, "job/seed=7", CODE="85", MAKES="checkpoint_000003.h5")
                self.assertEqual(code, 85, error)
                self.assertEqual(launched[-1], "job/seed=7")
                if machine.name == "tuolumne":
                    self.assertEqual(submitted, ["--parent", "batch", "--env=CONTINUE=1", "machines/tuolumne/job.sh", "job/seed=7"])
                elif machine.name == "aurora":
                    self.assertEqual(submitted, ["qsub", "CONTINUE=1", "-V", "-A", "P", "machines/aurora/job.sh"])
                elif machine.name != "workstation":
                    self.assertEqual(submitted, ["scontrol", "CONTINUE=", "requeue", "7"])
                again = {"SLURM_RESTART_COUNT": "1"} if submitted[:1] == ["scontrol"] else {"CONTINUE": "1"}
                code, launched, submitted, _ = self.job(machine, **again)
                self.assertEqual((code, launched[-1], submitted), (0, "--resume", []))
                code, _, submitted, error = self.job(machine, CODE="85", **again)  # no newer checkpoint
                self.assertEqual((code, submitted), (1, []))
                self.assertIn("the chain ends here", error)
                code, _, submitted, _ = self.job(machine, CODE="2", **again)
                self.assertEqual((code, submitted), (2, []))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
