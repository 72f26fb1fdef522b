"""`restore degrade` on videos: what the file's stream is, and that all else of the video stays."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
import torch
from PIL import Image
from restore.builtin.degradations.bicubic import Bicubic
from restore.builtin.degradations.noise import GaussianNoise
from restore.contracts import Pair
from restore.functional.resize import resize
from restore.inference.degrading import Spoiling, count_frames
from restore.media.coding import Coding, recode
from restore.media.color import Picture
from restore.media.frame import PixelLayout
from restore.media.probe import probe

BT709 = (1, 1, 1, 1)


def grainy(layout, height, width, k):
    """Grain that is another one in every frame."""
    rng = np.random.default_rng(k)
    out = []
    for h, w in layout.shapes(height, width):
        small = torch.from_numpy(rng.random((1, -(-h // 4), -(-w // 4))))
        out.append((resize(small, 4)[0, :h, :w].clamp(0, 1) * 180 + 30).round().to(torch.uint8).numpy())
    return tuple(out)


@pytest.fixture
def source(clips, tmp_path):
    """Twelve grainy frames without loss, with sound, at uneven times."""
    pts = [512 * k + 100 * (k % 3) for k in range(12)]
    return clips.make(tmp_path / "in.mkv", codec="ffv1", size=(48, 80), planes=grainy, pts=pts, audio=1, codes=BT709)


def stack(frames, plane=0):
    return np.stack([f.planes[plane] for f in frames]).astype(float)


def times(frames):
    return [round(float(f.pts * f.time_base), 3) for f in frames]


CODEC = ("--use", "codec", "--set", "qp=37", "--set", "preset=fast")


@pytest.mark.parametrize("name", ["lq.mp4", "lq.mkv", "lq.mov"])
@pytest.mark.parametrize(
    ("arguments", "coding"),
    [
        (("codec=x265",), Coding("x265", 37, preset="fast")),
        (("codec=x264",), Coding("x264", 37, preset="fast")),
        (("ladder=hm-ldp",), Coding("x265", 37, preset="fast", ladder="hm-ldp")),
    ],
)
def test_the_files_own_stream_is_what_the_degradation_makes(cli, clips, source, tmp_path, name, arguments, coding):
    sets = [x for a in arguments for x in ("--set", a)]
    answer = cli("degrade", source, "-o", tmp_path / name, *CODEC, *sets, "--json")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)["results"][0]
    assert (result["frames"], result["width"], result["height"]) == (12, 80, 48)
    assert result["coding"] == coding.label
    assert f"{name}: its stream is the degraded one, {coding.label}" in answer.err
    info = probe(tmp_path / name)
    assert info.codec == ("h264" if coding.codec == "x264" else "hevc")
    assert info.audio == 1
    assert info.color.codes == BT709
    clean, made = clips.read(source), clips.read(tmp_path / name)
    wanted, _ = recode([f.planes for f in clean], coding)
    for frame, planes in zip(made, wanted, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(frame.planes, planes, strict=True)), frame.index
    assert times(made) == times(clean)
    assert np.abs(stack(made) - stack(clean)).mean() > 2


def test_sound_comes_along_untouched(cli, source, tmp_path):
    def packets(path):
        with av.open(str(path)) as file:
            return [bytes(p) for p in file.demux(file.streams.audio[0]) if p.size]

    for name, arguments in (("a.mp4", CODEC), ("b.mkv", ("--use", "jpeg", "--set", "quality=20"))):
        assert cli("degrade", source, "-o", tmp_path / name, *arguments).code == 0
        assert packets(tmp_path / name) == packets(source)
        assert len(packets(source)) > 15


def test_a_ladder_covers_files_whose_length_is_not_told(cli, clips, source, tmp_path):
    assert count_frames(source) == 12
    raw = clips.make(tmp_path / "raw.h264", frames=20, size=(48, 80), planes=grainy)
    sets = ("--use", "codec", "--set", "qp=30", "--set", "ladder=[20]", "--set", "preset=fast")
    assert cli("degrade", raw, "-o", tmp_path / "o.mkv", *sets).code == 0
    clean, made = clips.read(raw), clips.read(tmp_path / "o.mkv")
    errors = np.square(stack(clean) - stack(made)).mean(axis=(1, 2))
    assert len(errors) == 20
    assert errors[1:].min() > 5 * errors[0]  # one at QP 29, all others at 50 to the end


def test_a_chain_that_ends_in_a_codec(cli, clips, source, tmp_path):
    steps = 'steps=[{use="gaussian-noise",sigma=0.1},{use="codec",codec="x264",qp=4,preset="fast"}]'
    answer = cli("degrade", source, "-o", tmp_path / "o.mp4", "--use", "chain", "--set", steps)
    assert answer.code == 0, answer.err
    assert probe(tmp_path / "o.mp4").codec == "h264"
    change = stack(clips.read(tmp_path / "o.mp4")) - stack(clips.read(source))
    assert 0.06 * 219 < change.std() < 0.11 * 219


@pytest.mark.parametrize(
    ("size", "name", "more", "codec", "reason"),
    [
        ((47, 81), "o.mkv", (), "ffv1", "holds no 81x47 pictures"),
        ((48, 32), "o.mkv", (), "ffv1", "holds no 32x48 pictures"),
        ((48, 80), "o.mkv", ("--set", "run.output.codec=ffv1"), "ffv1", "run.output.codec asks for ffv1"),
        ((48, 80), "o.avi", (), "ffv1", "does not go into avi"),
    ],
)
def test_what_no_stream_can_hold_is_decoded_and_written_again(cli, clips, tmp_path, size, name, more, codec, reason):
    path = clips.make(tmp_path / "in.mkv", frames=6, codec="ffv1", size=size, planes=grainy, codes=BT709)
    answer = cli("degrade", path, "-o", tmp_path / name, *CODEC, *more)
    assert answer.code == 0, answer.err
    assert reason in answer.err
    assert probe(tmp_path / name).codec == codec
    clean, made = clips.read(path), clips.read(tmp_path / name)
    assert [f.planes[0].shape for f in made] == [size] * 6
    wanted, _ = recode([f.planes for f in clean], Coding("x265", 37, preset="fast"))
    for frame, planes in zip(made, wanted, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(frame.planes, planes, strict=True)), frame.index


def test_bicubic_makes_the_smaller_video(cli, clips, source, tmp_path):
    answer = cli("degrade", source, "-o", tmp_path / "o.mkv", "--use", "bicubic", "--set", "scale=4")
    assert answer.code == 0, answer.err
    info = probe(tmp_path / "o.mkv")
    assert (info.width, info.height, info.codec, info.pix_fmt, info.audio) == (20, 12, "ffv1", "yuv420p", 1)
    clean, made = clips.read(source), clips.read(tmp_path / "o.mkv")
    assert times(made) == times(clean)
    wanted = resize(torch.from_numpy(stack(clean)), 0.25).numpy()
    assert np.abs(stack(made) - wanted).max() < 1.01  # inside the gamut, luma is luma's own bicubic


def ramps(layout, height, width, k):
    """Chroma of a plane that rises by one level per luma column, sited left: chroma column j lies at luma column 2j."""
    luma = np.full((height, width), 126, np.uint8)
    across = 128 + 2 * np.arange(width // 2) - width // 2
    down = 128 + (2 * np.arange(height // 2) + 0.5) - height // 2
    cb = np.tile(across, (height // 2, 1))
    cr = np.tile(np.floor(down)[:, None], (1, width // 2))
    return luma, cb.astype(np.uint8), cr.astype(np.uint8)


def test_chroma_of_the_smaller_video_lies_right(cli, clips, tmp_path):
    path = clips.make(tmp_path / "in.mkv", frames=2, codec="ffv1", size=(64, 96), planes=ramps, codes=BT709)
    assert cli("degrade", path, "-o", tmp_path / "o.mkv", "--use", "bicubic", "--set", "scale=2").code == 0
    cb = clips.read(tmp_path / "o.mkv")[0].planes[1].astype(float)
    # Column j of the small chroma lies at small luma 2j, which is luma (2j + 0.5) 2 - 0.5 = 4j + 0.5.
    wanted = 128 + (4 * np.arange(24) + 0.5) - 48
    inside = slice(4, -4)
    off = (cb - wanted)[inside, inside]
    assert np.abs(off).max() <= 0.75  # sited in the middle it would be off by another level
    assert abs(off.mean()) < 0.6


def test_noise_does_not_depend_on_batches_nor_repeat(source, clips):
    frames = clips.read(source)
    work = Spoiling(GaussianNoise((0.05, 0.2)).settled(torch.Generator().manual_seed(1)), 5, 64)
    whole = work(Picture.from_frames(frames), 0).parts[0]
    parts = torch.cat([work(Picture.from_frames(frames[a:b]), a).parts[0] for a, b in ((0, 5), (5, 6), (6, 12))])
    assert torch.equal(whole, parts)
    noise = (whole - Picture.from_frames(frames).parts[0]).flatten(1)
    assert noise.std(dim=1).max() / noise.std(dim=1).min() < 1.15  # one sigma for the video
    assert (torch.corrcoef(noise) - torch.eye(12)).abs().max() < 0.12


def test_noise_on_a_video_file(cli, clips, source, tmp_path):
    noise = ("--use", "gaussian-noise", "--set", "sigma=20/255")
    for name, seed in (("a.mkv", 1), ("b.mkv", 1), ("c.mkv", 2), ("d.mp4", 1)):
        answer = cli("degrade", source, "-o", tmp_path / name, *noise, "--seed", seed)
        assert answer.code == 0, answer.err
    assert "not exact; write to .mkv" in answer.err
    a, b, c, d = (stack(clips.read(tmp_path / f"{n}")) for n in ("a.mkv", "b.mkv", "c.mkv", "d.mp4"))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert np.abs(a - d).mean() < 2.5
    assert probe(tmp_path / "d.mp4").codec == "h264"


def test_a_range_is_drawn_once_for_a_video(cli, clips, source, tmp_path):
    sets = ("--set", "sigma=[0.02, 0.2]")
    spreads = []
    for seed in range(4):
        path = tmp_path / f"{seed}.mkv"
        assert cli("degrade", source, "-o", path, "--use", "gaussian-noise", *sets, "--seed", seed).code == 0
        spreads.append((stack(clips.read(path)) - stack(clips.read(source))).std(axis=(1, 2)))
    assert all(s.max() / s.min() < 1.2 for s in spreads)
    assert max(s.mean() for s in spreads) > 1.2 * min(s.mean() for s in spreads)


def test_what_changes_nothing_keeps_every_sample(cli, clips, source, tmp_path):
    assert cli("degrade", source, "-o", tmp_path / "o.mkv", "--use", "gaussian-noise", "--set", "sigma=0").code == 0
    for clean, made in zip(clips.read(source), clips.read(tmp_path / "o.mkv"), strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(clean.planes, made.planes, strict=True))


@pytest.mark.parametrize("pix_fmt", ["gray", "yuv420p10le", "bgr0"])
def test_other_layouts_stay_what_they_are(cli, clips, tmp_path, pix_fmt):
    path = clips.make(tmp_path / "in.mkv", frames=3, codec="ffv1", pix_fmt=pix_fmt, size=(24, 40))
    answer = cli("degrade", path, "-o", tmp_path / "o.mkv", "--use", "jpeg", "--set", "quality=50")
    assert answer.code == 0, answer.err
    assert probe(tmp_path / "o.mkv").layout == PixelLayout.from_pix_fmt(pix_fmt)
    top = 1023 if "10" in pix_fmt else 255
    change = np.abs(stack(clips.read(tmp_path / "o.mkv")) - stack(clips.read(path))) / top
    assert 0 < change.mean() < 0.02


class Backwards:
    """Looks along time: the frames of a segment in reverse."""

    def __call__(self, clean, step):
        return Pair(clean.flip(1), clean)


class Drops:
    def __call__(self, clean, step):
        return Pair(clean[:, ::2], clean)


def test_what_looks_along_time_is_given_segments(cli, clips, source, tmp_path, monkeypatch):
    from restore.cli import degrade

    monkeypatch.setattr(degrade, "_request", lambda *_: (Backwards(), _output()))
    for name, more, order in (
        ("a.mkv", (), list(range(12))[::-1]),
        ("b.mkv", ("--segment", 5), [4, 3, 2, 1, 0, 9, 8, 7, 6, 5, 11, 10]),
    ):
        answer = cli("degrade", source, "-o", tmp_path / name, "--use", "backwards", *more)
        assert answer.code == 0, answer.err
        assert ("in segments of 5 frames" in answer.err) == bool(more)
        clean, made = clips.read(source), clips.read(tmp_path / name)
        assert np.abs(stack(made) - stack([clean[k] for k in order])).max() <= 1
        assert times(made) == times(clean)
    monkeypatch.setattr(degrade, "_request", lambda *_: (Drops(), _output()))
    answer = cli("degrade", source, "-o", tmp_path / "c.mkv", "--use", "drops")
    assert answer.code == 2
    assert "which is no video of the same frames" in answer.err
    assert not (tmp_path / "c.mkv").exists()


def _output():
    from restore.recipe import Output

    return Output()


def test_a_folder_of_images_and_videos(cli, clips, source, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    source.rename(folder / "clip.mkv")
    clips.make(folder / "old.ts", frames=4, size=(48, 80))
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(folder / "still.png")
    answer = cli("degrade", folder, "-o", tmp_path / "out", "--use", "bicubic", "--set", "scale=2", "--json")
    assert answer.code == 0, answer.err
    results = json.loads(answer.out)["results"]
    assert [r["output"].rsplit("/")[-1] for r in results] == ["clip.mkv", "old.mkv", "still.png"]
    assert [r.get("frames") for r in results] == [12, 4, None]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["clip.mkv", "old.mkv", "still.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "o.png", *CODEC), "cannot write a video that ends in .png"),
        (("-o", "in.mkv", *CODEC, "--overwrite"), "is the input itself"),
        (("-o", "o.mp4", "--use", "codec", "--set", "qp=52"), "qp must be from 0 to 51, got 52"),
        (
            ("-o", "o.mp4", "--use", "codec", "--set", "codec=vp8", "--set", "qp=5"),
            "must be 'x264' or 'x265', got 'vp8'",
        ),
        (("-o", "o.mp4", "--use", "codec"), "give either qp or crf"),
        (("-o", "o.mp4", "--use", "bicubic", "--set", "scale=100"), "in.mkv: cannot resize"),
        (("-o", "o.mp4", *CODEC, "--set", "run.output.kodec=x"), "kodec"),
        (("-o", "o.mp4", *CODEC, "--segment", "0"), "segment"),
    ],
)
def test_what_cannot_be_done(cli, source, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    answer = cli("degrade", "in.mkv", *arguments)
    assert answer.code == 2, answer.err
    assert said in answer.err
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]


def test_a_broken_video_keeps_what_came_before(cli, clips, tmp_path):
    path = clips.make(tmp_path / "in.mkv", frames=30, codec="ffv1", size=(48, 80), planes=grainy)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    answer = cli("degrade", path, "-o", tmp_path / "o.mkv", "--use", "bicubic", "--set", "scale=2")
    assert answer.code == 1
    assert "breaks at frame" in answer.err
    assert not (tmp_path / "o.mkv").exists()
    kept = clips.read(tmp_path / "o.partial.mkv")
    assert 10 < len(kept) < 30


def test_the_probe_says_the_size_before_any_frame_is_read(source):
    work = Spoiling(Bicubic(3), 0, 8)
    assert work.output_size(probe(source)) == (16, 26)
