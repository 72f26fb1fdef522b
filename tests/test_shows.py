"""What the README promises of `restore run`, on a video that has everything."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from fractions import Fraction

import av
import pytest
from restore.media.probe import probe

TIMES = [0, 40, 60, 140, 150, 290, 310, 400, 401, 520]  # milliseconds: a variable frame rate
WORDS = b"1\n00:00:00,100 --> 00:00:00,300\nHello\n\n"


def with_subtitles(path, target):
    with av.open(io.BytesIO(WORDS), format="srt") as words, av.open(str(path)) as old, av.open(str(target), "w") as new:
        streams = [new.add_stream_from_template(s, opaque=True) for s in old.streams]
        for ours, theirs in zip(streams, old.streams, strict=True):
            ours.metadata.update(theirs.metadata)
        subtitle = new.add_stream_from_template(words.streams.subtitles[0])
        for packet in words.demux():
            if packet.size:
                packet.stream = subtitle
                new.mux(packet)
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                new.mux(packet)
    return target


@pytest.fixture
def everything(clips, tmp_path):
    """Two sound tracks, subtitles, variable frame rate, BT.709 limited range, 10 bit, a rotation flag."""

    def prepare(out, stream):
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write a rotation")
        stream.set_display_rotation(90)

    plain = clips.make(
        tmp_path / "plain.mkv", frames=len(TIMES), pts=TIMES, time_base=Fraction(1, 1000), codec="libx265",
        pix_fmt="yuv420p10le", codes=(1, 1, 1, 1), audio=2, prepare=prepare, size=(48, 64),
    )  # fmt: skip
    return with_subtitles(plain, tmp_path / "clip.mkv")


def test_a_video_keeps_everything_and_doubles_in_size(restore, clips, everything, tmp_path, tiny_weights):
    result = restore("run", "--plugin", "srsenet", *tiny_weights.settings, everything, "-o", "out.mkv", "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)["results"][0]
    assert (document["frames"], document["width"], document["height"]) == (len(TIMES), 128, 96)
    assert document["warnings"] == []
    old, new = probe(everything), probe(tmp_path / "out.mkv")
    assert (new.width, new.height) == (2 * old.width, 2 * old.height)
    assert new.layout == old.layout
    assert new.layout.bit_depth == 10
    assert new.color == old.color
    assert new.color.codes == (1, 1, 1, 1)
    assert (new.rotation, new.audio, new.subtitles) == (90, 2, 1)
    frames = clips.read(tmp_path / "out.mkv")
    assert [f.pts * f.time_base * 1000 for f in frames] == TIMES
    with av.open(str(tmp_path / "out.mkv")) as out:
        assert [s.metadata.get("language") for s in out.streams.audio] == ["eng", "deu"]
        assert [bytes(p) for p in out.demux(out.streams.subtitles[0]) if p.size] == [b"Hello"]


def test_luma_model_leaves_the_meaning_of_chroma_alone(restore, clips, tmp_path, tiny_weights):
    """A clip of one colour must keep its chroma codes exactly, whatever the network does to luma."""
    import numpy as np

    flat = lambda layout, h, w, k: tuple(  # noqa: E731
        np.full(s, v, layout.dtype) for s, v in zip(layout.shapes(h, w), (90, 77, 180), strict=True)
    )
    clips.make(tmp_path / "in.mkv", frames=2, codec="ffv1", planes=flat, codes=(1, 1, 1, 1))
    arguments = ["--set", "run.output.codec=ffv1", "in.mkv", "-o", "out.mkv"]
    assert restore("run", "--plugin", "srsenet", *tiny_weights.settings, *arguments).code == 0
    for frame in clips.read(tmp_path / "out.mkv"):
        assert (frame.planes[1] == 77).all()
        assert (frame.planes[2] == 180).all()
        assert frame.planes[0].shape == (2 * frame.planes[1].shape[0], 2 * frame.planes[1].shape[1])


def test_the_sample_is_restored_and_measured_without_input(restore, tmp_path):
    result = restore("run", "--recipe", "bicubic", "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)["results"][0]
    assert (tmp_path / "sample_restored.mkv").is_file()
    assert document["frames"] == document["metrics"]["frames"] == 48
    assert document["metrics"]["bicubic_psnr"] == pytest.approx(27.83, abs=0.02)
    # Bicubic against bicubic: all that is between them is the codec.
    assert document["metrics"]["gain"] == pytest.approx(0, abs=0.15)


def test_srsenet_gains_on_the_sample(restore, tmp_path):
    """The shipped weights beat bicubic clearly on the sample picture; a wrong range or a shifted output would not."""
    from restore.samples import path

    result = restore(
        "run",
        "--plugin",
        "srsenet",
        path("sample.png"),
        "-o",
        "big.png",
        "--reference",
        path("sample_reference.png"),
        "--json",
    )
    assert result.code == 0, result.err
    assert json.loads(result.out)["results"][0]["metrics"]["gain"] > 1.3


def test_an_image_keeps_its_colour(restore, photo, tmp_path, tiny_weights):
    """Identity through the whole image path, 8 and 16 bit, is exact."""
    photo("in.png")
    assert restore("run", "--recipe", "identity", "in.png", "-o", "out.png").code == 0
    from PIL import Image

    assert Image.open(tmp_path / "in.png").tobytes() == Image.open(tmp_path / "out.png").tobytes()


_PEAK = """
import resource, sys
from restore.cli.main import main
quick = ["--set", "run.output.preset=ultrafast"]
sys.argv = ["restore", "run", "--recipe", "bicubic", sys.argv[1], "-o", sys.argv[2], *quick]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_memory_does_not_grow_with_length(clips, tmp_path):
    """Peak memory of 2,000 frames is within 5 % of 200 frames."""
    peaks = []
    for frames in (200, 2000):
        source = clips.make(tmp_path / f"{frames}.mkv", frames=frames, size=(64, 96), audio=1)
        arguments = [sys.executable, "-c", _PEAK, source, tmp_path / f"out{frames}.mkv"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=240)
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < 1.05 * peaks[0], peaks


