# SPDX-License-Identifier: Apache-2.0
# Shared by the tests of whole runs: start elastic.x on ranks, wait with a limit, read what a run folder holds.
#
#   class Tiny(RunTest):
#       def test_it(self):
#           self.elastic(2, "input/tiny.in", "job/folder=" + self.path("a"))
#
# A test file ends with run_support.main(); the command line is: ROOT ELASTIC_X MPIEXEC NUMPROC_FLAG [FLAGS...].
import atexit
import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

try:
    import h5py
except ImportError:
    print("skipped: this python has no h5py")
    sys.exit(77)

STOPPED = 85
LIMIT_SECONDS = 120  # of one run; far above what it needs, so that only a hang reaches it

# What makes input/quickstart.in a model of a million parameters on problems with all their steps written.
MILLION = ["precision/compute=float32", "model/hidden_size=128", "mamba/num_heads=8", "mamba/state_dim=32", "attention/kv_channels=32",
           "mlp/ffn_hidden_size=384", "elastic/hidden_size=128,112,96,80", "elastic/mamba_num_heads=8,6,4",
           "elastic/ffn_hidden_size=384,320,256,192,128", "data/families=addition,subtraction,comparison,assignment",
           "data/max_digits=3", "data/written_step=1"]


class Settings:
    root = program = None
    launcher = []


class RunTest(unittest.TestCase):
    """Tests that start runs; their folders lie in self.folder, which is removed at the end of the class."""
    deck = "input/tiny.in"

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="elastic_run_"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)

    @classmethod
    def path(cls, name):
        return str(cls.folder / name)

    @classmethod
    def write(cls, name, content):
        path = cls.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    @staticmethod
    def start(ranks, *arguments):
        """A process of its own group; stdout and stderr together."""
        command = [*Settings.launcher, str(ranks), Settings.program, *map(str, arguments)]
        # Open MPI waits two seconds for ranks that have ended, whenever one ends with another code than 0.
        environment = dict(os.environ, OMPI_MCA_odls_base_sigkill_timeout="0")
        process = subprocess.Popen(command, cwd=Settings.root, env=environment, start_new_session=True, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        atexit.register(end, process)
        return process

    @classmethod
    def finish(cls, process):
        """(exit code, output); a run past the limit is ended and fails the test."""
        try:
            output, _ = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"no end after {LIMIT_SECONDS} s: {process.args}\n{output}")
        return process.returncode, output

    @classmethod
    def elastic(cls, ranks, *arguments, code=0):
        """Output of a command line; fails unless it ends with `code`."""
        process = cls.start(ranks, *arguments)
        got, output = cls.finish(process)
        if got != code:
            raise AssertionError(f"exit code {got}, expected {code}: {process.args}\n{output}")
        return output

    @classmethod
    def run_deck(cls, name, *arguments, ranks=2, code=0):
        """Runs cls.deck into the folder `name`."""
        return cls.elastic(ranks, cls.deck, f"job/folder={cls.path(name)}", *arguments, code=code)

    # --- what a run leaves ---
    @classmethod
    def text(cls, name):
        return (cls.folder / name).read_text()

    @classmethod
    def results(cls, name):
        return json.loads(cls.text(f"{name}/results.json"))

    @classmethod
    def rows(cls, name, file="history.csv"):
        with open(cls.folder / name / file, newline="") as table:
            return list(csv.DictReader(table))

    def assert_same_course(self, a, b):
        """Histories equal to the byte, all tensors of model.h5 to the bit."""
        for file in ("history.csv", "router.csv"):
            self.assertEqual(self.text(f"{a}/{file}"), self.text(f"{b}/{file}"), f"{file} of {a} and {b}")
        first, second = (tensors(self.path(f"{run}/model.h5")) for run in (a, b))
        self.assertEqual(first.keys(), second.keys())
        self.assertGreater(len(first), 10)
        for name in first:
            self.assertEqual(first[name], second[name], f"{name} of {a} and {b}")


def end(process):
    """Ends a launcher that a failed test has left; its ranks end with it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def tensors(path):
    """Bytes of every tensor of a checkpoint; texts are left out, since they name the run folder."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and not name.startswith("text/"):
            found[name] = item[...].tobytes()

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def rank_ids(launcher):
    """Process ids of the ranks below a launcher."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, _, rest = (entry / "stat").read_text().rpartition(")")
            except OSError:
                continue  # has ended meanwhile
            parents[int(entry.name)] = (int(rest.split()[1]), name.partition("(")[2])

    def below(pid):
        return pid != 0 and (pid == launcher or below(parents.get(pid, (0, ""))[0]))

    program = pathlib.Path(Settings.program).name[:15]
    return sorted(pid for pid, (parent, name) in parents.items() if name == program and below(parent))


def wait_for(condition):
    """Polls until the condition holds and returns its value."""
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError("waited in vain")


def main():
    root, program, launcher, number_flag, *flags = sys.argv[1:]
    Settings.root, Settings.program = root, str(pathlib.Path(program).resolve())
    Settings.launcher = [launcher, *flags, number_flag]
    unittest.main(argv=sys.argv[:1], verbosity=2)
