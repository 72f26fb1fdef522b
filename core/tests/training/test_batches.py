"""Images as training sees them: cut, turned, in an order that a seed decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from restore.builtin.datasets.images import Images, dihedral
from restore.errors import RequestError, RestoreError
from restore.testing import write_images
from restore.training.data import Samples, batches, seeded


def test_batches_do_not_depend_on_workers_or_on_where_a_run_begins(tmp_path):
    data = Images(write_images(tmp_path / "images"), patch=16)
    plain = list(batches(data, 5, 3, 0, 6))
    with_workers = list(batches(data, 5, 3, 0, 6, workers=2))
    late = list(batches(data, 5, 3, 4, 6))
    assert [b.shape for b in plain] == [torch.Size([3, 1, 3, 16, 16])] * 6
    assert all(torch.equal(a, b) for a, b in zip(plain, with_workers, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain[4:], late, strict=True))
    assert not torch.equal(plain[0], next(iter(batches(data, 6, 3, 0, 1))))


def test_every_epoch_sees_every_sample_once_in_another_order():
    class Numbers:
        def __len__(self):
            return 7

        def __getitem__(self, index):
            return torch.tensor(index)

    samples = Samples(Numbers(), 3)
    epochs = [[int(samples[7 * e + i]) for i in range(7)] for e in range(3)]
    assert all(sorted(e) == list(range(7)) for e in epochs)
    assert epochs[0] != epochs[1]


def test_the_same_image_is_cut_anew_in_every_epoch(tmp_path):
    samples = Samples(Images(write_images(tmp_path / "images"), patch=16, include=["0.png"]), 3)
    count = len(samples.dataset)
    assert len({samples[k].numpy().tobytes() for k in range(8 * count)}) > 6 * count


def test_generators_differ_in_every_number():
    draws = {
        tuple(torch.rand(2, generator=seeded(*n)).tolist()) for n in [(0, 0), (0, 1), (1, 0), (1, 1), (0,), (-1, 0)]
    }
    assert len(draws) == 6


def test_patches_are_cut_from_the_image_and_turned_in_eight_ways(tmp_path):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4, 1).repeat(3, axis=2)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    square = torch.arange(9).reshape(1, 3, 3)
    assert len({tuple(dihedral(square, k).flatten().tolist()) for k in range(8)}) == 8
    data = Images(tmp_path, patch=2, augment=False)
    assert len(data) == 3
    seen = {int(data.sample(0, seeded(k))[0, 0, 0, 0] * 255 + 0.5) for k in range(200)}
    assert seen == {0, 1, 2, 4, 5, 6}
    turned = {tuple((Images(tmp_path, patch=2).sample(0, seeded(k))[0, 0] * 255).round().int().flatten().tolist())
              for k in range(400)}  # fmt: skip
    assert len(turned) == 6 * 8


def test_grey_images_and_deep_ones(tmp_path):
    Image.fromarray(np.full((4, 5), 100, np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.full((4, 5), 25700, np.uint16)).save(tmp_path / "b.png")
    for channels, count in (("rgb", 3), ("native", 1)):
        for clip in (Images(tmp_path, channels=channels)[i] for i in range(2)):
            assert clip.shape == (1, count, 4, 5)
            assert torch.allclose(clip, torch.tensor(100 / 255))
    (tmp_path / "c.png").write_bytes(b"text")
    with pytest.raises(RestoreError, match=r"c\.png cannot be read as an image"):
        Images(tmp_path)[2]


def test_images_are_picked_by_pattern(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name)
    assert len(Images(tmp_path, include=["a/*"])) == 2
    assert len(Images(tmp_path, exclude=["*/1.png"])) == 1
    with pytest.raises(RequestError, match="no image under"):
        Images(tmp_path, include=["c/*"])
