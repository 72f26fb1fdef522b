"""`restore eval` of models along time, and of clips that are too long to be held as a whole."""

from __future__ import annotations

import json
import math

import pytest
import torch
from clip_tools import make_clip, random_planes
from restore.builtin.degradations.bicubic import Bicubic
from restore.builtin.degradations.noise import GaussianNoise
from restore.builtin.metrics.temporal import Flicker
from restore.builtin.models.bicubic import BicubicUpscale
from restore.evaluation.clips import evaluate_clips
from restore.evaluation.long_clips import PIECE, WHOLE
from restore.inference.temporal import restorer_of
from restore.recipe import Run, Temporal
from temporal_models import BASIC, FORWARD, Recurrent, Window


class Clips:
    """One clip, read in windows; knows how much was read at once."""

    def __init__(self, frames, height=16, width=20):
        self.clip = torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(2))
        self.most, self.whole = 0, 0

    def __len__(self):
        return 1

    def shape(self, index):
        return (len(self.clip), *self.clip.shape[-2:])

    def read(self, index, window):
        self.most = max(self.most, window.frames)
        return window.cut(self.clip[window.start : window.start + window.frames])

    def __getitem__(self, index):
        self.whole += 1
        return self.clip


def engine(model, **temporal):
    settings = Run(precision="fp32", channels_last=False, device="cpu", temporal=Temporal(**temporal))
    return restorer_of(model, settings)


@pytest.mark.parametrize("passes", [BASIC, FORWARD])
def test_long_clips_are_scored_in_pieces_and_equal_the_whole(passes):
    model = Recurrent(passes)
    data, count = Clips(2 * PIECE + 7), 2 * PIECE + 7
    assert count > WHOLE
    found = evaluate_clips(model, data, Bicubic(2), engine=engine(model, schedule="exact"))
    assert (data.most, data.whole) == (PIECE, 0)
    plain = evaluate_clips(model, data, Bicubic(2), metrics={"flicker": Flicker()})
    assert data.whole == 1
    for key in ("psnr", "ssim"):
        assert found.results[0][key] == pytest.approx(plain.results[0][key], abs=1e-4)
        pairs = zip(found.results[0]["frames"], plain.results[0]["frames"], strict=True)
        assert all(math.isclose(a[key], b[key], abs_tol=1e-3) for a, b in pairs)


def test_short_clips_are_taken_as_a_whole_unless_a_schedule_is_named():
    model, data = Recurrent(BASIC), Clips(20)
    whole = evaluate_clips(model, data, Bicubic(2)).mean["psnr"]
    assert evaluate_clips(model, data, Bicubic(2), engine=engine(model)).mean["psnr"] == whole
    causal = evaluate_clips(model, data, Bicubic(2), engine=engine(model, schedule="causal"), whole=0).mean["psnr"]
    exact = evaluate_clips(model, data, Bicubic(2), engine=engine(model, schedule="exact"), whole=0).mean["psnr"]
    assert exact == pytest.approx(whole, abs=1e-4)
    assert abs(causal - whole) > 1e-3


def test_frame_and_window_models_in_pieces():
    for model, degradation in ((BicubicUpscale(2), Bicubic(2)), (Window(), GaussianNoise(0.0))):
        data = Clips(WHOLE + 5)
        runner = None if model.traits.temporal == "frame" else engine(model, chunk=8)
        found = evaluate_clips(model, data, degradation, engine=runner)
        assert data.whole == 0
        plain = evaluate_clips(model, data, degradation, metrics={"flicker": Flicker()})
        assert found.mean["psnr"] == pytest.approx(plain.mean["psnr"], abs=1e-4)


def test_what_spoils_whole_clips_is_given_whole_clips():
    class Along:
        def __call__(self, clean, step):
            assert clean.shape[1] == WHOLE + 5
            return GaussianNoise(0.1)(clean, step)

    model, data = Window(), Clips(WHOLE + 5)
    assert len(evaluate_clips(model, data, Along(), engine=engine(model)).results[0]["frames"]) == WHOLE + 5
    assert data.whole == 1


def test_the_command_line(restore, tmp_path, monkeypatch):
    monkeypatch.setattr("restore.modelling.build_model", lambda use, builder: (Recurrent(BASIC), "toy"))
    (tmp_path / "v").mkdir()
    planes = lambda layout, h, w, k: random_planes(layout, h, w, seed=k)  # noqa: E731
    make_clip(tmp_path / "v" / "a.mkv", frames=WHOLE + 3, codec="ffv1", planes=planes, size=(16, 24))
    asked = ("eval", "--recipe", "bicubic", "--data", "v", "--json")
    scores = {}
    for schedule in ("auto", "exact", "causal"):
        done = restore(*asked, "--set", f"run.temporal.schedule={schedule}")
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert len(found["results"][0]["frames"]) == WHOLE + 3
        scores[schedule] = found["mean"]["psnr"]
        assert ("exact" if schedule == "exact" else schedule if schedule == "causal" else "look_ahead") in found[
            "protocol"
        ]["along time"]
    assert scores["auto"] == pytest.approx(scores["exact"], abs=0.01)
    assert abs(scores["causal"] - scores["exact"]) > 1e-3
