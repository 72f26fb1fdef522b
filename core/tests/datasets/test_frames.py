from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from restore.builtin.datasets.cache import ByteCache
from restore.builtin.datasets.cutting import Shares
from restore.builtin.datasets.frames import Frames
from restore.builtin.datasets.images import Images
from restore.contracts import Dataset
from restore.errors import MediaError, RequestError
from restore.training.data import batches, seeded


@pytest.fixture
def folder(tmp_path):
    """``folder(name, frames, size)``: red counts frames, green rows, blue columns."""

    def make(name, frames=5, size=(6, 8), start=0):
        height, width = size
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        y, x = np.mgrid[:height, :width]
        for k in range(frames):
            pixels = np.stack([np.full_like(y, k), y, x], -1).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"f{k + start}.png")
        return tmp_path

    return make


def levels(clip):
    return (clip * 255).round().int()


def test_every_folder_with_images_is_a_clip_in_natural_order(folder):
    root = folder("b/sharp", frames=12)
    folder("a", frames=3, size=(4, 10))
    data = Frames(root)
    assert isinstance(data, Dataset)
    assert [data.name(i) for i in range(len(data))] == ["a", "b/sharp"]
    assert data[0].shape == (3, 3, 4, 10)
    assert data[1].dtype == torch.float32
    # As text, f10 comes before f2.
    assert levels(data[1])[:, 0, 0, 0].tolist() == list(range(12))
    assert torch.equal(levels(data[1])[0, 1], torch.arange(6)[:, None].expand(6, 8))
    assert Frames(root / "a").name(0) == "a"


def test_stretches_lie_side_by_side(folder):
    data = Frames(folder("a", frames=7), length=3)
    assert len(data) == 2
    assert [levels(data[i])[:, 0, 0, 0].tolist() for i in range(2)] == [[0, 1, 2], [3, 4, 5]]
    assert [data.name(i) for i in range(2)] == ["a@0", "a@3"]
    assert torch.equal(data[-1], data[1])
    with pytest.raises(IndexError):
        data[2]


def test_samples_are_windows_of_the_clip(folder):
    data = Frames(folder("a", frames=5, size=(6, 8)), length=3, patch=4, augment=False)
    assert len(data) == 1 * (6 * 8 // 16)
    seen = set()
    for seed in range(150):
        clip = levels(data.sample(seed % 3, seeded(seed)))
        assert clip.shape == (3, 3, 4, 4)
        first, top, left = clip[0, :, 0, 0].tolist()
        # Frames follow each other, and every frame is cut at the same place.
        assert clip[:, 0, 0, 0].tolist() == [first, first + 1, first + 2]
        assert (clip[:, 1] == torch.arange(top, top + 4)[:, None]).all()
        assert (clip[:, 2] == torch.arange(left, left + 4)).all()
        seen.add((first, top, left))
    assert {s[0] for s in seen} == {0, 1, 2}
    assert {s[1] for s in seen} == {0, 1, 2}
    assert {s[2] for s in seen} == {0, 1, 2, 3, 4}


def test_augmented_samples_are_turned_alike_in_every_frame_and_run_backwards(folder):
    data = Frames(folder("a", frames=2, size=(4, 4)), patch=4)
    plain = levels(data[0])
    seen = set()
    for seed in range(200):
        clip = levels(data.sample(0, seeded(seed)))
        assert torch.equal(clip[0, 1:], clip[1, 1:])
        assert sorted(clip[0, 1].flatten().tolist() + clip[0, 2].flatten().tolist()) == sorted(
            plain[0, 1:].flatten().tolist()
        )
        seen.add((int(clip[0, 0, 0, 0]), *clip[0, 1:, 0, 0].tolist(), *clip[0, 1:, 0, 3].tolist()))
    assert len(seen) == 16


def test_long_and_large_clips_have_their_share(folder):
    root = folder("a", frames=8, size=(8, 8))
    folder("b", frames=4, size=(4, 12))
    folder("short", frames=3, size=(8, 8))
    folder("flat", frames=8, size=(3, 40))
    data = Frames(root, length=4, patch=4)
    counts = {n: sum(data.name(i).split("@")[0] == n for i in range(len(data))) for n in data.names}
    assert counts == {"a": 8, "b": 3, "flat": 0, "short": 0}
    assert len(Frames(root, include=["a", "b"])) == 2
    assert len(Frames(root, exclude=["[ab]"])) == 2


def test_the_generator_decides_everything(folder):
    data = Frames(folder("a", frames=9, size=(12, 12)), length=3, patch=4)
    assert torch.equal(data.sample(1, seeded(5)), data.sample(1, seeded(5)))
    assert len({data.sample(1, seeded(k)).numpy().tobytes() for k in range(20)}) > 15
    torch.manual_seed(0)
    before = torch.get_rng_state()
    data.sample(0, seeded(1))
    assert torch.equal(before, torch.get_rng_state())
    plain = list(batches(data, 5, 2, 0, 3))
    assert all(
        torch.equal(a, b) for a, b in zip(plain, batches(pickle.loads(pickle.dumps(data)), 5, 2, 0, 3), strict=True)
    )


def test_an_image_is_cut_as_a_clip_of_one_frame(folder):
    root = folder("a", frames=1, size=(9, 11))
    frames, images = Frames(root, patch=4), Images(root, patch=4)
    assert len(frames) == len(images)
    assert all(torch.equal(frames.sample(0, seeded(k)), images.sample(0, seeded(k))) for k in range(20))


def test_frames_that_differ_in_size_are_refused(folder):
    folder("a", frames=2, size=(6, 8))
    root = folder("a", frames=2, size=(8, 6), start=2)
    with pytest.raises(RequestError, match=r"differ in size: f0\.png is 8x6, f2\.png is 6x8"):
        Frames(root)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patch": 7}, r"no clip of at least 7x7 under .*: a has 5 of 8x6"),
        ({"length": 6}, r"no clip of at least 6 frames under .*: a has 5"),
        ({"include": ["z"]}, "no folder of images under .* that fits"),
    ],
)
def test_what_does_not_fit_is_said_at_once(folder, values, message):
    with pytest.raises(RequestError, match=message):
        Frames(folder("a"), **values)