BARS = [
    (235, 128, 128),
    (168, 44, 136),
    (145, 147, 44),
    (63, 102, 240),
    (51, 109, 212),
    (28, 212, 120),
    (180, 128, 128),
]


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("span", [1, 2], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [6, 1, 9], ids=["601", "709", "2020"])
def test_colour_bars_pass_an_rgb_model_within_one_level(restore, clips, tmp_path, matrix, span, bits):
    """Through RGB, enlarged and back to 4:2:0: away from the edges of the bars every code stays within one level."""
    import numpy as np

    bar = 32

    def planes(layout, h, w, k):
        columns = np.repeat(np.array(BARS), bar, axis=0) << (bits - 8)
        full = [np.tile(columns[:, c], (h, 1)).astype(layout.dtype) for c in range(3)]
        return full[0], full[1][::2, ::2].copy(), full[2][::2, ::2].copy()

    source = clips.make(
        tmp_path / "in.mkv", frames=2, codec="ffv1", planes=planes, size=(32, bar * len(BARS)),
        pix_fmt="yuv420p" if bits == 8 else "yuv420p10le", codes=(matrix, span, 1, 1),
    )  # fmt: skip
    settings = ["--set", 'model.channels="rgb"', "--set", "run.output.codec=ffv1"]
    result = restore("run", "--recipe", "bicubic", *settings, source, "-o", "out.mkv")
    assert result.code == 0, result.err
    before, after = clips.read(source)[0], clips.read(tmp_path / "out.mkv")[0]
    assert after.color == before.color
    for old, new in zip(before.planes, after.planes, strict=True):
        width = old.shape[1] // len(BARS)
        for i in range(len(BARS)):
            expected = int(old[0, i * width + width // 2])
            middle = new[:, 2 * i * width + 8 : 2 * (i + 1) * width - 8].astype(int)
            assert middle.size
            assert abs(middle - expected).max() <= 1, (i, expected, middle.min(), middle.max())
