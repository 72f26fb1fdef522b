"""QPs that streams tell, against what the encoder was told."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from restore.errors import MediaError, RequestError
from restore.functional.quantizer import join_qp
from restore.inference.restorer import Restorer
from restore.inference.stages import Stages
from restore.inference.temporal import restorer_of
from restore.inference.video import VideoJob
from restore.media.color import Picture
from restore.media.encoders import OutputOptions
from restore.media.frame import ColorInfo, PixelLayout
from restore.media.quantizers import TAG, SliceHeaders, frame_qps, with_qps
from restore.recipe import Run, Temporal
from temporal_models import Told, ToldFrames

FRAMES = 14
CODINGS = {
    "h264.mp4": ("libx264", "bframes=0:aq-mode=0:qp={}:ipratio=1:scenecut=0"),
    "h264.mkv": ("libx264", "bframes=0:aq-mode=0:qp={}:ipratio=1:scenecut=0"),
    "h264.ts": ("libx264", "bframes=0:aq-mode=0:qp={}:ipratio=1:scenecut=0"),
    "hevc.mp4": ("libx265", "bframes=0:aq-mode=0:qp={}:ipratio=1:scenecut=0:info=0:rc-lookahead=0"),
    "hevc.ts": ("libx265", "bframes=0:aq-mode=0:qp={}:ipratio=1:scenecut=0:info=0:rc-lookahead=0"),
}


def write(path, codec="libx264", parameters="", frames=FRAMES, options=None, pix_fmt="yuv420p", tag=None):
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, pix_fmt
        name = {"libx264": "x264-params", "libx265": "x265-params"}.get(codec)
        stream.options = {**({name: parameters} if name else {}), **(options or {})}
        if tag is not None:
            file.metadata[TAG] = tag
        for t in range(frames):
            picture = av.VideoFrame.from_ndarray(noise.integers(0, 255, (96, 128, 3), np.uint8), format="rgb24")
            picture.pts = t
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", CODINGS)
@pytest.mark.parametrize("qp", [12, 26, 45])
def test_a_constant_quantizer_is_told_whatever_the_container(tmp_path, name, qp):
    codec, parameters = CODINGS[name]
    assert frame_qps(write(tmp_path / name, codec, parameters.format(qp))) == [qp] * FRAMES


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_frames_come_in_the_order_they_are_shown(tmp_path, container):
    parameters = "bframes=2:b-adapt=0:b-pyramid=none:aq-mode=0:qp=30:scenecut=0:keyint=100"
    path = write(tmp_path / f"b.{container}", "libx264", parameters)
    with av.open(str(path)) as file:
        kinds = [av.video.frame.PictureType(frame.pict_type).name for frame in file.decode(video=0)]
    assert "B" in kinds[1:3]
    # x264's own ratios: 1.4 for I and 1.3 for B, in steps of six to the octave.
    assert frame_qps(path) == [{"I": 27, "P": 30, "B": 32}[kind] for kind in kinds]


def test_ten_bits_have_the_scale_of_eight(tmp_path):
    parameters = "bframes=0:aq-mode=0:qp=30:ipratio=1:info=0"
    path = write(tmp_path / "10.mkv", "libx265", parameters, pix_fmt="yuv420p10le")
    assert frame_qps(path) == [30] * FRAMES


def test_a_tag_tells_of_videos_without_loss(tmp_path):
    assert frame_qps(write(tmp_path / "plain.mkv", "ffv1")) is None
    assert frame_qps(write(tmp_path / "tagged.mkv", "ffv1", tag="36 45 -1", frames=3)) == [36, 45, -1]
    assert frame_qps(write(tmp_path / "other.mkv", "ffv1", tag="by hand")) is None
    # A tag that came along with a copy says nothing of how that was coded.
    again = write(tmp_path / "again.mkv", *CODINGS["h264.mkv"][:1], CODINGS["h264.mkv"][1].format(26), tag="45 45")
    assert frame_qps(again) == [26] * FRAMES


@pytest.mark.parametrize("container", ["ts", "mkv"])
def test_of_a_damaged_file_counts_what_can_be_read(tmp_path, container):
    path = write(tmp_path / f"in.{container}", "libx264", CODINGS["h264.mkv"][1].format(30))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(range(250)) * 12
    path.write_bytes(data[: len(data) * 3 // 4])
    found = frame_qps(path)
    assert 3 <= len(found) <= FRAMES
    assert found.count(30) >= 3
    settings = Run(precision="fp32", device="cpu")
    job = VideoJob(path, tmp_path / "out.mkv", Stages([Restorer(ToldFrames(), settings)]), OutputOptions("ffv1"))
    with pytest.raises(MediaError, match="breaks at frame"):
        job.run("told")


@pytest.mark.parametrize("codec", ["mpeg4", "libsvtav1", "libvpx-vp9"])
def test_a_codec_without_such_a_quantizer_says_nothing(tmp_path, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    assert frame_qps(write(tmp_path / "other.mkv", codec)) is None
    with pytest.raises(ValueError, match="vp9"):
        SliceHeaders("vp9")


def test_an_image_is_refused(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(RequestError, match="image"):
        frame_qps(tmp_path / "a.png")


def test_reading_leaves_packets_and_messages_as_they_were(tmp_path):
    path = write(tmp_path / "a.mp4", *CODINGS["h264.mp4"])
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    with av.open(str(path)) as file:
        headers, shown = SliceHeaders("h264", file.streams.video[0]), 0
        for packet in file.demux(video=0):
            before = bytes(packet)
            if packet.size:
                headers.read([packet])
            assert bytes(packet) == before
            shown += len(packet.decode())
    assert shown == FRAMES
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == (level, skips)


def test_the_fourth_channel():
    clip = torch.rand(2, 3, 3, 4, 5)
    joined = join_qp(clip, torch.tensor([[51.0, 25.5, -1.0], [0.0, 60.0, -7.0]]))
    assert torch.equal(joined[:, :, :3], clip)
    wanted = torch.tensor([[1.0, 0.5, -1.0], [0.0, 1.0, -1.0]])
    assert torch.equal(joined[:, :, 3], wanted[:, :, None, None].expand(2, 3, 4, 5))
    assert torch.equal(join_qp(clip, None)[:, :, 3], -torch.ones(2, 3, 4, 5))
    with pytest.raises(ValueError, match="takes RGB, got clips of 1 channel"):
        join_qp(clip[:, :, :1], None)


def gray(values):
    planes = [(np.full((4, 6), v, np.uint8), *[np.full((2, 3), 128, np.uint8)] * 2) for v in values]
    layout = PixelLayout("yuv", 8, (1, 1))
    from fractions import Fraction

    from restore.media.frame import VideoFrame

    return Picture.from_frames(
        [VideoFrame(p, k, 1, Fraction(1, 25), layout, ColorInfo()) for k, p in enumerate(planes)]
    )


def test_pictures_know_their_own(tmp_path):
    path = write(tmp_path / "a.mkv", "ffv1", tag="30 31 32 33 34 35", frames=6)
    picture = with_qps(gray([50, 60, 70, 80]), path, 1)
    assert picture.qp.tolist() == [31, 32, 33, 34]
    parts = [picture[:1], picture[1:4]]
    assert Picture.joined(parts).qp.tolist() == [31, 32, 33, 34]
    seen = picture[1:3].channels("rgb+qp")
    assert torch.equal(seen[:, :3], picture[1:3].channels("rgb"))
    assert torch.allclose(seen[:, 3, 0, 0], torch.tensor([32 / 51, 33 / 51]))
    assert with_qps(gray([50, 60]), path, 5).qp.tolist() == [35, -1]  # more pictures than the file tells of
    after = picture.with_channels("rgb+qp", picture.channels("rgb+qp"), picture.channels("rgb") + 0.1)
    assert after.qp is None  # a second model is not told what the first one mended
    assert torch.allclose(after.parts[0] - picture.parts[0], torch.tensor(0.1 * 219 / 255))


@pytest.mark.parametrize("schedule", ["frame", "causal", "look_ahead", "exact"])
def test_models_in_the_engine_are_told(tmp_path, schedule):
    path = write(tmp_path / "in.mp4", "libx264", "bframes=2:aq-mode=0:qp=30:scenecut=0:keyint=5")
    wanted = frame_qps(path)
    assert len(set(wanted)) >= 3
    settings = Run(
        precision="fp32", device="cpu", temporal=Temporal(schedule=schedule if schedule != "frame" else "exact")
    )
    runner = Restorer(ToldFrames(), settings) if schedule == "frame" else restorer_of(Told(), settings)
    options = OutputOptions("ffv1", pixel_format="gbrp")
    VideoJob(path, tmp_path / "out.mkv", Stages([runner]), options, batch=3).run("told")
    with av.open(str(tmp_path / "out.mkv")) as file:
        shown = [frame.to_ndarray(format="rgb24").mean() for frame in file.decode(video=0)]
    assert [round(51 * value / 255) for value in shown] == wanted


@pytest.mark.parametrize(("name", "codec", "said"), [("a.mkv", "ffv1", True), ("b.mkv", "libx264", False)])
def test_it_is_said_where_a_file_tells_nothing(tmp_path, name, codec, said):
    runner = Restorer(ToldFrames(), Run(precision="fp32", device="cpu"), "told")
    job = VideoJob(write(tmp_path / name, codec), tmp_path / "out.mkv", Stages([runner]), OutputOptions("ffv1"))
    job.run("told")
    assert any(f"{name} ({codec}) does not say how coarsely" in text for text in runner.warnings) is said


def test_a_result_does_not_say_how_its_source_was_coded(tmp_path):
    source = write(tmp_path / "in.mkv", "ffv1", tag="51 0 51", frames=3)
    job = VideoJob(
        source, tmp_path / "out.mkv", Stages([Restorer(ToldFrames(), Run(device="cpu"))]), OutputOptions("ffv1")
    )
    job.run("told")
    with av.open(str(tmp_path / "out.mkv")) as file:
        assert [round(f.to_ndarray(format="rgb24").mean() / 255) for f in file.decode(video=0)] == [1, 0, 1]
    assert frame_qps(tmp_path / "out.mkv") is None


def test_an_image_in_the_engine_has_none():
    runner = Restorer(ToldFrames(), Run(precision="fp32", device="cpu"))
    out = Stages([runner])(gray([100, 100]))
    assert float(out.channels("rgb").max()) < 0.01  # -1, clamped
