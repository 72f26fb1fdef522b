"""The core's own components keep their contracts, by the kit that plugin authors use."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image
from restore.testing import Example, conformance_tests, write_frames, write_images, write_video

X4 = {"scale": 4}
NOISE = {"use": "gaussian-noise", "sigma": [0.0, 0.1]}


def idx(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, *pixels.shape) + pixels.tobytes())
    return {"root": folder}


def npz(folder):
    np.savez(folder / "train.npz", images=np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8))
    return {"root": folder}


def hdf5(folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "clips.h5", "w") as file:
        file["clips"] = np.random.default_rng(0).integers(0, 256, (3, 4, 3, 20, 24), np.uint8)
    return {"file": folder / "clips.h5", "key": "clips", "layout": "ntchw", "length": 2, "patch": 16}


def paired(folder):
    clean, observed = write_frames(folder / "clean"), write_frames(folder / "observed", height=20, width=24)
    sides = {"clean": {"use": "frames", "root": clean}, "observed": {"use": "frames", "root": observed}}
    return {**sides, "length": 2, "patch": 16}


def mixed(folder):
    stills = {"use": "stills-in-motion", "root": write_images(folder / "stills", 2), "length": 3, "patch": 24}
    frames = {"use": "frames", "root": write_frames(folder / "frames"), "length": 3, "patch": 24}
    return {"datasets": [stills, frames], "weights": [3.0, 1.0]}


def mixed_pairs(folder):
    return {"datasets": [{"use": "paired", **paired(folder / name)} for name in ("one", "other")]}


def reds(folder):
    write_frames(folder / "train_sharp")
    return {"root": folder, "length": 3, "patch": 16}


def septuplets(folder):
    frames = np.random.default_rng(0).integers(0, 256, (7, 20, 24, 3), np.uint8)
    (folder / "sequences/00001/0001").mkdir(parents=True)
    for k, frame in enumerate(frames, start=1):
        Image.fromarray(frame).save(folder / f"sequences/00001/0001/im{k}.png")
    (folder / "sep_trainlist.txt").write_text("00001/0001\n")
    return {"root": folder, "patch": 16}


def kernel(folder):
    np.save(folder / "kernel.npy", np.outer([1, 2, 1], [1, 3]) / 16)
    return {"path": folder / "kernel.npy"}


def mask(folder):
    Image.fromarray((np.random.default_rng(0).random((8, 8)) > 0.4).astype(np.uint8) * 255).save(folder / "mask.png")
    return {"mask": folder / "mask.png"}


DEGRADATIONS = {
    "core:bicubic": [{"scale": 2}, {"scale": 4, "rounding": "end"}],
    "core:box": [{"scale": 2}, {"scale": 3, "crop": True, "sigma": 0.05}],
    "core:gaussian-downscale": {"scale": 2},
    "core:gaussian-noise": [{"sigma": 0.1}, {"sigma": [0.0, 0.2], "grey": True}],
    "core:poisson-noise": {"peak": [20, 60]},
    "core:jpeg": {"quality": [20, 90]},
    "core:codec": {"codec": "x264", "qp": [30, 40], "preset": "ultrafast"},
    "core:inpainting": {"sigma": 0.1},
    "core:mask": Example(mask, shapes=((2, 2, 3, 8, 8),)),
    "core:kernel-blur": kernel,
    "core:motion-blur": [{"length": 5}, {"length": 3, "angle": 30.0, "boundary": "circular"}],
    "core:temporal-blur": {"frames": 3, "boundary": "full"},
    "core:frame-interpolation": {"rate": 2},
    "core:frame-prediction": {"missing": 0.5},
    "core:compressive-sensing": {"ratio": 0.1, "every": "sample"},
    "core:chain": {"steps": [{"use": "bicubic", "scale": 2}, NOISE, {"use": "jpeg", "quality": 40}]},
    "core:choice": [
        {"among": [NOISE, {"use": "box", "scale": 2}]},
        {"among": [NOISE, {"use": "jpeg", "quality": [20, 90]}], "every": "sample"},
    ],
}
DATASETS = {
    "core:images": [lambda f: {"root": write_images(f)}, lambda f: {"root": write_images(f), "patch": 16}],
    "core:frames": lambda f: {"root": write_frames(f), "length": 3, "patch": 16},
    "core:videos": lambda f: {"root": write_video(f), "length": 3, "patch": 16},
    "core:stills-in-motion": lambda f: {"root": write_images(f, 2), "length": 3, "patch": 24},
    "core:paired": paired,
    "core:reds": reds,
    "core:vimeo90k": septuplets,
    "core:mixture": [mixed, mixed_pairs],
    "core:hdf5": hdf5,
    "core:mnist": idx,
    "core:cifar10": npz,
}
OTHERS = {
    "model core:bicubic": [{"scale": 2}, {"scale": 3, "channels": "y"}],
    "metric core:psnr": [{}, {"border": 2}],
    "metric core:ms-ssim": Example(shapes=((2, 2, 1, 162, 164),)),
    "metric core:vif": Example(shapes=((2, 2, 1, 48, 44),)),
    "metric core:delta-psnr": {"planes": "y"},
    "metric core:delta-ssim": {"rounding": "none"},
    "pruner core:l1-norm": [{}, {"ratio": 0.3, "scope": "global", "exclude": ["norm1"]}],
    "schedule core:constant": {"value": 0.5},
    "schedule core:linear": {"start": 0.0, "end": 1.0},
    "schedule core:cosine": {"start": 1e-3, "warmup": 5},
    "schedule core:multistep": {"start": 1e-3, "milestones": [3, 500]},
    "schedule core:polynomial": {"start": 1e-3, "power": 2.0},
    "schedule core:step": {"start": 1e-3, "every": 7},
    "schedule core:ramp": {"end": 0.1, "increment": 1e-3, "every": 5},
    "schedule core:ladder": [{"values": [0.1, 0.2, 0.3]}, {"values": [0.1, 0.2], "random": True}],
    "schedule core:warmup": {"schedule": {"use": "cosine", "start": 1e-3}, "iterations": 5},
    "schedule core:chain": {"schedules": [0.1, 0.2], "iterations": [5]},
}

# The operators' own tests look at sixty of them in depth; here, those that the degradations carry.
test_core = conformance_tests(
    "core", examples={f"degradation {k}": v for k, v in DEGRADATIONS.items()} | DATASETS | OTHERS
)
