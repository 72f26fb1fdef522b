"""Gains over the observed clip, on luma and on RGB."""

from __future__ import annotations

import math

import pytest
import torch
from restore.contracts import Pair, Traits
from restore.errors import RequestError
from restore.evaluation.clip_protocols import CLIP_PROTOCOLS
from restore.evaluation.clips import evaluate_clips
from restore.evaluation.protocols import protocol

LEVEL = 1 / 255


class Clips:
    """Two clips of plain grey frames."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.full((3 + index, 3, 16, 16), 100 * LEVEL)

    def name(self, index):
        return f"clip{index}"


class Apart:
    """Adds levels to the red channel, in the first frame none."""

    def __init__(self, levels):
        self.levels = levels

    def __call__(self, clean, step):
        observed = clean.clone()
        observed[:, 1:, 0] += self.levels * LEVEL
        return Pair(observed, clean)


class Model(torch.nn.Module):
    """Takes some of them away again; later frames of longer clips get more."""

    def __init__(self, **traits):
        super().__init__()
        self.traits = Traits(temporal="clip", **traits)

    def forward(self, clip):
        restored = clip.clone()
        restored[:, 1:, 0] -= (10 if clip.shape[1] == 3 else 15) * LEVEL
        return restored


def test_ldv_is_rgb_and_skips_frames_that_are_equal():
    report = evaluate_clips(Model(), Clips(), Apart(20), protocol("ldv"))
    first, second = report.results
    halved, quartered = 20 * math.log10(2), 20 * math.log10(4)
    assert first["frames"][0]["delta_psnr"] is None
    assert first["frames"][0]["psnr"] is None
    assert [f["delta_psnr"] for f in first["frames"][1:]] == pytest.approx([halved] * 2, abs=1e-4)
    assert first["delta_psnr"] == pytest.approx(halved, abs=1e-4)
    # 10 of 255 in one of three planes.
    assert first["psnr"] == pytest.approx(20 * math.log10(255 / 10) + 10 * math.log10(3), abs=1e-4)
    # Videos count alike, whatever their length.
    assert report.mean["delta_psnr"] == pytest.approx((halved + quartered) / 2, abs=1e-4)
    assert second["ms_per_frame"] == pytest.approx(1000 * second["seconds"] / 4)
    assert report.protocol["plane"] == "RGB"


def test_mfqe_is_luma():
    report = evaluate_clips(Model(), Clips(), Apart(20), protocol("mfqe"))
    # Red weighs 65.481/255 in luma: 20 levels are 5.136, 10 are 2.568; with grey 100 at 101.88: 102, 107, 104.
    assert report.results[0]["psnr"] == pytest.approx(20 * math.log10(255 / 2), abs=1e-4)
    assert report.results[0]["delta_psnr"] == pytest.approx(20 * math.log10(5 / 2), abs=1e-4)
    assert report.protocol["plane"].startswith("Y")


def test_doing_nothing_gains_nothing_and_doing_harm_loses():
    class Identity(Model):
        def forward(self, clip):
            return clip

    class Worse(Model):
        def forward(self, clip):
            return clip + 20 * LEVEL * torch.rand(clip.shape, generator=torch.Generator().manual_seed(0))

    for name in ("mfqe", "ldv"):
        nothing = evaluate_clips(Identity(), Clips(), Apart(20), protocol(name)).mean
        assert (nothing["delta_psnr"], nothing["delta_ssim"]) == (0, 0)
        harm = evaluate_clips(Worse(), Clips(), Apart(20), protocol(name)).mean
        assert harm["delta_psnr"] < -0.5
        assert harm["delta_ssim"] < -0.1


def test_what_cannot_be_scored_so_is_refused_before_anything_runs():
    with pytest.raises(RequestError, match="scores RGB, the model restores luma"):
        evaluate_clips(Model(channels="y"), Clips(), Apart(20), protocol("ldv"))
    with pytest.raises(RequestError, match="enlarges by 2"):
        evaluate_clips(Model(scale=2), Clips(), Apart(20), protocol("mfqe"))
    with pytest.raises(RequestError, match="did you mean 'mfqe'"):
        protocol("mfqe2")
    assert protocol("clips") is CLIP_PROTOCOLS["clips"]
