"""The folders of REDS and Vimeo-90K."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from restore.builtin.datasets.video_sets import REDS, Vimeo90K
from restore.errors import MediaError, RequestError
from restore.functional.seeding import seeded


def write(folder, names, size=(8, 12), red=0):
    """Green counts frames."""
    folder.mkdir(parents=True)
    for k, name in enumerate(names):
        pixels = np.zeros((*size, 3), np.uint8)
        pixels[..., 0], pixels[..., 1] = red, k
        pixels[..., 2] = np.arange(size[1])
        Image.fromarray(pixels).save(folder / name)


@pytest.fixture
def reds(tmp_path):
    for part, clips in (("train", ["000", "001", "011", "015", "020", "100", "200"]), ("val", ["000", "001"])):
        for number in clips:
            write(tmp_path / part / f"{part}_sharp" / number, [f"{k:08d}.png" for k in range(4)], red=int(number))
        write(tmp_path / part / f"{part}_blur" / "000", ["00000000.png"], red=255)
    return tmp_path


def test_reds_has_its_splits(reds):
    assert REDS(reds).names == ["001", "100", "200"]
    assert REDS(reds, "reds4").names == ["000", "011", "015", "020"]
    assert REDS(reds, "val").names == ["000", "001"]
    assert [int(c[0, 0, 0, 0] * 255) for c in REDS(reds, "reds4")] == [0, 11, 15, 20]
    assert REDS(reds, length=3, patch=8).sample(0, seeded(0)).shape == (3, 3, 8, 8)
    assert REDS(reds / "train", "reds4").names == REDS(reds, "reds4").names  # folders lie flat in some copies
    with pytest.raises(RequestError, match="train_sharp"):
        REDS(reds / "val")
    for file in (reds / "train/train_sharp/015").iterdir():
        file.unlink()
    with pytest.raises(RequestError, match="lacks 015"):
        REDS(reds, "reds4")


@pytest.fixture
def vimeo(tmp_path):
    for name in ("00001/0001", "00001/0002", "00003/0004"):
        write(tmp_path / "sequences" / name, [f"im{k}.png" for k in range(1, 8)], red=int(name[-1]))
    (tmp_path / "sep_trainlist.txt").write_text("00001/0001\n00003/0004\n\n")
    (tmp_path / "sep_testlist.txt").write_text("00001/0002\n")
    return tmp_path


def test_vimeo_follows_its_lists_and_runs_forth_and_back(vimeo):
    data = Vimeo90K(vimeo)
    assert [data.name(i) for i in range(len(data))] == ["00001/0001", "00003/0004"]
    clip = (data[1] * 255).round().int()
    assert clip.shape == (14, 3, 8, 12) == (*data.shape(1)[:1], 3, *data.shape(1)[1:])
    assert clip[:, 0, 0, 0].tolist() == [4] * 14
    assert clip[:, 1, 0, 0].tolist() == [*range(7), *range(6, -1, -1)]
    assert Vimeo90K(vimeo, "test", mirror=False)[0].shape == (7, 3, 8, 12)
    (vimeo / "fast.txt").write_text("00001/0002\n00001/0001")
    assert Vimeo90K(vimeo, list_file=vimeo / "fast.txt").names == ["00001/0002", "00001/0001"]


def test_vimeo_patches_are_mirrored_after_turning(vimeo):
    data = Vimeo90K(vimeo, patch=6)
    for seed in range(4):
        clip = data.sample(0, seeded(seed))
        assert clip.shape == (14, 3, 6, 6)
        assert torch.equal(clip[7:], clip[:7].flip(0))
        assert clip[0].unique().numel() > 2


def test_vimeo_says_what_is_wrong(vimeo, tmp_path):
    with pytest.raises(RequestError, match="sequences"):
        Vimeo90K(tmp_path / "sequences")
    with pytest.raises(RequestError, match="cannot be read"):
        Vimeo90K(vimeo, list_file=vimeo / "none.txt")
    Image.new("RGB", (4, 4)).save(vimeo / "sequences/00003/0004/im3.png")
    with pytest.raises(MediaError, match=r"im3.png is not 12x8"):
        Vimeo90K(vimeo)[1]
    (vimeo / "sequences/00001/0001/im5.png").unlink()
    with pytest.raises(MediaError, match=r"im5.png"):
        Vimeo90K(vimeo)[0]
