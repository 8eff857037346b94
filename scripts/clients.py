#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The parts of clients.sh that run in Python; see there. Needs numpy and h5py; each client needs its own library.
#
#   clients.py make WORK ELASTIC_X           models, exported folders, what elastic.x says to some tokens
#   clients.py compare WORK CLIENT [LLAMA]   what a client says: transformers, mlx-lm or llama.cpp
#   clients.py table WORK FILE               writes all results between the marks of a page
import json
import os
import pathlib
import struct
import subprocess
import sys

import numpy as np

LENGTH, PROMPT, CONTINUED = 96, 16, 32  # tokens: of one sequence, of a prompt, generated behind it
GOAL = 3e-5  # largest difference of a logit in fp32
CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz+-=<>,:#?*/.;!()[]{}|&^_ "
MARKS = "<!-- clients.sh writes from here -->", "<!-- to here -->"

# Widths that no fixture of the tests has: many groups, one KV head, odd extents, a short convolution, tied embeddings, bfloat16.
MODELS = {
    "many groups": dict(pattern="M-M*-M-M*-M", vocab=64, hidden=48, mlp=112, query=8, kv=4, head=12, heads=8, channels=12,
                        groups=4, state=16, taps=4, chunk=32),
    "one KV head": dict(pattern="*-*M-M", vocab=152, hidden=40, mlp=100, query=5, kv=1, head=8, heads=6, channels=10, groups=1,
                        state=24, taps=3, chunk=16),
    "tied": dict(pattern="MM*M-M", vocab=96, hidden=56, mlp=72, query=4, kv=2, head=16, heads=10, channels=8, groups=2,
                 state=12, taps=4, chunk=64, tied=True),
    "bfloat16": dict(pattern="-M-M*-", vocab=200, hidden=36, mlp=84, query=6, kv=3, head=10, heads=9, channels=16, groups=3,
                     state=20, taps=4, chunk=8, dtype="BF16"),
}
# An elastic run from the first of them: every axis, layers that differ, a dropped layer; some steps, not a good model.
RUN = """<job>
name = clients
folder = {folder}
parent = {parent}
phases = rank, elastic, slice
<model>
hybrid_layer_pattern = M-M*-M-M*-M
hidden_size = 48
<mamba>
num_heads = 8
head_dim = 12
num_groups = 4
state_dim = 16
chunk_size = 32
<attention>
num_heads = 8
num_query_groups = 4
kv_channels = 12
<mlp>
ffn_hidden_size = 112
<data>
max_digits = 2
<rank>
samples = 4
seq_length = 48
<elastic>
budgets = 1.0, 0.8, 0.6, 0.4
hidden_size = 48, 40, 32
mamba_num_heads = 8, 4
ffn_hidden_size = 112, 84, 56, 28
num_attention_heads = 8, 4
drop_layers = 0, 1, 2
per_layer = ffn_hidden_size, mamba_num_heads, num_attention_heads
<router>
hidden_size = 16
<stage1>
steps = 8
seq_length = 48
global_batch_size = 4
warmup_steps = 1
<stage2>
steps = 3
seq_length = 48
global_batch_size = 4
warmup_steps = 1
<evaluate>
every_steps = 0
"""


def values_of(draw, name, shape):
    normal = draw.standard_normal(shape)
    if name.endswith("A_log"):
        return np.log(1 + 15 * draw.random(shape))
    if name.endswith("dt_bias"):
        return normal - 2
    if name.endswith(("norm.weight", "norm_f.weight", ".D")):
        return 1 + 0.2 * normal
    if "conv1d" in name:
        return 0.5 * normal
    return normal / shape[-1] ** 0.5


