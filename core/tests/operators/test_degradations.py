"""Operators as degradations: seeded draws, noise, targets, and what a recipe may say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from restore.build import Builder
from restore.builtin.degradations.blurring import DiskBlur, FileBlur, MotionBlur, TemporalBlur
from restore.builtin.degradations.inpainting import BlockInpainting, Inpainting, ScatteredInpainting
from restore.builtin.degradations.linear import (
    BoxDownscale,
    FrameInterpolation,
    FramePrediction,
    GaussianDownscale,
    Greyscale,
)
from restore.builtin.degradations.masks import FileMask
from restore.builtin.degradations.sensing import ChangeSensing, ClipSensing, SnapshotSensing
from restore.contracts import Degradation, LinearOperator, Step
from restore.document import parse
from restore.errors import RequestError
from restore.operators import Mixed
from restore.plugins import registry
from restore.recipe import Use


def step(seed=0):
    return Step(generator=torch.Generator().manual_seed(seed))


def clip(batch=2, frames=4, channels=3, height=12, width=14):
    generator = torch.Generator().manual_seed(9)
    return torch.rand(batch, frames, channels, height, width, generator=generator, dtype=torch.float64)


DRAWN = {
    "inpainting": Inpainting,
    "inpainting-pixel": lambda **k: Inpainting(per="pixel", **k),
    "scattered": ScatteredInpainting,
    "motion": MotionBlur,
    "motion-legacy": lambda **k: MotionBlur(legacy_3x3=True, **k),
    "sensing": lambda **k: ClipSensing(every="sample", **k),
    "changes": lambda **k: ChangeSensing(every="sample", **k),
    "snapshot": lambda **k: SnapshotSensing(every="sample", **k),
}
STILL = {
    "block": BlockInpainting,
    "box": lambda **k: BoxDownscale(4, **k),
    "gaussian": lambda **k: GaussianDownscale(2, **k),
    "interpolation": lambda **k: FrameInterpolation(2, **k),
    "prediction": lambda **k: FramePrediction(0.5, **k),
    "grey": Greyscale,
    "sensing-one": ClipSensing,
    "changes-one": ChangeSensing,
    "snapshot-one": SnapshotSensing,
    "disk": DiskBlur,
    "motion-angle": lambda **k: MotionBlur(angle=30.0, **k),
    "temporal": TemporalBlur,
}


@pytest.mark.parametrize("make", [*DRAWN.values(), *STILL.values()], ids=[*DRAWN, *STILL])
def test_the_pair_carries_the_operator(make):
    x = clip()
    spoil = make()
    assert isinstance(spoil, Degradation)
    pair = spoil(x, step())
    assert isinstance(pair.operator, LinearOperator)
    assert torch.equal(pair.operator(pair.target), pair.observed)
    assert torch.equal(pair.target, x[..., : pair.target.shape[-2], : pair.target.shape[-1]])
    z = pair.operator.prox(pair.target, pair.observed, 0.3)
    assert torch.allclose(z, pair.target, atol=1e-8)
    assert make()(x.float(), step()).observed.dtype == torch.float32
    assert make()(x, Step()).observed.shape == pair.observed.shape


@pytest.mark.parametrize("make", [*DRAWN.values(), *STILL.values()], ids=[*DRAWN, *STILL])
def test_draws_follow_the_seed(make, request):
    x = clip()
    drawn = request.node.callspec.id in DRAWN
    first, again, other = (make()(x, step(seed)).observed for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first, other) != drawn
    noisy = make(sigma=0.1)(x, step())
    assert torch.equal(noisy.observed, make(sigma=0.1)(x, step()).observed)
    noise = noisy.observed - noisy.operator(noisy.target)
    seen = noise[noise != 0]
    assert 0.08 < seen.std() < 0.12
    assert abs(seen.mean()) < 0.02


@pytest.mark.parametrize("make", DRAWN.values(), ids=DRAWN)
def test_samples_draw_their_own(make):
    x = clip(1).expand(2, -1, -1, -1, -1)
    pair = make()(x, step())
    a, b = pair.operator.split(pair.observed) if isinstance(pair.operator, Mixed) else pair.observed
    assert not torch.equal(a, b)
    batch_of_one = make()(x[:1], step())
    assert batch_of_one.operator.pinv(batch_of_one.observed).shape == x[:1].shape


def test_a_video_keeps_what_was_drawn():
    x = clip(1)
    for make in (MotionBlur, lambda: ClipSensing(every="sample"), lambda: SnapshotSensing(every="sample")):
        settled = make().settled(torch.Generator().manual_seed(3))
        assert torch.equal(settled(x, step(0)).observed, settled(x, step(1)).observed)
        other = make().settled(torch.Generator().manual_seed(4))
        assert not torch.equal(settled(x, step(0)).observed, other(x, step(0)).observed)
    assert isinstance(Inpainting(sigma=(0.1, 0.2)).settled(torch.Generator().manual_seed(0)).sigma, float)


def test_masks():
    x = torch.ones(1, 3, 3, 32, 32)
    seen = Inpainting(keep=0.8)(x, step()).observed
    assert seen.mean() == pytest.approx(0.8, abs=0.02)
    assert seen.std(2).max() > 0
    assert Inpainting(per="pixel")(x, step()).observed.std(2).max() == 0
    assert not torch.equal(seen[:, 0], seen[:, 1])
    noisy = Inpainting(sigma=0.5)(x, step())
    assert (noisy.observed[noisy.operator(x) == 0] == 0).all()
    block = BlockInpainting()(x, step()).observed
    assert (block == 0).sum() == 9 * 12 * 12
    assert (block[..., 10:22, 10:22] == 0).all()
    assert (BlockInpainting()(torch.ones(1, 1, 1, 14, 14), step()).observed == 0).sum() == 25
    boxes = ScatteredInpainting()(x, step()).observed
    missing = (boxes[0, :, 0] == 0).flatten(1).sum(1)
    assert (missing >= 36).all()
    assert (missing <= 360).all()
    assert torch.equal(boxes[:, :, 0], boxes[:, :, 2])
    one = ScatteredInpainting(boxes=1)(torch.ones(64, 1, 1, 32, 32), step()).observed
    assert ((one == 0).flatten(1).sum(1) == 36).all()
    assert (one[..., 0, :] == 1).all()
    assert (one[..., -2:, :] == 1).all()
    ScatteredInpainting()(torch.ones(1, 1, 1, 2, 2), step())


def test_targets_that_must_fit():
    x = clip(height=13, width=15)
    assert GaussianDownscale(4)(x, step()).target.shape[-2:] == (12, 12)
    assert BoxDownscale(4)(x, step()).target.shape[-2:] == (13, 15)
    assert BoxDownscale(4, crop=True)(x, step()).target.shape[-2:] == (12, 12)


def test_bicubic_has_its_operator_unless_it_rounds():
    from restore.builtin.degradations.bicubic import Bicubic

    x = clip(height=13, width=15)
    pair = Bicubic(4)(x, step())
    assert torch.allclose(pair.operator(pair.target), pair.observed, atol=1e-12)
    assert Bicubic(4, rounding="end")(x, step()).operator is None


def test_operators_are_made_once():
    spoil = DiskBlur()
    x = clip()
    assert spoil(x, step()).operator is spoil(x, step(1)).operator
    assert spoil(clip(height=10), step()).operator is not spoil(x, step()).operator


def test_files(tmp_path):
    mask = np.zeros((12, 14), np.uint8)
    mask[3:] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    x = clip()
    seen = FileMask(tmp_path / "m.png")(x, step()).observed
    assert torch.equal(seen[..., 3:, :], x[..., 3:, :])
    assert (seen[..., :3, :] == 0).all()
    with pytest.raises(ValueError, match=r"m.png is 14x12 with 1 channels; clips are 14x11 with 3"):
        FileMask(tmp_path / "m.png")(clip(height=11), step())
    np.save(tmp_path / "k.npy", np.ones((2, 3), np.float32))
    assert FileBlur(tmp_path / "k.npy", "valid")(x, step()).observed.shape[-2:] == (11, 12)
    Image.fromarray(mask[:5, :5]).save(tmp_path / "k.png")
    assert FileBlur(tmp_path / "k.png").kernel.sum() == pytest.approx(1)
    np.save(tmp_path / "v.npy", np.ones(3))
    Image.fromarray(mask[:3]).save(tmp_path / "black.png")
    (tmp_path / "text.npy").write_text("no")
    for name, said in (("v", "matrix of finite"), ("none", "does not exist"), ("text", "no NumPy file")):
        with pytest.raises(RequestError, match=said):
            FileBlur(tmp_path / f"{name}.npy")
    with pytest.raises(RequestError, match="is black"):
        FileBlur(tmp_path / "black.png")
    with pytest.raises(RequestError, match="does not exist"):
        FileMask(tmp_path / "none.png")


def build(text):
    document = parse(text, "r.toml")
    name = document.data.pop("use")
    return Builder(registry()).build("degradation", Use(name, document.data, document.root))


@pytest.mark.parametrize(
    "text",
    [
        'use = "inpainting"\nkeep = 0.7\nper = "pixel"\nsigma = "25/255"',
        'use = "block-inpainting"\nsize = 0.3',
        'use = "scattered-inpainting"\nboxes = 3\nsigma = [0, "10/255"]',
        'use = "box"\nscale = 2',
        'use = "gaussian-downscale"\nscale = 2\nborder = "mirror"',
        'use = "frame-interpolation"\nrate = 2',
        'use = "frame-prediction"\nmissing = 0.25',
        'use = "greyscale"',
        'use = "compressive-sensing"\nkind = "structured"',
        'use = "video-sensing"\nevery = "sample"',
        'use = "snapshot"',
        'use = "disk-blur"\nboundary = "circular"',
        'use = "motion-blur"\nangle = 30\nlength = 5',
        'use = "temporal-blur"\nweights = [0.5, 0.5]',
    ],
)
def test_recipes(text):
    pair = build(text)(clip().float(), step())
    assert torch.isfinite(pair.observed).all()
    assert pair.operator is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('use = "inpainting"\nsigma = -0.1', "sigma must be at least 0, got -0.1"),
        ('use = "inpainting"\nkeep = 0', r"keep must lie in \(0, 1\], got 0"),
        ('use = "inpainting"\nper = "frame"', "must be 'value' or 'pixel'"),
        ('use = "block-inpainting"\nsize = 2', "size must lie"),
        ('use = "scattered-inpainting"\nboxes = 0', "boxes must be at least 1, got 0"),
        ('use = "mask"\nmask = "none.png"', "none.png does not exist"),
        ('use = "box"\nscale = 0', "scale must be at least 1, got 0"),
        ('use = "gaussian-downscale"\nscale = 2\nblur = 0', "sigma above 0"),
        ('use = "gaussian-downscale"\nscale = 0', "scale must be at least 1, got 0"),
        ('use = "frame-interpolation"\nrate = 0', "rate must be at least 1, got 0"),
        ('use = "frame-prediction"\nmissing = 1', r"\[0, 1\), got 1"),
        ('use = "compressive-sensing"\nratio = 2', r"\(0, 1\], got 2"),
        ('use = "snapshot"\nkeep = 1.5', "keep must lie"),
        ('use = "disk-blur"\nboundary = "same"', "must be 'full' or 'valid' or 'circular', got 'same'"),
        ('use = "motion-blur"\nlength = 4', "odd length of at least 1, got 4"),
        ('use = "temporal-blur"\nframes = 0', "at least one tap"),
        ('use = "kernel-blur"\npath = "none.npy"', "none.npy does not exist"),
    ],
)
def test_recipes_that_cannot_be(text, said):
    with pytest.raises(RequestError, match=said):
        build(text)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (BoxDownscale(20), "got 20"),
        (BoxDownscale(20, crop=True), "14x12 are smaller than one pixel at scale 20"),
        (GaussianDownscale(20), "smaller than one pixel"),
        (FrameInterpolation(5), "the 4 frames of the clip, got 5"),
        (DiskBlur(13, 6.5, "valid"), "no larger than the frame 12x14, got 13x13"),
        (Greyscale([0.5, 0.5]), "3 channels need as many weights"),
        (TemporalBlur(5, boundary="valid"), "5 taps do not fit into 4 samples"),
    ],
)
def test_clips_that_do_not_fit(spoil, said):
    with pytest.raises(ValueError, match=said):
        spoil(clip(), step())
