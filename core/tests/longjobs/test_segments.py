"""A video in parts is the video: every frame, every time, and all that lies beside the picture."""

from __future__ import annotations

import itertools
from fractions import Fraction

import av
import long_work
import numpy as np
import pytest
from long_work import moving, restore
from restore import MediaError, RequestError
from restore.inference.stages import Stages
from restore.inference.temporal import restorer_of
from restore.longjobs.planning import Context, bounds_of, context_of, segments_of
from restore.media.encoders import OutputOptions, choose_layout
from restore.media.indexing import NotIndexed, StretchReader, index_video
from restore.media.joining import JoinedWriter, PieceWriter
from restore.media.probe import probe
from restore.media.reader import VideoReader
from restore.media.writer import VideoWriter
from restore.recipe import Run, Segments, Temporal
from temporal_models import BASIC, FORWARD, Recurrent, Window

UNEVEN = [512 * k + 100 * (k % 3) for k in range(100)]
SOURCES = {
    "h264": ("mp4", "libx264", {"gop": 10}),
    "open groups": ("mkv", "libx264", {"options": {"x264-params": "open-gop=1:keyint=10:bframes=3"}}),
    "hevc, open groups": ("mkv", "libx265", {"options": {"x265-params": "keyint=8:open-gop=1:log-level=none"}}),
    "rolling refresh": ("mp4", "libx264", {"options": {"x264-params": "intra-refresh=1:keyint=12"}}),
    "ffv1": ("mkv", "ffv1", {}),
}


def same(a, b):
    return all(np.array_equal(p, q) for x, y in zip(a, b, strict=True) for p, q in zip(x.planes, y.planes, strict=True))


@pytest.mark.parametrize("kind", SOURCES)
def test_a_stretch_is_read_as_the_whole_file_is(clips, tmp_path, kind):
    suffix, codec, more = SOURCES[kind]
    grain = lambda layout, h, w, k: clips.random(layout, h, w, seed=k)  # noqa: E731
    source = clips.make(
        tmp_path / f"in.{suffix}", frames=45, size=(64, 64), codec=codec, planes=grain, pts=UNEVEN[:45], audio=1, **more
    )
    whole, index = clips.read(source), index_video(probe(source))
    assert list(index.pts) == [f.pts for f in whole]
    for first, stop in ((0, 7), (7, 20), (20, 21), (40, 45)):
        with StretchReader(source, index.stretch(first, stop)) as reader:
            found = list(reader)
        assert [(f.index, f.pts, f.duration) for f in found] == [
            (f.index, f.pts, f.duration) for f in whole[first:stop]
        ]
        assert same(found, whole[first:stop])
        if first == 20 and kind != "rolling refresh":  # what lies before the key frame is not decoded
            assert reader.decoded < 20


def test_what_no_packet_tells_is_not_cut(clips, tmp_path):
    source = clips.make(tmp_path / "in.avi", frames=12, codec="mpeg4")
    with pytest.raises(NotIndexed):
        index_video(probe(source))
    whole = clips.make(tmp_path / "whole.mkv", frames=40, planes=clips.random, gop=10)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(NotIndexed, match="cut off"):
        index_video(probe(cut))


def pieces_of(tmp_path, source, output, options, bounds):
    info, index, found = probe(source), index_video(probe(source)), []
    layout = choose_layout(info.layout, info.width, info.height, options.codec)
    for number, (first, stop) in enumerate(itertools.pairwise(bounds)):
        with StretchReader(source, index.stretch(first, stop)) as reader:
            writer = PieceWriter(
                tmp_path / f"{number}.packets", output, reader, info.width, info.height, layout, options=options
            )
            for frame in reader:
                writer.write(frame)
            found.append(writer.commit())
    return info, layout, found


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("h264", "mp4"), ("h264", "mkv"), ("hevc", "mp4"), ("hevc", "mkv"), ("av1", "mp4"), ("av1", "webm"),
     ("ffv1", "mkv"), ("vp9", "webm")],
)  # fmt: skip
def test_joined_pieces_have_the_times_of_one_run(clips, tmp_path, codec, suffix):
    """Variable frame rate that jumps at a join; pieces of one and of two frames; B-frames on both sides of a join."""
    times = [t + (9000 if k >= 7 else 0) for k, t in enumerate(UNEVEN[:30])]
    source = clips.make(tmp_path / "in.mp4", frames=30, size=(64, 64), planes=moving, pts=times, audio=1, gop=12)
    output, options = tmp_path / f"out.{suffix}", OutputOptions(codec=codec)
    _, layout, pieces = pieces_of(tmp_path, source, output, options, [0, 7, 8, 10, 30])
    with VideoReader(source) as template:
        writer = JoinedWriter(output, template, 64, 64, layout, options=options)
        packets = list(writer.join(pieces))
        writer.commit()
        single = VideoWriter(tmp_path / f"one.{suffix}", template, 64, 64, layout, options=options)
        for frame in template:
            single.write(frame)
        single.commit()
    assert all(p.dts <= p.pts for p in packets)
    assert all(a.dts < b.dts for a, b in itertools.pairwise(packets))
    one, joined = clips.read(tmp_path / f"one.{suffix}"), clips.read(output)
    assert [f.pts for f in joined] == [f.pts for f in one]
    assert len(joined) == 30
    if codec == "ffv1":
        assert same(one, joined)
    # A player can begin at the first frame of every piece.
    index = index_video(probe(output)) if suffix != "webm" else None
    assert index is None or {0, 7, 8, 10} <= set(index.keys)


