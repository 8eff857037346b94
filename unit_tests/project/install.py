# SPDX-License-Identifier: Apache-2.0
# An installed program works from its new place: cmake --install to a folder of its own, then version, a plan of an
# installed deck and the documents' links.
#
#   install.py BUILD_FOLDER CMAKE
import pathlib
import subprocess
import sys
import tempfile
import unittest


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.prefix = pathlib.Path(folder.name) / "prefix"
        cls.run_program(cls.cmake, "--install", cls.build, "--prefix", cls.prefix)

    @classmethod
    def run_program(cls, *command):
        done = subprocess.run(list(map(str, command)), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def test_program_says_its_version(self):
        self.assertIn("elastic.x", self.run_program(self.prefix / "bin/elastic.x", "--version"))

    def test_installed_decks_can_be_planned(self):
        decks = sorted((self.prefix / "share/elastic/input").glob("*.in"))
        self.assertIn("tiny.in", [deck.name for deck in decks])
        self.assertIn("parameters", self.run_program(self.prefix / "bin/elastic.x", decks[-1], "--check"))

    def test_installed_scripts_start(self):
        script = self.prefix / "share/elastic/scripts/tokenize.py"
        self.assertIn("--vocabulary", self.run_program(sys.executable, "-B", script, "--help"))

    def test_documents_licence_and_scripts(self):
        for file in ("share/elastic/scripts/plot_run.py", "share/elastic/jobscripts/one_node.sh",
                     "share/elastic/machines/lumi/job.sh"):
            self.assertTrue((self.prefix / file).stat().st_mode & 0o100, file)
        documents = self.prefix / "share/doc/elastic"
        for file in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "doc/architecture.md", "doc/images/accuracy.png"):
            self.assertGreater((documents / file).stat().st_size, 0, file)


if __name__ == "__main__":
    Install.build, Install.cmake = sys.argv[1:]
    unittest.main(argv=sys.argv[:1], verbosity=2)
