"""Real files through models along time: every frame comes out, once, in its place, with everything beside it kept."""

from __future__ import annotations

import json
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from restore import MediaError, RequestError, RestoreError, Traits
from restore.inference import store
from restore.inference.stages import Stages
from restore.inference.store import Store
from restore.inference.temporal import restorer_of
from restore.inference.video import VideoJob
from restore.media.color import Picture
from restore.media.encoders import OutputOptions
from restore.recipe import Run, Temporal
from temporal_models import BASIC, TWO_BLOCKS, Recurrent, Unchanged, Window
from torch import nn

LOSSLESS = OutputOptions(codec="ffv1")
SCHEDULES = ["look_ahead", "causal", "exact"]


class Frame(nn.Module):
    def __init__(self, function=lambda clip: clip, **traits):
        super().__init__()
        self.function, self.traits = function, Traits(**traits)

    def forward(self, clip):
        return self.function(clip)


def stages(*models, **temporal):
    temporal = {"chunk": 4, "look_ahead": 3, "scene_cuts": "ignore", **temporal}
    run = Run(precision="fp32", channels_last=False, device="cpu", tile=0, temporal=Temporal(**temporal))
    return Stages([restorer_of(model, run, f"net{i}") for i, model in enumerate(models)])


def same(a, b):
    pairs = [(p, q) for x, y in zip(a, b, strict=True) for p, q in zip(x.planes, y.planes, strict=True)]
    return all(np.array_equal(p, q) for p, q in pairs)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("pix_fmt", "channels"), [("yuv420p", "y"), ("yuv420p10le", "rgb"), ("gbrp10le", "rgb")])
def test_a_stream_that_changes_nothing_is_bit_exact(clips, tmp_path, schedule, pix_fmt, channels):
    planes = lambda layout, h, w, k: clips.random(layout, h, w, seed=k)  # noqa: E731
    source = clips.make(tmp_path / "in.mkv", frames=11, codec="ffv1", pix_fmt=pix_fmt, planes=planes, size=(34, 46))
    before = sorted(tmp_path.iterdir())
    work = stages(Unchanged(channels=channels), schedule=schedule)
    VideoJob(source, tmp_path / "out.mkv", work, LOSSLESS, batch=3).run("x")
    assert same(clips.read(source), clips.read(tmp_path / "out.mkv"))
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "out.mkv"])  # nothing is left of what waited


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("batch", [1, 7])
def test_frames_in_are_frames_out_with_sound_and_times(clips, tmp_path, schedule, batch):
    """B-frames, variable frame rate, two sound tracks; a stream model, then a window model, then one of frames."""
    times = [512 * k + 100 * (k % 3) for k in range(23)]
    source = clips.make(tmp_path / "in.mp4", frames=23, audio=2, pts=times)
    double = Frame(lambda clip: clip.repeat_interleave(2, -1).repeat_interleave(2, -2), scale=2)
    work = stages(Recurrent(BASIC), Window(), double, schedule=schedule)
    done = VideoJob(source, tmp_path / "out.mkv", work, OutputOptions(), batch=batch).run("x")
    before, after = clips.read(source), clips.read(tmp_path / "out.mkv")
    assert done.frames == len(after) == 23
    assert (done.width, done.height) == (256, 192)
    exact = [round(1000 * f.pts * f.time_base) for f in before]
    assert [round(1000 * f.pts * f.time_base) for f in after] == exact
    with av.open(str(source)) as a, av.open(str(tmp_path / "out.mkv")) as b:
        sizes = [[bytes(p) for p in c.demux(c.streams.audio[1]) if p.size] for c in (a, b)]
    assert sizes[0] == sizes[1] != []


@pytest.mark.parametrize("schedule", ["look_ahead", "exact"])
def test_a_video_equals_its_clip(clips, tmp_path, schedule):
    """What the file holds is the model's answer for that very frame, not a neighbour's."""
    planes = lambda layout, h, w, k: clips.random(layout, h, w, seed=k)  # noqa: E731
    source = clips.make(tmp_path / "in.mkv", frames=9, codec="ffv1", pix_fmt="gbrp10le", planes=planes, size=(16, 24))
    model = Recurrent(TWO_BLOCKS)
    VideoJob(source, tmp_path / "out.mkv", stages(model, schedule=schedule, look_ahead=9), LOSSLESS, batch=2).run("x")
    clip = Picture.from_frames(clips.read(source)).channels("rgb")
    with torch.no_grad():
        expected = model(clip[None])[0]
    found = Picture.from_frames(clips.read(tmp_path / "out.mkv")).channels("rgb")
    assert float((found - expected.clamp(0, 1)).abs().max()) <= 0.51 / 255


