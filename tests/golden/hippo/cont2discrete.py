"""Writes cont2discrete.txt: SciPy's discretisations of HiPPO systems, built here from their definitions.

Run: python cont2discrete.py > cont2discrete.txt   (SciPy 1.10 or later)
A block is a line "measure method alpha dt N", then N lines of N entries of A_bar and one of B_bar, in %.17g.
SciPy's bilinear methods change C and D too; only A and B are kept. Mamba's rule is e^(dt A) of SciPy and dt B.
"""
from math import comb, gamma

import numpy as np
from scipy.linalg import expm
from scipy.signal import cont2discrete

N = 6


def legs():
    r = np.sqrt(2 * np.arange(N) + 1)
    A = -np.tril(np.outer(r, r), -1) - np.diag(np.arange(N) + 1.0)
    return A, r


def legt():
    r = np.sqrt(2 * np.arange(N) + 1)
    n, k = np.indices((N, N))
    return -0.5 * np.outer(r, r) * np.where(n >= k, 1.0, (-1.0) ** (n - k)), r / 2


def lagt():
    return np.eye(N) / 2 - np.tril(np.ones((N, N))), np.ones(N)


def lmu():
    n, k = np.indices((N, N))
    degree = 2 * np.arange(N) + 1
    return degree[:, None] * np.where(n < k, -1.0, (-1.0) ** (n - k + 1)), degree * (-1.0) ** np.arange(N)


def tlagt(b=1.0):
    return (1 - b) / 2 * np.eye(N) - np.tril(np.ones((N, N))), b * np.ones(N)


def glagt(alpha=0.0, beta=0.01):
    lam = np.array([np.sqrt(gamma(n + alpha + 1) / gamma(n + 1)) for n in range(N)])
    A = -(1 + beta) / 2 * np.eye(N) - np.tril(np.ones((N, N)), -1)
    B = np.array([comb(n, n) for n in range(N)]) * gamma(1 - alpha) ** -0.5 * beta ** ((1 - alpha) / 2)
    return A / lam[:, None] * lam, B / lam


def legsd():
    A, B = legs()
    return A + np.outer(B, B) / 2, B / 2


def rotation(step):
    d = np.zeros(N - 1)
    d[::2] = step * np.arange(N // 2)
    b = np.zeros(N)
    b[::2] = np.sqrt(2)
    b[0] = 1
    return np.pi * (np.diag(d, -1) - np.diag(d, 1)), b


def fourier():
    S, b = rotation(1)
    return S - np.outer(b, b), b


def fourier_decay():
    S, b = rotation(1)
    return S - np.outer(b, b) / 2, b / 2


def fourier2():
    S, b = rotation(2)
    return S - 2 * np.outer(b, b), 2 * b


def fourier_diag():
    S, b = rotation(2)
    return S - np.eye(N) / 2, b


def show(*words):
    print(*words[:5])
    for row in list(words[5]) + [words[6]]:
        print(" ".join("%.17g" % x for x in row))


METHODS = [("forward", "euler", 0.0), ("bilinear", "bilinear", 0.5), ("backward", "backward_diff", 1.0),
           ("gbt", "gbt", 0.3), ("zoh", "zoh", 0.0)]
for system in (legs, legt, lmu, lagt, tlagt, glagt, fourier, fourier_decay, fourier2, fourier_diag, legsd):
    A, B = system()
    for name, method, alpha in METHODS:
        for dt in (0.01, 0.7):
            C, D = np.zeros((1, N)), np.zeros((1, 1))
            a, b = cont2discrete((A, B[:, None], C, D), dt, method, alpha if method == "gbt" else None)[:2]
            show(system.__name__, name, alpha, dt, N, a, b[:, 0])
    for dt in (0.01, 0.7):
        show(system.__name__, "mamba", 0.0, dt, N, expm(dt * A), dt * B)
