"""Frames in, frames out: none lost, none moved in time, nothing beside the picture forgotten."""

from __future__ import annotations

import io
from fractions import Fraction

import attrs
import av
import numpy as np
import pytest
from restore.errors import RequestError
from restore.media.encoders import OutputOptions, choose_codec, choose_layout
from restore.media.frame import PixelLayout
from restore.media.probe import probe
from restore.media.reader import VideoReader
from restore.media.writer import VideoWriter

FAST = {"preset": "ultrafast"}
VFR = [0, 512, 1024, 2048, 2100, 5000, 5512, 6024, 7000, 9000, 9001, 12000]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
def test_every_frame_of_a_clip_with_b_frames_comes_out(tmp_path, clips, suffix):
    path = clips.make(
        tmp_path / f"in{suffix}",
        frames=23,
        time_base=Fraction(1, 25),
        step=1,
        options={"bf": "0" if suffix == ".avi" else "3"},
    )
    frames = clips.read(path)
    assert [f.index for f in frames] == list(range(23))
    assert [f.pts for f in frames] == sorted(f.pts for f in frames)
    brightness = [int(f.planes[0][0, 0]) for f in frames]
    assert brightness[:9] == sorted(brightness[:9])  # presentation order, not decoding order
    clips.copy(path, tmp_path / f"out{suffix}")
    out = clips.read(tmp_path / f"out{suffix}")
    assert len(out) == 23
    assert [f.pts * f.time_base for f in out] == pytest.approx([f.pts * f.time_base for f in frames], abs=1e-9)
    assert float(out[1].pts * out[1].time_base) == pytest.approx(0.04, abs=1e-9)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize("start", [0, 1000])
def test_variable_frame_times_survive_mp4_exactly(tmp_path, clips, codec, start):
    pts = [start + p for p in VFR]
    options = {"video_track_timescale": "12800", "movie_timescale": "12800"}
    source = clips.make(tmp_path / "in.mp4", pts=pts, container_options=options)
    assert [f.pts for f in clips.read(source)] == pts
    clips.copy(source, tmp_path / "out.mp4", OutputOptions(codec, preset="10" if codec == "av1" else "ultrafast"))
    out = clips.read(tmp_path / "out.mp4")
    assert [f.pts * f.time_base for f in out] == [Fraction(p, 12800) for p in pts]


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_variable_frame_times_survive_mkv_exactly(tmp_path, clips, codec):
    pts = [7, 40, 80, 81, 200, 240, 280, 333, 334, 335, 500, 1000]
    source = clips.make(tmp_path / "in.mkv", pts=pts, time_base=Fraction(1, 1000))
    clips.copy(source, tmp_path / "out.mkv", OutputOptions(codec, preset="ultrafast"))
    assert [f.pts for f in clips.read(tmp_path / "out.mkv")] == pts
    durations = [f.duration for f in clips.read(source)]
    assert durations[:-1] == list(np.diff(pts))


def full_house(out, stream):
    """Rotation, pixel shape, subtitle, font, chapters, words."""
    if not hasattr(stream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write a rotation")
    stream.set_display_rotation(90)
    stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
    stream.metadata["title"] = "the picture"
    subtitle = out.add_stream_from_template(SUBTITLE.streams.subtitles[0])
    subtitle.metadata["language"] = "fra"
    out.add_attachment("font.ttf", "font/ttf", b"\0\1\0\0font")
    out.metadata["title"] = "Ein Titel"
    out.metadata["comment"] = "a remark"
    out.set_chapters(
        [
            {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}},
            {"id": 2, "start": 200, "end": 480, "time_base": Fraction(1, 1000), "metadata": {"title": "two"}},
        ]
    )


SUBTITLE = av.open(io.BytesIO(b"1\n00:00:00,100 --> 00:00:00,300\nHello\n\n"), format="srt")


