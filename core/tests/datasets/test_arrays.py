from __future__ import annotations

import gzip
import os
import pickle
import struct
import subprocess

import numpy as np
import pytest
import torch
from restore.builtin.datasets.arrays import CIFAR10, MNIST
from restore.errors import MediaError, RequestError

RNG = np.random.default_rng(0)
DIGITS = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
PHOTOS = RNG.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)


def idx(images=DIGITS, magic=0x803):
    return struct.pack(">4I", magic, *images.shape) + images.tobytes()


def test_mnist(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx()))
    (tmp_path / "raw" / "t10k-images-idx3-ubyte").write_bytes(idx(DIGITS[:2]))
    data = MNIST(tmp_path)
    assert len(data) == 5
    assert data.name(3) == "train-00003"
    assert data[3].shape == (1, 1, 4, 3)
    assert torch.equal((data[3] * 255).round().byte()[0, 0], torch.from_numpy(DIGITS[3]))
    assert torch.equal(data[-1], data[4])
    with pytest.raises(IndexError):
        data[5]
    test = MNIST(tmp_path, split="test", channels="rgb")
    assert (len(test), test[0].shape, test.name(1)) == (2, (1, 3, 4, 3), "test-00001")
    # The same file unpacked beside the packed one is one file.
    (tmp_path / "raw" / "train-images-idx3-ubyte").write_bytes(idx())
    assert len(MNIST(tmp_path)) == 5
    assert len(MNIST(tmp_path / "raw" / "train-images-idx3-ubyte.gz")) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx()[:-1], "should have 5 images of 3x4, but holds 59 bytes"),
        (idx(magic=0x801), "no idx file of images"),
        (b"\x00\x00", "cannot be read as an idx file"),
        (gzip.compress(idx(), mtime=0)[:-9], "cannot be read as an idx file"),
    ],
)
def test_broken_idx_files(tmp_path, content, message):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(MediaError, match=message):
        MNIST(tmp_path)


def test_idx_files_that_are_not_there(tmp_path):
    with pytest.raises(RequestError, match="does not exist"):
        MNIST(tmp_path / "none")
    with pytest.raises(RequestError, match="there is no train-images"):
        MNIST(tmp_path)
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "train-images-idx3-ubyte").write_bytes(idx())
    with pytest.raises(RequestError, match="there are several"):
        MNIST(tmp_path)


def python2_batch(images):
    """The official batches: protocol 2 of Python 2, whose strings are bytes."""
    data = images.reshape(len(images), -1)

    def text(value):
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        + b"(K\x01J" + struct.pack("<i", data.shape[0]) + b"J" + struct.pack("<i", data.shape[1]) + b"\x86"
        + b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89" + text(data.tobytes()) + b"tb"
    )  # fmt: skip
    labels = text(b"labels") + b"](" + b"".join(b"K" + bytes([k]) for k in range(len(data))) + b"e"
    return b"\x80\x02}(" + text(b"batch_label") + text(b"one") + labels + text(b"data") + array + b"u."


@pytest.mark.parametrize("protocol", ["python 2", 2, 4])
def test_cifar_batches(tmp_path, protocol):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number, images in ((2, PHOTOS[3:]), (1, PHOTOS[:3])):
        content = {"data": images.reshape(3, -1), "labels": [1, 2, 3], "batch_label": "x"}
        written = python2_batch(images) if protocol == "python 2" else pickle.dumps(content, protocol=protocol)
        (folder / f"data_batch_{number}").write_bytes(written)
    if protocol == "python 2":  # the hand-written file is one that pickle reads
        assert np.array_equal(pickle.loads(written, encoding="bytes")[b"data"], PHOTOS[:3].reshape(3, -1))
    data = CIFAR10(tmp_path)
    assert (len(data), data.name(5)) == (6, "train-00005")
    assert data[4].shape == (1, 3, 32, 32)
    assert torch.equal((torch.cat([data[i] for i in range(6)]) * 255).round().byte(), torch.from_numpy(PHOTOS))
    assert len(CIFAR10(folder / "data_batch_2")) == 3
    with pytest.raises(RequestError, match="no test_batch and no test"):
        CIFAR10(tmp_path, split="test")


def test_cifar_npz(tmp_path):
    np.savez(tmp_path / "train_0.npz", images=PHOTOS[:4].transpose(0, 2, 3, 1), labels=np.zeros(4))
    np.savez(tmp_path / "test_0.npz", images=PHOTOS[4:].transpose(0, 2, 3, 1))
    assert torch.equal((CIFAR10(tmp_path)[1][0] * 255).round().byte(), torch.from_numpy(PHOTOS[1]))
    assert torch.equal((CIFAR10(tmp_path, "test")[1][0] * 255).round().byte(), torch.from_numpy(PHOTOS[5]))
    np.savez(tmp_path / "train_0.npz", images=np.array([object()]))
    with pytest.raises(MediaError, match=r"train_0\.npz cannot be read as a CIFAR-10 batch"):
        CIFAR10(tmp_path)
    np.savez(tmp_path / "train_0.npz", images=PHOTOS)
    with pytest.raises(MediaError, match=r"not uint8 \(N, 32, 32, 3\)"):
        CIFAR10(tmp_path)


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "attack",
    [
        Attack(os.system, "touch harmed"),
        Attack(eval, "open('harmed', 'w')"),
        Attack(subprocess.check_output, ["touch", "harmed"]),
        Attack(getattr, os, "system"),
        Attack(np.fromfile, "secret"),
        Attack(np.load, "secret"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_no_pickle_runs_code(tmp_path, monkeypatch, attack, protocol):
    monkeypatch.chdir(tmp_path)
    try:
        content = pickle.dumps({b"data": PHOTOS.reshape(6, -1), b"labels": attack}, protocol=protocol)
    except (pickle.PicklingError, TypeError):
        pytest.skip("cannot be written with this protocol")
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(MediaError, match="asks for .* it may be harmful"):
        CIFAR10(tmp_path, "test")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        pickle.dumps({"data": [1, 2]}),
        pickle.dumps([1]),
        pickle.dumps({"data": np.zeros((2, 3072), np.float32)}, 2),
        pickle.dumps({"data": np.zeros((2, 3000), np.uint8)}, 2),
        pickle.dumps({"data": PHOTOS.reshape(6, -1)}, 2)[:-40],
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
        # An array that claims more than it has: numpy's own rebuilding must never see it.
        pickle.dumps({"data": PHOTOS.reshape(6, -1)}, 2).replace(b"M\x00\x0c", b"M\x00\x0d", 1),
    ],
)
def test_broken_batches(tmp_path, content):
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(MediaError, match="test_batch cannot be read as a CIFAR-10 batch"):
        CIFAR10(tmp_path, "test")


@pytest.mark.shared
def test_the_real_ones(shared_data):
    digits = MNIST(shared_data / "mnist", split="test")
    assert len(digits) == 10000
    assert digits[0].shape == (1, 1, 28, 28)
    assert (
        digits.images.numpy().astype(int).sum() == 264_900_000 or 0.1 < float(digits.images.float().mean()) / 255 < 0.2
    )
    photos = CIFAR10(shared_data / "cifar10", split="test")
    assert (len(photos), photos[0].shape) == (1000, (1, 3, 32, 32))
