from __future__ import annotations

import pickle
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image
from restore.builtin.datasets import seeking
from restore.builtin.datasets.cutting import Window
from restore.builtin.datasets.seeking import index_frames
from restore.builtin.datasets.videos import Videos
from restore.errors import MediaError, RequestError
from restore.media.color import Picture
from restore.media.probe import probe
from restore.training.data import batches, seeded

IRREGULAR = [0, 3, 4, 9, 10, 11, 20, 21, 30, 32, 33, 40, 41, 42, 50, 58, 59, 60, 70, 71]
X264 = {"preset": "ultrafast", "bf": "3", "b-adapt": "0", "sc_threshold": "0", "qp": "20"}
KINDS = {
    "b-frames.mp4": {"options": X264, "gop": 5},
    "b-frames.mkv": {"options": X264, "gop": 5},
    "b-pyramid.mp4": {"options": {**X264, "x264-params": "b-pyramid=normal:ref=4"}, "gop": 6},
    "open-gop.mkv": {"options": {**X264, "x264-params": "open-gop=1"}, "gop": 6},
    "intra-refresh.mkv": {"options": {**X264, "x264-params": "intra-refresh=1:bframes=0"}, "gop": 6},
    "vfr.mkv": {"options": X264, "gop": 5, "pts": [20 * p for p in IRREGULAR], "time_base": Fraction(1, 1000)},
    "vfr.mp4": {"options": X264, "gop": 5, "pts": [512 * p for p in IRREGULAR]},
    "short-gop.mp4": {"options": X264, "gop": 2},
    "stream.ts": {"options": X264, "gop": 5, "step": 512},
    "hevc.mp4": {"codec": "libx265", "gop": 6, "options": {"preset": "ultrafast", "x265-params": "log-level=none"}},
    "all-intra.mkv": {"codec": "ffv1"},
    "vp8.webm": {"codec": "libvpx", "gop": 6, "options": {"auto-alt-ref": "1", "lag-in-frames": "8"}},
    "mpeg4.avi": {"codec": "mpeg4", "gop": 6, "options": {"bf": "2"}, "time_base": Fraction(1, 25), "step": 1},
}


def full(clips, path):
    """Everything decoded in order, as RGB."""
    return Picture.from_frames(clips.read(path)).channels("rgb").clamp(0, 1)


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_the_one_of_a_full_decode(clips, tmp_path, name):
    path = clips.make(tmp_path / name, 20, planes=clips.random, **KINDS[name])
    expected = full(clips, path)
    assert len({f.numpy().tobytes() for f in expected}) == len(expected) >= 18
    data = Videos(path, length=2, cache_mb=0)
    assert data._exact(0)[0] == len(expected)
    for start in (*range(len(expected) - 2, 2, -3), 1, 0):
        assert torch.equal(data._read(0, Window.whole((2, 48, 64), start)), expected[start : start + 2]), start
    assert torch.equal(Videos(path)[0], expected)


def test_only_what_is_needed_is_decoded(clips, tmp_path, monkeypatch):
    path = clips.make(tmp_path / "a.mp4", 60, options=X264, gop=10)
    info, decoded = probe(path), []
    index = index_frames(info)
    assert index.keys == tuple(range(0, 60, 10))
    count = seeking.frame_to_planes
    monkeypatch.setattr(seeking, "frame_to_planes", lambda f: decoded.append(f.pts) or count(f))
    frames = list(seeking.read_frames(info, index, 43, 46))
    assert [f.index for f in frames] == list(range(40, 46))
    assert decoded == [f.pts for f in frames]


