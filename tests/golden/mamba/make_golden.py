"""Writes the expected results of Hugging Face's MambaMixer beside this file, one safetensors file a case.

Run: HF_HUB_OFFLINE=1 python make_golden.py   (torch, transformers, safetensors). Made with torch 2.15.0, transformers 5.23.0,
the module's own Python path on the CPU.
Parameters, x and dy are float32 numbers; the module runs in float64 (its `.float()` calls are made to give float64), so
that "y", "dx" and the gradients "g.NAME" are exact to 1e-13. "p.NAME" parameters, "x" [B, T, D], "dy" cotangent of y.
"""
import pathlib
import torch
from safetensors.torch import save_file
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

HERE = pathlib.Path(__file__).parent

# name: D, N, K, R, use_bias, use_conv_bias, B, T
CASES = {
    "mixer": (12, 5, 4, 1, False, True, 2, 9),
    "mixer_bias": (8, 16, 3, 3, True, True, 1, 7),
    "mixer_no_conv_bias": (5, 2, 2, 2, False, False, 2, 40),
}


def main():
    torch.Tensor.float = torch.Tensor.double
    for seed, (name, (d, n, k, r, bias, conv_bias, batch, steps)) in enumerate(CASES.items()):
        torch.manual_seed(seed)
        config = MambaConfig(hidden_size=d, state_size=n, conv_kernel=k, expand=2, time_step_rank=r, use_bias=bias,
                             use_conv_bias=conv_bias, num_hidden_layers=1, vocab_size=8)
        mixer = MambaMixer(config, 0)
        with torch.no_grad():
            for key, p in mixer.named_parameters():
                p.copy_(torch.randn(p.shape) * (1.0 if key in ("A_log", "D") else 0.5))
        mixer = mixer.double()
        x = torch.randn(batch, steps, d, dtype=torch.float32).to(torch.float64).requires_grad_(True)
        y = mixer(x)
        dy = torch.randn(batch, steps, d, dtype=torch.float32).to(torch.float64)
        y.backward(dy)
        tensors = {"x": x, "y": y, "dy": dy, "dx": x.grad}
        for key, p in mixer.named_parameters():
            tensors["p." + key] = p
            tensors["g." + key] = p.grad
        save_file({key: t.detach().contiguous() for key, t in tensors.items()}, HERE / f"{name}.safetensors")


main()