def test_bad_folders_and_files(folder, tmp_path):
    with pytest.raises(RequestError, match="is not a folder"):
        Frames(tmp_path / "none")
    with pytest.raises(RequestError, match="no folder of images"):
        Frames(tmp_path)
    root = folder("a")
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        Frames(root, length=0)
    (root / "a" / "f9.png").write_bytes(b"text")
    with pytest.raises(MediaError, match=r"f9\.png cannot be read as an image"):
        Frames(root)


def test_the_cache_is_bounded_and_drops_what_was_not_used(folder):
    cache = ByteCache(10)
    for key in "abc":
        cache.put(key, key.upper(), 4)
    assert (cache.get("a"), cache.get("b"), cache.used) == (None, "B", 8)
    cache.put("d", "D", 4)  # c was used longer ago than b
    assert (cache.get("b"), cache.get("c"), cache.get("d")) == ("B", None, "D")
    cache.put("b", "new", 6)
    assert (cache.get("b"), cache.used, len(cache)) == ("new", 10, 2)
    cache.put("e", "E", 11)
    assert (cache.get("e"), cache.used) == (None, 10)
    again = pickle.loads(pickle.dumps(cache))
    assert (len(again), again.used, again.limit) == (0, 0, 10)
    data = Frames(folder("a"), cache_mb=0)
    assert torch.equal(data[0], Frames(folder("a"))[0])
    assert data._cache.used == 0


def test_shares():
    shares = Shares([2, 0, 3])
    assert [shares.locate(i) for i in range(len(shares))] == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]
    assert shares.locate(-1) == (2, 2)
    for index in (5, -6):
        with pytest.raises(IndexError):
            shares.locate(index)


@pytest.mark.shared
def test_vid4(shared_data):
    data = Frames(shared_data / "video" / "vid4_crop", length=7, patch=64)
    assert {data.name(i).split("@")[0] for i in range(len(data))} == {"calendar", "foliage"}
    assert data[0].shape == (7, 3, 288, 352)
    assert data.sample(3, seeded(0)).shape == (7, 3, 64, 64)
