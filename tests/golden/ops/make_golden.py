"""Writes the expected results of core's ops, and of the causal convolution, to ops.safetensors beside this file.

Run: python make_golden.py   (torch, safetensors). Made with torch 2.15.0.

Where PyTorch has the function, its own is taken; pooling, convolutions and the running state are loops over the
definition. All numbers are float64, but inputs are float32 numbers, so that a float32 op starts from the same ones.
"CASE.xN" inputs, "CASE.yN" outputs, "CASE.dyN" their cotangents, "CASE.dxN" the gradients of sum(y * dy) (inputs without
one are constants), "CASE.lengths" and "CASE.reset" what tells the sequences apart, "CASE.tokens" token numbers and
targets, "CASE.count" a state's counter before and after.
"""
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20260118)
B, T, C = 3, 5, 6
LENGTHS = [3, 0, 5]
RESETS = [(0, 1), (2, 0), (2, 3), (0, 4)]  # (row, step); the last one lies beyond its row's length
tensors = {}


def numbers(*shape, low=None, high=None):
    x = torch.randn(*shape) if low is None else torch.empty(*shape).uniform_(low, high)
    return x.float().double().requires_grad_()


def save(case, inputs, outputs, **others):
    loss = 0
    for i, y in enumerate(outputs):
        dy = torch.randn_like(y).float().double()
        tensors[f"{case}.y{i}"], tensors[f"{case}.dy{i}"] = y, dy
        loss = loss + (y * dy).sum()
    gradients = torch.autograd.grad(loss, [x for x in inputs if x.requires_grad], allow_unused=True)
    gradients = iter(gradients)
    for i, x in enumerate(inputs):
        tensors[f"{case}.x{i}"] = x
        if x.requires_grad:
            g = next(gradients)
            tensors[f"{case}.dx{i}"] = torch.zeros_like(x) if g is None else g
    for name, value in others.items():
        tensors[f"{case}.{name}"] = torch.as_tensor(value)


def reset_table():
    reset = torch.zeros(B, T, dtype=torch.uint8)
    for row, step in RESETS:
        reset[row, step] = 1
    return reset


def elementwise():
    wide = dict(low=-6, high=6)
    functions = {
        "silu": (F.silu, wide), "gelu": (F.gelu, wide), "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), wide),
        "sigmoid": (torch.sigmoid, wide), "tanh": (torch.tanh, wide), "relu": (F.relu, wide),
        "softplus": (F.softplus, wide), "log_sigmoid": (F.logsigmoid, wide), "exp": (torch.exp, wide),
        "log": (torch.log, dict(low=0.1, high=9)), "square": (torch.square, wide),
        "sqrt": (torch.sqrt, dict(low=0.1, high=9)), "negate": (torch.neg, wide),
        "reciprocal": (torch.reciprocal, dict(low=0.1, high=9)), "elu_plus_one": (lambda x: F.elu(x) + 1, wide),
        "min_gru": (lambda x: torch.where(x >= 0, x + 0.5, torch.sigmoid(x)), wide),
    }
    for name, (function, span) in functions.items():
        x = numbers(2, 19, **span)
        save(name, [x], [function(x)])
    for name, function in {"add": torch.add, "subtract": torch.sub, "multiply": torch.mul}.items():
        a, b, row = numbers(2, 3, C), numbers(2, 3, C), numbers(C)
        save(name, [a, b, row], [function(a, b), function(a, row)])
    x = numbers(2, C)
    save("affine", [x], [-0.75 * x + 0.375])
    x, gate = numbers(4, C), numbers(4, C)
    save("gated", [x, gate], [F.silu(gate) * x, torch.sigmoid(gate) * x])
    x = numbers(4, 2 * C)
    save("glu", [x], [F.glu(x)])


def products():
    x, w, b = numbers(2, 3, 7), numbers(5, 7), numbers(5)
    save("linear", [x, w, b], [F.linear(x, w, b), F.linear(x, w), F.linear(x, w[1:4], b[1:4])])
    table = numbers(9, C)
    tokens = torch.tensor([[8, 0, 3], [3, 3, 1]])
    save("embedding", [table], [F.embedding(tokens, table)], tokens=tokens)


