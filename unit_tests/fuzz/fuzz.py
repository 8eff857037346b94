# SPDX-License-Identifier: Apache-2.0
# Builds the fuzzers and runs each for some seconds; exit code 1 if one crashes, hangs, leaks or takes too much memory.
#
#   fuzz.py BUILD_FOLDER --seconds 20 [NAME...]
#
# clang's libFuzzer, with the address and undefined-behaviour sanitizers. What reads files (FOLDERS, FILES) is compiled anew
# with instrumentation, from the compile commands of a build of elastic.x with Ninja; all else is linked as built.
# Inputs begin with corpus/NAME; what a run finds stays in BUILD_FOLDER/fuzz/NAME, a crash in BUILD_FOLDER/fuzz/NAME-crash-*.
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDERS = ["deck", "io"]
FILES = ["base/error.cpp", "data/indexed_dataset.cpp", "data/indexed_mask.cpp", "data/dataset_summary.cpp",
         "data/mapped_file.cpp", "interop/strict_json.cpp",
         "interop/hf_config.cpp", "interop/hf_files.cpp", "interop/safetensors_reader.cpp", "interop/element_type.cpp",
         "elastic/submodel_spec.cpp", "verbs/token_text.cpp"]
SANITIZERS = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
LIMITS = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=16384"]


def run(command, **options):
    result = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if result.returncode != 0:
        sys.exit(f"fuzz: {shlex.join(map(str, command))}\n{result.stdout}")
    return result.stdout


class Build:
    """Objects with instrumentation, and programs of them and of the libraries of a build."""

    def __init__(self, folder, compiler):
        self.folder, self.compiler = folder, compiler
        self.out = folder / "fuzz"
        self.out.mkdir(exist_ok=True)
        entries = json.loads(run(["ninja", "-t", "compdb"], cwd=folder))
        self.commands = {pathlib.Path(entry["file"]): entry["command"] for entry in entries
                         if entry["file"].endswith(".cpp") and " -c " in entry["command"]}
        link = run(["ninja", "-t", "commands", "elastic.x"], cwd=folder).strip().splitlines()[-1]
        self.link = shlex.split(re.search(r"&&\s*(.*?)\s*&&", link)[1])

    def flags(self, source):
        """Include folders, definitions and language of a source, without what only the other compiler knows."""
        words, kept = shlex.split(self.commands[source]), []
        for i, word in enumerate(words):
            if word.startswith(("-I", "-D", "-std", "-march")):
                kept.append(word)
            elif word == "-isystem":
                kept += [word, words[i + 1]]
        return kept

    def compile(self, source, like=None):
        target = self.out / (str(source.relative_to(ROOT)).replace("/", "_") + ".o")
        launcher = ["ccache"] if subprocess.run(["which", "ccache"], capture_output=True).returncode == 0 else []
        run([*launcher, self.compiler, *self.flags(like or source), "-O1", "-fsanitize=fuzzer-no-link", *SANITIZERS,
             "-I", HERE, "-c", source, "-o", target])
        return target

    def program(self, name, objects):
        """Links objects in the place of main.cpp; archives give what is not among them."""
        program, words = self.out / name, []
        for word in self.link[1:]:
            if not word.endswith("main.cpp.o"):
                words.append(word)
        words[words.index("-o") + 1] = str(program)
        words = [word for word in words if not word.startswith("-fno-") and word != "-fopenmp-simd"]
        at = next(i for i, word in enumerate(words) if word.endswith(".a"))
        run([self.compiler, "-fsanitize=fuzzer", *SANITIZERS, *words[:at], *map(str, objects), *words[at:]],
            cwd=self.folder)
        return program


def instrumented():
    sources = [ROOT / "src" / file for file in FILES]
    for folder in FOLDERS:
        sources += sorted((ROOT / "src" / folder).glob("*.cpp"))
    return sources


def fuzz(program, seconds):
    name = program.name
    found = program.parent / f"{name}_found"
    found.mkdir(exist_ok=True)
    seeds = HERE / "corpus" / name
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=0",
                       LSAN_OPTIONS=f"suppressions={HERE / 'leaks.txt'}:print_suppressions=0")
    result = subprocess.run([program, *LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={program.parent}/{name}-",
                             "-print_final_stats=1", "-verbosity=0", found, *([seeds] if seeds.is_dir() else [])],
                            env=environment, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    runs = re.search(r"number_of_executed_units:\s*(\d+)", result.stdout)
    return result.returncode, int(runs[1]) if runs else 0, result.stdout


def main():
    parser = argparse.ArgumentParser(description="Fuzzes whatever reads a file.")
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("names", nargs="*", help="fuzzers; default: all")
    parser.add_argument("--seconds", type=int, default=20, help="of each")
    parser.add_argument("--compiler", default="clang++-14")
    options = parser.parse_args()
    names = options.names or sorted(file.stem[len("fuzz_"):] for file in HERE.glob("fuzz_*.cpp"))
    cores = len(os.sched_getaffinity(0))
    build = Build(options.build.resolve(), options.compiler)
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        objects = list(pool.map(build.compile, instrumented()))
        like = ROOT / "src/verbs/import.cpp"  # sees every folder that a fuzzer includes
        mains = list(pool.map(lambda name: build.compile(HERE / f"fuzz_{name}.cpp", like), names))
        programs = list(pool.map(lambda name, main: build.program(name, [main, *objects]), names, mains))
        failed = 0
        for name, (code, runs, output) in zip(names, pool.map(lambda program: fuzz(program, options.seconds), programs)):
            print(f"{name:12}  {'passed' if code == 0 else 'FAILED'}  {runs} inputs", flush=True)
            if code != 0:
                failed += 1
                print("\n".join(output.splitlines()[-60:]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
