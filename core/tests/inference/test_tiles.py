"""Tiles: cover the frame once, carry their halo, and change nothing where the halo covers the receptive field."""

from __future__ import annotations

import pytest
import torch
from restore import Halo, Traits
from restore.inference.restorer import Restorer
from restore.inference.tiles import apply, plan
from restore.recipe import Run
from torch import nn


class Convs(nn.Module):
    """Three 3x3 convolutions and a two-fold enlargement: a receptive field of exactly three pixels."""

    def __init__(self, halo: int = 3, multiple: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1),
        )
        self.traits = Traits(scale=2, halo=Halo(pixels=halo), multiple_of=multiple)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return nn.functional.pixel_shuffle(self.body(clip.flatten(0, 1)), 2).unflatten(0, clip.shape[:2])


@pytest.mark.parametrize(
    ("height", "width", "tile", "halo", "multiple"), [(37, 53, 16, 3, 1), (64, 48, 20, 5, 4), (8, 8, 3, 9, 2)]
)
def test_cores_cover_the_frame_once_and_regions_hold_the_halo(height, width, tile, halo, multiple):
    seen = torch.zeros(height, width)
    for t in plan(height, width, tile, halo, multiple):
        (top, bottom), (left, right) = t.region
        (a, b), (c, d) = t.core
        seen[a:b, c:d] += 1
        assert b - a <= max(tile, multiple)
        assert d - c <= max(tile, multiple)
        assert top == 0 or a - top >= halo
        assert bottom == height or bottom - b >= halo
        assert left == 0 or c - left >= halo
        assert right == width or right - d >= halo
        assert top % multiple == left % multiple == 0
        assert (bottom - top) % multiple == (right - left) % multiple == 0
    assert torch.equal(seen, torch.ones(height, width))


def test_whole_frame_when_the_tile_is_not_smaller():
    assert len(plan(40, 30, 0, 3)) == len(plan(40, 30, 40, 3)) == 1
    assert len(plan(40, 30, 39, 3)) == 2


@pytest.mark.parametrize("tile", [16, 23, 32])
def test_tiled_equals_whole_exactly_with_the_right_halo(tile):
    frames = torch.rand(2, 3, 61, 75)
    run = Run(precision="fp32", channels_last=False, device="cpu", tile=0)
    whole = Restorer(Convs(), run)(frames)
    tiled = Restorer(Convs(), Run(precision="fp32", channels_last=False, device="cpu", tile=tile))(frames)
    assert torch.equal(whole, tiled)


def test_a_halo_that_is_one_short_shows():
    frames = torch.rand(1, 3, 61, 75)
    make = lambda tile: Run(precision="fp32", channels_last=False, device="cpu", tile=tile)  # noqa: E731
    whole = Restorer(Convs(halo=2), make(0))(frames)
    tiled = Restorer(Convs(halo=2), make(16))(frames)
    assert not torch.equal(whole, tiled)


def test_blending_weights_sum_to_one():
    """An identity model blended over its seams must stay the identity."""
    frames = torch.rand(1, 1, 50, 70)
    out = apply(lambda x: x, frames, plan(50, 70, 16, 6), scale=1, fade=3)
    assert torch.allclose(out, frames, atol=1e-6)


def test_blending_hides_the_seam_of_a_model_that_sees_the_whole_tile():
    frames = torch.linspace(0, 1, 64).expand(1, 1, 64, 64).contiguous()
    shifted = lambda x: x - x.mean(dim=(-2, -1), keepdim=True)  # noqa: E731
    tiles = plan(64, 64, 32, 8)
    hard, soft = apply(shifted, frames, tiles, 1), apply(shifted, frames, tiles, 1, fade=4)
    step = lambda x: float((x[..., 1:] - x[..., :-1]).abs().max())  # noqa: E731
    assert step(soft) < step(hard) / 3