def tensor_shapes(m):
    inner, side = m["heads"] * m["channels"], 2 * m["groups"] * m["state"]
    kinds = {"M": {"in_proj.weight": (2 * inner + side + m["heads"], m["hidden"]), "A_log": (m["heads"],), "D": (m["heads"],),
                   "conv1d.weight": (inner + side, 1, m["taps"]), "conv1d.bias": (inner + side,), "dt_bias": (m["heads"],),
                   "norm.weight": (inner,), "out_proj.weight": (m["hidden"], inner)},
             "*": {"q_proj.weight": (m["query"] * m["head"], m["hidden"]), "k_proj.weight": (m["kv"] * m["head"], m["hidden"]),
                   "v_proj.weight": (m["kv"] * m["head"], m["hidden"]), "o_proj.weight": (m["hidden"], m["query"] * m["head"])},
             "-": {"up_proj.weight": (m["mlp"], m["hidden"]), "down_proj.weight": (m["hidden"], m["mlp"])}}
    shapes = {"backbone.embeddings.weight": (m["vocab"], m["hidden"]), "backbone.norm_f.weight": (m["hidden"],)}
    if not m.get("tied"):
        shapes["lm_head.weight"] = (m["vocab"], m["hidden"])
    for layer, kind in enumerate(m["pattern"]):
        shapes[f"backbone.layers.{layer}.norm.weight"] = (m["hidden"],)
        shapes |= {f"backbone.layers.{layer}.mixer.{name}": shape for name, shape in kinds[kind].items()}
    return shapes


def make_model(m, folder, seed):
    """A random model as a Hugging Face folder, in the spelling of the published ones."""
    folder.mkdir(parents=True)
    draw, header, content, dtype = np.random.default_rng(seed), {"__metadata__": {"format": "pt"}}, b"", m.get("dtype", "F32")
    for name, shape in sorted(tensor_shapes(m).items()):
        bits = values_of(draw, name, shape).astype("<f4").view("<u4")
        data = ((bits + 0x8000) >> 16).astype("<u2").tobytes() if dtype == "BF16" else bits.tobytes()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(content), len(content) + len(data)]}
        content += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content)
    config = dict(
        architectures=["NemotronHForCausalLM"], model_type="nemotron_h", hybrid_override_pattern=m["pattern"],
        num_hidden_layers=len(m["pattern"]), vocab_size=m["vocab"], hidden_size=m["hidden"], intermediate_size=m["mlp"],
        num_attention_heads=m["query"], num_key_value_heads=m["kv"], head_dim=m["head"], mamba_num_heads=m["heads"],
        mamba_head_dim=m["channels"], n_groups=m["groups"], ssm_state_size=m["state"], conv_kernel=m["taps"],
        chunk_size=m["chunk"], layer_norm_epsilon=1e-5, tie_word_embeddings=m.get("tied", False), time_step_min=1e-30,
        time_step_limit=[0.0, float("inf")], use_conv_bias=True, mamba_proj_bias=False, mlp_bias=False, attention_bias=False,
        use_bias=False, mamba_hidden_act="silu", mlp_hidden_act="relu2", max_position_embeddings=4096, expand=2,
        torch_dtype="bfloat16" if dtype == "BF16" else "float32")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


class Maker:
    """Runs elastic.x and keeps what it says to the tokens of every case."""

    def __init__(self, work, program):
        self.work, self.program = work, program

    def elastic(self, *arguments):
        run = subprocess.run([self.program, *map(str, arguments)], text=True, capture_output=True)
        if run.returncode:
            sys.exit(f"elastic.x {' '.join(map(str, arguments))}\n{run.stdout}{run.stderr}")
        return run.stdout

    def case(self, name, checkpoint, *budget, vocab):
        """Exports a (sub)model of a checkpoint; logits and greedy continuation as elastic.x has them."""
        folder = self.work / "cases" / name.replace(" ", "_")
        folder.mkdir(parents=True)
        draw = np.random.default_rng(len(name))
        tokens = [int(t) for t in draw.integers(3, vocab, LENGTH)]
        (folder / "tokens.txt").write_text(" ".join(map(str, tokens)))
        (folder / "prompt.txt").write_text(" ".join(map(str, tokens[:PROMPT])))
        said = self.elastic("export", checkpoint, *budget, "--out", folder / "hf")
        self.elastic("logits", checkpoint, *budget, "--tokens", folder / "tokens.txt", "--out", folder / "logits.h5")
        self.elastic("generate", checkpoint, *budget, "--tokens", folder / "prompt.txt", "--max-tokens", CONTINUED, "--stop", -1,
                     "--out", folder / "greedy.txt")
        padding = said.split(" of them padding")[0].split()[-1] if "of them padding" in said else "0"
        parameters = said.split(" parameters in ")[0].split()[-1]
        facts = {"name": name, "tokens": tokens, "parameters": int(parameters), "padding": int(padding),
                 "widths": said.strip().splitlines()[-1].split("; ")[-1],
                 "greedy": [int(word) for word in (folder / "greedy.txt").read_text().split()]}
        (folder / "case.json").write_text(json.dumps(facts))

    def all(self):
        for seed, (name, m) in enumerate(MODELS.items()):
            folder = self.work / "models" / name.replace(" ", "_")
            make_model(m, folder, seed)
            self.elastic("import", folder, folder.with_suffix(".h5"))
            self.case(name, folder.with_suffix(".h5"), vocab=m["vocab"])
        run, parent = self.work / "run", self.work / "models" / (next(iter(MODELS)).replace(" ", "_") + ".h5")
        (self.work / "run.in").write_text(RUN.format(folder=run, parent=parent))
        self.elastic(self.work / "run.in")
        for budget in ("1", "0.8", "0.6", "0.4", "0.5"):
            self.case(f"budget {budget}", run / "model.h5", "--budget", budget, vocab=64)


