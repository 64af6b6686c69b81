"""Writes the files of this folder with the packages that own the formats: safetensors, torch, numpy, gzip.

Element i of every array is value(i) = (i * 7 % 23 - 5) / 4 in floating types, i * 7 % 23 in integers, so that the tests
need no second copy. Run from anywhere: python make_golden.py (needs numpy, torch, safetensors).
"""
import gzip
import json
import pathlib
import struct

import numpy as np
import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent


def integers(*shape):
    return (np.arange(int(np.prod(shape))) * 7 % 23).reshape(shape)


def floats(*shape):
    return (integers(*shape) - 5) / 4


def tensor(array, dtype):
    return torch.tensor(array).to(dtype)


def write_safetensors():
    save_file(
        {
            "f32": tensor(floats(2, 3), torch.float32),
            "f64": tensor(floats(3), torch.float64),
            "bf16": tensor(floats(5, 1, 3), torch.bfloat16),
            "f16": tensor(floats(7), torch.float16),
            "i32": tensor(integers(4), torch.int32),
            "i64": tensor(integers(2, 2), torch.int64),
            "u8": tensor(integers(3, 3), torch.uint8),
            "scalar": tensor(floats(1)[0], torch.float32),
            "empty": torch.zeros(0, 4),
            "name with \u00e9, \"quotes\" and \\": tensor(floats(2), torch.float32),
        },
        HERE / "mixed.safetensors",
        metadata={"format": "pt", "note": "written by the Python package"},
    )
    save_file(
        {
            "i16": tensor(integers(3), torch.int16),
            "bool": torch.tensor([True, False]),
            "f8": tensor(floats(4), torch.float8_e4m3fn),
            "rank9": torch.ones([1] * 9),
            "fine": tensor(floats(2), torch.float32),
        },
        HERE / "other_types.safetensors",
    )


def write_shards():
    folder = HERE / "sharded"
    folder.mkdir(exist_ok=True)
    shards = {
        "model-00001-of-00002.safetensors": {"a": floats(2, 2), "c": floats(3)},
        "model-00002-of-00002.safetensors": {"b": floats(4)},
    }
    weight_map = {}
    for file, arrays in shards.items():
        save_file({k: tensor(v, torch.float32) for k, v in arrays.items()}, folder / file, {"format": "pt"})
        weight_map |= {k: file for k in arrays}
    index = {"metadata": {"total_size": 44}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def write_npy():
    for name, array in {
        "f4": floats(3, 4).astype("<f4"),
        "f8_fortran": np.asfortranarray(floats(2, 3, 4).astype("<f8")),
        "f2": floats(5).astype("<f2"),
        "i4": integers(2, 3).astype("<i4"),
        "i8": integers(6).astype("<i8"),
        "u1": integers(2, 2, 2).astype("u1"),
        "scalar": np.array(-1.25, "<f4"),
        "empty": np.zeros((0, 3), "<f4"),
        "big_endian": floats(3).astype(">f4"),
        "records": np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")]),
        "bool": np.array([True, False]),
    }.items():
        np.save(HERE / f"{name}.npy", array)
    for version in (2, 3):
        with open(HERE / f"version{version}.npy", "wb") as file:
            np.lib.format.write_array(file, floats(3, 2).astype("<f4"), version=(version, 0))


def write_idx():
    images, labels = integers(3, 4, 5).astype("u1"), integers(3).astype("u1")
    packed = struct.pack(">BBBBIII", 0, 0, 8, 3, 3, 4, 5) + images.tobytes()
    with gzip.GzipFile(HERE / "train-images-idx3-ubyte.gz", "wb", mtime=0) as file:
        file.write(packed)
    (HERE / "train-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, 3) + labels.tobytes())
    for name, code, dtype in (("i2", 0x0B, ">i2"), ("i4", 0x0C, ">i4"), ("f4", 0x0D, ">f4"), ("f8", 0x0E, ">f8")):
        array = (integers(2, 3) - 5).astype(dtype)
        (HERE / f"{name}.idx").write_bytes(struct.pack(">BBBBII", 0, 0, code, 2, 2, 3) + array.tobytes())


if __name__ == "__main__":
    write_safetensors()
    write_shards()
    write_npy()
    write_idx()
