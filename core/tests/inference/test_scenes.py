"""Where scenes begin: real cuts, and what must not be taken for one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from restore.inference.scenes import CutFinder
from restore.media.color import Picture
from restore.media.reader import VideoReader


def picture(seed, height=90, width=160):
    """Soft shapes, studio-range luma."""
    coarse = torch.rand(1, 1, 6, 9, generator=torch.Generator().manual_seed(seed))
    return 0.1 + 0.8 * F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)


def moving(seed, frames, speed=2):
    wide = picture(seed, 90, 160 + speed * frames)
    return torch.cat([wide[..., speed * k : speed * k + 160] for k in range(frames)])


def found(luma, patience=3, batch=4):
    finder = CutFinder(patience)
    for part in luma.split(batch):
        finder.push(part)
    finder.finish()
    assert finder.decided == len(luma)
    return sorted(finder.cuts)


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_a_cut_is_found_at_its_frame(batch):
    luma = torch.cat([moving(1, 9), moving(2, 7), moving(3, 1), moving(4, 8)])
    assert found(luma, batch=batch) == [9, 16, 17]
    assert found(luma, patience=0, batch=batch) == [9, 16, 17]


def test_fades_are_no_cuts():
    luma = moving(1, 40)
    down = torch.linspace(1, 0, 20).view(-1, 1, 1, 1)
    faded = torch.cat([luma[:20] * down, moving(2, 20) * down.flip(0)])
    assert found(faded) == []
    dissolve = torch.linspace(0, 1, 24).view(-1, 1, 1, 1)
    assert found((1 - dissolve) * moving(1, 24) + dissolve * moving(2, 24)) == []


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("strength", ["brighter", "white"])
def test_flashes_are_no_cuts(length, strength):
    luma = moving(1, 20)
    luma[8 : 8 + length] = (luma[8 : 8 + length] + 0.4).clamp(max=1) if strength == "brighter" else 1.0
    assert found(luma) == []


def test_a_flash_does_not_hide_a_cut():
    luma = torch.cat([moving(1, 8), torch.ones(1, 1, 90, 160), moving(2, 9)])
    assert len(found(luma)) >= 1
    assert found(luma)[-1] in (8, 9)


def test_noise_and_quick_motion_are_no_cuts():
    noise = torch.randn(16, 1, 90, 160, generator=torch.Generator().manual_seed(5))
    assert found(moving(1, 16, speed=8) + 0.15 * noise) == []


def test_real_clips(shared_data):
    """Cuts as seen by eye: tears_of_steel_1 behind an explosion, tears_of_steel_3 once; none elsewhere."""
    expected = {"tears_of_steel_1_400x166": [8], "tears_of_steel_3_400x166": [15]}
    files = sorted((shared_data / "video" / "halved").glob("*.mkv"))
    assert len(files) >= 12
    for path in files:
        with VideoReader(path) as reader:
            luma = Picture.from_frames(list(reader)).channels("y")
        assert found(luma) == expected.get(path.stem, []), path.name
        assert found(luma, patience=0) == expected.get(path.stem, []), path.name


def holes(frames, seed=1):
    """What is left beside blocks that lie elsewhere in every frame, three fifths of the picture."""
    coarse = torch.rand(frames, 1, 5, 8, generator=torch.Generator().manual_seed(seed)) > 0.6
    return F.interpolate(coarse.float(), size=(90, 160)) > 0.5


@pytest.mark.parametrize("cut", [None, 9])
def test_holes_that_come_and_go_are_no_cuts_and_hide_none(cut):
    scene = moving(1, 20) if cut is None else torch.cat([moving(1, cut), moving(2, 20 - cut)])
    left = holes(20)
    damaged = torch.where(left, scene, 0.0)
    assert len(found(damaged)) > 2  # so it is that what the holes look like must not count
    finder = CutFinder(seen=lambda first, frames, height, width: left[first : first + frames])
    for part in damaged.split(4):
        finder.push(part)
    finder.finish()
    assert sorted(finder.cuts) == ([] if cut is None else [cut])


def test_where_nothing_is_seen_nothing_is_said():
    scene = torch.cat([moving(1, 6), moving(2, 6)])
    left = torch.ones(12, 3, 1, 1, dtype=torch.bool)
    left[5, 1] = False  # one channel is enough
    finder = CutFinder(seen=lambda first, frames, height, width: left[first : first + frames])
    finder.push(scene)
    finder.finish()
    assert finder.cuts == set()
    assert finder.decided == 12
