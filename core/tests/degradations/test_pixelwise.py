"""Noise, rounding and JPEG: their statistics, their seeds, and what they refuse."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from restore.builtin.degradations.jpeg import JPEG
from restore.builtin.degradations.noise import GaussianNoise, PoissonNoise, Rounding
from restore.contracts import Step
from restore.functional.resize import resize


def step(seed=0):
    return Step(generator=torch.Generator().manual_seed(seed))


def grey(value, shape=(2, 3, 3, 64, 64)):
    return torch.full(shape, value, dtype=torch.float64)


def picture(seed=0, frames=2):
    torch.manual_seed(seed)
    return resize(torch.rand(1, frames, 3, 12, 14), 4).clamp(0, 1)


@pytest.mark.parametrize("make", [lambda: GaussianNoise(0.1), lambda: PoissonNoise(30), lambda: JPEG((5, 95))])
def test_a_seed_decides_all_and_the_target_is_the_clean_clip(make):
    clean = picture()
    clean = torch.cat([clean, clean])
    one, same, other = (make()(clean, step(s)).observed for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one[0], one[1])
    assert make()(clean, step(1)).target is clean
    assert one.dtype == clean.dtype
    assert torch.isfinite(make()(clean, Step()).observed).all()


def test_gaussian_noise_has_its_sigma_everywhere():
    noise = GaussianNoise(25 / 255)(grey(0.5), step()).observed - 0.5
    assert noise.std().item() == pytest.approx(25 / 255, rel=0.01)
    assert abs(noise.mean().item()) < 1e-3
    flat = noise.flatten(3).flatten(0, 2)
    correlation = torch.corrcoef(flat) - torch.eye(len(flat))
    assert correlation.abs().max() < 0.08  # no frame, channel or sample repeats another
    bright = GaussianNoise(0.1)(grey(1.0), step()).observed
    assert bright.max() > 1.2  # not clamped, or the mean would be wrong
    assert GaussianNoise(0.1, clamp=True)(grey(1.0), step()).observed.max() == 1


def test_grey_noise_is_one_plane():
    noise = GaussianNoise(0.1, grey=True)(grey(0.5), step()).observed - 0.5
    assert torch.allclose(noise, noise[:, :, :1].expand_as(noise))
    assert noise.std().item() == pytest.approx(0.1, rel=0.02)


def test_a_range_gives_each_sample_its_own():
    clean = grey(0.5, (40, 1, 1, 64, 64))
    spread = (GaussianNoise((0.05, 0.25))(clean, step()).observed - 0.5).flatten(1).std(dim=1)
    assert 0.04 < spread.min() < 0.08
    assert 0.22 < spread.max() < 0.26
    fixed = GaussianNoise((0.05, 0.25)).settled(torch.Generator().manual_seed(3))
    spread = (fixed(clean, step()).observed - 0.5).flatten(1).std(dim=1)
    assert spread.max() / spread.min() < 1.1


def test_poisson_variance_grows_with_the_light():
    peak = 40.0
    for value in (0.1, 0.4, 0.9):
        noise = PoissonNoise(peak)(grey(value), step()).observed - value
        assert noise.var().item() == pytest.approx(value / peak, rel=0.03)
        assert abs(noise.mean().item()) < 2e-3
    counted = PoissonNoise(peak)(grey(0.4), step()).observed * peak
    assert torch.allclose(counted, counted.round())
    assert PoissonNoise(peak)(grey(0.0), step()).observed.abs().max() == 0
    assert PoissonNoise(peak)(grey(-0.1), step()).observed.abs().max() == 0


def test_grey_poisson_noise_counts_the_luma():
    clean = torch.tensor([0.9, 0.2, 0.4], dtype=torch.float64).view(1, 1, 3, 1, 1).expand(1, 4, 3, 64, 64)
    noise = PoissonNoise(50, grey=True)(clean, step()).observed - clean
    assert torch.allclose(noise, noise[:, :, :1].expand_as(noise))
    luma = 0.299 * 0.9 + 0.587 * 0.2 + 0.114 * 0.4
    assert noise[:, :, 0].var().item() == pytest.approx(luma / 50, rel=0.04)


def test_rounding_is_to_whole_levels_halves_up_and_clamped():
    x = torch.tensor([-0.2, 0.0, 0.4999 / 255, 0.5 / 255, 126.5 / 255, 254.6 / 255, 1.3], dtype=torch.float64)
    made = Rounding()(x.view(1, 1, 1, 1, -1), step()).observed.flatten() * 255
    assert made.tolist() == pytest.approx([0, 0, 0, 1, 127, 255, 255], abs=1e-9)
    assert (
        Rounding(1)(torch.tensor([0.4, 0.6]).view(1, 1, 1, 1, 2), step()).observed == torch.tensor([0.0, 1.0])
    ).all()


def test_jpeg_is_pillows_for_every_frame_in_place():
    clean = picture(frames=3)
    made = JPEG(20, "4:4:4")(clean, step()).observed
    for frame, got in zip(clean[0], made[0], strict=True):
        buffer = io.BytesIO()
        pixels = np.floor(frame.permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "JPEG", quality=20, subsampling=0)
        wanted = np.asarray(Image.open(buffer))
        assert np.array_equal((got.permute(1, 2, 0).numpy() * 255).round(), wanted)


def test_jpeg_is_worse_at_lower_quality_and_with_less_chroma():
    clean = picture()
    errors = [((JPEG(q)(clean, step()).observed - clean) ** 2).mean().item() for q in (5, 20, 50, 80, 95)]
    assert errors == sorted(errors, reverse=True)
    full, half, quarter = (
        ((JPEG(90, s)(clean, step()).observed - clean) ** 2).mean().item() for s in ("4:4:4", "4:2:2", "4:2:0")
    )
    assert full < half < quarter


def test_jpeg_of_grey_and_of_single_precision():
    clean = picture().mean(dim=2, keepdim=True)
    made = JPEG(60)(clean, step()).observed
    assert made.shape == clean.shape
    assert 0 < (made - clean).abs().mean() < 0.05
    qualities = {JPEG((10, 12)).settled(torch.Generator().manual_seed(s)).quality for s in range(40)}
    assert qualities == {10, 11, 12}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GaussianNoise(-0.1), "sigma must be at least 0, got -0.1"),
        (lambda: GaussianNoise((0.2, 0.1)), "range"),
        (lambda: GaussianNoise(float("nan")), "sigma must be at least 0"),
        (lambda: PoissonNoise(0), "peak must be above 0"),
        (lambda: Rounding(17), "bits must be from 1 to 16, got 17"),
        (lambda: JPEG(0), "quality must be from 1 to 100, got 0"),
        (lambda: JPEG((50, 101)), "quality must be from 1 to 100"),
        (lambda: JPEG(50, "4:1:1"), "subsampling must be one of"),
        (lambda: JPEG(50)(torch.rand(1, 1, 2, 8, 8), Step()), "1 or 3 channels, got 2"),
    ],
)
def test_what_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
