"""Videos through the engine: nothing lost, nothing moved, nothing half-written."""

from __future__ import annotations

import threading
from fractions import Fraction

import attrs
import numpy as np
import pytest
import torch
from restore import MediaError, RequestError, RestoreError, Traits
from restore.inference.restorer import Restorer
from restore.inference.stages import Stages
from restore.inference.video import VideoJob, batch_size
from restore.media.encoders import OutputOptions
from restore.recipe import Run
from torch import nn

LOSSLESS = OutputOptions(codec="ffv1")


class Net(nn.Module):
    def __init__(self, function=lambda clip: clip, **traits) -> None:
        super().__init__()
        self.function, self.traits = function, Traits(**traits)

    def forward(self, clip):
        return self.function(clip)


def double(clip):
    return clip.repeat_interleave(2, -1).repeat_interleave(2, -2)


def stages(*models):
    run = Run(precision="fp32", channels_last=False, device="cpu", tile=0)
    return Stages([Restorer(model, run, f"net{i}") for i, model in enumerate(models)])


def same(a, b):
    pairs = [(p, q) for x, y in zip(a, b, strict=True) for p, q in zip(x.planes, y.planes, strict=True)]
    return all(np.array_equal(p, q) for p, q in pairs)


@pytest.mark.parametrize("channels", ["y", "rgb"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv444p", "gbrp10le", "gray"])
def test_identity_is_bit_exact(clips, tmp_path, pix_fmt, channels):
    source = clips.make(
        tmp_path / "in.mkv", frames=7, codec="ffv1", pix_fmt=pix_fmt, planes=clips.random, size=(34, 46)
    )
    VideoJob(source, tmp_path / "out.mkv", stages(Net(channels=channels)), LOSSLESS, batch=3).run("x")
    assert same(clips.read(source), clips.read(tmp_path / "out.mkv"))


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_frames_in_equal_frames_out_with_b_frames(clips, tmp_path, batch):
    source = clips.make(tmp_path / "in.mp4", frames=25)
    done = VideoJob(source, tmp_path / "out.mp4", stages(Net(double, scale=2)), OutputOptions(), batch=batch).run("x")
    before, after = clips.read(source), clips.read(tmp_path / "out.mp4")
    assert done.frames == len(after) == len(before) == 25
    assert [f.pts * f.time_base for f in after] == [f.pts * f.time_base for f in before]
    assert (done.width, done.height) == (128, 96)
    assert after[0].planes[0].shape == (96, 128)


def test_order_of_frames_and_variable_frame_rate_survive(clips, tmp_path):
    times = [0, 512, 700, 3000, 3001, 9000, 9999]
    level = lambda layout, h, w, k: tuple(np.full(s, 20 + 9 * k, layout.dtype) for s in layout.shapes(h, w))  # noqa: E731
    source = clips.make(
        tmp_path / "in.mkv", frames=7, codec="ffv1", pts=times, time_base=Fraction(1, 1000), planes=level
    )
    VideoJob(source, tmp_path / "out.mkv", stages(Net(channels="y")), LOSSLESS, batch=2).run("x")
    after = clips.read(tmp_path / "out.mkv")
    assert [f.pts * f.time_base * 1000 for f in after] == times
    assert [int(f.planes[0][0, 0]) for f in after] == [20 + 9 * k for k in range(7)]


def test_stages_run_in_order_and_scales_multiply(clips, tmp_path):
    source = clips.make(tmp_path / "in.mkv", frames=2, codec="ffv1", planes=clips.smooth)
    darker = Net(lambda clip: clip * 0.5)
    job = VideoJob(source, tmp_path / "out.mkv", stages(Net(double, scale=2, channels="y"), darker), LOSSLESS)
    assert job.run("x").width == 128
    bright, dark = clips.read(source)[0].planes[0].mean(), clips.read(tmp_path / "out.mkv")[0].planes[0].mean()
    # Half of full-range RGB is half of the luma above black (16).
    assert dark - 16 == pytest.approx((bright - 16) / 2, abs=0.6)


def test_a_broken_input_keeps_and_names_what_came_before(clips, tmp_path):
    whole = clips.make(tmp_path / "whole.mkv", frames=60, planes=clips.random, gop=10)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(MediaError, match="frame") as caught:
        VideoJob(cut, tmp_path / "out.mkv", stages(Net(channels="y")), LOSSLESS, batch=4).run("x")
    assert not (tmp_path / "out.mkv").exists()
    kept = tmp_path / "out.partial.mkv"
    assert str(kept) in str(caught.value)
    assert 10 < len(clips.read(kept)) < 60
    assert f"{len(clips.read(kept))} frames" in str(caught.value)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_failing_model_leaves_no_file_under_the_final_name_and_no_threads(clips, tmp_path):
    calls = []

    def fails(clip):
        calls.append(1)
        if len(calls) == 3:
            raise RestoreError("the model gave up")
        return clip

    source = clips.make(tmp_path / "in.mp4", frames=40)
    before = threading.active_count()
    with pytest.raises(RestoreError, match="gave up"):
        VideoJob(source, tmp_path / "out.mp4", stages(Net(fails)), OutputOptions(), batch=2).run("x")
    assert threading.active_count() == before
    assert not (tmp_path / "out.mp4").exists()
    assert (tmp_path / "out.partial.mp4").exists()


def test_a_failing_encoder_ends_the_run(clips, tmp_path):
    source = clips.make(tmp_path / "in.mp4", frames=60)
    job = VideoJob(source, tmp_path / "out.mp4", stages(Net()), OutputOptions(), batch=1)

    def full(frame):
        raise MediaError("the disk is full")

    job.writer.write = full
    with pytest.raises(MediaError, match="disk is full"):
        job.run("x")
    assert not (tmp_path / "out.mp4").exists()


def test_values_that_are_not_finite_name_the_frame(clips, tmp_path):
    seen = []

    def spoil(clip):
        seen.append(len(clip))
        return clip * float("nan") if len(seen) == 4 else clip

    source = clips.make(tmp_path / "in.mp4", frames=12)
    with pytest.raises(RestoreError, match="frame 3 "):
        VideoJob(source, tmp_path / "out.mp4", stages(Net(spoil)), OutputOptions(), batch=1).run("x")


def test_hdr_is_refused_unless_the_model_accepts_it(clips, tmp_path):
    source = clips.make(tmp_path / "in.mkv", frames=2, codec="ffv1", pix_fmt="yuv420p10le", codes=(9, 1, 9, 16))
    with pytest.raises(RequestError, match="HDR"):
        VideoJob(source, tmp_path / "out.mkv", stages(Net()), LOSSLESS)
    accepting = stages(Net(transfers=("sdr", "pq")))
    VideoJob(source, tmp_path / "out.mkv", accepting, LOSSLESS).run("x")
    assert clips.read(tmp_path / "out.mkv")[0].color.transfer == "pq"


def test_interlaced_is_refused(clips, tmp_path):
    source = clips.make(tmp_path / "in.mp4", frames=2)
    job = VideoJob(source, tmp_path / "out.mp4", stages(Net()), OutputOptions())
    info = attrs.evolve(job.reader.info, interlaced=True)
    job.writer.abort(keep=False)
    job.reader.close()
    with pytest.raises(RequestError, match="interlaced"):
        stages(Net()).accept(info)


def test_memory_is_bounded_by_the_queues(clips, tmp_path):
    """However far the encoder lags, only a few frames wait."""
    source = clips.make(tmp_path / "in.mp4", frames=80)
    most = []
    job = VideoJob(source, tmp_path / "out.mp4", stages(Net()), OutputOptions(), batch=1)
    write, read = job.writer.write, job.reader
    started = threading.Event()

    def slow(frame):
        started.wait(0.01)
        most.append(read.frames_read - job.writer.frames_written)
        write(frame)

    job.writer.write = slow
    job.run("x")
    assert max(most) <= 14  # two queues of four, one in each hand, and the reader's one held back


@pytest.mark.parametrize(
    ("size", "device", "expected"),
    [((64, 64), "cpu", 8), ((1920, 1080), "cpu", 1), ((1920, 1080), "cuda", 1), ((320, 180), "cuda", 9)],
)
def test_batches_spare_the_cache_and_fill_the_gpu(size, device, expected):
    assert batch_size(*size, "auto", device) == expected
    assert batch_size(*size, 3, device) == 3


def test_inference_records_no_gradients(clips, tmp_path):
    seen = []
    net = Net(lambda clip: seen.append(torch.is_grad_enabled()) or clip)
    source = clips.make(tmp_path / "in.mp4", frames=2)
    VideoJob(source, tmp_path / "out.mp4", stages(net), OutputOptions()).run("x")
    assert set(seen) == {False}


def test_ctrl_c_keeps_and_names_what_was_restored(clips, tmp_path, capsys):
    calls = []

    def stopped(clip):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return clip

    source = clips.make(tmp_path / "in.mkv", frames=40)
    with pytest.raises(KeyboardInterrupt):
        VideoJob(source, tmp_path / "out.mkv", stages(Net(stopped)), LOSSLESS, batch=1).run("x")
    assert len(clips.read(tmp_path / "out.partial.mkv")) == 19
    assert "19 frames" in capsys.readouterr().err
