"""Raw YUV files."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from restore.builtin.datasets.raw import Raw
from restore.errors import RequestError
from restore.functional.color import rgb_to_y

HEIGHT, WIDTH = 32, 48


def write(path, frames=4, depth=8, seed=0):
    """Frames of mid-range values, so that RGB holds them without clipping; the luma, ``(frames, H, W)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random, scale = np.random.default_rng(seed), 2 ** (depth - 8)
    kind = "u1" if depth == 8 else "<u2"
    luma = random.integers(100 * scale, 140 * scale, (frames, HEIGHT, WIDTH)).astype(kind)
    chroma = np.full((frames, 2, HEIGHT // 2, WIDTH // 2), 128 * scale, kind)
    chroma[:, 1] += np.array(20 * scale, kind)  # red: Cr comes last
    with path.open("wb") as file:
        for y, uv in zip(luma, chroma, strict=True):
            file.write(y.tobytes() + uv.tobytes())
    return luma


@pytest.mark.parametrize("depth", [8, 10])
def test_planes_lie_where_the_format_says(tmp_path, depth):
    luma = write(tmp_path / "Red_48x32_9.yuv", depth=depth)
    clip = Raw(tmp_path, matrix="bt601", bit_depth=depth)[0]
    assert clip.shape == (4, 3, HEIGHT, WIDTH)
    levels = rgb_to_y(clip)[:, 0] * 255
    assert torch.allclose(levels, torch.from_numpy(luma / 2 ** (depth - 8)).float(), atol=1e-3)
    means = clip.mean((0, 2, 3))
    # 20 levels of Cr are 1.596 * 20 levels of red more than luma alone gives.
    assert float(means[0] - means[2]) * 255 == pytest.approx(1.596 * 20, abs=0.2)


def test_windows_are_those_of_the_whole_clip(tmp_path):
    write(tmp_path / "a" / "One_48x32.yuv", frames=7)
    data = pickle.loads(pickle.dumps(Raw(tmp_path, length=3, patch=16, augment=False)))
    whole = Raw(tmp_path)[0]
    assert (len(data), data.name(0), data.shape(0)) == (12, "a/One_48x32@0", (7, HEIGHT, WIDTH))
    piece = data.sample(0, torch.Generator().manual_seed(5))
    places = [
        (t, y, x)
        for t in range(5)
        for y in range(HEIGHT - 15)
        for x in range(WIDTH - 15)
        if torch.allclose(whole[t : t + 3, :, y : y + 16, x : x + 16], piece, atol=1e-6)
    ]
    assert len(places) == 1


def test_size_decides_the_matrix_unless_told(tmp_path):
    write(tmp_path / "One_48x32.yuv")
    auto, told = Raw(tmp_path)[0], Raw(tmp_path, matrix="bt709")[0]
    assert torch.equal(auto, Raw(tmp_path, matrix="bt601")[0])
    assert not torch.allclose(auto, told, atol=0.01)


@pytest.mark.parametrize(
    ("name", "said"),
    [("nosize.yuv", "does not say the size"), ("odd_47x32.yuv", "even sides"), ("a_64x32.yuv", "cut off")],
)
def test_names_that_do_not_fit(tmp_path, name, said):
    write(tmp_path / name, frames=3)
    with pytest.raises(RequestError, match=said):
        Raw(tmp_path)


def test_a_folder_without_raw_video(tmp_path):
    with pytest.raises(RequestError, match=r"no \.yuv file"):
        Raw(tmp_path)
