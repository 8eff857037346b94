# SPDX-License-Identifier: Apache-2.0
# scripts/lm_eval.py without the packages that it runs: the tasks that it writes, and what is wrong with its input. With
# them it runs in run_tiny.py.
#
#   lm_eval_tasks.py SOURCE_FOLDER
import argparse
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "lm_eval.py"


def load():
    spec = importlib.util.spec_from_file_location("lm_eval_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load()


class Tasks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name, text):
        (self.folder / name).write_text(text, encoding="utf-8")
        return self.folder / name

    def given(self, **options):
        return argparse.Namespace(**({"text": None, "problems": None, "task": [], "max_tokens": 9} | options))

    def test_names_and_files_of_the_tasks(self):
        text = self.file("a text.jsonl", '{"text": "one\\u2028two"}\n{"text": "\u2028"}\n')
        problems = self.file("problems.jsonl", '{"prompt": "1+1=", "answer": "2"}\n')
        mine = self.file("mine.yaml", "group: x\ntask: 'my_task'\n")
        out = self.folder / "out"
        out.mkdir()
        names, places = script.write_tasks(self.given(text=text, problems=problems, task=[mine]), out)
        self.assertEqual(names, ["held_out_text", "held_out_problems", "my_task"])
        self.assertEqual(places, [str(out), str(self.folder)])
        self.assertIn(f'{{data_files: {{test: "{text}"}}}}', (out / "held_out_text.yaml").read_text())
        self.assertIn("max_gen_toks: 9,", (out / "held_out_problems.yaml").read_text())

    def refused(self, message, **options):
        with self.assertRaisesRegex(SystemExit, message):
            script.write_tasks(self.given(**options), self.folder)

    def test_input_that_is_wrong(self):
        self.refused("no tasks; expected --text, --problems or --task")
        self.refused("absent.jsonl: cannot be read", text=self.folder / "absent.jsonl")
        self.refused("holds no lines", text=self.file("t", ""))
        self.refused("t:2: is no JSON", text=self.file("t", '{"text": "a"}\n{"text": \n'))
        self.refused("t:1: expected an object with the texts text", text=self.file("t", '{"txt": "a"}\n'))
        self.refused("t:1: expected an object with the texts prompt, answer",
                     problems=self.file("t", '{"prompt": "a", "answer": 2}\n'))
        self.refused("with a line 'task: NAME'", task=[self.file("t.yaml", "tasks: x\n")])
        self.refused("two tasks of one name: x, x", task=[self.file(n, "task: x\n") for n in ("a.yaml", "b.yaml")])

    def test_command_line(self):
        def run(*words):
            result = subprocess.run([sys.executable, "-B", SCRIPT, *map(str, words)], capture_output=True, text=True)
            return result.returncode, result.stdout + result.stderr
        self.assertEqual(run("--help")[0], 0)
        code, output = run(self.folder)
        self.assertEqual((code, output.count("\n")), (1, 1), output)
        self.assertIn("expected a Hugging Face folder", output)
        self.file("config.json", "{}")
        self.assertIn("expected --limit", run(self.folder, "--limit", "0")[1])
        if importlib.util.find_spec("lm_eval") is None:
            text = self.file("t.jsonl", '{"text": "a"}\n')
            code, output = run(self.folder, "--text", text)
            self.assertEqual((code, output.count("\n")), (1, 1), output)
            self.assertIn("pip install lm_eval torch transformers", output)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