def add_subtitles(path, target):
    """Remuxes with the subtitle's packets, which the clip maker leaves out."""
    subtitles = av.open(io.BytesIO(b"1\n00:00:00,100 --> 00:00:00,300\nHello\n\n"), format="srt")
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        streams = {
            s.index: out.add_stream_from_template(s, opaque=True)
            for s in source.streams
            if s.type != "subtitle" and s.type != "attachment"
        }
        words = out.add_stream_from_template(subtitles.streams.subtitles[0])
        for packet in subtitles.demux():
            if packet.size:
                packet.stream = words
                out.mux(packet)
        for packet in source.demux():
            if packet.size and packet.stream_index in streams:
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    subtitles.close()


def test_all_that_is_not_picture_is_kept(tmp_path, clips):
    codes = (9, 1, 9, 14)
    source = clips.make(
        tmp_path / "in.mkv",
        pix_fmt="yuv420p10le",
        codec="libx265",
        codes=codes,
        audio=2,
        options={"preset": "ultrafast", "chroma_sample_location": "topleft"},
        prepare=full_house,
    )
    writer = clips.copy(source, tmp_path / "out.mkv", OutputOptions(preset="ultrafast"))
    assert writer.warnings == []
    assert writer.codec == "hevc"
    info = probe(tmp_path / "out.mkv")
    assert (info.audio, info.subtitles, info.attachments) == (2, 1, 1)
    assert info.layout == PixelLayout("yuv", 10, (1, 1))
    assert info.color.codes == codes
    assert (info.color.matrix, info.color.siting, info.color.guessed) == ("bt2020", "topleft", ())
    assert info.rotation == 90
    assert info.display_matrix == probe(source).display_matrix
    assert info.sample_aspect_ratio == Fraction(4, 3)
    with av.open(str(source)) as old, av.open(str(tmp_path / "out.mkv")) as new:
        assert [s.metadata.get("language") for s in new.streams.audio] == ["eng", "deu"]
        assert new.streams.subtitles[0].metadata["language"] == "fra"
        assert new.streams.video[0].metadata["title"] == "the picture"
        assert new.metadata["title"] == "Ein Titel"
        assert new.metadata["COMMENT"] == "a remark"
        assert [c["metadata"]["title"] for c in new.chapters()] == ["one", "two"]
        times = [(c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in new.chapters()]
        assert times == [(0, Fraction(1, 5)), (Fraction(1, 5), Fraction(12, 25))]
        font = new.streams.attachments[0]
        assert (font.name, font.mimetype, font.data) == ("font.ttf", "font/ttf", b"\0\1\0\0font")

        def packets(c):
            return [(p.stream.index, p.pts, bytes(p)) for p in c.demux(c.streams.audio) if p.size]

        sound = packets(new)
        assert sorted(packets(old)) == sorted(sound)
        assert len(sound) > 30


def test_subtitles_keep_their_words_and_times(tmp_path, clips):
    add_subtitles(clips.make(tmp_path / "plain.mkv", audio=1), tmp_path / "in.mkv")
    clips.copy(tmp_path / "in.mkv", tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as new:
        got = [(p.pts, p.duration, bytes(p)) for p in new.demux(new.streams.subtitles[0]) if p.size]
    assert got == [(100, 200, b"Hello")]


def test_what_the_container_cannot_hold_is_named(tmp_path, clips):
    source = clips.make(tmp_path / "in.mkv", audio=1, prepare=full_house)
    writer = clips.copy(source, tmp_path / "out.mp4")
    said = " ".join(writer.warnings)
    assert "subtitle" in said
    assert "font.ttf" in said
    assert ".mkv" in said
    info = probe(tmp_path / "out.mp4")
    assert (info.audio, info.rotation, info.sample_aspect_ratio) == (1, 90, Fraction(4, 3))
    with av.open(str(tmp_path / "out.mp4")) as new:
        assert len(new.chapters()) == 2
        assert new.metadata["title"] == "Ein Titel"


def test_sound_and_picture_stay_together_from_mp4_to_mp4(tmp_path, clips):
    source = clips.make(tmp_path / "in.mp4", audio=2)
    clips.copy(source, tmp_path / "out.mp4")

    def times(path):
        with av.open(str(path)) as c:
            return sorted((p.stream_index, float(p.pts * p.time_base)) for p in c.demux(c.streams.audio) if p.size)

    assert times(source) == times(tmp_path / "out.mp4")


def test_untagged_colour_stays_untagged_and_is_said_to_be_guessed(tmp_path, clips):
    clips.copy(clips.make(tmp_path / "in.mkv"), tmp_path / "out.mkv")
    for name in ("in.mkv", "out.mkv"):
        color = probe(tmp_path / name).color
        assert color.codes == (2, 0, 2, 2)
        assert (color.matrix, color.range) == ("bt601", "limited")
        assert {"matrix", "range"} <= set(color.guessed)
        assert "bt601" in color.describe_guesses()


def test_a_guess_that_a_player_would_not_share_is_written(tmp_path, clips):
    source = clips.make(tmp_path / "in.mkv", frames=1)
    with VideoReader(source) as reader:
        layout = PixelLayout("yuv", 8, (1, 1))
        options = OutputOptions(preset="ultrafast")
        with VideoWriter(tmp_path / "out.mkv", reader, 1280, 960, layout, options=options) as writer:
            assert writer.color.codes[0] == 6  # BT.601, where 1280 columns would be read as BT.709


@pytest.mark.parametrize(
    "pix_fmt",
    ["yuv420p", "yuv422p10le", "yuv444p12le", "gray", "gray16le", "bgr0", "gbrp10le", "yuva420p", "yuv420p16le"],
)
@pytest.mark.parametrize("size", [(35, 33), (2, 2), (1, 1)])
def test_ffv1_gives_back_every_bit(tmp_path, clips, pix_fmt, size):
    source = clips.make(
        tmp_path / "in.mkv",
        frames=3,
        size=size,
        codec="ffv1",
        pix_fmt=pix_fmt,
        planes=clips.random,
        options={"level": "1"},
    )
    clips.copy(source, tmp_path / "out.mkv", OutputOptions("ffv1"))
    layout = PixelLayout.from_pix_fmt(pix_fmt)
    assert probe(tmp_path / "out.mkv").layout == layout
    for frame in clips.read(tmp_path / "out.mkv"):
        want = clips.random(layout, *size, frame.index)
        for got, plane in zip(frame.planes, want, strict=True):
            assert got.flags.c_contiguous
            np.testing.assert_array_equal(got, plane)


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [("h264", "yuv420p"), ("h264", "yuv420p10le"), ("hevc", "yuv422p10le"), ("vp9", "yuv444p")]
)
def test_quality_zero_is_lossless(tmp_path, clips, codec, pix_fmt):
    source = clips.make(tmp_path / "in.mkv", frames=3, codec="ffv1", pix_fmt=pix_fmt, planes=clips.random)
    clips.copy(source, tmp_path / "out.mkv", OutputOptions(codec, quality=0))
    for old, new in zip(clips.read(source), clips.read(tmp_path / "out.mkv"), strict=True):
        for a, b in zip(old.planes, new.planes, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("codec", "size", "want"),
    [
        ("h264", (287, 353), "yuv444p"),
        ("h264", (1, 1), "yuv444p"),
        ("hevc", (35, 65), "yuv444p"),
        ("av1", (35, 33), "yuv420p"),
        ("ffv1", (3, 3), "yuv420p"),
        ("h264", (48, 64), "yuv420p"),
    ],
)
def test_the_chosen_layout_can_be_encoded(tmp_path, clips, codec, size, want):
    source = clips.make(tmp_path / "in.mkv", frames=2, size=size, codec="ffv1", options={"level": "1"})
    layout = choose_layout(PixelLayout("yuv", 8, (1, 1)), size[1], size[0], codec)
    assert layout.pix_fmt == want
    with VideoReader(source) as reader:
        options = OutputOptions(codec, preset="10" if codec == "av1" else "ultrafast")
        with VideoWriter(tmp_path / "out.mkv", reader, size[1], size[0], layout, options=options) as writer:
            for frame in reader:
                writer.write(attrs.evolve(frame, planes=clips.smooth(layout, *size, 0), layout=layout))
            writer.commit()
    assert [f.planes[0].shape for f in clips.read(tmp_path / "out.mkv")] == [size, size]


@pytest.mark.parametrize(
    ("source", "codec", "want"),
    [
        (PixelLayout("yuv", 10, (1, 1)), "h264", "yuv420p10le"),
        (PixelLayout("yuv", 12, (0, 1)), "hevc", "yuv422p12le"),
        (PixelLayout("yuv", 10, (0, 1)), "av1", "yuv420p10le"),
        (PixelLayout("rgb", 8), "h264", "yuv444p"),
        (PixelLayout("gray", 8), "h264", "gray"),
        (PixelLayout("gray", 8), "av1", "yuv420p"),
        (PixelLayout("yuv", 8, (1, 1), True), "h264", "yuv420p"),
        (PixelLayout("rgb", 8), "ffv1", "gbrp"),
    ],
)
def test_layout_choice_loses_least(source, codec, want):
    assert choose_layout(source, 64, 64, codec).pix_fmt == want


def test_requests_that_no_encoder_takes():
    yuv = PixelLayout("yuv", 8, (1, 1))
    with pytest.raises(RequestError, match="64x16 pixels"):
        choose_layout(yuv, 32, 64, "hevc")
    with pytest.raises(RequestError, match="does not take"):
        choose_layout(yuv, 64, 64, "av1", "yuv444p")
    with pytest.raises(RequestError, match="does not go into webm"):
        choose_codec("x.webm", yuv, OutputOptions("h264"))
    with pytest.raises(RequestError, match="cannot write a video"):
        choose_codec("x.txt", yuv)
    assert [choose_codec(n, yuv) for n in ("a.mp4", "a.mkv", "a.webm", "a.MOV")] == ["h264", "h264", "av1", "h264"]
    deep = PixelLayout("yuv", 10, (1, 1))
    assert choose_codec("a.mp4", deep) == "hevc"
    assert choose_codec("a.mp4", deep, width=32) == "h264"  # x265 breaks on narrow pictures


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_hevc_in_mp4_is_whole_and_tagged_for_players(tmp_path, clips, frames):
    source = clips.make(tmp_path / "in.mp4", frames=frames)
    clips.copy(source, tmp_path / "out.mp4", OutputOptions("hevc", options=FAST))
    assert [f.pts for f in clips.read(tmp_path / "out.mp4")] == [f.pts for f in clips.read(tmp_path / "in.mp4")]
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert out.streams.video[0].codec_context.codec_tag == "hvc1"


def test_bad_encoder_options_are_a_wrong_request_and_leave_nothing(tmp_path, clips):
    source = clips.make(tmp_path / "in.mp4", frames=2)
    options = OutputOptions(preset="no such preset")
    with VideoReader(source) as reader, pytest.raises(RequestError):
        VideoWriter(tmp_path / "o.mp4", reader, 64, 48, reader.info.layout, options=options)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_interruption_leaves_nothing_or_a_named_part(tmp_path, clips):
    source = clips.make(tmp_path / "in.mp4", frames=8, audio=1)
    for keep in (False, True):
        with VideoReader(source) as reader:
            writer = VideoWriter(tmp_path / "out.mp4", reader, 64, 48, reader.info.layout)
            reader.on_packet = writer.copy
            for frame in reader:
                if frame.index == 5:
                    kept = writer.abort(keep=keep)
                    break
                writer.write(frame)
                assert not (tmp_path / "out.mp4").exists()
        names = sorted(p.name for p in tmp_path.iterdir())
        assert names == (["in.mp4", "out.partial.mp4"] if keep else ["in.mp4"])
    assert kept == tmp_path / "out.partial.mp4"
    assert len(clips.read(kept)) == 5
