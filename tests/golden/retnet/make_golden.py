"""Writes fla.safetensors (flash-linear-attention's MultiScaleRetention) and paper.safetensors (the paper's equations).

See ../linear_attention_reference.py for how to run.
"""
import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import linear_attention_reference as ref

folder = ref.package_folder()
here = pathlib.Path(__file__).resolve().parent
import fla.layers.multiscale_retention as module

naive = ref.double_source(folder / "fla/ops/retention/naive.py")
module.FusedRMSNormGated, module.RotaryEmbedding = ref.GatedNorm, ref.Rotary
kept = {}


def retention(q, k, v, **_):
    kept["k"], kept["v"] = k, v
    return naive.naive_retention(*(a.transpose(1, 2) for a in (q, k, v))).transpose(1, 2), None


module.chunk_retention = retention
layer = ref.shake(module.MultiScaleRetention(hidden_size=16, num_heads=2))


def run(x):
    y = layer(x)[0]
    k, v = kept["k"], kept["v"]  # [batch, t, heads, d]
    t = torch.arange(x.shape[1])
    gamma = 1 - 2.0 ** (-5.0 - torch.arange(2))
    weight = gamma[None, :] ** (x.shape[1] - 1 - t)[:, None]
    return y, {"S": torch.einsum("bthk,bthv,th->bhkv", k, v, weight)}


ref.save(here / "fla.safetensors", layer, run, (2, 37, 16))


class Paper(torch.nn.Module):
    """Sun et al. 2023, equations 5 to 8 in recurrent form, as torchscale's recurrent_forward."""

    def __init__(self, width, heads, values):
        super().__init__()
        self.heads = heads
        for name, n, k in (("q", width, width), ("k", width, width), ("v", values, width), ("g", values, width),
                           ("o", width, values)):
            setattr(self, name + "_proj", torch.nn.Linear(k, n, bias=False))

    def forward(self, x):
        b, length, width = x.shape
        h = self.heads
        q, k, v = (p(x).view(b, length, h, -1) for p in (self.q_proj, self.k_proj, self.v_proj))
        d = q.shape[-1]
        k = k * d ** -0.5
        angle = torch.arange(length)[:, None] * 10000.0 ** -torch.linspace(0, 1, d // 2)
        angle = angle.repeat_interleave(2, -1)[:, None, :]

        def turn(a):
            turned = torch.stack((-a[..., 1::2], a[..., ::2]), -1).flatten(-2)
            return a * torch.cos(angle) + turned * torch.sin(angle)

        q, k = turn(q), turn(k)
        gamma = (1 - 2.0 ** (-5.0 - torch.arange(h)))[None, :, None, None]
        state, scale, outputs = torch.zeros(b, h, d, v.shape[-1]), torch.zeros(1, h, 1, 1), []
        for t in range(length):
            new = scale * gamma + 1
            # torchscale keeps the state divided by the root of the scale
            state = state * (torch.sqrt(scale) * gamma / torch.sqrt(new)) + \
                k[:, t, :, :, None] * v[:, t, :, None, :] / torch.sqrt(new)
            scale = new
            outputs.append((q[:, t, :, :, None] * state).sum(2))
        o = ref.rms_norm(torch.stack(outputs, 1), None, 1e-6).reshape(b, length, -1)
        y = self.o_proj(torch.nn.functional.silu(self.g_proj(x)) * o)
        return y, {"S": state * torch.sqrt(scale) * d ** 0.5, "normalizer": scale.expand(b, h, 1, 1)}


paper = ref.shake(Paper(16, 2, 32))
ref.save(here / "paper.safetensors", paper, paper, (2, 37, 16))
