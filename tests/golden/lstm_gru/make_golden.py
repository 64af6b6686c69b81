"""Writes the expected results of torch.nn.LSTM and torch.nn.GRU beside this file, one safetensors file a case.

Run: python make_golden.py   (torch, safetensors). Made with torch 2.15.0.
All numbers are float64; parameters and inputs are float32 numbers, so that a float32 layer starts from the same ones.
"p.NAME" parameters, "x" [B, T, I], initial states "h0.K", "c0.K" of layer K, "y" and final states "h.K", "c.K", their
cotangents "dy", "dh.K", "dc.K", and the gradients "g.NAME", "dx", "dh0.K", "dc0.K". "y32" is torch's own float32 y.
"lengths": pack_padded_sequence.
"""
import pathlib
import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent

# name: kind, input, hidden, layers, projection, bias, batch, steps, lengths
CASES = {
    "lstm": ("LSTM", 3, 5, 1, 0, True, 2, 7, None),
    "lstm_2_layers": ("LSTM", 4, 18, 2, 0, True, 3, 9, None),
    "lstm_projection": ("LSTM", 3, 7, 2, 4, True, 2, 6, None),
    "lstm_lengths": ("LSTM", 3, 5, 2, 0, True, 4, 6, [6, 3, 1, 5]),
    "lstm_no_bias": ("LSTM", 1, 1, 1, 0, False, 1, 5, None),
    "gru": ("GRU", 3, 5, 1, 0, True, 2, 7, None),
    "gru_2_layers": ("GRU", 4, 18, 2, 0, True, 3, 9, None),
    "gru_lengths": ("GRU", 3, 5, 2, 0, True, 4, 6, [6, 3, 1, 5]),
    "gru_no_bias": ("GRU", 1, 1, 1, 0, False, 1, 5, None),
}


def float_numbers(*shape):
    return torch.randn(*shape, dtype=torch.float32).double()


def run(module, x, states, lengths):
    state = tuple(states) if len(states) == 2 else states[0]
    if lengths is None:
        y, final = module(x, state)
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed_y, final = module(packed, state)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(packed_y, batch_first=True, total_length=x.shape[1])
    return y, list(final) if len(states) == 2 else [final]


def make(name, kind, inputs, hidden, layers, projection, bias, batch, steps, lengths):
    options = {"proj_size": projection} if projection else {}
    module = getattr(torch.nn, kind)(inputs, hidden, layers, bias=bias, batch_first=True, **options)
    module32 = getattr(torch.nn, kind)(inputs, hidden, layers, bias=bias, batch_first=True, **options)
    module32.load_state_dict(module.state_dict())
    module = module.double()
    x = float_numbers(batch, steps, inputs).requires_grad_()
    output = projection or hidden
    sizes = [("h", output), ("c", hidden)] if kind == "LSTM" else [("h", hidden)]
    states = [float_numbers(layers, batch, size).requires_grad_() for _, size in sizes]
    y, final = run(module, x, states, lengths)
    dy = float_numbers(*y.shape)
    dfinal = [float_numbers(*f.shape) for f in final]
    ((y * dy).sum() + sum((f * d).sum() for f, d in zip(final, dfinal))).backward()
    y32, _ = run(module32, x.float().detach(), [s.float().detach() for s in states], lengths)

    tensors = {"x": x, "y": y, "dy": dy, "dx": x.grad, "y32": y32.double()}
    for parameter, value in module.named_parameters():
        tensors["p." + parameter] = value
        tensors["g." + parameter] = value.grad
    for (letter, _), initial, f, d in zip(sizes, states, final, dfinal):
        for k in range(layers):
            tensors[f"{letter}0.{k}"] = initial[k]
            tensors[f"d{letter}0.{k}"] = initial.grad[k]
            tensors[f"{letter}.{k}"] = f[k]
            tensors[f"d{letter}.{k}"] = d[k]
    if lengths is not None:
        tensors["lengths"] = torch.tensor(lengths)
    save_file({n: t.detach().contiguous().clone() for n, t in tensors.items()}, HERE / (name + ".safetensors"))


if __name__ == "__main__":
    for number, (case, arguments) in enumerate(CASES.items()):
        torch.manual_seed(number)
        make(case, *arguments)
