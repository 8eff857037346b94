# SPDX-License-Identifier: Apache-2.0
# The forward pass of NemotronH in numpy and double precision, out of a Hugging Face folder: an implementation that shares
# nothing with the project. Mamba-2 is the plain recurrence over time, attention the plain softmax without positions; heads
# of a group are neighbours, as in the published files.
#
#   logits = Model("hf_folder").logits([1, 7, 30])      # [L, V]
import json
import pathlib
import struct

import numpy as np

NUMPY_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8"}
LAYER_TYPES = {"mamba": "M", "linear_attention": "M", "attention": "*", "full_attention": "*", "mlp": "-"}


def read_file(path):
    """Header and data of one safetensors file."""
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8:8 + length]), memoryview(content)[8 + length:]


def metadata(path):
    return read_file(path)[0].get("__metadata__", {})


def stored_tensors(path):
    """{name: (dtype, shape, bytes)} of one safetensors file."""
    header, data = read_file(path)
    return {name: (entry["dtype"], entry["shape"], bytes(data[slice(*entry["data_offsets"])]))
            for name, entry in header.items() if name != "__metadata__"}


def numbers(path):
    """{name: array} of one safetensors file; real types in double precision."""
    arrays = {}
    for name, (dtype, shape, content) in stored_tensors(path).items():
        if dtype == "BF16":  # the upper half of a float32
            values = (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = np.frombuffer(content, NUMPY_TYPES[dtype])
        arrays[name] = (values if dtype == "I64" else values.astype(np.float64)).reshape(shape)
    return arrays


def read_config(path):
    """config.json; {"__float__": "Infinity"} is how newer libraries spell a bare Infinity."""
    return json.loads(pathlib.Path(path).read_text(),
                      object_hook=lambda item: float(item["__float__"]) if "__float__" in item else item)


def weight_files(folder):
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return [folder / "model.safetensors"]
    return [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]


def silu(x):
    return x / (1 + np.exp(-x))


class Model:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        self.config = read_config(folder / "config.json")
        self.weights = {}
        for file in weight_files(folder):
            self.weights.update(numbers(file))
        self.pattern = self.config.get("hybrid_override_pattern") or "".join(
            LAYER_TYPES[name] for name in self.config["layers_block_type"])

    def settings(self, layer):
        """Settings of one layer: those of the model, unless it has its own."""
        own = self.config.get("block_configs")
        return {**self.config, **own[layer]} if own else self.config

    def weight(self, layer, name):
        return self.weights[f"backbone.layers.{layer}.{name}.weight"]

    def rms_norm(self, x, weight):
        return weight * x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.config["layer_norm_epsilon"])

    def logits(self, tokens):
        x = self.weights["backbone.embeddings.weight"][np.asarray(tokens)]
        for layer, kind in enumerate(self.pattern):
            mixer = {"M": self.mamba, "*": self.attention, "-": self.mlp}[kind]
            x = x + mixer(layer, self.rms_norm(x, self.weight(layer, "norm")))
        head = "backbone.embeddings.weight" if self.config["tie_word_embeddings"] else "lm_head.weight"
        return self.rms_norm(x, self.weights["backbone.norm_f.weight"]) @ self.weights[head].T

    def mlp(self, layer, u):
        hidden = np.maximum(u @ self.weight(layer, "mixer.up_proj").T, 0) ** 2
        return hidden @ self.weight(layer, "mixer.down_proj").T

    def attention(self, layer, u):
        settings, length = self.settings(layer), len(u)
        heads, kv_heads, size = (settings[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))
        q, k, v = ((u @ self.weight(layer, f"mixer.{name}_proj").T).reshape(length, count, size)
                   for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads)))
        later = np.triu(np.full((length, length), -np.inf), 1)
        output = np.empty((length, heads, size))
        for head in range(heads):
            group = head // (heads // kv_heads)
            scores = q[:, head] @ k[:, group].T / np.sqrt(size) + later
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            output[:, head] = weights @ v[:, group] / weights.sum(axis=1, keepdims=True)
        return output.reshape(length, heads * size) @ self.weight(layer, "mixer.o_proj").T

    def mamba(self, layer, u):
        settings, length = self.settings(layer), len(u)
        heads, size, groups, state_size, kernel = (settings[key] for key in (
            "mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size", "conv_kernel"))
        inner, per_group, prefix = heads * size, heads // groups, f"backbone.layers.{layer}.mixer."
        z, xbc, dt = np.split(u @ self.weight(layer, "mixer.in_proj").T,
                              [inner, 2 * inner + 2 * groups * state_size], axis=1)
        # Causal convolution, channel by channel.
        taps = self.weight(layer, "mixer.conv1d")[:, 0, :]
        padded = np.concatenate([np.zeros((kernel - 1, xbc.shape[1])), xbc])
        xbc = silu(self.weights[prefix + "conv1d.bias"] +
                   sum(padded[j:j + length] * taps[:, j] for j in range(kernel)))
        x, b, c = np.split(xbc, [inner, inner + groups * state_size], axis=1)
        x = x.reshape(length, heads, size)
        # Every head sees the B and C of its group.
        b, c = (np.repeat(part.reshape(length, groups, state_size), per_group, axis=1) for part in (b, c))
        dt = np.clip(np.logaddexp(0, dt + self.weights[prefix + "dt_bias"]), *settings["time_step_limit"])
        decay = np.exp(dt * -np.exp(self.weights[prefix + "A_log"]))
        state, y = np.zeros((heads, size, state_size)), np.empty((length, heads, size))
        for t in range(length):
            state = decay[t][:, None, None] * state + (dt[t][:, None] * x[t])[:, :, None] * b[t][:, None, :]
            y[t] = np.einsum("hpn,hn->hp", state, c[t]) + self.weights[prefix + "D"][:, None] * x[t]
        # Gate first, then the norm inside each group of channels.
        gated = (y.reshape(length, inner) * silu(z)).reshape(length, groups, inner // groups)
        normed = self.rms_norm(gated, self.weight(layer, "mixer.norm").reshape(groups, inner // groups))
        return normed.reshape(length, inner) @ self.weight(layer, "mixer.out_proj").T