class Transformers:
    package = "transformers"

    def __init__(self, folder, _):
        import torch
        from transformers import AutoModelForCausalLM
        torch.set_num_threads(1)
        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def logits(self, tokens):
        with self.torch.no_grad():
            return self.model(self.torch.tensor([tokens]), use_cache=False).logits[0].float().numpy()

    def greedy(self, prompt):
        self.model.generation_config.eos_token_id = None  # go on behind the end
        ids = self.torch.tensor([prompt])
        out = self.model.generate(ids, attention_mask=self.torch.ones_like(ids), max_new_tokens=CONTINUED, do_sample=False,
                                  pad_token_id=0)
        return out[0, len(prompt):].tolist()


class Mlx:
    package = "mlx-lm"

    def __init__(self, folder, _):
        import mlx.core as mx
        from mlx_lm.utils import load_model
        self.mx = mx
        mx.set_default_device(mx.cpu)
        self.model = load_model(pathlib.Path(folder))[0]
        self.model.set_dtype(mx.float32)

    def logits(self, tokens):
        return np.array(self.model(self.mx.array([tokens]))[0])

    def greedy(self, prompt):
        from mlx_lm.generate import generate_step
        steps = generate_step(self.mx.array(prompt), self.model, max_tokens=CONTINUED)
        return [int(token) for token, _ in steps]


# Converts a folder without its tokenizer: the converter refuses every tokenizer that is not in its list.
CONVERT = """
import sys
sys.path[:0] = [{llama!r}, {llama!r} + "/gguf-py"]
from conversion.nemotron import NemotronHModel
NemotronHModel.set_vocab = lambda self: self._set_vocab_none()
import convert_hf_to_gguf
sys.argv = ["convert_hf_to_gguf.py", {folder!r}, "--outfile", {out!r}, "--outtype", "f32"]
convert_hf_to_gguf.main()
"""


class Llama:
    package = "llama-cpp-python"

    def __init__(self, folder, llama):
        import llama_cpp
        self.api, out = llama_cpp, str(pathlib.Path(folder).with_suffix(".gguf"))
        run = subprocess.run([sys.executable, "-c", CONVERT.format(llama=llama, folder=str(folder), out=out)],
                             text=True, capture_output=True)
        if run.returncode:
            raise RuntimeError("conversion: " + (run.stderr.strip().splitlines() or ["failed"])[-1])
        self.silent = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.silent, None)
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(out.encode(), parameters)
        if not self.model:
            raise RuntimeError("the converted file does not load")
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

    def logits(self, tokens):
        api, settings = self.api, self.api.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = 2 * LENGTH
        settings.n_threads = settings.n_threads_batch = 1
        settings.type_k = settings.type_v = api.GGML_TYPE_F32
        settings.flash_attn_type = 0  # which would round to fp16
        context = api.llama_init_from_model(self.model, settings)
        batch = api.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, True
        if api.llama_decode(context, batch):
            raise RuntimeError("llama_decode failed")
        rows = [np.ctypeslib.as_array(api.llama_get_logits_ith(context, i), (self.vocab,)).copy() for i in range(len(tokens))]
        api.llama_batch_free(batch)
        api.llama_free(context)
        return np.array(rows)

    def greedy(self, prompt):
        tokens = list(prompt)
        for _ in range(CONTINUED):
            tokens.append(int(self.logits(tokens)[-1].argmax()))
        return tokens[len(prompt):]


CLIENTS = {"transformers4": Transformers, "transformers5": Transformers, "mlx": Mlx, "llama": Llama}


