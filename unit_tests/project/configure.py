# SPDX-License-Identifier: Apache-2.0
# Configuring: libraries that are not there are named all at once, each with what to do about it; a Kokkos that is not built
# for the device is refused; every preset is one that CMake accepts.
#
#   configure.py SOURCE_FOLDER CMAKE
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

# What CMake is told not to find, and what the message must say about it: Debian package, Spack spec, variable.
PACKAGES = {
    "Kokkos": ("libtrilinos-kokkos-dev", "kokkos", "-DKokkos_ROOT=FOLDER"),
    "MPI": ("libopenmpi-dev", "openmpi", "-DMPI_ROOT=FOLDER"),
    "HDF5": ("libhdf5-openmpi-dev", "hdf5 +mpi", "-DHDF5_ROOT=FOLDER"),
    "fmt": ("libfmt-dev", "fmt", "-Dfmt_ROOT=FOLDER"),
    "spdlog": ("libspdlog-dev", "spdlog", "-Dspdlog_ROOT=FOLDER"),
    "nlohmann_json": ("nlohmann-json3-dev", "nlohmann-json", "-Dnlohmann_json_ROOT=FOLDER"),
    "GTest": ("libgtest-dev libgmock-dev", "googletest +gmock", "-DGTest_ROOT=FOLDER"),
}
HEADERS = {
    "CLI/CLI.hpp": ("libcli11-dev", "cli11", "-DELASTIC_CLI11_INCLUDE=FOLDER"),
    "Random123/philox.h": ("librandom123-dev", "random123", "-DELASTIC_RANDOM123_INCLUDE=FOLDER"),
    "xxhash.h": ("libxxhash-dev", "xxhash", "-DELASTIC_XXHASH_INCLUDE=FOLDER"),
}


class Configure(unittest.TestCase):
    def configure(self, *arguments):
        """(exit code, output) of a configuration in a folder that goes away."""
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([self.cmake, "-S", self.source, "-B", folder, *arguments], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    def check_missing(self, text, expected):
        self.assertIn(f"elastic: not found: {len(expected)}\n", text)
        for name, (debian, spack, variable) in expected.items():
            self.assertIn(f"  {name}: Debian package {debian}, Spack or module {spack}, else {variable}\n", text)
        self.assertIn("scripts/setup.sh", text)
        self.assertEqual(text.count("CMake Error"), 1, text)

    def test_all_missing_packages_are_named_with_their_remedies(self):
        code, text = self.configure(*(f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON" for name in PACKAGES))
        self.assertNotEqual(code, 0)
        self.check_missing(text, PACKAGES)

    def test_all_missing_headers_are_named_with_their_remedies(self):
        ignored = "/usr/include;/usr/local/include"
        code, text = self.configure(f"-DCMAKE_IGNORE_PATH={ignored}")
        if code == 0:
            self.skipTest("headers of this machine lie elsewhere")
        for name, (debian, spack, variable) in HEADERS.items():
            self.assertIn(f"  {name}: Debian package {debian}, Spack or module {spack}, else {variable}\n", text)

    def test_kokkos_for_another_device_is_refused(self):
        code, text = self.configure("-DELASTIC_KOKKOS_FOR=NO_SUCH_DEVICE")
        self.assertNotEqual(code, 0)
        self.assertIn("is not built for NO_SUCH_DEVICE\n", text)
        self.assertIn("-DKokkos_ROOT=FOLDER", text)

    def test_presets(self):
        done = subprocess.run([self.cmake, "--list-presets=all"], cwd=self.source, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        names = re.findall(r'^  "([\w-]+)"', done.stdout, re.M)
        for name in ("release", "debug", "asan", "clang", "openmp", "cuda-a100", "cuda-h100", "hip-mi250x", "hip-mi300a",
                     "sycl-pvc"):
            self.assertEqual(names.count(name), 3, name)  # configure, build, test


if __name__ == "__main__":
    Configure.source, Configure.cmake = str(pathlib.Path(sys.argv[1]).resolve()), sys.argv[2]
    unittest.main(argv=sys.argv[:1], verbosity=2)
