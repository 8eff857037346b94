# SPDX-License-Identifier: Apache-2.0
# What carries the program elsewhere tells the truth: one version everywhere, a citation that readers of CITATION.cff accept,
# container recipes with the libraries that the program needs, a Spack recipe with the options and libraries of CMake.
#
#   packages.py ROOT ELASTIC_X
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys
import types
import unittest

ROOT, PROGRAM = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
RECIPE = "packaging/spack/spack_repo/elastic/packages/elastic_x/package.py"
# Libraries that come with others: the C and C++ runtime, and what OpenBLAS brings.
COMES_ALONG = {"libc6", "libgcc-s1", "libstdc++6"}


def text_of(name):
    return (ROOT / name).read_text()


class Directives:
    """The words of a Spack recipe, taken down."""

    def __init__(self):
        self.calls = []

    def module(self, name, *words):
        module = types.ModuleType(name)
        for word in words:
            setattr(module, word, self.directive(word))
        return module

    def directive(self, word):
        return lambda *arguments, **keywords: self.calls.append((word, arguments, keywords)) or self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def load_recipe():
    """(directives, class) of the Spack recipe, without Spack."""
    taken = Directives()
    words = ["license", "version", "variant", "depends_on", "conflicts", "generator", "when"]
    bases = {"cmake": ("CMakePackage", {}), "cuda": ("CudaPackage", {"cuda_arch_values": ("80", "90")}),
             "rocm": ("ROCmPackage", {"amdgpu_targets": ("gfx90a",)})}
    modules = {"spack": types.ModuleType("spack"), "spack.package": taken.module("spack.package", *words),
               "spack_repo": types.ModuleType("spack_repo"), "spack_repo.builtin": types.ModuleType("spack_repo.builtin"),
               "spack_repo.builtin.build_systems": types.ModuleType("spack_repo.builtin.build_systems")}
    modules["spack.package"].__all__ = words
    for name, (base, members) in bases.items():
        module = types.ModuleType(f"spack_repo.builtin.build_systems.{name}")
        setattr(module, base, type(base, (), members))
        modules[module.__name__] = module
    sys.modules.update(modules)
    spec = importlib.util.spec_from_file_location("recipe", ROOT / RECIPE)
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    return taken.calls, recipe.ElasticX


