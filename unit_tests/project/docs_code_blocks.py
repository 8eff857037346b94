# SPDX-License-Identifier: Apache-2.0
# Runs the shell blocks of README.md and doc/ that are marked for it:
#
#   ```sh run
#   build/elastic.x input/tiny.in --check
#   ```
# Each file gets a scratch copy of the tree in which `build` is the build folder of this test; its blocks run there in
# order with bash -euo pipefail, without input. Mark only what is quick (a minute) and needs no rebuild.
#
# docs_code_blocks.py ROOT BUILD. Exit code 77 (skipped) while there is no README.md.
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import tree

BLOCK = re.compile(r"^```sh run[ \t]*\n(.*?)^```[ \t]*$", re.M | re.S)
TIMEOUT_SECONDS = 240
SKIPPED = 77


def blocks(text):
    """(line, commands) of every marked block."""
    return [(tree.line_of(text, m.start()) + 1, m.group(1)) for m in BLOCK.finditer(text)]


def scratch_copy(root, build, folder):
    copy = pathlib.Path(folder) / "elastic"
    shutil.copytree(root, copy, symlinks=True, ignore=lambda where, names: [
        n for n in names if tree.SKIPPED.search(n) or pathlib.Path(where, n).resolve() == build.resolve()])
    (copy / "build").symlink_to(build.resolve())
    return copy


def run(commands, copy):
    """None, or what went wrong."""
    environment = dict(os.environ, BUILD="build")
    try:
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=copy, env=environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return f"took more than {TIMEOUT_SECONDS} s"
    return None if done.returncode == 0 else f"exit code {done.returncode}\n{done.stdout[-3000:]}"


def check(root, build):
    """Yields problems; prints what is run."""
    found = [(f, blocks(f.read_text())) for f in tree.files(root, ["README.md", "doc"], [".md"])]
    if not any(f.name == "README.md" and f.parent == root and found_blocks for f, found_blocks in found):
        yield "README.md:1: no block is marked ```sh run"
    for file, file_blocks in found:
        if not file_blocks:
            continue
        with tempfile.TemporaryDirectory() as folder:
            copy = scratch_copy(root, build, folder)
            for line, commands in file_blocks:
                print(f"{file.relative_to(root)}:{line}: {commands.strip()}", flush=True)
                problem = run(commands, copy)
                if problem:
                    yield f"{file.relative_to(root)}:{line}: {problem}"


if __name__ == "__main__":
    root, build = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    if not (root / "README.md").exists():
        print("skipped: there is no README.md")
        sys.exit(SKIPPED)
    problems = list(check(root, build))
    print("\n".join(problems) or "all blocks run")
    sys.exit(1 if problems else 0)