def test_windows_and_colour(clips, tmp_path):
    # BT.709 tagged on a small picture: guessing by size would take BT.601.
    path = clips.make(tmp_path / "a.mkv", 6, (30, 46), "ffv1", planes=clips.random, codes=(1, 1, 1, 1))
    expected = full(clips, path)
    data = Videos(path, length=3, patch=16, augment=False)
    assert len(data) == 2 * (30 * 46 // 256)
    for seed in range(12):
        window = Window.draw((6, 30, 46), 3, 16, False, seeded(seed))
        clip = data.sample(seed % 10, seeded(seed))
        assert clip.shape == (3, 3, 16, 16)
        # Chroma reaches over the window's edge: cutting before converting must not show.
        assert torch.equal(clip, window.cut(expected[window.start : window.start + 3]))

    def flat(layout, height, width, k):
        return tuple(np.full(s, v, np.uint8) for s, v in zip(layout.shapes(height, width), (100, 90, 180), strict=True))

    path = clips.make(tmp_path / "flat.mkv", 1, (16, 16), "ffv1", codes=(1, 1, 1, 1), planes=flat)
    luma, blue, red = (100 - 16) / 219, (90 - 128) / 224, (180 - 128) / 224
    pixel = [luma + 1.5748 * red, luma - 0.1873 * blue - 0.4681 * red, luma + 1.8556 * blue]
    assert Videos(path)[0][0, :, 5, 7].tolist() == pytest.approx(pixel, abs=1e-3)


def test_deep_and_grey_video(clips, tmp_path):
    deep = clips.make(tmp_path / "deep.mkv", 3, codec="ffv1", pix_fmt="yuv420p10le", planes=clips.random)
    assert torch.equal(Videos(deep)[0], full(clips, deep))
    grey = clips.make(tmp_path / "grey.mkv", 3, codec="ffv1", pix_fmt="gray", planes=clips.random)
    assert Videos(grey)[0].shape == (3, 3, 48, 64)
    assert Videos(grey, channels="native")[0].shape == (3, 1, 48, 64)
    assert torch.equal(Videos(grey, channels="native")[0], full(clips, grey)[:, :1])


def test_folders_of_videos(clips, tmp_path):
    (tmp_path / "x").mkdir()
    clips.make(tmp_path / "x" / "a.mp4", 12, gop=4)
    clips.make(tmp_path / "b.mkv", 9, (40, 40), gop=4)
    (tmp_path / "notes.txt").write_text("no video")
    data = Videos(tmp_path, length=4)
    assert [data.name(i) for i in range(len(data))] == ["b@0", "b@4", "x/a@0", "x/a@4", "x/a@8"]
    assert torch.equal(data[1], full(clips, tmp_path / "b.mkv")[4:8])
    assert [Videos(tmp_path, include=["x/*"]).name(0), len(Videos(tmp_path, exclude=["x/*"]))] == ["x/a", 1]
    # Frames from a head that tells nothing true are counted.
    assert data._frames(0, data.infos[0]) == 9


def test_samples_are_deterministic_in_workers_too(clips, tmp_path):
    clips.make(tmp_path / "a.mp4", 12, gop=4, planes=clips.random)
    data = Videos(tmp_path, length=3, patch=16)
    plain = list(batches(data, 5, 2, 0, 3))
    assert all(
        torch.equal(a, b)
        for a, b in zip(plain, batches(pickle.loads(pickle.dumps(data)), 5, 2, 0, 3, workers=1), strict=True)
    )
    assert not torch.equal(plain[0], plain[1])


def test_decoded_frames_are_kept_up_to_a_bound(clips, tmp_path, monkeypatch):
    path = clips.make(tmp_path / "a.mp4", 12, gop=4, planes=clips.random)
    data = Videos(path, length=4)
    first = data[1]
    monkeypatch.setattr(seeking, "open_container", None)
    assert torch.equal(data[1], first)
    assert data._cache.used == 4 * 48 * 64 * 3 // 2


def test_what_is_no_clean_video_is_refused(clips, tmp_path):
    with pytest.raises(RequestError, match="does not exist"):
        Videos(tmp_path / "none")
    with pytest.raises(RequestError, match="no video under"):
        Videos(tmp_path)
    (tmp_path / "bad.mp4").write_bytes(b"text " * 100)
    with pytest.raises(RequestError, match=r"bad\.mp4 is not an image or video"):
        Videos(tmp_path)
    (tmp_path / "bad.mp4").unlink()
    clips.make(tmp_path / "a.mkv", 5)
    with pytest.raises(
        RequestError, match=r"no clip of at least 6 frames and at least 16x16 under .*: a has 5 of 64x48"
    ):
        Videos(tmp_path, length=6, patch=16)
    with pytest.raises(RequestError, match="no clip of at least 50x50"):
        Videos(tmp_path, patch=50)
    clips.make(tmp_path / "hdr.mkv", 2, codec="ffv1", pix_fmt="yuv420p10le", codes=(9, 1, 9, 16))
    with pytest.raises(RequestError, match=r"hdr\.mkv is HDR \(pq\).*exclude"):
        Videos(tmp_path)
    assert len(Videos(tmp_path, exclude=["hdr*"])) == 1
    Image.new("RGB", (8, 8)).save(tmp_path / "still.mkv", format="PNG")
    with pytest.raises(RequestError, match=r"still\.mkv is a still image"):
        Videos(tmp_path, include=["still*"])


def test_a_damaged_frame_is_named(clips, tmp_path):
    path = clips.make(tmp_path / "a.mp4", 20, gop=10, options=X264, planes=clips.random)
    data = Videos(path, length=3)
    with av.open(str(path)) as container:
        broken = next(p for p in container.demux(video=0) if p.size and p.pts == 12 * 512)
        start, size = broken.pos, broken.size
    content = bytearray(path.read_bytes())
    content[start : start + size] = bytes(size)
    path.write_bytes(content)
    assert data._read(0, Window.whole((3, 48, 64), 2)).shape == (3, 3, 48, 64)
    with pytest.raises(MediaError, match=r"a\.mp4 cannot be decoded at frame 1[0-2]; leave it out with exclude"):
        data._read(0, Window.whole((3, 48, 64), 11))


@pytest.mark.shared
def test_real_clips(shared_data):
    data = Videos(shared_data / "video" / "halved", length=7, patch=48, include=["stream*", "elf*"])
    assert sorted({data.name(i).split("_")[0] for i in range(len(data))}) == ["elf", "stream"]
    clip = data.sample(11, seeded(0))
    assert clip.shape == (7, 3, 48, 48)
    assert 0.02 < float(clip.std()) < 0.5
