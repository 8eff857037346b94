# SPDX-License-Identifier: Apache-2.0
# Writes the inputs that the fuzzers begin with: corpus/NAME/*, small valid files of every format. Python's library alone.
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CORPUS = HERE / "corpus"


def write(name, content):
    path = CORPUS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def strip(deck):
    """A deck without its comments."""
    lines = (line.partition("#")[0].rstrip() for line in deck.splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def indexed(lengths, documents, dtype):
    """Bytes of .idx and .bin behind the byte that says where one ends."""
    code, size, letter = dtype
    offsets = [sum(lengths[:i]) * size for i in range(len(lengths))]
    index = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, len(lengths), len(documents))
    index += struct.pack(f"<{len(lengths)}i", *lengths) + struct.pack(f"<{len(lengths)}q", *offsets)
    index += struct.pack(f"<{len(documents)}q", *documents)
    tokens = [i % 256 for i in range(sum(lengths))]
    data = struct.pack(f"<{len(tokens)}{letter}", *tokens)
    total = len(index) + len(data)
    share = next(s for s in range(33) if total * s // 32 >= len(index))
    index += b"\0" * (total * share // 32 - len(index)) if total * share // 32 > len(index) else b""
    return bytes([share]) + index + data


def safetensors(tensors, metadata=None):
    header, begin = ({"__metadata__": metadata} if metadata else {}), 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, begin + size]}
        begin += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(range(begin % 256)) + bytes(begin - begin % 256)


def main():
    for deck in ("tiny", "quickstart"):
        write(f"deck/{deck}.in", strip((ROOT / f"input/{deck}.in").read_text()))
    write("deck/mistakes.in", "<job>\nname = x # text\nseed = 1e3\n<model>\nhybrid_layer_pattern = (M-)*2\n"
                              "<elastic>\nbudgets = 1, 0.5, nan\n<stage1>\ntokens = 1e30\n")
    write("indexed/two_documents", indexed([5, 7, 4], [0, 2, 3], (8, 2, "H")))
    write("indexed/one_byte", indexed([16], [0, 1], (1, 1, "B")))
    write("safetensors/two", safetensors({"a": ("BF16", [2, 3], 12), "b": ("F32", [4], 16)}, {"format": "pt"}))
    write("safetensors/scalar", safetensors({"x": ("F64", [], 8)}))
    write("index/one", json.dumps({"metadata": {"total_size": 4}, "weight_map": {"a": "part.safetensors"}}))
    write("index/outside", json.dumps({"weight_map": {"a": "../part.safetensors"}}))
    for config in sorted((ROOT / "unit_tests/fixtures/hf").rglob("config.json")):
        write(f"config/{config.parent.name}.json", config.read_bytes())
    write("checkpoint/sealed.h5", (ROOT / "unit_tests/fixtures/checkpoint_v2.h5").read_bytes())
    write("tokens/lines", "1 2 3\n\n63 0\n7,8\n")
    write("spec/half", '{"budget":0.5,"dropped_layers":[2],"head_channels":[8,1,4],"hidden_size":8,"name":"0.5",'
                       '"width":[2,16,2]}')


main()
