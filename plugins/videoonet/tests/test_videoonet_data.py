"""The paper's data sets: which entries, what is drawn, and how frames are made."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from restore import MediaError, RequestError
from restore.functional.seeding import seeded
from restore_videoonet.datasets.rotated_mnist import RotatedMNIST, rotated
from restore_videoonet.datasets.scanned_cifar10 import ScannedCIFAR10, scanned
from restore_videoonet.datasets.splits import chosen
from restore_videoonet.datasets.ucf101 import UCF101
from ucf101_files import write_ucf101


def write_digits(folder, count):
    digits = np.random.default_rng(1).integers(0, 256, (count, 28, 28), np.uint8)
    for name in ("train", "t10k"):
        header = struct.pack(">4I", 0x803, *digits.shape)
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + digits.tobytes()))
    return digits


def test_digits_turn_counter_clockwise_by_forty_degrees():
    image = np.zeros((28, 28), np.uint8)
    image[2:6, 12:16] = 255  # a spot above the middle, 10 pixels from it
    frames = rotated(image, [0, 90, 40, 80], 28)[:, 0]
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    middle = [((f * columns).sum() / f.sum() - 13.5, 13.5 - (f * rows).sum() / f.sum()) for f in frames]
    # Mathematically positive: from the top to the left.
    assert middle[1][0] < -9
    assert abs(middle[1][1]) < 0.6
    turn = torch.tensor(40.0).deg2rad()
    for before, after in ((0, 2), (2, 3)):
        x, y = middle[before]
        assert abs(middle[after][0] - (x * turn.cos() - y * turn.sin())) < 0.3
        assert abs(middle[after][1] - (x * turn.sin() + y * turn.cos())) < 0.3


def test_rotated_mnist_is_the_top_left_of_eight_bit_rotations(tmp_path):
    digits = write_digits(tmp_path, 20)
    data = RotatedMNIST(tmp_path)
    clip = data.sample(3, seeded(4))
    assert clip.shape == (9, 1, 14, 14)
    assert clip.dtype == torch.float32
    phase = 360 * float(torch.rand((), generator=seeded(4), dtype=torch.float64))
    picture = Image.fromarray(digits[data.entries[3]])
    for t in (0, 8):
        turned = np.asarray(picture.rotate(phase + 40 * t, Image.Resampling.BILINEAR))
        assert torch.equal(clip[t, 0], torch.from_numpy(turned[:14, :14].copy()).float() / 255)
    assert not torch.equal(clip, data.sample(3, seeded(5)))
    assert torch.equal(data[3], data[3])


def test_a_tenth_is_held_out_and_nothing_is_in_two_parts(tmp_path):
    train, validation = chosen(60000, "train", None), chosen(60000, "validation", None)
    assert (len(train), len(validation)) == (54000, 6000)
    assert sorted(train + validation) == list(range(60000))
    assert train[:5] != list(range(5))
    assert chosen(10000, "test", None) == list(range(10000))
    assert chosen(10000, "test", 3) == [0, 1, 2]
    write_digits(tmp_path, 20)
    assert [len(RotatedMNIST(tmp_path, s)) for s in ("train", "validation", "test")] == [18, 2, 20]
    with pytest.raises(ValueError, match="split must be one of train, validation, test"):
        RotatedMNIST(tmp_path, "valid")


def test_cifar_is_scanned_like_a_snake(tmp_path):
    image = torch.zeros(3, 32, 32)
    image[:, 16:, :16], image[:, 16:, 16:], image[:, :16, 16:] = 1, 2, 3
    assert scanned(image)[:, 0].flatten(1).unique(dim=1).flatten().tolist() == [0, 1, 2, 3]
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "train_0.npz", images=pixels)
    data = ScannedCIFAR10(tmp_path)
    assert data[0].shape == (4, 3, 16, 16)
    assert len(data) == 9
    lower_left = torch.from_numpy(pixels[data.entries[0], 16:, :16]).permute(2, 0, 1)
    assert torch.equal(data[0][1], lower_left.float() / 255)


def test_ucf101_follows_the_official_lists(tmp_path):
    root = write_ucf101(tmp_path)
    names = {split: [UCF101(root, split).name(i) for i in range(len(UCF101(root, split)))]
             for split in ("train", "validation", "test")}  # fmt: skip
    assert names == {
        "train": ["v_Archery_g08_c01", "v_Archery_g22_c02"],
        "validation": ["v_Bowling_g23_c01", "v_Bowling_g25_c01"],
        "test": ["v_Bowling_g07_c01"],
    }
    (root / "UCF-101/Archery/v_Archery_g22_c02.avi").unlink()
    with pytest.raises(RequestError, match="1 of 2 videos"):
        UCF101(root)


def test_ucf101_takes_consecutive_frames_from_anywhere(tmp_path):
    data = UCF101(write_ucf101(tmp_path), size=16)
    starts = set()
    for seed in range(25):
        clip = data.sample(0, seeded(seed))
        assert clip.shape == (4, 3, 16, 16)
        level = (clip[:, :, 12:, 12:].mean(dim=(1, 2, 3)) * 255 - 20) / 20
        assert (level.diff() - 1).abs().max() < 0.3  # frames follow each other
        assert clip[:, :, :6, :6].min() > 0.85  # the whole frame was reduced, nothing cut off
        starts.add(round(float(level[0])))
    assert starts == set(range(6))  # nine frames hold six stretches of four


def test_a_video_that_is_too_short_is_named(tmp_path):
    root = write_ucf101(tmp_path, (("Archery/v_Archery_g09_c01.avi", "train", 3),
                                   ("Archery/v_Archery_g01_c01.avi", "test", 3)))  # fmt: skip
    with pytest.raises(MediaError, match=r"v_Archery_g09_c01\.avi has 3 frames, fewer than 4"):
        UCF101(root)[0]
