"""Writes cont2discrete.txt: SciPy's discretisations of HiPPO systems, built here from their definitions.

Run: python cont2discrete.py > cont2discrete.txt   (SciPy 1.10 or later)
A block is a line "measure method alpha dt N", then N lines of N entries of A_bar and one of B_bar, in %.17g.
SciPy's bilinear methods change C and D too; only A and B are kept.
"""
import numpy as np
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


def fourier():
    d = np.zeros(N - 1)
    d[::2] = np.arange(N // 2)
    b = np.zeros(N)
    b[::2] = np.sqrt(2)
    b[0] = 1
    return np.pi * (np.diag(d, -1) - np.diag(d, 1)) - np.outer(b, b), b


METHODS = [("forward", "euler", 0.0), ("bilinear", "bilinear", 0.5), ("backward", "backward_diff", 1.0),
           ("gbt", "gbt", 0.3), ("zoh", "zoh", 0.0)]
for system in (legs, legt, lagt, fourier):
    A, B = system()
    for name, method, alpha in METHODS:
        for dt in (0.01, 0.7):
            C, D = np.zeros((1, N)), np.zeros((1, 1))
            a, b = cont2discrete((A, B[:, None], C, D), dt, method, alpha if method == "gbt" else None)[:2]
            print(system.__name__, name, alpha, dt, N)
            for row in list(a) + [b[:, 0]]:
                print(" ".join("%.17g" % x for x in row))
