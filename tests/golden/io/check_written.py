"""Checks that the Python packages read what Rill writes: check_written.py UNIT_IO

Runs `UNIT_IO "[written]"`, which writes files into the folder RILL_WRITTEN_DIR, and reads them with safetensors and
numpy. Exits 77 (skipped) where a package is missing.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


def integers(*shape):
    return (np.arange(int(np.prod(shape))) * 7 % 23).reshape(shape)


def floats(*shape):
    return (integers(*shape) - 5) / 4


def check_safetensors(folder):
    expected = {
        "f32": (floats(2, 3), torch.float32),
        "f64": (floats(3), torch.float64),
        "bf16": (floats(5, 1, 3), torch.bfloat16),
        "f16": (floats(7), torch.float16),
        "i32": (integers(4), torch.int32),
        "i64": (integers(2, 2), torch.int64),
        "u8": (integers(3, 3), torch.uint8),
        "scalar": (floats(1)[0], torch.float32),
        "empty": (np.zeros((0, 4)), torch.float32),
        'name with \u00e9, "quotes" and \\': (floats(2), torch.float32),
    }
    path = folder / "mixed.safetensors"
    read = load_file(path)
    assert read.keys() == expected.keys(), read.keys()
    for name, (array, dtype) in expected.items():
        assert read[name].dtype == dtype, name
        assert tuple(read[name].shape) == np.shape(array), name
        assert torch.equal(read[name], torch.tensor(array).to(dtype)), name
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "note": 'a "note"\n'}, file.metadata()
    assert load_file(folder / "none.safetensors") == {}


def check_npy(folder):
    for name, expected in {
        "f4": floats(3, 4).astype("<f4"),
        "f8": floats(2, 3, 4),
        "f2": floats(5).astype("<f2"),
        "i4": integers(2, 3).astype("<i4"),
        "i8": integers(6),
        "u1": integers(2, 2, 2).astype("u1"),
        "scalar": np.array(-1.25, "<f4"),
        "empty": np.zeros((0, 3), "<f4"),
    }.items():
        read = np.load(folder / f"{name}.npy")
        assert read.dtype == expected.dtype and read.shape == expected.shape, name
        assert np.array_equal(read, expected), name


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([sys.argv[1], "[written]"], env=os.environ | {"RILL_WRITTEN_DIR": name}, check=True)
        check_safetensors(pathlib.Path(name))
        check_npy(pathlib.Path(name))
    print("safetensors and numpy read what Rill writes")
