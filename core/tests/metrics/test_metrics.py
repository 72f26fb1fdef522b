"""MS-SSIM, gains over the observed clip, flicker and warping error, each against its definition in numpy."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from restore.build import Builder
from restore.builtin.metrics.delta import DeltaPSNR, DeltaSSIM
from restore.builtin.metrics.multiscale import MSSSIM
from restore.builtin.metrics.temporal import Flicker, WarpingError
from restore.builtin.metrics.vif import VIF
from restore.contracts import Metric
from restore.document import parse
from restore.functional.flow import lucas_kanade, visible, warp
from restore.functional.quality import psnr, ssim
from restore.functional.similarity import blur, gaussian_window, ms_ssim, ssim_maps
from restore.plugins import registry
from restore.recipe import Use

NAMES = ("psnr", "ssim", "ms-ssim", "delta-psnr", "delta-ssim", "flicker", "warping-error", "vif")


def random(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def clips(*shape, noise=0.1):
    """A clean, a restored and an observed clip on 8-bit levels."""
    clean = random(*shape)
    noisy = [(clean + s * (random(*shape, seed=i + 1) - 0.5)).clamp(0, 1) for i, s in enumerate((noise, 3 * noise))]
    return [(c * 255).round() / 255 for c in (clean, *noisy)]


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_can_be_named_and_says_its_protocol(name):
    table = parse("", "here", ())
    metric = Builder(registry()).build("metric", Use(name, table.data, table.root))
    assert isinstance(metric, Metric)
    assert metric.protocol["metric"] == name.replace("-", "_")
    json.dumps(dict(metric.protocol))


# --- MS-SSIM ----------------------------------------------------------------------------------------------------------


def windows(x):
    g = np.exp(-((np.arange(11) - 5.0) ** 2) / 4.5)
    g /= g.sum()
    patches = np.lib.stride_tricks.sliding_window_view(x, (11, 11))
    return np.einsum("hwij,i,j->hw", patches, g, g, optimize=True)


def halve(x):
    """msssim.m: imfilter with ones(2)/4 and mirrored borders, then every second pixel."""
    x = np.pad(x, ((0, 1), (0, 1)), mode="symmetric")
    return ((x[:-1, :-1] + x[1:, :-1] + x[:-1, 1:] + x[1:, 1:]) / 4)[::2, ::2]


def ms_ssim_by_definition(a, b):
    result = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        ma, mb = windows(a), windows(b)
        va, vb, cov = windows(a * a) - ma**2, windows(b * b) - mb**2, windows(a * b) - ma * mb
        score = (2 * cov + 0.0009) / (va + vb + 0.0009)
        if scale == 4:
            score = score * (2 * ma * mb + 0.0001) / (ma**2 + mb**2 + 0.0001)
        result *= score.mean() ** weight
        a, b = halve(a), halve(b)
    return result


def test_ms_ssim_by_definition():
    a = random(165, 173)
    b = (a + 0.5 * random(165, 173, seed=1)).clamp(0, 1)
    expected = ms_ssim_by_definition(a.numpy(), b.numpy())
    assert 0.3 < expected < 0.99
    assert ms_ssim(a, b) == pytest.approx(expected, abs=1e-10)
    assert ms_ssim(255 * a, 255 * b, peak=255) == pytest.approx(expected, abs=1e-10)
    assert ms_ssim(a, a) == pytest.approx(1, abs=1e-12)
    both = torch.stack([a, a])[None, :, None], torch.stack([a, b])[None, :, None]
    assert MSSSIM()(*both) == pytest.approx((1 + expected) / 2, abs=1e-10)
    assert ms_ssim(a, 1 - a) == 0  # structure is opposite: a mean below zero has no real power


def test_ms_ssim_refuses_what_it_cannot_do():
    assert ms_ssim(random(161, 161), random(161, 161, seed=1)) < 1
    with pytest.raises(ValueError, match="161x161 pixels, got 161x160"):
        ms_ssim(random(160, 161), random(160, 161))
    with pytest.raises(ValueError, match="161x161"):
        MSSSIM(border=1)(random(1, 1, 1, 162, 162), random(1, 1, 1, 162, 162))
    with pytest.raises(ValueError, match="equal shapes"):
        ms_ssim(random(161, 161), random(161, 162))


@pytest.mark.parametrize("size", [(11, 11), (12, 75), (43, 42), (97, 11)])
def test_the_quick_window_gives_the_same_ssim(size):
    a, b = random(2, *size), random(2, *size, seed=1)
    assert all(m.shape == (2, size[0] - 10, size[1] - 10) for m in ssim_maps(a, b))
    expected = np.mean([ssim_by_definition(x.numpy(), y.numpy()) for x, y in zip(a, b, strict=True)])
    assert ssim(a, b) == pytest.approx(expected, abs=1e-12)
    assert np.allclose(blur(a, gaussian_window())[1].numpy(), windows(a[1].numpy()), atol=1e-13)


def ssim_by_definition(a, b):
    ma, mb = windows(a), windows(b)
    va, vb, cov = windows(a * a) - ma**2, windows(b * b) - mb**2, windows(a * b) - ma * mb
    return np.mean((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))


def test_vif_falls_with_blur_and_noise_and_means_over_frames():
    torchmetrics = pytest.importorskip("torchmetrics.functional.image")
    a = random(1, 2, 3, 48, 50)
    noisy = (a + 0.1 * (random(1, 2, 3, 48, 50, seed=1) - 0.5)).clamp(0, 1)
    half = a.clone()
    half[:, 1] = noisy[:, 1]
    metric = VIF()
    assert metric(a, a) == pytest.approx(1, abs=1e-9)
    assert metric(noisy, a) < 0.95
    assert metric(half, a) == pytest.approx((1 + metric(noisy[:, 1:], a[:, 1:])) / 2, abs=1e-9)
    expected = torchmetrics.visual_information_fidelity(noisy[0, 0, None] * 255, a[0, 0, None] * 255)
    assert metric(noisy[:, :1], a[:, :1]) == pytest.approx(float(expected), abs=1e-9)
    with pytest.raises(ValueError, match="41x41"):
        VIF(border=4)(a, a)
    with pytest.raises(ValueError, match="differ in shape"):
        metric(a, a[..., :-1])


# --- gains ------------------------------------------------------------------------------------------------------------


def test_delta_psnr_is_per_frame_then_per_video():
    clean, restored, observed = clips(2, 3, 3, 12, 14)
    restored[:, 0] = ((restored[:, 0] + 9 * clean[:, 0]) * 25.5).round() / 255  # one frame is much better
    x, r, o = (c.numpy() for c in (clean, restored, observed))

    def decibels(a, b):
        return -10 * np.log10(((a - b) ** 2).mean(axis=(2, 3, 4)))

    expected = (decibels(r, x) - decibels(o, x)).mean(axis=1).mean()
    assert expected > 5
    metric = DeltaPSNR()
    assert metric.needs_observed
    assert metric(restored, clean, observed) == pytest.approx(expected, abs=1e-9)
    gains = metric.frames(restored, clean, observed)
    assert [len(g) for g in gains] == [3, 3]
    # The mean over frames is not the PSNR of the pooled error.
    assert metric(restored, clean, observed) > 1 + psnr(restored, clean) - psnr(observed, clean)


def test_delta_psnr_on_luma_is_that_of_bt601():
    clean, restored, observed = clips(1, 2, 3, 12, 14)
    weights = np.array([65.481, 128.553, 24.966]) / 255
    x, r, o = (
        np.round(255 * (np.einsum("c,tchw->thw", weights, c[0].numpy()) + 16 / 255))
        for c in (clean, restored, observed)
    )
    gains = [10 * np.log10(((o[t] - x[t]) ** 2).mean() / ((r[t] - x[t]) ** 2).mean()) for t in range(2)]
    assert DeltaPSNR(planes="y")(restored, clean, observed) == pytest.approx(np.mean(gains), abs=1e-9)
    luma = [torch.from_numpy(v / 255)[None, :, None] for v in (r, x, o)]
    assert DeltaPSNR(planes="y")(*luma) == pytest.approx(np.mean(gains), abs=1e-9)


def test_delta_ssim_by_definition():
    clean, restored, observed = clips(1, 2, 1, 13, 15)
    expected = np.mean([ssim(restored[0, t], clean[0, t]) - ssim(observed[0, t], clean[0, t]) for t in range(2)])
    assert DeltaSSIM()(restored, clean, observed) == pytest.approx(expected, abs=1e-12)
    assert DeltaSSIM(padding="replicate").protocol["padding"] == "replicate"


def test_frames_of_infinite_psnr_are_skipped():
    clean, restored, observed = clips(2, 3, 1, 12, 12)
    whole = DeltaPSNR().frames(restored, clean, observed)
    restored[0, 1] = clean[0, 1]
    observed[0, 2] = clean[0, 2]
    assert DeltaPSNR().frames(restored, clean, observed)[0] == [whole[0][0], None, None]
    assert DeltaPSNR()(restored, clean, observed) == pytest.approx((whole[0][0] + sum(whole[1]) / 3) / 2)
    assert DeltaSSIM().frames(restored, clean, observed)[0][1:] == [None, None]
    # What 8 bits cannot hold is no difference, unless asked for.
    assert math.isnan(DeltaPSNR()(clean, clean + 1e-4, observed))
    assert DeltaPSNR(rounding="none")(clean + 1e-4, clean, observed) > 0


def test_a_gain_without_the_observed_clip_is_an_error():
    clean, restored, observed = clips(1, 2, 3, 12, 12)
    with pytest.raises(ValueError, match="needs the observed clip"):
        DeltaPSNR()(restored, clean)
    with pytest.raises(ValueError, match="observed clip and the reference differ in shape"):
        DeltaPSNR()(restored, clean, observed[..., :6])
    with pytest.raises(ValueError, match="got 2 planes"):
        DeltaSSIM(planes="y")(*(c[:, :, :2] for c in (restored, clean, observed)))


# --- time -------------------------------------------------------------------------------------------------------------


def test_flicker_by_definition():
    clean, restored, _ = clips(2, 4, 3, 9, 8)
    r, g = restored.numpy(), clean.numpy()
    steps = [np.abs((r[:, t + 1] - r[:, t]) - (g[:, t + 1] - g[:, t])).mean() for t in range(3)]
    assert Flicker()(restored, clean) == pytest.approx(np.mean(steps), abs=1e-12)
    assert Flicker()(clean + 0.25, clean) == pytest.approx(0, abs=1e-12)
    inner = Flicker()(restored[..., 2:-2, 2:-2], clean[..., 2:-2, 2:-2])
    assert Flicker(border=2)(restored, clean) == pytest.approx(inner, abs=1e-15)


def texture(height, width, seed=0):
    """Something smooth that can be followed."""
    spectrum = np.fft.rfft2(random(height, width, seed=seed).numpy() - 0.5)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    smooth = np.fft.irfft2(spectrum * np.exp(-((radius * 14) ** 2)), (height, width))
    return torch.from_numpy(0.5 + 0.15 * smooth / smooth.std()).clamp(0, 1)


def moving(frames, dx, dy, height=64, width=80):
    """The texture moves by (dx, dy) pixels from frame to frame, exactly."""
    whole = texture(height + 40, width + 40)
    parts = [whole[20 - t * dy : 20 - t * dy + height, 20 - t * dx : 20 - t * dx + width] for t in range(frames)]
    return torch.stack(parts)[None, :, None]


def test_warp_fetches_along_the_flow():
    image = random(1, 2, 7, 9)
    flow = torch.zeros(1, 2, 7, 9, dtype=torch.float64)
    flow[:, 0], flow[:, 1] = 2, -1
    x = image.numpy()
    expected = x[:, :, np.clip(np.arange(7) - 1, 0, 6)][..., np.clip(np.arange(9) + 2, 0, 8)]
    assert np.allclose(warp(image, flow).numpy(), expected, atol=1e-12)
    flow[:, 0], flow[:, 1] = 0.25, 0
    assert np.allclose(warp(image, flow).numpy()[..., :-1], 0.75 * x[..., :-1] + 0.25 * x[..., 1:], atol=1e-12)


def test_flow_finds_a_shift_and_what_leaves_the_frame():
    clip = moving(2, 3, -2)
    a, b = clip[:, 0], clip[:, 1]
    forward, backward = lucas_kanade(a, b), lucas_kanade(b, a)
    off = (forward - torch.tensor([3.0, -2.0]).view(1, 2, 1, 1))[..., 12:-12, 12:-12].abs()
    assert off.mean() < 0.03
    assert off.max() < 0.3
    seen = visible(forward, backward)[0, 0]
    assert seen[12:-12, 12:-12].all()
    assert not seen[:, -2:].any()  # moves out to the right
    assert not seen[:1].any()  # and to the top


def test_warping_error_by_definition():
    clean = moving(3, 2, 1)
    metric = WarpingError(border=10)
    still = metric(clean, clean)
    assert still < 2e-5
    # One frame brighter by d: two of two steps miss by d, wherever anything is seen.
    restored = clean.clone()
    restored[:, 1] += 0.1
    errors = []
    for t in range(2):
        near = clean[0, t, 0].numpy(), clean[0, t + 1, 0].numpy()
        shifted = np.roll(near[1], (-1, -2), axis=(0, 1)) + (0.1 if t == 0 else -0.1)
        errors.append(((near[0] - shifted) ** 2)[10:-10, 10:-10].mean())
    assert np.mean(errors) == pytest.approx(0.01, abs=1e-9)
    assert metric(restored, clean) == pytest.approx(np.mean(errors), rel=0.03)
    # Noise that is new in each frame: the variances of both add up, less what bilinear sampling averages away.
    noisy = clean + 0.05 * torch.randn(clean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert 1.3 * 0.0025 < metric(noisy, clean) < 2.1 * 0.0025


def test_time_needs_two_frames_of_one_shape():
    for metric in (Flicker(), WarpingError()):
        with pytest.raises(ValueError, match="at least 2, got 1"):
            metric(random(1, 1, 1, 16, 16), random(1, 1, 1, 16, 16))
        with pytest.raises(ValueError, match="differ in shape"):
            metric(random(1, 2, 1, 16, 16), random(1, 2, 1, 16, 17))
    colour = random(1, 2, 3, 20, 24)
    assert WarpingError()(colour, colour) >= 0
