"""Checks that Rill's Mamba language models are Hugging Face's: check_transformers.py RILL [FOLDER]

Both ways, each with equal logits: what `rill train` saves is loaded by transformers with no missing and no unexpected
key; what transformers saves (both settings of tied heads and biases) is read by `rill logits`. FOLDER keeps the files
(default: a temporary one). Exits 77 (skipped) where a package is missing.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    from transformers import MambaConfig, MambaForCausalLM
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TEXT = b"In the beginning God created the heaven and the earth.\n\x00\xff And the earth was without form"
# 1e-4 of the largest logit: float's rounding through a few layers, whose sums run in another order.
TOLERANCE = 1e-4


def rill_logits(rill, model, folder, mode):
    (folder / "bytes.bin").write_bytes(TEXT)
    out = folder / f"{model.name}-{mode}.npy".replace(":", "-")
    subprocess.run([rill, "logits", str(model), "--bytes", str(folder / "bytes.bin"), "--mode", mode, "--out",
                    str(out), "--threads", "1"], check=True)
    return np.load(out)


def compare(rill, model, network, folder):
    with torch.no_grad():
        expected = network.eval()(torch.tensor([list(TEXT)])).logits[0].numpy()
    for mode in ("parallel", "step", "chunk:7"):
        logits = rill_logits(rill, model, folder, mode)
        assert logits.dtype == np.float32 and logits.shape == expected.shape, (logits.dtype, logits.shape)
        error = np.abs(logits - expected).max() / np.abs(expected).max()
        print(f"{model.name} {mode}: logits differ by {error:.1e} of the largest")
        assert error <= TOLERANCE, error


def from_rill(rill, folder):
    text = folder / "text.txt"
    text.write_bytes(TEXT * 40)
    model = folder / "from-rill"
    subprocess.run([rill, "train", "--data", f"text:{text}", "--out", str(model), "--width", "32", "--blocks", "2",
                    "--steps", "3", "--length", "64", "--batch", "2", "--threads", "1"], check=True)
    network, info = MambaForCausalLM.from_pretrained(model, output_loading_info=True)
    assert not any(info.values()), info
    assert json.loads((model / "config.json").read_text())["model_type"] == "mamba"
    compare(rill, model, network, folder)


def from_transformers(rill, folder, name, **options):
    torch.manual_seed(1)
    config = MambaConfig(vocab_size=256, hidden_size=24, num_hidden_layers=2, **options)
    network = MambaForCausalLM(config).float()
    with torch.no_grad():  # Values that matter: biases and norms are initialised to 0 and 1.
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model = folder / name
    network.save_pretrained(model)
    compare(rill, model, network, folder)


def main(rill, folder):
    from_rill(rill, folder)
    from_transformers(rill, folder, "defaults")
    from_transformers(rill, folder, "untied", tie_word_embeddings=False, state_size=8, time_step_rank=3, expand=1)
    from_transformers(rill, folder, "biases", use_bias=True, conv_kernel=3)
    from_transformers(rill, folder, "no-conv-bias", use_conv_bias=False, layer_norm_epsilon=1e-3)


if len(sys.argv) > 2:
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
else:
    with tempfile.TemporaryDirectory() as temporary:
        main(sys.argv[1], pathlib.Path(temporary))