def norms():
    eps = 2.0**-7  # a number that float holds
    x, w, b = numbers(4, C), numbers(C), numbers(C)
    save("rms_norm", [x, w], [F.rms_norm(x, [C], w, eps), F.rms_norm(x, [C], None, eps)])
    x, w, b = numbers(4, C), numbers(C), numbers(C)
    save("layer_norm", [x, w, b], [F.layer_norm(x, [C], w, b, eps), F.layer_norm(x, [C], None, None, eps)])
    x, w, b = numbers(4, C), numbers(C), numbers(C)
    save("group_norm", [x, w, b], [F.group_norm(x, 2, w, b, eps)])
    # Three channels a group: of two, all but eps cancels in the gradient. Here one group's weights serve all groups.
    x, w, b = numbers(4, C), numbers(3), numbers(3)
    save("group_norm_shared", [x, w, b], [F.group_norm(x, 2, w.repeat(2), b.repeat(2), eps)])
    x, w, b = numbers(4, C), numbers(C), numbers(C)
    rms = F.rms_norm(x.view(4, 2, 3), [3], None, eps).reshape(4, C)
    save("group_norm_rms", [x, w, b], [rms * w + b])
    x = numbers(4, C)
    groups = x.view(4, 2, 3)
    save("l2_norm", [x], [(groups / torch.sqrt((groups**2).sum(-1, keepdim=True) + eps)).reshape(4, C)])


def pooling():
    for name, resets in {"pool": False, "pool_resets": True}.items():
        reset = reset_table() if resets else torch.zeros(B, T, dtype=torch.uint8)
        x, sums, last = numbers(B, T, C), numbers(B, C), numbers(B, C)
        count = torch.tensor([[2], [1], [7]])
        means, new_sums, lasts, counts = [], [], [], []
        for row, length in enumerate(LENGTHS):
            total, n, newest = sums[row], int(count[row]), last[row]
            for t in range(length):
                if reset[row, t]:
                    total, n = torch.zeros_like(total), 0
                total, n, newest = total + x[row, t], n + 1, x[row, t]
            means.append(total / n)
            new_sums.append(total)
            lasts.append(newest)
            counts.append([n])
        others = dict(lengths=torch.tensor(LENGTHS), reset=reset)
        save("mean_" + name, [x, sums], [torch.stack(means), torch.stack(new_sums)],
             count=torch.stack([count, torch.tensor(counts)]), **others)
        save("last_" + name, [x, last], [torch.stack(lasts), torch.stack(lasts)], **others)


def convolution(x, weight, bias, state, reset, row, length):
    """y_t = b + sum_k w[k] x_{t-K+1+k}; inputs before a reset are zeros. Also the last K - 1 inputs."""
    width = weight.shape[1]
    past = list(state)  # K - 1 inputs, newest last
    outputs = []
    for t in range(length):
        if reset[row, t]:
            past = [torch.zeros_like(x[0, 0])] * (width - 1)
        past.append(x[row, t])
        outputs.append(bias + sum(weight[:, k] * past[k] for k in range(width)))
        past = past[1:]
    padding = [torch.zeros_like(x[0, 0])] * (x.shape[1] - length)
    return torch.stack(outputs + padding), torch.stack(past) if past else torch.zeros(0, x.shape[2]).double()


def convolutions():
    for width in (1, 2, 4, 9):
        x, weight, bias, state = numbers(B, T, C), numbers(C, width), numbers(C), numbers(B, width - 1, C)
        reset = reset_table()
        rows = [convolution(x, weight, bias, state[row], reset, row, length) for row, length in enumerate(LENGTHS)]
        y, final = torch.stack([y for y, _ in rows]), torch.stack([s for _, s in rows])
        save(f"causal_conv_{width}", [x, weight, bias, state], [y, final], lengths=torch.tensor(LENGTHS), reset=reset)
    x, kernel = numbers(B, T, C), numbers(C, 4)
    zeros, none = torch.zeros(3, C).double(), torch.zeros(B, T, dtype=torch.uint8)
    # The kernel's first element multiplies the newest input.
    rows = [convolution(x, kernel.flip(1), torch.zeros(C).double(), zeros, none, row, length)[0]
            for row, length in enumerate(LENGTHS)]
    save("fft_conv", [x, kernel], [torch.stack(rows)], lengths=torch.tensor(LENGTHS))


def losses():
    logits, targets = numbers(5, 7, low=-4, high=4), torch.tensor([0, -100, 6, 2, 2])
    save("cross_entropy", [logits], [F.cross_entropy(logits, targets, reduction="sum").reshape(1) / 3],
         tokens=targets)
    x, target = numbers(4, C), numbers(4, C).detach()
    target[0, 0] = target[2, 5] = float("nan")
    known = ~torch.isnan(target)
    save("squared_error", [x, target], [F.mse_loss(x[known], target[known], reduction="sum").reshape(1) / 7])
    save("sum", [x], [x.sum().reshape(1)])


for part in (elementwise, products, norms, pooling, convolutions, losses):
    part()
save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()},
          pathlib.Path(__file__).parent / "ops.safetensors")
