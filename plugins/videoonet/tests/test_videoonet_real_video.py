"""The first guess, and the recipes for people with a video, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import restore_videoonet
import torch
from PIL import Image
from restore.media.reader import VideoReader
from restore.operators import BoxDownsample, CompressiveSensing, Grey, Mask, Mixed, blur, frame_interpolation
from restore.weights import save
from restore_videoonet.networks.start import smooth_inverse
from restore_videoonet.networks.unrolled import VideoOneNet

RECIPES = Path(restore_videoonet.__file__).parent / "recipes"
SHAPE = 5, 3, 12, 14
TINY = {"filters": 4, "encoder_kernel": 3, "decoder_kernel": 3, "iterations": 1}
TINY |= {"share_weights": False, "learn_rho": "each", "residual": True, "normalization": "none", "unshuffle": 2}


def clip(seed=0):
    return torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def energy(z, operator, y, space, time):
    """What the first guess minimises, written out pair by pair of neighbours."""
    seen = operator.adjoint(operator(torch.ones_like(z))) != 0
    total = 0.5 * (operator(z) - y).square().sum()
    # Sums over many pixels do not say that a pixel is grey: no term couples the channels.
    for dim in (1, 3, 4):
        n = z.shape[dim]
        a, b = z.narrow(dim, 0, n - 1), z.narrow(dim, 1, n - 1)
        known = seen.narrow(dim, 0, n - 1) & seen.narrow(dim, 1, n - 1)
        usual, unknown = (time, max(space, time)) if dim == 1 else (space, space / 100)
        total = total + 0.5 * ((a - b).square() * torch.where(known, usual, unknown)).sum()
    return total


OPERATORS = {
    "mask": lambda: Mask(SHAPE, torch.rand(5, 1, 12, 14, generator=torch.Generator().manual_seed(1)) > 0.4),
    "frames": lambda: frame_interpolation(SHAPE, 2, to_the_end=True),
    "boxes": lambda: BoxDownsample(SHAPE, 2),
    "sensing": lambda: CompressiveSensing(SHAPE, 0.4),
    "blur": lambda: blur(SHAPE, torch.ones(3, 2, dtype=torch.float64) / 6, "valid"),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_the_first_guess_is_the_least_of_its_energy(name):
    operator = OPERATORS[name]()
    y = operator(clip())
    z = smooth_inverse(operator, y, 0.02, 0.05).requires_grad_()
    (gradient,) = torch.autograd.grad(energy(z, operator, y, 0.02, 0.05), z)
    assert gradient.norm() < 2e-5 * operator.adjoint(y).norm()


def test_the_first_guess_of_a_mixed_batch_is_that_of_each():
    operators = [make() for make in OPERATORS.values()]
    parts = [op(clip(k))[0] for k, op in enumerate(operators)]
    mixed = Mixed(operators)
    together = smooth_inverse(mixed, mixed.join(parts), 0.02, 0.02)
    alone = [smooth_inverse(op, part[None], 0.02, 0.02) for op, part in zip(operators, parts, strict=True)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_missing_frames_fade_and_lasting_holes_take_their_edges_colour():
    levels = torch.tensor([0.1, 0.0, 0.5, 0.0, 0.3], dtype=torch.float64).view(1, 5, 1, 1, 1).expand(1, *SHAPE)
    operator = OPERATORS["frames"]()
    z = smooth_inverse(operator, operator(levels), 1e-3, 1e-3)
    wanted = torch.tensor([0.1, 0.3, 0.5, 0.4, 0.3], dtype=torch.float64)
    assert torch.allclose(z.mean((0, 2, 3, 4)), wanted, atol=3e-3)
    ramp = torch.linspace(0, 1, 14, dtype=torch.float64).expand(1, *SHAPE)
    seen = torch.ones(12, 14, dtype=torch.bool)
    seen[3:9, 4:10] = False
    operator = Mask(SHAPE, seen)
    assert (smooth_inverse(operator, operator(ramp), 1e-3, 1e-3) - ramp).abs().max() < 5e-3


def test_a_large_hole_is_filled_to_its_middle():
    level = torch.full((1, 2, 3, 96, 96), 0.7)
    seen = torch.ones(96, 96, dtype=torch.bool)
    seen[30:68, 20:58] = False
    operator = Mask(tuple(level.shape[1:]), seen)
    assert (smooth_inverse(operator, operator(level), 0.01, 0.01) - level).abs().max() < 0.02


def test_holes_that_come_and_go_are_filled_to_the_least_energy_at_odd_sizes():
    picture = torch.rand(1, 6, 2, 41, 53, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    seen = torch.ones(6, 1, 41, 53, dtype=torch.bool)
    seen[:, :, 5:30, 12:35] = False
    seen[1:4, :, 20:41, 30:53] = False
    operator = Mask((6, 2, 41, 53), seen)
    z = smooth_inverse(operator, operator(picture), 0.02, 0.05).requires_grad_()
    (gradient,) = torch.autograd.grad(energy(z, operator, operator(picture), 0.02, 0.05), z)
    assert gradient.norm() < 2e-6 * operator(picture).norm()


def test_the_first_guess_without_colour_is_grey():
    operator = Grey(SHAPE)
    y = operator(clip())
    z = smooth_inverse(operator, y, 0.001, 0.001)
    assert (z - y).abs().max() < 0.02


def test_smooth_parameters_are_checked():
    with pytest.raises(ValueError, match="no ridge beside smooth"):
        VideoOneNet(**TINY, smooth=0.01, ridge=0.1)
    with pytest.raises(ValueError, match="must not be negative"):
        VideoOneNet(**TINY, smooth=-1.0)


# --- recipes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(restore, tmp_path):
    """``run(recipe, *arguments)`` with a network of four filters that has learned nothing."""
    torch.manual_seed(0)
    save(tmp_path / "tiny.safetensors", VideoOneNet(**TINY, smooth=0.01).state_dict(), {})
    settings = ["model.filters=4", "model.iterations=1", f'model.weights="{tmp_path / "tiny.safetensors"}"']
    settings += ['run.output.codec="ffv1"', 'run.temporal.scene_cuts="ignore"', 'run.device="cpu"']

    def call(recipe, *arguments):
        done = restore("run", "--recipe", RECIPES / f"{recipe}.toml", *[x for s in settings for x in ("--set", s)],
                       *arguments, "--json")  # fmt: skip
        return SimpleNamespace(**vars(done), result=json.loads(done.out)["results"][0] if done.out else None)

    return call


def frames(path):
    with VideoReader(path) as reader:
        return list(reader)


def test_inpaint(run, clip, tmp_path):
    source = clip("c.mkv", frames=6)
    mask = np.zeros((32, 48), np.uint8)
    mask[10:20, 8:30] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    done = run("inpaint", source, "-o", "out.mkv", "--set", f'operator.mask="{tmp_path / "m.png"}"')
    assert done.code == 0, done.err
    for a, b in zip(frames(source), frames(tmp_path / "out.mkv"), strict=True):
        assert (a.planes[0][mask == 0] == b.planes[0][mask == 0]).all()
        assert (a.planes[0][mask > 0] != b.planes[0][mask > 0]).any()


def test_inpaint_without_its_mask_says_what_to_do(run, clip):
    done = run("inpaint", clip("c.mkv", frames=3), "-o", "out.mkv")
    assert done.code == 2
    assert "mask.png does not exist" in done.err


def test_interpolate(run, clip, tmp_path):
    source = clip("c.mkv", frames=5)
    done = run("interpolate", source, "-o", "out.mkv")
    assert done.code == 0, done.err
    before, after = frames(source), frames(tmp_path / "out.mkv")
    assert done.result["frames"] == len(after) == 10
    for a, b in zip(before, after[::2], strict=True):
        assert all((p == q).all() for p, q in zip(a.planes, b.planes, strict=True))
        assert a.pts * a.time_base == b.pts * b.time_base
    middle = (before[0].planes[0].astype(float) + before[1].planes[0]) / 2
    # An untrained network fades.
    assert np.abs(after[1].planes[0] - middle).mean() < 6


def test_deblur_superres_and_colorize(run, clip, tmp_path):
    source = clip("c.mkv", frames=3)
    np.save(tmp_path / "k.npy", np.ones((3, 3)) / 9)
    done = run("deblur", source, "-o", "sharp.mkv", "--set", f'operator.path="{tmp_path / "k.npy"}"')
    assert done.code == 0, done.err
    contrast = [np.diff(f[0].planes[0].astype(float), axis=1).std() for f in (frames(source), frames("sharp.mkv"))]
    assert contrast[1] > 1.5 * contrast[0]
    large = run("superres", source, "-o", "large.mkv")
    assert (large.result["width"], large.result["height"]) == (96, 64)
    colour = run("colorize", source, "-o", "colour.mkv")
    assert colour.code == 0, colour.err
    for a, b in zip(frames(source), frames("colour.mkv"), strict=True):
        assert (a.planes[0] == b.planes[0]).all()


def test_without_input_the_sample_loses_blocks_and_gets_them_back(run, tmp_path):
    done = run("run", "--set", "operator.boxes=2")
    assert done.code == 0, done.err
    assert (tmp_path / "sample_damaged.mkv").exists()
    damaged, restored = frames(tmp_path / "sample_damaged.mkv"), frames(tmp_path / "sample_restored.mkv")
    assert len(damaged) == len(restored) == 48
    # Fading between the frames around is already far better than black boxes.
    assert done.result["metrics"]["gain"] > 5
    assert done.result["metrics"]["psnr"] > 25