def test_pieces_of_another_encoder_are_refused(clips, tmp_path):
    source = clips.make(tmp_path / "in.mp4", frames=12)
    output = tmp_path / "out.mkv"
    _, layout, pieces = pieces_of(tmp_path, source, output, OutputOptions("h264"), [0, 6, 12])
    with VideoReader(source) as template:
        for options in (OutputOptions("h264", preset="ultrafast"), OutputOptions("ffv1")):
            writer = JoinedWriter(output, template, 64, 48, layout, options=options)
            with pytest.raises(MediaError, match="encoder"):
                list(writer.join(pieces))
            writer.abort(keep=False)


def packets(path, track):
    with av.open(str(path)) as container:
        return [(p.pts, bytes(p)) for p in container.demux(container.streams.audio[track]) if p.size]


def test_all_beside_the_picture_is_there_once(clips, tmp_path):
    def fonts_and_chapters(container, stream):
        container.add_attachment("font.ttf", "font/ttf", b"glyphs" * 50)
        base = Fraction(1, 1000)
        container.set_chapters([{"id": 1, "start": 0, "end": 900, "time_base": base, "metadata": {"title": "One"}}])
        container.metadata["title"] = "A film"

    source = clips.make(tmp_path / "in.mkv", frames=55, planes=moving, audio=2, prepare=fonts_and_chapters)
    output = tmp_path / "out.mkv"
    assert restore(source, output, "frame", codec="h264")["segments"] == 3
    with av.open(str(source)) as a, av.open(str(output)) as b:
        assert len(b.streams.audio) == 2
        assert b.metadata["title"] == "A film"
        assert [c["metadata"]["title"] for c in b.chapters()] == ["One"]
        assert [s.data for s in b.streams.attachments] == [s.data for s in a.streams.attachments] != []
        assert packets(source, 0) == packets(output, 0) != []
        assert packets(source, 1) == packets(output, 1) != []
    assert not [p for p in tmp_path.iterdir() if p.name not in ("in.mkv", "out.mkv")]


def one_and_parts(clips, tmp_path, kind, frames=70, source=None, length=20, **more):
    """Decoded frames of a run without parts and of one with parts of ``length``."""
    if source is None:
        source = clips.make(tmp_path / "in.mkv", frames=frames, codec="ffv1", size=(32, 48), planes=moving,
                            pts=UNEVEN[:frames])  # fmt: skip
    restore(source, tmp_path / "one.mkv", kind, **{**more, "frames": 0})
    told = restore(source, tmp_path / "parts.mkv", kind, **{**more, "frames": length})
    one, parts = clips.read(tmp_path / "one.mkv"), clips.read(tmp_path / "parts.mkv")
    assert [f.pts for f in one] == [f.pts for f in parts]
    return one, parts, told


@pytest.mark.parametrize(
    ("kind", "more"),
    [("frame", {}), ("causal", {}), ("clip", {}), ("blended", {}), ("forward", {}), ("look_ahead", {"state": "carry"})],
)
def test_joins_show_no_seam(clips, tmp_path, kind, more):
    """To the bit: what a frame needs of the other part is carried, or seen again."""
    one, parts, told = one_and_parts(clips, tmp_path, kind, **more)
    assert told["segments"] == 4
    assert same(one, parts)


