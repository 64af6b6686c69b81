"""Writes mlstm.safetensors: NX-AI/xlstm's mLSTMLayer in its parallel form, without the epsilon that makes its output
depend on the stabiliser.

See ../linear_attention_reference.py for how to run.
"""
import functools
import pathlib
import sys
import types

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import linear_attention_reference as ref

folder = ref.package_folder()
# The package's own __init__ wants libraries of its big models: only the blocks are read.
for name in ("xlstm", "xlstm.blocks"):
    package = types.ModuleType(name)
    package.__path__ = [str(folder / name.replace(".", "/"))]
    sys.modules[name] = package
from xlstm.blocks.mlstm.backends import parallel_stabilized_simple, recurrent_step_stabilized_simple
from xlstm.blocks.mlstm.layer import mLSTMLayer, mLSTMLayerConfig

LENGTH = 37
layer = ref.shake(mLSTMLayer(mLSTMLayerConfig(embedding_dim=16, num_heads=4, context_length=LENGTH)))
kept = {}


def backend(queries, keys, values, igate_preact, fgate_preact, **rest):
    kept.update(q=queries, k=keys, v=values, i=igate_preact, f=fgate_preact)
    return parallel_stabilized_simple(queries, keys, values, igate_preact, fgate_preact, eps=0.0, **rest)


layer.mlstm_cell.backend_fn = backend


def run(x):
    y = layer(x)
    b, h, _, d = kept["q"].shape
    state = (torch.zeros(b, h, d, d), torch.zeros(b, h, d, 1), torch.full((b, h, 1, 1), -torch.inf))
    with torch.no_grad():
        for t in range(LENGTH):
            at = {n: kept[n][:, :, t : t + 1].clone() for n in "qkvif"}
            _, state = recurrent_step_stabilized_simple(*state, at["q"], at["k"], at["v"], at["i"], at["f"], eps=0.0)
    inner = layer.proj_up(x)[..., : layer.config._inner_embedding_dim]
    return y, {"C": state[0], "n": state[1][..., 0], "m": state[2][..., 0, 0], "conv": inner[:, -3:]}


ref.save(pathlib.Path(__file__).resolve().parent / "mlstm.safetensors", layer, run, (2, LENGTH, 16))
