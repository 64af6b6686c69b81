"""Writes deltanet.safetensors and negative.safetensors (allow_neg_eigval): flash-linear-attention's DeltaNet.

See ../linear_attention_reference.py for how to run.
"""
import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import linear_attention_reference as ref

folder = ref.package_folder()
here = pathlib.Path(__file__).resolve().parent
import fla.layers.delta_net as module

naive = ref.double_source(folder / "fla/ops/delta_rule/naive.py")
module.RMSNorm, module.ShortConvolution = ref.Norm, ref.Conv
kept = {}


def l2_norm(x):
    return x / torch.sqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)


def recurrence(q, k, v, beta, use_qk_l2norm_in_kernel, **_):
    assert use_qk_l2norm_in_kernel
    o, state = naive.delta_rule_recurrence(*(a.transpose(1, 2) for a in (l2_norm(q), l2_norm(k), v, beta)))
    kept["S"] = state
    return o.transpose(1, 2), state


module.chunk_delta_rule = module.fused_recurrent_delta_rule = recurrence
for name, negative in (("deltanet", False), ("negative", True)):
    layer = ref.shake(module.DeltaNet(hidden_size=16, num_heads=2, allow_neg_eigval=negative))

    def run(x):
        y = layer(x)[0]
        last = {"conv_" + n: getattr(layer, n + "_proj")(x)[:, -3:] for n in "qkv"}
        return y, {"S": kept["S"], **last}

    ref.save(here / (name + ".safetensors"), layer, run, (2, 37, 16))
