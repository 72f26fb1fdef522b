"""Inputs that are broken or are no media at all."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from restore.errors import MediaError, RequestError
from restore.media.files import check_output
from restore.media.probe import is_media_name, list_media, probe
from restore.media.reader import VideoReader


def read_until_it_breaks(path):
    frames = []
    with VideoReader(path) as reader, pytest.raises(MediaError) as caught:  # noqa: PT012
        for frame in reader:  # not list(): what came before the break counts
            frames.append(frame)
    return frames, str(caught.value)


@pytest.mark.parametrize(("name", "options"), [("a.mkv", {}), ("a.mp4", {"movflags": "faststart"})])
def test_a_file_that_is_cut_off_gives_its_frames_and_then_breaks(tmp_path, clips, name, options):
    whole = clips.make(tmp_path / f"whole-{name}", frames=60, container_options=options, planes=clips.random, gop=12)
    reference = clips.read(whole)
    assert len(reference) == 60
    data = whole.read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * 0.6)])
    frames, message = read_until_it_breaks(tmp_path / name)
    assert 20 < len(frames) < 45
    assert f"frame {len(frames)}" in message
    assert name in message
    for got, want in zip(frames, reference, strict=False):
        assert got.pts == want.pts
        for a, b in zip(got.planes, want.planes, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.mp4", "libx264"), ("a.mkv", "ffv1")])
def test_noise_in_the_middle_is_found(tmp_path, clips, name, codec):
    options = {"slicecrc": "1", "level": "3"} if codec == "ffv1" else {}
    path = clips.make(tmp_path / name, frames=60, planes=clips.random, codec=codec, gop=12, options=options)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(data)
    frames, message = read_until_it_breaks(path)
    assert 10 < len(frames) < 40
    assert f"frame {len(frames)}" in message


def test_a_changing_picture_size_is_refused_by_name(tmp_path, clips):
    a = clips.make(tmp_path / "a.h264", frames=5, size=(48, 64))
    b = clips.make(tmp_path / "b.h264", frames=5, size=(32, 64))
    (tmp_path / "c.h264").write_bytes(a.read_bytes() + b.read_bytes())
    frames, message = read_until_it_breaks(tmp_path / "c.h264")
    assert len(frames) == 5
    assert "64x48" in message
    assert "64x32" in message


def sound_only(path):
    with av.open(str(path), "w") as out:
        track = out.add_stream("aac", rate=48000)
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        for plane in frame.planes:
            plane.update(bytes(4096))
        out.mux(track.encode(frame))
        out.mux(track.encode(None))


def test_what_is_no_media_is_said_plainly(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is not a film\n" * 200)
    (tmp_path / "noise.mkv").write_bytes(np.random.default_rng(1).bytes(20000))
    (tmp_path / "notes.txt").write_text("plain words\n" * 50)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    sound_only(tmp_path / "sound.mp4")
    for name, words in {
        "missing.mp4": "does not exist", "empty.mp4": "zero bytes", "text.mp4": "not an image or video",
        "noise.mkv": "not an image or video", "notes.txt": "not an image or video",
        "list.m3u8": "not an image or video",
        "sound.mp4": "no picture stream", ".": "is a folder"}.items():  # fmt: skip
        with pytest.raises(RequestError, match=words) as caught:
            probe(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_content_counts_and_not_the_name(tmp_path, clips):
    Image.new("RGB", (5, 4)).save(tmp_path / "picture.png")
    shutil.move(tmp_path / "picture.png", tmp_path / "picture.mp4")
    assert probe(tmp_path / "picture.mp4").kind == "image"
    shutil.move(clips.make(tmp_path / "film.mp4", frames=2), tmp_path / "film.png")
    assert probe(tmp_path / "film.png").kind == "video"


@pytest.mark.parametrize("name", ["Zürich 雪 #1 %03d.mp4", "a:b.mkv", "with 'quotes'.mkv"])
def test_names_of_any_script(tmp_path, clips, name):
    shutil.move(clips.make(tmp_path / f"plain{name[-4:]}", frames=3), tmp_path / name)
    assert probe(tmp_path / name).frame_rate == 25
    clips.copy(tmp_path / name, tmp_path / f"out {name}")
    assert len(clips.read(tmp_path / f"out {name}")) == 3


def test_animations_are_refused_by_name(tmp_path):
    pages = [Image.new("L", (8, 8), v) for v in (0, 255)]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:])
    with pytest.raises(RequestError, match="animation"):
        probe(tmp_path / "a.gif")


def test_interlacing_is_told(tmp_path, clips):
    path = clips.make(tmp_path / "i.mkv", frames=3, options={"x264-params": "interlaced=1", "bf": "0"})
    assert probe(path).interlaced
    assert not probe(clips.make(tmp_path / "p.mkv", frames=3)).interlaced


@pytest.mark.parametrize(("code", "name"), [(16, "pq"), (18, "hlg"), (1, "sdr")])
def test_hdr_is_told(tmp_path, clips, code, name):
    path = clips.make(tmp_path / "h.mkv", frames=2, codes=(9, 1, 9, code))
    assert probe(path).transfer == name


def test_the_input_is_never_the_output(tmp_path):
    source = tmp_path / "in.png"
    source.write_bytes(b"x")
    os.link(source, tmp_path / "hard.png")
    (tmp_path / "soft.png").symlink_to(source)
    (tmp_path / "sub").mkdir()
    for name in ("in.png", "hard.png", "soft.png", "sub/../in.png"):
        with pytest.raises(RequestError, match="is the input itself"):
            check_output(tmp_path / name, [source], overwrite=True)
    (tmp_path / "other.png").write_bytes(b"y")
    with pytest.raises(RequestError, match="exists already"):
        check_output(tmp_path / "other.png", [source])
    assert check_output(tmp_path / "other.png", [source], overwrite=True) == tmp_path / "other.png"
    with pytest.raises(RequestError, match="is not a folder"):
        check_output(tmp_path / "nowhere" / "x.png", [source])


def test_folders_are_listed_in_the_order_people_count(tmp_path):
    with pytest.raises(RequestError, match="holds no images"):
        list_media(tmp_path)
    for name in ("a10.png", "a2.PNG", "b.mp4", ".hidden.png", "notes.txt", "a1.jpg"):
        (tmp_path / name).touch()
    assert [p.name for p in list_media(tmp_path)] == ["a1.jpg", "a2.PNG", "a10.png", "b.mp4"]
    assert is_media_name("x.MKV")
    assert not is_media_name("x.part")