def test_a_break_in_the_file_costs_no_frame_that_was_held_back(clips, tmp_path):
    whole = clips.make(tmp_path / "whole.mkv", frames=60, planes=clips.random, gop=10)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    counts = []
    for name, work in (("plain", stages(Frame())), ("stream", stages(Unchanged(), chunk=32))):
        with pytest.raises(MediaError, match="frame"):
            VideoJob(cut, tmp_path / f"{name}.mkv", work, LOSSLESS, batch=4).run("x")
        counts.append(len(clips.read(tmp_path / f"{name}.partial.mkv")))
    assert counts[0] == counts[1] > 10


def test_a_failure_leaves_nothing_behind_for_the_next_video(clips, tmp_path):
    class Failing(Unchanged):
        broken = True

        @property
        def sweeps(self):
            if self.broken:
                raise RestoreError("the model gave up")
            return super().sweeps

    model = Failing()
    model.broken = False
    work = stages(model, schedule="exact")
    source = clips.make(tmp_path / "in.mp4", frames=9)
    model.broken = True
    threads = threading.active_count()
    with pytest.raises(RestoreError, match="gave up"):
        VideoJob(source, tmp_path / "out.mkv", work, OutputOptions()).run("x")
    assert threading.active_count() == threads
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4"]
    model.broken = False
    assert VideoJob(source, tmp_path / "out.mkv", work, OutputOptions()).run("x").frames == 9


def test_images_go_through_as_scenes_of_one_frame():
    picture = Picture("rgb", (torch.rand(1, 3, 9, 12),))
    model = Recurrent(TWO_BLOCKS)
    with torch.no_grad():
        expected = model(picture.parts[0][None])[0]
    for schedule in SCHEDULES:
        work = stages(model, schedule=schedule, scene_cuts="auto")
        for _ in range(2):
            assert torch.allclose(work(picture).parts[0], expected, atol=1e-5)


# --- scenes -----------------------------------------------------------------------------------------------------------


def two_scenes(layout, height, width, k):
    """Different structure from frame 8 on, which moves a little."""
    y, x = np.mgrid[:height, :width]
    wave = np.sin((x + k) / 5) if k < 8 else np.cos((y - x + k) / 9)
    return tuple((128 + 90 * (wave if i == 0 else 0 * wave))[:h, :w].astype(np.uint8)
                 for i, (h, w) in enumerate(layout.shapes(height, width)))  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("batch", [1, 5, 16])
def test_state_does_not_cross_a_cut(clips, tmp_path, schedule, batch):
    source = clips.make(tmp_path / "in.mkv", frames=20, codec="ffv1", pix_fmt="gray", planes=two_scenes)
    model = Recurrent(TWO_BLOCKS, channels="y")
    work = stages(model, Frame(channels="y"), schedule=schedule, scene_cuts="auto", chunk=6)
    assert VideoJob(source, tmp_path / "out.mkv", work, LOSSLESS, batch=batch).run("x").frames == 20
    assert work.cuts == [8]
    found = Picture.from_frames(clips.read(tmp_path / "out.mkv")).channels("y")
    clip = Picture.from_frames(clips.read(source)).channels("y")
    work = stages(model, schedule=schedule, chunk=6)
    apart = [torch.cat([p.parts[0] for p in [*work.push(part), *work.flush()]])
             for part in (Picture("gray", (clip[:8],)), Picture("gray", (clip[8:],)))
             if work.reset() is None]  # fmt: skip
    assert float((found - torch.cat(apart).clamp(16 / 255, 235 / 255)).abs().max()) < 0.6 / 255


# --- disk -------------------------------------------------------------------------------------------------------------


def test_a_disk_that_is_too_small_is_said_before_the_work(clips, tmp_path, monkeypatch):
    source = clips.make(tmp_path / "in.mp4", frames=9)
    called = []
    work = stages(Recurrent(BASIC), schedule="exact")
    work.restorers[0].appetite(3)
    monkeypatch.setattr(Recurrent, "seen", lambda *_: called.append(1))
    real = store.shutil.disk_usage

    def small(folder):
        return real(folder)._replace(free=2**28 + 5000)

    monkeypatch.setattr(store.shutil, "disk_usage", small)
    with pytest.raises(RequestError, match="needs .* of disk.*scratch"):
        VideoJob(source, tmp_path / "out.mp4", work, OutputOptions())
    assert not called
    VideoJob(source, tmp_path / "out.mp4", stages(Recurrent(BASIC)), OutputOptions()).run("x")
    with pytest.raises(RequestError, match="no folder"):
        VideoJob(source, tmp_path / "o.mp4", stages(Unchanged(), schedule="exact", scratch="/nowhere"), OutputOptions())


