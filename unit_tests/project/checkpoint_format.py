# SPDX-License-Identifier: Apache-2.0
# doc/checkpoint_format.md against files: its Python code verifies a checkpoint of format 2, finds every kind of damage, and
# h5py reads what the file holds.
#
# checkpoint_format.py ROOT. Exit code 77 (skipped) without h5py.
import ctypes
import ctypes.util
import pathlib
import re
import sys
import tempfile
import types
import unittest

try:
    import h5py
except ImportError:
    print("skipped: this python has no h5py")
    sys.exit(77)

ROOT = pathlib.Path(sys.argv.pop(1))
FIXTURES = ROOT / "unit_tests" / "fixtures"


def xxhash_module():
    """The package xxhash or, where this Python has none, its one function that is used, from the C library."""
    try:
        import xxhash
        return xxhash
    except ImportError:
        library = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0")
        library.XXH3_64bits.restype = ctypes.c_uint64
        library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
        module = types.ModuleType("xxhash")
        module.xxh3_64_hexdigest = lambda data: f"{library.XXH3_64bits(data, len(data)):016x}"
        return module


def documented_verify():
    """The function `verify` of the document."""
    text = (ROOT / "doc" / "checkpoint_format.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "def verify" in block]
    sys.modules["xxhash"] = xxhash_module()
    names = {}
    exec(code, names)
    return names["verify"]


class Format2(unittest.TestCase):
    path = FIXTURES / "checkpoint_v2.h5"

    @classmethod
    def setUpClass(cls):
        cls.verify = staticmethod(documented_verify())
        cls.bytes = cls.path.read_bytes()

    def assert_damaged(self, content):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "bad.h5"
            path.write_bytes(content)
            with self.assertRaises((AssertionError, ValueError, KeyError)):
                self.verify(path)

    def test_the_documented_code_verifies(self):
        self.verify(self.path)

    def test_the_documented_code_finds_damage(self):
        for at in range(0, len(self.bytes), 23):
            self.assert_damaged(self.bytes[:at] + bytes([self.bytes[at] ^ 4]) + self.bytes[at + 1:])
        for size in (100, 512, 3000, len(self.bytes) - 1):
            self.assert_damaged(self.bytes[:size])
        self.assert_damaged(self.bytes + b"\\n")

    def test_h5py_reads_both_formats(self):
        for version in (1, 2):
            with self.subTest(version=version), h5py.File(FIXTURES / f"checkpoint_v{version}.h5", "r") as file:
                self.assertEqual(file.attrs["format_version"], version)
                self.assertEqual(file.userblock_size, 512 if version == 2 else 0)
                self.assertEqual(file["model/layers.0.mlp.up"].shape, (15, 8))
                self.assertEqual(file["model/layers.0.mlp.up"][2, 3], 0.25 * 19 - 3)
                self.assertEqual(file["model/layers.0.mlp.up"].attrs["axes"], b"F D")
                self.assertEqual(file["model/half"][0, 7], -1.25)  # bfloat16, read as float32
                self.assertEqual(list(file["ranking/order"]), [3, 0, 2, 1])
                self.assertEqual(file["optimizer/m"][2], 1 / 3)
                self.assertEqual(file["text/deck"][()], b"<job>\nname = test\n")
                self.assertEqual(file["attributes"].attrs["step"], 100)


if __name__ == "__main__":
    unittest.main()
