"""What the scripts of retnet/, gla/, deltanet/ and mlstm/ share.

The layers are the authors' own modules, in double. Their Triton kernels are replaced by the plain recurrences that the
same packages carry ("naive"), read from the source with float replaced by double; norms, rotation and convolution are
written here in plain torch. Packages:
  pip download --no-deps flash-linear-attention==0.6.0 fla-core==0.6.0 xlstm==2.0.6   and unzip all into one folder.
Run: python make_golden.py FOLDER
"""
import importlib.util
import math
import pathlib
import sys
import types

import torch
from safetensors.torch import save_file

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)


def package_folder():
    folder = pathlib.Path(sys.argv[1])
    sys.path.insert(0, str(folder))
    return folder


def double_source(path):
    """A plain-torch module of a package, with its casts to float turned into casts to double."""
    text = pathlib.Path(path).read_text()
    for a, b in ((".float()", ".double()"), ("torch.float32", "torch.float64"), ("dtype=torch.float)", "dtype=torch.float64)"),
                 ("dtype=torch.float,", "dtype=torch.float64,")):
        text = text.replace(a, b)
    module = types.ModuleType(pathlib.Path(path).stem)
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module


def rms_norm(x, weight, eps):
    return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps) * (1.0 if weight is None else weight)


class GatedNorm(torch.nn.Module):
    """RMS norm, times the SiLU of a gate."""

    def __init__(self, hidden_size, elementwise_affine=True, eps=1e-5, **_):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(hidden_size))
        self.eps = eps

    def forward(self, x, gate):
        return rms_norm(x, self.weight, self.eps) * gate * torch.sigmoid(gate)


class Norm(torch.nn.Module):
    def __init__(self, hidden_size, elementwise_affine=True, eps=1e-5, **_):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(hidden_size))
        self.eps = eps

    def forward(self, x):
        return rms_norm(x, self.weight, self.eps)


class Conv(torch.nn.Conv1d):
    """Depthwise, causal, SiLU."""

    def __init__(self, hidden_size, kernel_size, bias=False, activation="silu", **_):
        super().__init__(hidden_size, hidden_size, kernel_size, groups=hidden_size, bias=bias, padding=kernel_size - 1)

    def forward(self, x, **_):
        y = super().forward(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
        return torch.nn.functional.silu(y), None


class Rotary(torch.nn.Module):
    """Planes (i, i + d/2), angles t 10000^(-2i/d); x [batch, t, heads, d]."""

    def __init__(self, dim, **_):
        super().__init__()
        self.dim = dim

    def forward(self, q, k, **_):
        t = torch.arange(q.shape[1])
        theta = 10000.0 ** (-torch.arange(0, self.dim, 2) / self.dim)
        angle = (t[:, None] * theta)[:, None, :]
        c, s = torch.cos(angle), torch.sin(angle)

        def turn(x):
            a, b = x.chunk(2, -1)
            return torch.cat([a * c - b * s, a * s + b * c], -1)

        return turn(q), turn(k)


def shake(layer, scale=0.3):
    """Parameters of visible size, none left at its initial 0 or 1."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return layer


def save(path, layer, function, shape):
    """Writes parameters p.*, input x, output y, final states s.*, and the gradients dx and d.* of <y, dy>."""
    x = torch.randn(shape).requires_grad_()
    y, states = function(x)
    dy = torch.randn_like(y)
    names, parameters = zip(*layer.named_parameters())
    gradients = torch.autograd.grad(y, (x,) + parameters, dy)
    tensors = {"x": x, "y": y, "dy": dy, "dx": gradients[0]}
    tensors.update({"p." + n: p for n, p in zip(names, parameters)})
    tensors.update({"d." + n: g for n, g in zip(names, gradients[1:])})
    tensors.update({"s." + n: s for n, s in states.items()})
    save_file({n: t.detach().clone().contiguous() for n, t in tensors.items()}, path)
