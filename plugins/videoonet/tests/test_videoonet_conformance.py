"""Every component of the plugin keeps the contract of its kind."""

from __future__ import annotations

import gzip
import struct

import numpy as np
from restore.testing import conformance_tests

SMALL = {"filters": 4, "encoder_kernel": 3, "decoder_kernel": 3, "iterations": 2}


def mnist(folder):
    digits = np.random.default_rng(0).integers(0, 256, (10, 28, 28), np.uint8)
    for name in ("train", "t10k"):
        path = folder / f"{name}-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(struct.pack(">4I", 0x803, *digits.shape) + digits.tobytes()))
    return {"root": folder, "frames": 4}


def cifar10(folder):
    for name in ("train", "test"):
        images = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)
        np.savez(folder / f"{name}_0.npz", images=images)
    return {"root": folder}


def ucf101(folder):
    from ucf101_files import write_ucf101

    return {"root": write_ucf101(folder), "size": 12}


test_conformance = conformance_tests(
    "videoonet",
    examples={
        "model videoonet:videoonet": [
            SMALL,
            {**SMALL, "data": "analytic", "recurrence": "none", "normalization": "instance", "channels": 1},
            {**SMALL, "residual": True, "learn_rho": "each", "share_weights": False, "normalization": "pixel"},
            {**SMALL, "unshuffle": 2, "ridge": 0.01, "normalization": "none", "recurrence": "forward"},
            {**SMALL, "iterations": 1, "smooth": 0.01, "residual": True, "normalization": "none"},
            {**SMALL, "prior": {"use": "srsenet", "scale": 1, "blocks": 1, "features": 4}},
        ],
        "model videoonet:total-variation": {"iterations": 5},
        "model videoonet:wavelets-haar": {"iterations": 3, "level": 1},
        "degradation videoonet:problems": [
            {"among": [{"use": "core:disk-blur"}, {"use": "core:inpainting", "sigma": 0.1}, {"use": "core:greyscale"}]}
        ],
        "dataset videoonet:rotated-mnist": mnist,
        "dataset videoonet:scanned-cifar10": cifar10,
        "dataset videoonet:ucf101": ucf101,
    },
)
