#!/usr/bin/env python3
"""What torch's kernels take on this machine's card for the work of cuda-bench, as rows of the same form.

    bench/peers/torch_gpu.py [--json FILE]

Copy, products, cuDNN's LSTM, softmax's loss and norm, AdamW; with fla or mamba_ssm installed, their kernels too. A row
whose library is not there is left out with a sentence. Exit status 77: there is no torch, or no card.
"""
import argparse
import importlib
import json
import statistics
import sys

SKIPPED = 77
SECONDS = 0.25  # a row is measured for about so long

try:
    import torch
except ImportError:
    print("skipped: there is no torch")
    sys.exit(SKIPPED)


def events_ns(call, calls):
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(calls):
        call()
    stop.record()
    stop.synchronize()
    return 1e6 * start.elapsed_time(stop) / calls


class Bench:
    def __init__(self, path):
        self.path = path
        self.rows = []

    def row(self, name, shape, dtype, bytes, make, by="torch", flops=0):
        """`make` builds the arrays and returns the call; they are freed with it."""
        row = {"name": name, "shape": str(shape), "dtype": str(dtype).removeprefix("torch."), "by": by}
        try:
            call = make()
            for _ in range(3):  # Triton's kernels are compiled and tuned in the first
                call()
            once = max(events_ns(call, 1), 100.0)
            calls = max(1, min(1000, int(2e5 / once)))
            samples = max(3, min(50, int(1e9 * SECONDS / (once * calls))))
            ns = [events_ns(call, calls) for _ in range(samples)]
            row |= {"ns": statistics.median(ns), "best_ns": min(ns), "samples": samples, "bytes": bytes}
            if flops:
                row["GFLOPs"] = flops / row["ns"]
        except Exception as error:  # whatever a peer raises, the other rows are measured
            row["skipped"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        print(row.get("ns", row.get("skipped")), row["name"], row["shape"], row["dtype"], by, flush=True)
        self.rows.append(row)
        call = None  # its arrays are freed
        torch.cuda.empty_cache()
        if self.path:
            with open(self.path, "w") as file:
                json.dump({"torch": torch.__version__, "cudnn": torch.backends.cudnn.version(), "rows": self.rows}, file,
                          indent=1)

    def library(self, name):
        try:
            return importlib.import_module(name)
        except Exception as error:  # a library that does not load is not there
            print(f"left out: {name} ({type(error).__name__})")
            return None


def copy_and_products(bench):
    def copy():
        source = torch.zeros(1 << 32, dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        return lambda: target.copy_(source)

    bench.row("copy", [1 << 32], torch.uint8, 2.0 * (1 << 32), copy)
    size = 8192
    for name, dtype, tf32 in (("product", torch.bfloat16, False), ("product", torch.float16, False),
                              ("product tf32", torch.float32, True), ("product", torch.float32, False)):
        def product():
            torch.backends.cuda.matmul.allow_tf32 = tf32
            a, b = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
            return lambda: a @ b.T

        bench.row(name, [size] * 3, dtype, 3.0 * size * size * dtype.itemsize, product, flops=2.0 * size**3)
    torch.backends.cuda.matmul.allow_tf32 = False


def core(bench):
    tokens, width = 65536, 4096
    count = tokens * width
    for dtype in (torch.float32, torch.bfloat16):
        def inputs(arrays):
            return [torch.randn(tokens, width, device="cuda", dtype=dtype) for _ in range(arrays)]

        def silu():
            (x,) = inputs(1)
            return lambda: torch.nn.functional.silu(x)

        def norm():
            (x,) = inputs(1)
            weight = torch.ones(width, device="cuda", dtype=dtype)
            return lambda: torch.nn.functional.rms_norm(x, (width,), weight, 1e-5)

        def total():
            (x,) = inputs(1)
            return lambda: x.sum()

        bench.row("silu", [tokens, width], dtype, 2.0 * count * dtype.itemsize, silu)
        bench.row("rms_norm", [tokens, width], dtype, 2.0 * count * dtype.itemsize, norm)
        bench.row("sum", [tokens, width], dtype, 1.0 * count * dtype.itemsize, total)

    def adamw():
        parameter = torch.nn.Parameter(torch.randn(134217728, device="cuda"))
        parameter.grad = torch.randn_like(parameter)
        return torch.optim.AdamW([parameter], fused=True).step

    bench.row("adamw", [134217728], torch.float32, 28.0 * 134217728, adamw)


def lstm(bench):
    batch, length, hidden = 16, 1024, 768
    x_count, weight = batch * length * hidden, 4 * hidden * hidden
    flops = 2.0 * batch * length * 4 * hidden * hidden * 2
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        def layer():
            module = torch.nn.LSTM(hidden, hidden).cuda().to(dtype)
            return module, torch.randn(length, batch, hidden, device="cuda", dtype=dtype, requires_grad=True)

        def forward():
            module, x = layer()

            def call():
                with torch.no_grad():
                    module(x)
            return call

        def both():
            module, x = layer()
            gradient = torch.randn_like(x)
            return lambda: module(x)[0].backward(gradient)

        def packed():
            module, x = layer()
            lengths = torch.arange(batch, 0, -1) * (length // batch)
            sequence = torch.nn.utils.rnn.pack_padded_sequence(x.detach(), lengths)

            def call():
                with torch.no_grad():
                    module(sequence)
            return call

        by = f"torch cuDNN {torch.backends.cudnn.version()}"[:16]
        shape = [batch, length, hidden]
        bench.row("lstm forward", shape, dtype, 2.0 * (x_count + weight) * dtype.itemsize, forward, by, flops)
        part = (batch + 1) / (2 * batch)  # of the tokens that padding would make
        bench.row("lstm forward packed", shape, dtype, 2.0 * (part * x_count + weight) * dtype.itemsize, packed, by,
                  part * flops)
        bench.row("lstm forward + backward", shape, dtype, 6.0 * (x_count + weight) * dtype.itemsize, both, by, 3 * flops)


def with_backward(make_inputs, function):
    """Calls for forward alone, and for forward and backward."""
    def forward():
        inputs = make_inputs()

        def call():
            with torch.no_grad():
                function(*inputs)
        return call

    def both():
        inputs = [x.requires_grad_() if x.is_floating_point() else x for x in make_inputs()]
        gradient = torch.randn_like(function(*inputs))
        return lambda: function(*inputs).backward(gradient)

    return forward, both


def mamba(bench):
    module = bench.library("mamba_ssm.ops.selective_scan_interface")
    if not module:
        return
    channels, states, dtype = 4096, 16, torch.bfloat16
    for batch, length in ((16, 4096), (1, 65536)):
        def inputs():
            x, dt, z = (torch.randn(batch, channels, length, device="cuda", dtype=dtype) for _ in range(3))
            b, c = (torch.randn(batch, 1, states, length, device="cuda", dtype=dtype) for _ in range(2))
            a = -torch.rand(channels, states, device="cuda") * 15 - 1
            return [x, dt, a, b, c, z]

        def scan(x, dt, a, b, c, z):
            return module.selective_scan_fn(x, dt, a, b, c, z=z, delta_softplus=True)

        forward, both = with_backward(inputs, scan)
        shape = [batch, length, channels, states]
        moved = batch * length * (channels * 4 + 2 * states) * dtype.itemsize
        bench.row("selective_scan", shape, dtype, moved, forward, "mamba_ssm")
        bench.row("selective_scan forward + backward", shape, dtype, 2.75 * moved, both, "mamba_ssm")


def fla(bench):
    ops = bench.library("fla.ops")
    if not ops:
        return
    batch, length, heads, keys, dtype = 16, 4096, 16, 128, torch.bfloat16

    def drawn(*sizes):
        return torch.randn(*sizes, device="cuda", dtype=dtype)

    def qkv():
        return [torch.nn.functional.normalize(drawn(batch, length, heads, keys), dim=-1) for _ in range(2)] + [
            drawn(batch, length, heads, keys)]

    cases = {
        "linear_attention (GLA)": (lambda: qkv() + [-torch.rand(batch, length, heads, keys, device="cuda", dtype=dtype)],
                                   lambda *x: ops.chunk_gla(*x)[0]),
        "linear_attention (RetNet)": (qkv, lambda *x: ops.chunk_retention(*x)[0]),
        "delta_rule": (lambda: qkv() + [drawn(batch, length, heads).sigmoid()], lambda *x: ops.chunk_delta_rule(*x)[0]),
    }
    shape = [batch, length, heads, keys, keys]
    moved = 4.0 * batch * length * heads * keys * dtype.itemsize
    for name, (inputs, function) in cases.items():
        forward, both = with_backward(inputs, function)
        bench.row(name, shape, dtype, moved, forward, "fla")
        bench.row(name + " forward + backward", shape, dtype, 2.75 * moved, both, "fla")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: torch sees no CUDA device")
        return SKIPPED
    bench = Bench(options.json)
    for part in (copy_and_products, lstm, core, mamba, fla):
        part(bench)
    return 0


if __name__ == "__main__":
    sys.exit(main())