def test_an_operator_is_that_of_the_whole_videos_frames(clips, tmp_path):
    """Boxes are missing, elsewhere in each frame; a cut in the middle of a part."""
    source = clips.make(tmp_path / "in.mkv", frames=70, codec="ffv1", size=(32, 48), planes=scenes)
    one, parts, told = one_and_parts(clips, tmp_path, "measured", source=source, cuts="auto")
    assert told["segments"] == 4
    assert same(one, parts)
    whole = clips.read(source)
    assert not any(same([a], [b]) for a, b in zip(parts, whole, strict=True))


def test_why_a_long_video_is_not_cut_is_said(clips, tmp_path, capsys):
    source = clips.make(tmp_path / "in.mkv", frames=70, size=(32, 48), planes=moving)
    told = restore(source, tmp_path / "out.mkv", "between")
    assert told["frames"] == 140
    assert "segments" not in told
    assert (
        capsys.readouterr().err.count("in.mkv: [operator] makes frames between frames; it is restored in one go") == 1
    )


def differences(a, b):
    pairs = [zip(x.planes, y.planes, strict=True) for x, y in zip(a, b, strict=True)]
    return [max(int(np.abs(p.astype(int) - q.astype(int)).max()) for p, q in planes) for planes in pairs]


def unlike(a, b):
    """How many samples of luma differ."""
    return sum(int((x.planes[0] != y.planes[0]).sum()) for x, y in zip(a, b, strict=True))


def test_look_ahead_comes_near_at_a_join(clips, tmp_path):
    """The state that goes forward begins look_ahead frames before a part; the farther, the nearer to one run."""
    one, parts, _ = one_and_parts(clips, tmp_path, "fading", look_ahead=8)
    assert max(differences(one, parts)) <= 1
    assert same(one[:20], parts[:20])  # before the first join there is no difference
    (tmp_path / "near").mkdir()
    near = one_and_parts(clips, tmp_path / "near", "fading", look_ahead=1, source=tmp_path / "in.mkv")
    assert unlike(*near[:2]) > 2 * unlike(one, parts)


