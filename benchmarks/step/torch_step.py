# SPDX-License-Identifier: Apache-2.0
# A NemotronH model in PyTorch, written for speed on processors: batched products for the chunks of the scan,
# scaled_dot_product_attention, fused AdamW. Started by peers.py; prints one JSON line.
#
#   torch_step.py compare|plain|elastic FOLDER --precision fp32|bf16 --mode eager|compiled --steps N --threads N
#
# Shapes: B sequences of L tokens, D hidden, H heads of P channels in G groups, N states, Q tokens of a chunk, V words.
import argparse
import contextlib
import json
import pathlib
import resource
import struct
import time

import h5py
import numpy
import torch
from torch import nn
from torch.nn import functional as F

BUDGETS = (1.0, 0.75, 0.5)
BATCH, LENGTH = 2, 1024
# Widths of the homogeneous submodels of benchmarks/scaling/m.in: hidden, Mamba heads, MLP.
WIDTHS = ((768, 24, 3072), (640, 20, 2560), (512, 16, 2048))


def rms_norm(x, weight, epsilon):
    """x: [..., D]"""
    return F.rms_norm(x.float(), x.shape[-1:], None, epsilon).to(x.dtype) * weight


class Mamba(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.head_dim, self.groups = config["mamba_num_heads"], config["mamba_head_dim"], config["n_groups"]
        self.states, self.chunk, self.epsilon = config["ssm_state_size"], config["chunk_size"], config["layer_norm_epsilon"]
        inner, mixed = self.heads * self.head_dim, self.heads * self.head_dim + 2 * self.groups * self.states
        self.in_proj = nn.Linear(config["hidden_size"], inner + mixed + self.heads, bias=False)
        self.conv1d = nn.Conv1d(mixed, mixed, config["conv_kernel"], groups=mixed, padding=config["conv_kernel"] - 1)
        self.A_log, self.D, self.dt_bias = (nn.Parameter(torch.zeros(self.heads)) for _ in range(3))
        self.norm = nn.Module()
        self.norm.weight = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, config["hidden_size"], bias=False)

    def scan(self, x, b, c, dt):
        """x: [B, L, H, P], b and c: [B, L, G, N], dt: [B, L, H] -> y: [B, L, H, P]; y_t = C_t h_t,
        h_t = exp(dt A) h_{t-1} + dt B_t x_t, by chunks."""
        batch, length = x.shape[:2]
        q, per = min(self.chunk, length), self.heads // self.groups
        chunks = length // q
        a = (-torch.exp(self.A_log.float()) * dt).view(batch, chunks, q, self.heads).permute(0, 1, 3, 2).cumsum(-1)  # [B, c, H, Q]
        dx = (x * dt.to(x.dtype)[..., None]).view(batch, chunks, q, self.heads, self.head_dim).permute(0, 1, 3, 2, 4)
        b, c = (m.view(batch, chunks, q, self.groups, self.states).permute(0, 1, 3, 2, 4) for m in (b, c))
        causal = torch.ones(q, q, dtype=torch.bool).tril()
        decay = torch.where(causal, a[..., :, None] - a[..., None, :], -torch.inf).exp()  # [B, c, H, Q, Q]
        scores = (c @ b.transpose(-1, -2)).repeat_interleave(per, 2) * decay.to(x.dtype)
        y = scores @ dx
        b, c = (m.repeat_interleave(per, 2) for m in (b, c))
        to_end = (a[..., -1:] - a).exp().to(x.dtype)
        added = (dx * to_end[..., None]).transpose(-1, -2) @ b  # [B, c, H, P, N]
        state, before = torch.zeros_like(added[:, 0], dtype=torch.float32), []
        for i in range(chunks):
            before.append(state)
            state = state * a[:, i, :, -1].exp()[..., None, None] + added[:, i]
        carried = torch.stack(before, 1).to(x.dtype)
        y = y + (c @ carried.transpose(-1, -2)) * a.exp().to(x.dtype)[..., None]
        return y.permute(0, 1, 3, 2, 4).reshape(batch, length, self.heads, self.head_dim)

    def forward(self, h, mask):
        batch, length, _ = h.shape
        inner, bc = self.heads * self.head_dim, self.groups * self.states
        z, mixed, dt = self.in_proj(h).split([inner, inner + 2 * bc, self.heads], -1)
        mixed = F.silu(self.conv1d(mixed.transpose(1, 2))[..., :length]).transpose(1, 2)
        x, b, c = mixed.split([inner, bc, bc], -1)
        x = x.reshape(batch, length, self.heads, self.head_dim)
        b, c = (m.reshape(batch, length, self.groups, self.states) for m in (b, c))
        dt = F.softplus(dt.float() + self.dt_bias)
        y = self.scan(x, b, c, dt) + self.D.to(x.dtype)[:, None] * x
        if mask is not None:
            y = y * mask[:, None].to(y.dtype)
        y = (y.reshape(batch, length, inner) * F.silu(z)).view(batch, length, self.groups, inner // self.groups)
        y = F.rms_norm(y.float(), y.shape[-1:], None, self.epsilon).to(h.dtype).reshape(batch, length, inner) * self.norm.weight
        return self.out_proj(y)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.groups, self.channels = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
        self.q_proj = nn.Linear(config["hidden_size"], self.heads * self.channels, bias=False)
        self.k_proj = nn.Linear(config["hidden_size"], self.groups * self.channels, bias=False)
        self.v_proj = nn.Linear(config["hidden_size"], self.groups * self.channels, bias=False)
        self.o_proj = nn.Linear(self.heads * self.channels, config["hidden_size"], bias=False)

    def forward(self, h, mask):
        batch, length, _ = h.shape
        q, k, v = (p(h).view(batch, length, -1, self.channels).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        k, v = (m.repeat_interleave(self.heads // self.groups, 1) for m in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up_proj = nn.Linear(config["hidden_size"], config["intermediate_size"], bias=False)
        self.down_proj = nn.Linear(config["intermediate_size"], config["hidden_size"], bias=False)

    def forward(self, h, mask):
        y = F.relu(self.up_proj(h)).square()
        return self.down_proj(y if mask is None else y * mask.to(y.dtype))


class Layer(nn.Module):
    def __init__(self, config, kind):
        super().__init__()
        self.kind, self.epsilon = kind, config["layer_norm_epsilon"]
        self.norm = nn.Module()
        self.norm.weight = nn.Parameter(torch.ones(config["hidden_size"]))
        self.mixer = {"M": Mamba, "*": Attention, "-": Mlp}[kind](config)

    def forward(self, h, masks):
        y = self.mixer(rms_norm(h, self.norm.weight, self.epsilon), masks.get(self.kind))
        return h + (y if "hidden" not in masks else y * masks["hidden"].to(y.dtype))


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config, kind) for kind in config["hybrid_override_pattern"])
        self.norm_f = nn.Module()
        self.norm_f.weight = nn.Parameter(torch.ones(config["hidden_size"]))
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        self.epsilon = config["layer_norm_epsilon"]

    def forward(self, tokens, masks):
        h = self.embeddings(tokens)
        if "hidden" in masks:
            h = h * masks["hidden"]
        for layer in self.layers:
            h = layer(h, masks)
        return self.lm_head(rms_norm(h, self.norm_f.weight, self.epsilon))


def load(folder):
    """The model of a Hugging Face folder of fp32 tensors in one file."""
    config = json.loads((folder / "config.json").read_text())
    model = Model(config)
    raw = (folder / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + size])
    state = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            values = numpy.frombuffer(raw, "<f4", (last - first) // 4, 8 + size + first).reshape(entry["shape"])
            state[name.removeprefix("backbone.")] = torch.from_numpy(values.copy())
    model.load_state_dict(state)
    return model


def masks_of(config, widths):
    """Masks of a submodel of the first channels, heads of each group, and neurons; none at full width."""
    hidden, heads, ffn = widths
    full = (config["hidden_size"], config["mamba_num_heads"], config["intermediate_size"])
    if widths == full:
        return {}
    groups = config["n_groups"]
    in_group = (torch.arange(full[1]) % (full[1] // groups)) < heads // groups
    return {"hidden": (torch.arange(full[0]) < hidden).float(), "M": in_group.float(), "-": (torch.arange(full[2]) < ffn).float()}


def plain_step(model, tokens, targets):
    loss = F.cross_entropy(model(tokens, {}).flatten(0, 1).float(), targets.flatten())
    loss.backward()
    return loss


def elastic_step(model, teacher, masks, tokens):
    """Forward KL from the teacher, one budget after the other; gradients add up."""
    with torch.no_grad():
        wanted = F.log_softmax(teacher(tokens, {}).flatten(0, 1).float(), -1)
    for budget in masks:
        got = F.log_softmax(model(tokens, budget).flatten(0, 1).float(), -1)
        F.kl_div(got, wanted, log_target=True, reduction="batchmean").div(len(masks)).backward()


def measure(options, folder, context):
    model = load(folder / "model")
    config = json.loads((folder / "model/config.json").read_text())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    run = torch.compile(model) if options.mode == "compiled" else model
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(config["vocab_size"], (BATCH, LENGTH + 1), generator=generator)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    if options.what == "elastic":
        teacher = load(folder / "model").requires_grad_(False)
        teacher = torch.compile(teacher) if options.mode == "compiled" else teacher
        masks = [masks_of(config, widths) for widths in WIDTHS]
    times = []
    for _ in range(options.steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with context():
            if options.what == "plain":
                plain_step(run, inputs, targets)
            else:
                elastic_step(run, teacher, masks, inputs)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    times = sorted(times[1:] or times)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": times[len(times) // 2], "bytes": peak}


def compare(folder, context):
    """Largest difference of logits from ours, relative to the largest logit."""
    model = load(folder / "model")
    tokens = torch.tensor([int(word) for word in (folder / "tokens.txt").read_text().split()])[None]
    with h5py.File(folder / "logits.h5") as file:
        ours = torch.from_numpy(file["logits"][...])
    with torch.no_grad(), context():
        theirs = model(tokens, {})[0].float()
    return {"relative_difference": float((ours - theirs).abs().max() / ours.abs().max())}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("compare", "plain", "elastic"))
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--mode", choices=("eager", "compiled"), default="eager")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    half = options.precision == "bf16"
    context = (lambda: torch.autocast("cpu", torch.bfloat16)) if half else contextlib.nullcontext
    print(json.dumps(compare(options.folder, context) if options.what == "compare" else measure(options, options.folder, context)))


if __name__ == "__main__":
    main()
