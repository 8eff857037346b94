# SPDX-License-Identifier: Apache-2.0
# same_output.py FILE COMMAND...: the file holds exactly what the command prints. For generated documents.
import difflib
import pathlib
import shlex
import subprocess
import sys


def difference(path, command):
    """Empty if equal, else the first lines of the difference and how to write the file anew."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return f"{shlex.join(command)}: exit code {done.returncode}"
    if not done.stdout.strip():
        return f"{shlex.join(command)}: prints nothing"
    held = path.read_text() if path.exists() else ""
    lines = list(difflib.unified_diff(held.splitlines(), done.stdout.splitlines(), str(path), "printed now", lineterm=""))
    if held == done.stdout:
        return ""
    return "\n".join(lines[:40] + [f"write it anew: {shlex.join(command)} > {path}"])


if __name__ == "__main__":
    problem = difference(pathlib.Path(sys.argv[1]), sys.argv[2:])
    print(problem or "equal")
    sys.exit(1 if problem else 0)
