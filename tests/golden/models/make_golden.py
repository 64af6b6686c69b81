"""Writes whole models and what their own libraries compute with them, beside this file.

Run: python make_golden.py FOLDER   (torch, safetensors, transformers, einops; FOLDER holds, unzipped:
`pip download --no-deps flash-linear-attention==0.6.0 fla-core==0.6.0 xlstm==2.0.6`). Made with torch 2.15.0 and
transformers 5.24.0.

mamba/, mamba-untied/   MambaForCausalLM.save_pretrained, byte for byte but generation_config.json, and
                        expected.safetensors: "tokens" [1, T] and "logits" [1, T, V], in float64
                        where the library does not itself cast to float32.
nxai-xlstm/             NX-AI's xLSTMLMModel: its state_dict, its configuration's own keys, and expected.safetensors.
fla-*/                  flash-linear-attention's models: their config.json, and names.txt: a line "name extent extent
                        ..." for every tensor of the state_dict. (Their kernels need a GPU: no logits.)
torch-lstm/, torch-gru/ names.txt of torch.nn.LSTM and torch.nn.GRU.
bidirectional*.safetensors   torch.nn.LSTM(bidirectional=True): "p.NAME", "x" [B, T, I], "y" [B, T, 2 H], "dy", "dx",
                        gradients "g.NAME", and "lengths" [B] where the sequences are padded.
"""
import json
import pathlib
import sys
import types

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
VOCABULARY, LENGTH = 40, 33


def shaken(network):
    """Values that matter: biases are initialised to 0, norms to 1."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network.eval()


def save_expected(network, folder, logits):
    """Tokens and the network's own logits on them, from its float32 weights, computed in float64."""
    tokens = torch.randint(VOCABULARY, (1, LENGTH))
    with torch.no_grad():
        save_file({"tokens": tokens, "logits": logits(network.double(), tokens).double().contiguous()},
                  folder / "expected.safetensors")


def mamba(name, **options):
    from transformers import MambaConfig, MambaForCausalLM
    torch.manual_seed(1)
    network = shaken(MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=2,
                                                  **options)))
    folder = HERE / name
    network.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_expected(network, folder, lambda net, tokens: net(tokens).logits)


def xlstm(packages):
    # The package's own __init__ wants libraries of its big models: only the blocks are read.
    for name in ("xlstm", "xlstm.blocks", "xlstm.blocks.slstm"):
        package = types.ModuleType(name)
        package.__path__ = [str(packages / name.replace(".", "/"))]
        sys.modules[name] = package
    for name in ("layer", "block"):  # needs a CUDA compiler; no block of this model is an sLSTM
        module = types.ModuleType("xlstm.blocks.slstm." + name)
        for kind in ("sLSTMLayer", "sLSTMLayerConfig", "sLSTMBlock", "sLSTMBlockConfig"):
            setattr(module, kind, type(kind, (), {}))
        sys.modules[module.__name__] = module
    from xlstm.blocks.mlstm.block import mLSTMBlockConfig
    from xlstm.blocks.mlstm.layer import mLSTMLayerConfig
    from xlstm.xlstm_lm_model import xLSTMLMModel, xLSTMLMModelConfig
    torch.manual_seed(2)
    layer = {"conv1d_kernel_size": 4, "qkv_proj_blocksize": 4, "num_heads": 4, "proj_factor": 1.5}
    keys = {"vocab_size": VOCABULARY, "embedding_dim": 24, "num_blocks": 2, "context_length": LENGTH,
            "tie_weights": False, "add_post_blocks_norm": True, "bias": False, "dropout": 0.0, "slstm_at": []}
    config = xLSTMLMModelConfig(mlstm_block=mLSTMBlockConfig(mlstm=mLSTMLayerConfig(**layer)), **keys)
    network = xLSTMLMModel(config)
    network.reset_parameters()
    folder = HERE / "nxai-xlstm"
    folder.mkdir(exist_ok=True)
    keys["mlstm_block"] = {"mlstm": layer}
    (folder / "config.json").write_text(json.dumps(keys, indent=2) + "\n")
    shaken(network)
    save_file(network.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    save_expected(network, folder, lambda net, tokens: net(tokens))


def save_names(network, folder):
    folder.mkdir(exist_ok=True)
    lines = [" ".join([name, *map(str, value.shape)]) for name, value in sorted(network.state_dict().items())]
    (folder / "names.txt").write_text("\n".join(lines) + "\n")


def fla(packages):
    sys.path.insert(0, str(packages))
    from fla.models import DeltaNetConfig, DeltaNetForCausalLM, GLAConfig, GLAForCausalLM
    from fla.models import RetNetConfig, RetNetForCausalLM
    for name, config, network, options in (
            ("gla", GLAConfig, GLAForCausalLM, {}),
            ("gla-unfused", GLAConfig, GLAForCausalLM, {"fuse_norm": False, "num_heads": 2, "norm_eps": 1e-4}),
            ("retnet", RetNetConfig, RetNetForCausalLM, {"intermediate_size": 96, "tie_word_embeddings": True}),
            ("delta_net", DeltaNetConfig, DeltaNetForCausalLM, {"conv_size": 3, "allow_neg_eigval": True})):
        config = config(hidden_size=64, num_hidden_layers=2, vocab_size=VOCABULARY, **options)
        folder = HERE / ("fla-" + name)
        save_names(network(config), folder)
        config.architectures = [network.__name__]
        (folder / "config.json").write_text(config.to_json_string())


def bidirectional(name, lengths):
    torch.manual_seed(3)
    network = shaken(torch.nn.LSTM(3, 5, 1, batch_first=True, bidirectional=True)).double()
    x = torch.randn(3, 7, 3).double().requires_grad_()
    if lengths is None:
        y, _ = network(x)
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(network(packed)[0], batch_first=True, total_length=7)
    dy = torch.randn_like(y)
    (y * dy).sum().backward()
    tensors = {"x": x, "y": y, "dy": dy, "dx": x.grad}
    for parameter, value in network.named_parameters():
        tensors |= {"p." + parameter: value, "g." + parameter: value.grad}
    if lengths is not None:
        tensors["lengths"] = torch.tensor(lengths)
    save_file({n: t.detach().contiguous().clone() for n, t in tensors.items()}, HERE / (name + ".safetensors"))


if __name__ == "__main__":
    mamba("mamba")
    mamba("mamba-untied", tie_word_embeddings=False, use_bias=True, use_conv_bias=False, state_size=5, conv_kernel=3,
          time_step_rank=3, expand=1, layer_norm_epsilon=1e-3)
    xlstm(pathlib.Path(sys.argv[1]))
    fla(pathlib.Path(sys.argv[1]))
    save_names(torch.nn.LSTM(16, 16), HERE / "torch-lstm")
    save_names(torch.nn.GRU(16, 16), HERE / "torch-gru")
    bidirectional("bidirectional", None)
    bidirectional("bidirectional_lengths", [4, 7, 1])