class Packaging(unittest.TestCase):
    def test_one_version_everywhere(self):
        version, = re.findall(r"^project\(elastic VERSION (\S+)", text_of("CMakeLists.txt"), re.M)
        said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout
        self.assertIn(f"elastic.x {version} (", said)
        for name, pattern in (("CITATION.cff", r"^version: (\S+)$"), ("CHANGELOG.md", r"^## (\d\S*) - "), (RECIPE, r'version\("(\S+)"\)'),
                              (RECIPE, r"elastic-x@(\S+)"), ("packaging/README.md", r"elastic-x@(\S+)"),
                              ("packaging/container/Containerfile", r'image\.version="(\S+)"'),
                              ("packaging/container/elastic.def", r"image\.version (\S+)")):
            found = re.findall(pattern, text_of(name), re.M)
            self.assertTrue(found, name)
            self.assertEqual(found[0], version, name)

    def test_release_has_its_date_in_both_places(self):
        date = re.search(r"^## \S+ - (\S+)$", text_of("CHANGELOG.md"), re.M).group(1)
        self.assertIn(f'date-released: "{date}"', text_of("CITATION.cff"))

    def test_citation_has_what_its_format_demands(self):
        try:
            import yaml
        except ImportError:
            self.skipTest("this python has no yaml")
        citation = yaml.safe_load(text_of("CITATION.cff"))
        self.assertEqual(citation["cff-version"], "1.2.0")
        for key in ("message", "title", "authors"):
            self.assertTrue(citation[key], key)
        self.assertEqual(citation["license"], "Apache-2.0")
        known = {"cff-version", "message", "type", "title", "abstract", "authors", "version", "date-released", "license", "keywords", "references"}
        self.assertLessEqual(set(citation), known)
        paper, = citation["references"]
        self.assertEqual((paper["type"], paper["url"]), ("article", "https://arxiv.org/abs/2511.16664"))
        for person in paper["authors"]:
            self.assertEqual(set(person), {"family-names", "given-names"})

    def test_container_installs_the_libraries_that_the_program_needs(self):
        if not shutil.which("dpkg-query") or not shutil.which("objdump"):
            self.skipTest("this is not Debian")
        containerfile = text_of("packaging/container/Containerfile")
        installed = set(re.search(r"--no-install-recommends --quiet \\\n(.*?)&& rm", containerfile, re.S).group(1).replace("\\\n", " ").split())
        needed = re.findall(r"NEEDED +(\S+)", subprocess.run(["objdump", "-p", PROGRAM], capture_output=True, text=True).stdout)
        self.assertIn("libfmt.so.9", needed)
        for library in needed:
            owner = subprocess.run(["dpkg-query", "--search", f"*/{library}"], capture_output=True, text=True).stdout
            packages = {line.split(":")[0] for line in owner.splitlines()}
            if packages:  # none: built on this machine
                self.assertTrue(packages & (installed | COMES_ALONG), f"{library} of {packages}")

    def test_container_recipes_use_presets_targets_and_files_that_exist(self):
        for name in ("Containerfile", "elastic.def"):
            recipe = text_of(f"packaging/container/{name}")
            self.assertIn('"name": "release"', text_of("CMakePresets.json"))
            self.assertRegex(recipe, r"cmake --preset release -DELASTIC_NATIVE=OFF -DELASTIC_UNIT_TESTS=OFF")
            self.assertIn("packaging/container/quickstart", recipe)
            for option in re.findall(r"-D(ELASTIC_\w+)=", recipe):
                self.assertRegex(text_of("CMakeLists.txt"), rf"option\({option} ")
        deck = re.search(r"/opt/elastic/share/elastic/(\S+)", text_of("packaging/container/quickstart")).group(1)
        self.assertTrue((ROOT / deck).exists())
        self.assertIn("DIRECTORY input", text_of("cmake/ElasticInstall.cmake"))

    def test_spack_recipe_names_what_cmake_finds(self):
        calls, recipe = load_recipe()
        depends = " ".join(arguments[0] for word, arguments, _ in calls if word == "depends_on")
        for spec in re.findall(r" SPACK \"?([\w-]+)", text_of("cmake/ElasticDependencies.cmake")):
            if spec not in ("benchmark", "cuda"):  # benchmarks are not built; CUDA comes with Kokkos
                self.assertRegex(depends, "\\bmpi\\b" if spec == "openmpi" else rf"\b{spec}\b")
        environment = set(re.findall(r"^  - ([\w-]+)", text_of("spack.yaml"), re.M))
        always = {re.match(r"[\w-]+", arguments[0]).group() for word, arguments, _ in calls if word == "depends_on"}
        self.assertEqual(always - environment, {"c", "cxx"})
        variants = {arguments[0] for word, arguments, _ in calls if word == "variant"}
        self.assertEqual(variants, {"openmp", "native", "tests"})

        class Spec:  # +rocm
            prefix = hipcc = "/somewhere"

            def satisfies(self, what):
                return what == "+rocm"

            def __getitem__(self, _):
                return self

        package = recipe()
        package.spec = Spec()
        package.define = lambda name, value: (name, value)
        package.define_from_variant = lambda name, variant: (name, variant)
        cmake = text_of("CMakeLists.txt")
        for name, value in package.cmake_args():
            if name.startswith("ELASTIC_"):
                self.assertRegex(cmake, rf"(option|set)\({name} ")
            if value in variants:
                self.assertIn(name, ("ELASTIC_NATIVE", "ELASTIC_UNIT_TESTS"))
        self.assertIn(("ELASTIC_KOKKOS_FOR", "HIP"), package.cmake_args())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
