"""Reference values of AdamW: the recurrence of Loshchilov and Hutter (ICLR 2019, algorithm 2) written down in NumPy in
double, one learning rate and decay a parameter, and held against torch.optim.AdamW where PyTorch is installed.

    python make_golden.py > adamw.txt

Output: lines "NAME : VALUES..." (17 digits). Three parameters of an optimiser with parameter groups: a weight that
decays, a bias that does not, an A_log at half the rate; "GROUP.0" are the initial values, "GROUP.K" those after step K,
"GROUP.gK" the gradients of step K, "scales" the learning rate of every step as a part of the peak's.
"""
import sys

import numpy as np

LR, BETA1, BETA2, EPS, DECAY = 3e-2, 0.9, 0.95, 1e-8, 0.1
SCALES = [0.25, 1.0, 0.7, 0.4, 0.02, 1.0]
GROUPS = {"weight": (6, 1.0, DECAY), "bias": (3, 1.0, 0.0), "A_log": (4, 0.5, 0.0)}  # elements, rate, decay


def numpy_run(start, gradients, rate, decay):
    value, m, v = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for k, (g, scale) in enumerate(zip(gradients, SCALES), start=1):
        lr = LR * scale * rate
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g**2
        m_hat, v_hat = m / (1 - BETA1**k), v / (1 - BETA2**k)
        value = value - lr * m_hat / (np.sqrt(v_hat) + EPS) - lr * decay * value
        yield value


def torch_run(torch, start, gradients, rate, decay):
    value = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.AdamW([value], lr=LR, betas=(BETA1, BETA2), eps=EPS, weight_decay=decay)
    for g, scale in zip(gradients, SCALES):
        optimizer.param_groups[0]["lr"] = LR * scale * rate
        value.grad = torch.tensor(g)
        optimizer.step()
        yield value.detach().numpy().copy()


def line(name, values):
    print(name, ":", *(f"{value:.17g}" for value in values))


def main():
    try:
        import torch
    except ImportError:
        torch = None
        print("PyTorch is not installed: the recurrence stands alone.", file=sys.stderr)
    generator = np.random.default_rng(20260211)
    line("options", [LR, BETA1, BETA2, EPS, DECAY])
    line("scales", SCALES)
    for name, (count, rate, decay) in GROUPS.items():
        start = generator.standard_normal(count)
        # From 1e-6 to 10: the epsilon and the bias correction show.
        gradients = [generator.standard_normal(count) * 10.0 ** generator.integers(-6, 2) for _ in SCALES]
        values = list(numpy_run(start, gradients, rate, decay))
        if torch:
            for ours, theirs in zip(values, torch_run(torch, start, gradients, rate, decay)):
                assert np.max(np.abs(ours - theirs)) <= 1e-14 * np.max(np.abs(ours)), name
        line(f"{name}.0", start)
        for k, (g, value) in enumerate(zip(gradients, values), start=1):
            line(f"{name}.g{k}", g)
            line(f"{name}.{k}", value)


main()