def test_the_disk_that_was_promised_is_enough(clips, tmp_path, monkeypatch):
    """The most that lay on disk at once, against what was said before."""
    source = clips.make(tmp_path / "in.mkv", frames=24, size=(64, 64))
    most, held = [0], {}
    put, drop, close = Store.put, Store.drop, Store.close

    def counted(self, number, value):
        put(self, number, value)
        held[id(self), number] = self._path(number).stat().st_size
        most[0] = max(most[0], sum(held.values()))

    def dropped(self, number):
        held.pop((id(self), number), None)
        drop(self, number)

    def closed(self):
        for key in [k for k in held if k[0] == id(self)]:
            del held[key]
        close(self)

    for name, function in (("put", counted), ("drop", dropped), ("close", closed)):
        monkeypatch.setattr(Store, name, function)
    work = stages(Recurrent(TWO_BLOCKS, scale=2), schedule="exact")
    promised = sum(line.disk(24, 64, 64) for line in work._lines)
    VideoJob(source, tmp_path / "out.mkv", work, LOSSLESS).run("x")
    assert 0.4 * promised < most[0] <= promised
    assert not held


def test_values_come_back_from_disk_as_they_went(tmp_path):
    kept = Store(tmp_path)
    base = torch.rand(4, 6)
    value = {"a": base[:2], "b": base[1:3].t(), "c": base.to(torch.bfloat16), "d": torch.arange(3)}
    kept.put(7, value)
    back = kept.get(7)
    assert all(torch.equal(back[k], v) and back[k].dtype == v.dtype for k, v in value.items())
    kept.drop(7)
    assert len(kept) == 0
    kept.close()
    assert not list(tmp_path.iterdir())


# --- command line -----------------------------------------------------------------------------------------------------


def test_the_schedule_is_a_matter_of_the_recipe(restore, clip, monkeypatch):
    monkeypatch.setattr("restore.inference.jobs.build_model", lambda use, builder: (Recurrent(BASIC), "toy"))
    clip("in.mkv", frames=10)
    run = ("run", "--recipe", "identity", "in.mkv", "--json", "--overwrite", "-o")
    for schedule, said in (("exact", "exact"), ("look_ahead", "look_ahead 2"), ("causal", "causal")):
        done = restore(*run, f"{schedule}.mkv", "--set", f"run.temporal.schedule={schedule}",
                       "--set", "run.temporal.look_ahead=2")  # fmt: skip
        assert done.code == 0, done.err
        result = json.loads(done.out)["results"][0]
        assert (result["frames"], result["width"]) == (10, 96)
        assert result["schedule"].startswith(said)
        assert isinstance(result["scene_cuts"], list)
    wrong = restore(*run, "x.mkv", "--set", "run.temporal.schedule=sideways")
    assert wrong.code == 2
    assert "look_ahead" in wrong.err
    assert restore(*run, "x.mkv", "--set", "run.temporal.chunk=0").code == 2


def test_times_are_kept_to_the_tick(clips, tmp_path):
    times = [0, 512, 700, 3000, 3001, 9000, 9999]
    source = clips.make(tmp_path / "in.mkv", frames=7, codec="ffv1", pts=times, time_base=Fraction(1, 1000))
    VideoJob(source, tmp_path / "out.mkv", stages(Unchanged()), LOSSLESS, batch=2).run("x")
    assert [f.pts * f.time_base * 1000 for f in clips.read(tmp_path / "out.mkv")] == times


def test_sound_lies_beside_pictures_that_are_answered_late(tmp_path):
    """Not in front of the first one: twenty seconds of it, more than the muxer puts in order by itself."""
    with av.open(str(tmp_path / "long.mkv"), "w") as out:
        pictures, sound = out.add_stream("ffv1", rate=8), out.add_stream("pcm_s16le", rate=8000, layout="mono")
        pictures.width, pictures.height, pictures.pix_fmt = 16, 16, "yuv420p"
        for k in range(180):
            frame = av.VideoFrame.from_ndarray(np.full((24, 16), 16 + k % 200, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = k, Fraction(1, 8)
            out.mux(pictures.encode(frame))
            piece = av.AudioFrame.from_ndarray(np.full((1, 1000), k, np.int16), format="s16", layout="mono")
            piece.pts, piece.sample_rate, piece.time_base = 1000 * k, 8000, Fraction(1, 8000)
            out.mux(sound.encode(piece))
        out.mux(pictures.encode(None))
    work = stages(Unchanged(BASIC), schedule="exact")
    VideoJob(tmp_path / "long.mkv", tmp_path / "out.mkv", work, LOSSLESS).run("x")
    with av.open(str(tmp_path / "out.mkv")) as result:
        order = [(p.stream.type, float(p.dts * p.time_base)) for p in result.demux() if p.size]
    assert sum(kind == "audio" for kind, _ in order) == 180
    worst = 0.0
    shown = 0.0
    for kind, time in order:
        shown = max(shown, time) if kind == "video" else shown
        worst = max(worst, time - shown) if kind == "audio" else worst
    assert worst < 1.5