def check_tokenizer(folder):
    """Empty if transformers reads the tokenizer of the generated problems as elastic.x does."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(CHARACTERS)["input_ids"]
    if ids != [1, *range(3, 64)]:
        return f"encodes {CHARACTERS!r} as {ids}"
    if tokenizer.decode(ids, skip_special_tokens=True) != CHARACTERS:
        return f"decodes {ids} as {tokenizer.decode(ids, skip_special_tokens=True)!r}"
    return "" if tokenizer.eos_token_id == 2 else f"ends texts with {tokenizer.eos_token_id}"


def compare(work, name, llama):
    import h5py
    from importlib.metadata import version
    client = CLIENTS[name]
    result = {"version": f"{client.package} {version(client.package)}", "cases": {}}
    for folder in sorted((work / "cases").iterdir()):
        case = json.loads((folder / "case.json").read_text())
        with h5py.File(folder / "logits.h5") as file:
            ours = file["logits"][...]
        entry = {}
        try:
            if client is Transformers and (folder / "hf/tokenizer.json").exists():
                entry["tokenizer"] = check_tokenizer(folder / "hf")
            theirs = client(folder / "hf", llama)
            entry["difference"] = float(np.abs(theirs.logits(case["tokens"]) - ours).max())
            entry["greedy"] = theirs.greedy(case["tokens"][:PROMPT]) == case["greedy"]
        except Exception as error:  # a client that cannot is a result
            entry["error"] = f"{type(error).__name__}: {str(error).splitlines()[0].split('. ')[0]}" if str(error) else type(error).__name__
        print(name, case["name"], entry, flush=True)
        result["cases"][case["name"]] = entry
    (work / "results" / f"{name}.json").write_text(json.dumps(result, indent=2))


def cell(entry):
    if entry is None:
        return "not tried"
    if "error" in entry:
        return "does not load"
    text = f"{entry['difference']:.1e}{'' if entry['difference'] <= GOAL else ' (!)'}"
    return text + (", same text" if entry["greedy"] else ", **other text**")


def table(work, page):
    cases = [json.loads((folder / "case.json").read_text()) for folder in (work / "cases").iterdir()]
    order = [*MODELS, *(f"budget {budget}" for budget in ("1", "0.8", "0.6", "0.5", "0.4"))]
    cases.sort(key=lambda case: order.index(case["name"]))
    results = {name: json.loads(path.read_text()) for name in CLIENTS if (path := work / "results" / f"{name}.json").exists()}
    tried = {name: result for name, result in results.items()
             if any("error" not in entry for entry in result.get("cases", {}).values())}
    lines = ["| model | parameters | of them padding | " + " | ".join(result["version"] for result in tried.values()) + " |",
             "|---" * (3 + len(tried)) + "|"]
    for case in cases:
        cells = [cell(result["cases"].get(case["name"])) for result in tried.values()]
        lines.append(f"| {case['name']}: {case['widths']} | {case['parameters']} | {case['padding']} | {' | '.join(cells)} |")
    lines.append("")
    for name, result in results.items():
        errors = sorted({entry["error"] for entry in result.get("cases", {}).values() if "error" in entry})
        lines += [f"* {result.get('version', name)}: {error}" for error in errors + [result[key] for key in ("failed",) if key in result]]
        read = [entry["tokenizer"] for entry in result.get("cases", {}).values() if "tokenizer" in entry]
        if read:
            bad = sorted({text for text in read if text})
            lines.append(f"* {result['version']} reads the tokenizers of the {len(read)} budgets: "
                         + ("; ".join(bad) if bad else "every character and id as here") + ".")
    start, end = MARKS
    before, rest = page.read_text().split(start)
    page.write_text(f"{before}{start}\n" + "\n".join(lines).rstrip() + f"\n{end}{rest.split(end)[1]}")


def main():
    if len(sys.argv) < 4 or sys.argv[1] not in ("make", "compare", "table"):
        sys.exit(__doc__ or "clients.py make|compare|table WORK ...: see clients.sh")
    work = pathlib.Path(sys.argv[2]).resolve()
    os.makedirs(work / "results", exist_ok=True)
    if sys.argv[1] == "make":
        Maker(work, sys.argv[3]).all()
    elif sys.argv[1] == "compare":
        compare(work, sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else "")
    else:
        table(work, pathlib.Path(sys.argv[3]))


if __name__ == "__main__":
    main()
