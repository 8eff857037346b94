# SPDX-License-Identifier: Apache-2.0
# Peak memory of import and export on a synthetic NemotronH checkpoint of 4 GB: the 12B's widths and vocabulary, few layers,
# random bfloat16. Prints the peak of every rank against 1 GiB plus the largest tensor, and compares all tensors that come
# back with those that went in. Takes minutes, and 3 times the size of free disk in the folder for temporary files.
# Smaller, with --hidden and --allowance, it is a test.
#
#   python3 benchmarks/import_memory.py build/elastic.x [--launcher "mpirun -n"] [--ranks 1,2]
import argparse
import hashlib
import json
import mmap
import os
import pathlib
import shlex
import struct
import subprocess
import sys
import tempfile

import numpy as np

PATTERN = "M-*M*"
VOCABULARY, FFN = 131072, 20480
HEADS, CHANNELS, GROUPS, STATE, KERNEL = 128, 80, 8, 128, 4
QUERY_HEADS, KV_HEADS, HEAD_SIZE = 40, 8, 128
ELEMENT = 2  # bytes of a bfloat16
CHUNK = 1 << 24
MIB = 1 << 20

CONFIG = {
    "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hybrid_override_pattern": PATTERN,
    "num_hidden_layers": len(PATTERN), "vocab_size": VOCABULARY, "intermediate_size": FFN,
    "mamba_num_heads": HEADS, "mamba_head_dim": CHANNELS, "n_groups": GROUPS, "ssm_state_size": STATE,
    "conv_kernel": KERNEL, "chunk_size": 128, "num_attention_heads": QUERY_HEADS, "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_SIZE, "layer_norm_epsilon": 1e-5, "mlp_hidden_act": "relu2", "tie_word_embeddings": False,
    "time_step_limit": [0.0, float("inf")], "torch_dtype": "bfloat16"}


def shapes(hidden):
    inner, state = HEADS * CHANNELS, GROUPS * STATE
    query, kv = QUERY_HEADS * HEAD_SIZE, KV_HEADS * HEAD_SIZE
    mixers = {
        "M": {"in_proj.weight": [2 * inner + 2 * state + HEADS, hidden], "conv1d.weight": [inner + 2 * state, 1, KERNEL],
              "conv1d.bias": [inner + 2 * state], "A_log": [HEADS], "D": [HEADS], "dt_bias": [HEADS],
              "norm.weight": [inner], "out_proj.weight": [hidden, inner]},
        "*": {"q_proj.weight": [query, hidden], "k_proj.weight": [kv, hidden], "v_proj.weight": [kv, hidden],
              "o_proj.weight": [hidden, query]},
        "-": {"up_proj.weight": [FFN, hidden], "down_proj.weight": [hidden, FFN]}}
    result = {"backbone.embeddings.weight": [VOCABULARY, hidden]}
    for layer, kind in enumerate(PATTERN):
        result[f"backbone.layers.{layer}.norm.weight"] = [hidden]
        for name, shape in mixers[kind].items():
            result[f"backbone.layers.{layer}.mixer.{name}"] = shape
    return result | {"backbone.norm_f.weight": [hidden], "lm_head.weight": [VOCABULARY, hidden]}


def size_of(shape):
    return int(np.prod(shape)) * ELEMENT


def write_folder(folder, hidden):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG | {"hidden_size": hidden}, indent=2))
    header, end = {}, 0
    for name, shape in shapes(hidden).items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size_of(shape)]}
        end += size_of(shape)
    text = json.dumps(header)
    text += " " * (-len(text) % 8)
    draw = np.random.default_rng(1)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text.encode())
        for begin in range(0, end, CHUNK):  # any bits but those of infinities and NaNs
            bits = draw.integers(0, 1 << 16, min(CHUNK, end - begin) // ELEMENT, dtype=np.uint16)
            file.write((bits & 0xBFFF).tobytes())
    return end


def hashes(folder):
    """{tensor: hash of type, shape and bytes}, whatever files they are in."""
    result = {}
    for path in folder.glob("*.safetensors"):
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            (length,) = struct.unpack("<Q", content[:8])
            for name, entry in json.loads(content[8:8 + length]).items():
                if name == "__metadata__":
                    continue
                begin, end = (8 + length + offset for offset in entry["data_offsets"])
                digest = hashlib.sha256(f"{entry['dtype']} {entry['shape']}".encode())
                for at in range(begin, end, CHUNK):
                    digest.update(content[at:min(end, at + CHUNK)])
                result[name] = digest.hexdigest()
    return result


def measure(report, command):
    """One rank: runs the command and writes its peak memory."""
    process = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    (pathlib.Path(report) / str(os.getpid())).write_text(str(usage.ru_maxrss * 1024))
    return os.waitstatus_to_exitcode(status)


def peaks(launcher, ranks, command):
    with tempfile.TemporaryDirectory() as report:
        subprocess.run([*launcher, str(ranks), sys.executable, __file__, "--measure", report, *command], check=True,
                       stdout=subprocess.DEVNULL)
        return sorted((int(file.read_text()) for file in pathlib.Path(report).iterdir()), reverse=True)


def main():
    if sys.argv[1:2] == ["--measure"]:
        return measure(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--launcher", default="mpirun -n")
    parser.add_argument("--ranks", default="1,2")
    parser.add_argument("--hidden", type=int, default=5120)
    parser.add_argument("--allowance", type=int, default=1024, help="MiB beside the largest tensor")
    options = parser.parse_args()
    program, launcher = str(pathlib.Path(options.program).resolve()), shlex.split(options.launcher)
    sizes = [size_of(shape) for shape in shapes(options.hidden).values()]
    largest, bound = max(sizes), max(sizes) + options.allowance * MIB
    kept = True
    with tempfile.TemporaryDirectory(prefix="elastic_import_") as temporary:
        folder = pathlib.Path(temporary)
        total = write_folder(folder / "hf", options.hidden)
        print(f"{total / 1e9:.2f} GB in {len(sizes)} tensors; largest {largest / MIB:.0f} MiB; bound {bound / MIB:.0f} MiB")
        before = hashes(folder / "hf")
        for ranks in map(int, options.ranks.split(",")):
            checkpoint, out = folder / "a.h5", folder / "out"
            for verb, arguments in (("import", [folder / "hf", checkpoint]),
                                    ("export", [checkpoint, "--out", out])):
                measured = peaks(launcher, ranks, [program, verb, *map(str, arguments)])
                kept &= len(measured) == ranks and measured[0] <= bound
                print(f"{verb} on {ranks} rank(s): " + ", ".join(f"{peak / MIB:.0f}" for peak in measured) + " MiB")
            same = hashes(out) == before
            kept &= same
            print("every tensor came back byte by byte" if same else "tensors differ")
            checkpoint.unlink()
            for file in out.iterdir():
                file.unlink()
            out.rmdir()
    print("within the bound" if kept else "not within the bound")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
