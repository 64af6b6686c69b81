"""Reference values of the S4D layer: the equations of state-spaces/s4 (models/s4/s4.py: SSMKernelDiag, FFTConv, S4Block)
written down in PyTorch in complex double, with PyTorch's own gradients.

    python make.py > s4d.txt

Output: for every case a line "case NAME RULE RATE", then lines "NAME SHAPE... : VALUES..." (17 digits); "d NAME" is the
gradient of sum(y * dy) + sum(h_final * dh_final). The state is that of h = a h + x, which is s4.py's divided by its dB.
"""
import math

import torch

torch.manual_seed(20260117)
B, T, H, N2, S = 2, 19, 6, 4, 2


def parameters():
    real = dict(dtype=torch.float64)
    p = {
        "layer.D": torch.randn(1, H, **real),
        "layer.kernel.C": torch.randn(1, H, N2, 2, **real) * math.sqrt(0.5),
        "layer.kernel.inv_dt": torch.empty(H, 1, **real).uniform_(math.log(1e-2), math.log(0.5)),
        "layer.kernel.B": torch.randn(1, S, N2, 2, **real),
        "layer.kernel.A_real": torch.log(torch.empty(S, N2, **real).uniform_(0.1, 1.0)),
        "layer.kernel.A_imag": torch.empty(S, N2, **real).uniform_(0.0, 12.0),
        "output_linear.0.weight": torch.randn(2 * H, H, **real) / math.sqrt(H),
        "output_linear.0.bias": torch.randn(2 * H, **real),
    }
    return {k: v.requires_grad_() for k, v in p.items()}


def coefficients(p, rule, rate):
    dt = torch.exp(p["layer.kernel.inv_dt"]) * rate
    A = -torch.exp(p["layer.kernel.A_real"]) - 1j * p["layer.kernel.A_imag"]
    A = A.repeat(H // S, 1)  # '(v t) n': channel h uses copy h mod S
    Bc = torch.view_as_complex(p["layer.kernel.B"])[0].repeat(H // S, 1)
    C = torch.view_as_complex(p["layer.kernel.C"])[0]
    z = dt * A
    if rule == "zoh":
        return torch.exp(z), C * Bc * (torch.exp(z) - 1.0) / A, C
    return (1.0 + z / 2) / (1.0 - z / 2), C * Bc / (1.0 - z / 2) * dt, C


def layer(p, x, h0, rule, rate):
    a, w, _ = coefficients(p, rule, rate)
    l = torch.arange(T)
    K = 2.0 * torch.einsum("hn,hnl->hl", w, torch.exp(torch.log(a)[:, :, None] * l)).real
    x_f, K_f = torch.fft.rfft(x.transpose(1, 2), n=2 * T), torch.fft.rfft(K, n=2 * T)
    y = torch.fft.irfft(x_f * K_f, n=2 * T)[..., :T].transpose(1, 2)
    h = torch.view_as_complex(h0)
    free, final = [], h
    for t in range(T):
        h = a * h
        free.append(2.0 * torch.einsum("hn,bhn->bh", w, h).real)
        final = a * final + x[:, t, :, None]
    y = y + torch.stack(free, 1) + x * p["layer.D"][0]
    y = torch.nn.functional.gelu(y)
    y = torch.nn.functional.linear(y, p["output_linear.0.weight"], p["output_linear.0.bias"])
    return torch.nn.functional.glu(y, dim=-1), torch.view_as_real(final), K


def show(name, tensor):
    flat = tensor.detach().reshape(-1).tolist()
    print(name, *tensor.shape, ":", *(f"{v:.17g}" for v in flat))


for rule, rate in (("zoh", 1.0), ("bilinear", 1.0), ("zoh", 2.0)):
    print("case", f"{rule}-{rate:g}", rule, rate)
    p = parameters()
    x = torch.randn(B, T, H, dtype=torch.float64, requires_grad=True)
    h0 = torch.randn(B, H, N2, 2, dtype=torch.float64, requires_grad=True)
    y, final, K = layer(p, x, h0, rule, rate)
    dy, dfinal = torch.randn_like(y), torch.randn_like(final)
    (torch.sum(y * dy) + torch.sum(final * dfinal)).backward()
    for name, value in p.items():
        show(name, value)
        show("d:" + name, value.grad)
    for name, value in (("x", x), ("h0", h0)):
        show(name, value)
        show("d:" + name, value.grad)
    show("y", y)
    show("h", final)
    show("K", K)
    show("dy", dy)
    show("dh", dfinal)
