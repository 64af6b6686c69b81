"""Writes gla.safetensors: flash-linear-attention's GatedLinearAttention.

See ../linear_attention_reference.py for how to run.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import linear_attention_reference as ref

folder = ref.package_folder()
import fla.layers.gla as module

naive = ref.double_source(folder / "fla/ops/gla/naive.py")
module.FusedRMSNormGated = ref.GatedNorm
kept = {}


def recurrence(q, k, v, gk=None, g=None, **_):
    o, state = naive.naive_recurrent_gla(q, k, v, gk if gk is not None else g, output_final_state=True)
    kept["S"] = state
    return o, state


module.chunk_gla = module.fused_recurrent_gla = module.fused_chunk_gla = recurrence
layer = ref.shake(module.GatedLinearAttention(hidden_size=16, num_heads=2))


def run(x):
    return layer(x)[0], {"S": kept["S"]}


ref.save(pathlib.Path(__file__).resolve().parent / "gla.safetensors", layer, run, (2, 37, 16))