def scenes(layout, height, width, k):
    """A cut at frame 25, and one at 50."""
    planes = moving(layout, height, width, k)
    return planes if not 25 <= k < 50 else tuple((p[::-1, ::-1] // 3).copy() for p in planes)


@pytest.mark.parametrize("kind", ["exact", "look_ahead", "causal"])
def test_parts_that_begin_with_a_scene_are_exact(clips, tmp_path, kind):
    source = clips.make(tmp_path / "in.mkv", frames=75, codec="ffv1", size=(32, 48), planes=scenes)
    one, parts, told = one_and_parts(clips, tmp_path, kind, source=source, cuts="auto", at="auto")
    assert told["scene_cuts"] == [25, 50]
    assert told["segments"] == 3
    assert same(one, parts)


def deep(**more):
    """Two blocks, whose last sweep comes backward, with reaches of which one is longer than a part."""
    return Recurrent((("forward", 1), ("backward", 6), ("none", 2), ("backward", 1)), **more)


@pytest.mark.parametrize("kind", ["exact", "deep"])
@pytest.mark.parametrize("tile", [0, 24])
def test_exact_sweeps_long_scenes_part_by_part(clips, tmp_path, monkeypatch, kind, tile):
    """A scene of 25 frames, and one of 15 that is no longer than a part."""
    monkeypatch.setitem(long_work.MODELS, "exact", deep if kind == "deep" else long_work.MODELS["exact"])
    source = clips.make(tmp_path / "in.mkv", frames=40, codec="ffv1", size=(32, 48), planes=scenes)
    more = {"source": source, "cuts": "auto", "length": 5 if kind == "deep" else 12, "tile": tile}
    one, parts, told = one_and_parts(clips, tmp_path, "exact", **more)
    assert told["scene_cuts"] == [25]
    assert told["segments"] == (8 if kind == "deep" else 3)
    assert same(one, parts)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv", "one.mkv", "parts.mkv"]


def test_exact_that_runs_out_of_memory_between_two_sweeps(clips, tmp_path, monkeypatch):
    """Values and states of whole frames go on in tiles, which come near."""
    from restore.inference.exact import ExactRunner

    real, failed = ExactRunner.one_pass, []

    def one_pass(self, sweep, get, answered, *arguments, **more):
        if sweep.direction == "forward" and answered.start > 0 and not failed:
            failed.append(answered)
            raise RuntimeError("out of memory")
        return real(self, sweep, get, answered, *arguments, **more)

    monkeypatch.setitem(long_work.MODELS, "exact", long_work.fading)
    source = clips.make(tmp_path / "in.mkv", frames=30, codec="ffv1", size=(96, 80), planes=moving)
    restore(source, tmp_path / "one.mkv", "exact", frames=0)
    monkeypatch.setattr(ExactRunner, "one_pass", one_pass)
    told = restore(source, tmp_path / "parts.mkv", "exact", frames=10)
    assert failed
    assert any("tiles of 48 pixels" in w for w in told["warnings"])
    one, parts = clips.read(tmp_path / "one.mkv"), clips.read(tmp_path / "parts.mkv")
    assert same(one[:10], parts[:10])
    assert max(differences(one, parts)) <= 2


def test_a_disk_too_small_for_exact_is_said_at_once(clips, tmp_path, monkeypatch):
    from restore.inference import store

    source = clips.make(tmp_path / "in.mkv", frames=40, size=(32, 48), planes=moving)
    usage = type("", (), {"free": 2**28 + 5_000_000})
    monkeypatch.setattr(store.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(RequestError, match=r"scene of 40 frames needs [\d.]+ MB of disk.*scratch"):
        restore(source, tmp_path / "out.mkv", "exact", frames=12)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv"]


def test_bounds():
    assert bounds_of(100, Segments(frames=40), Context(), (), range(0, 100, 24)) == [0, 48, 100]
    assert bounds_of(100, Segments(frames=40, at="frames"), Context()) == [0, 40, 80, 100]
    assert bounds_of(59, Segments(frames=40), Context()) == [0, 59]
    assert bounds_of(100, Segments(frames=0), Context()) == [0, 100]
    assert bounds_of(1000, Segments(), Context()) == [0, 250, 500, 750, 1000]
    # Chunks lie where they would lie in one run: from the scene's beginning on.
    along = Context(past=16, ahead=16, grid=16, along_time=True)
    assert [(b - 5) % 16 for b in bounds_of(200, Segments(frames=40), along, cuts=[5])[1:-1]] == [0] * 5
    assert bounds_of(200, Segments(frames=50), along, cuts=[45, 70, 160]) == [0, 45, 70, 118, 160, 200]
    # Each sweep goes over the parts of a long scene; short scenes go together, and never with a part of a long one.
    exact = Context(along_time=True, sweeps=[("backward", 1), ("forward", 0)])
    assert bounds_of(200, Segments(frames=40), exact, cuts=[10, 20, 150]) == [0, 20, 63, 106, 150, 200]
    found = segments_of([0, 20, 63, 106, 150, 200], exact, cuts=[10, 20, 150])
    assert [s.scene for s in found] == [None, (20, 150), (20, 150), (20, 150), None]
    # Much context asks for long parts.
    assert bounds_of(3000, Segments(), Context(past=64, ahead=48, grid=32, along_time=True))[1] == 1792


def test_what_a_part_sees():
    along = Context(past=16, ahead=10, grid=16, along_time=True)
    found = segments_of([0, 48, 100, 150, 200], along, cuts=[40, 100, 155])
    ranges = [(s.low, s.first, s.stop, s.high, s.fresh) for s in found]
    assert ranges == [(0, 0, 48, 58, True), (40, 48, 100, 100, False), (100, 100, 150, 155, True),
                      (134, 150, 200, 200, False)]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "temporal", "expected"),
    [
        (Window(reach=2), {}, (2, 2, 1, False)),
        (Window(reach=1, whole=True), {"overlap": 2, "chunk": 8}, (16, 11, 8, False)),
        (Recurrent(FORWARD), {"chunk": 8}, (0, 3, 8, True)),
        (Recurrent(BASIC), {"look_ahead": 10, "chunk": 8}, (16, 10, 8, False)),
        (Recurrent(BASIC), {"schedule": "causal"}, (0, 0, 1, True)),
    ],
)
def test_context_comes_from_traits_and_schedule(model, temporal, expected):
    settings = Run(device="cpu", precision="fp32", tile=0, temporal=Temporal(**{"chunk": 4, **temporal}))
    found = context_of(Stages([restorer_of(model, settings)]).restorers)
    assert (found.past, found.ahead, found.grid, found.carried) == expected
