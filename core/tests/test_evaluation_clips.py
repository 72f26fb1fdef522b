"""`restore eval` on clips: per frame, per video, mean; pairs, videos, folders of frames; further metrics."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from clip_tools import make_clip
from PIL import Image
from restore.builtin.degradations.bicubic import Bicubic
from restore.builtin.degradations.noise import GaussianNoise
from restore.builtin.metrics.delta import DeltaPSNR
from restore.builtin.metrics.temporal import Flicker
from restore.builtin.models.bicubic import BicubicUpscale, Identity
from restore.contracts import Traits
from restore.errors import RequestError
from restore.evaluation.clips import evaluate_clips, is_clip


class Listed:
    def __init__(self, *clips):
        self.clips = clips

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        return self.clips[index]

    def name(self, index):
        return f"c{index}"


def clip(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def levels(x):
    return np.floor(x.numpy().astype(np.float64) * 255 + 0.5)


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a - b) ** 2))


def test_frames_then_videos_then_the_mean():
    """A long noisy clip and a short clean one: neither frames nor squared errors may be pooled over videos."""
    clean = Listed(clip(5, 3, 16, 20), clip(2, 3, 16, 20, seed=1))
    noisy = Listed((clean[0] + 0.2 * clip(5, 3, 16, 20, seed=2)).clamp(0, 1), (clean[1] + 0.01).clamp(0, 1))
    report = evaluate_clips(Identity(), clean, None, observed=noisy)
    by_hand = [[psnr(levels(a), levels(b)) for a, b in zip(noisy[i], clean[i], strict=True)] for i in (0, 1)]
    assert [[f["psnr"] for f in r["frames"]] for r in report.results] == [pytest.approx(v, abs=1e-6) for v in by_hand]
    assert [r["psnr"] for r in report.results] == pytest.approx([np.mean(v) for v in by_hand], abs=1e-6)
    assert report.mean["psnr"] == pytest.approx(np.mean([np.mean(v) for v in by_hand]), abs=1e-6)
    assert report.protocol["plane"] == "RGB"


def test_equal_frames_are_left_out_of_psnr():
    clean = clip(2, 3, 16, 16)
    other = clean.clone()
    other[1] = (other[1] + 0.1).clamp(0, 1)
    result = evaluate_clips(Identity(), Listed(clean), None, observed=Listed(other)).results[0]
    assert result["frames"][0]["psnr"] is None
    assert result["psnr"] == result["frames"][1]["psnr"]


def test_a_clip_model_sees_the_clip_and_a_frame_model_frames():
    seen = []

    class Spy(torch.nn.Module):
        def __init__(self, temporal):
            super().__init__()
            self.traits = Traits(temporal=temporal)

        def forward(self, x):
            seen.append(tuple(x.shape))
            return x

    data = Listed(clip(3, 3, 12, 12))
    for temporal in ("frame", "clip"):
        evaluate_clips(Spy(temporal), data, GaussianNoise(0.1))
    assert seen == [(1, 1, 3, 12, 12)] * 3 + [(1, 3, 3, 12, 12)]


def test_draws_follow_from_the_clips_number():
    data = Listed(clip(2, 3, 12, 12), clip(2, 3, 12, 12))
    first, again = (evaluate_clips(Identity(), data, GaussianNoise(0.1)) for _ in range(2))
    assert [r["psnr"] for r in first.results] == [r["psnr"] for r in again.results]
    assert first.results[0]["psnr"] != first.results[1]["psnr"]


def test_metrics_are_given_the_scored_planes_and_the_observed_clip():
    clean = clip(3, 3, 16, 16)
    noisy = (clean + 0.1 * clip(3, 3, 16, 16, seed=5)).clamp(0, 1)

    class Better(torch.nn.Module):
        traits = Traits()

        def forward(self, x):
            return (x - 0.05).clamp(0, 1)

    found = evaluate_clips(
        Better(), Listed(clean), None, observed=Listed(noisy), metrics={"gain": DeltaPSNR(), "flicker": Flicker()}
    )
    before = np.mean([psnr(levels(a), levels(b)) for a, b in zip(noisy, clean, strict=True)])
    assert found.results[0]["gain"] == pytest.approx(found.results[0]["psnr"] - before, abs=1e-6)
    assert found.results[0]["gain"] > 1
    assert found.results[0]["flicker"] > 0
    assert found.protocol["metrics"]["flicker"]["metric"] == "flicker"


def test_odd_sides_are_cropped_and_other_scales_named():
    data = Listed(clip(2, 3, 17, 23))
    assert len(evaluate_clips(BicubicUpscale(2), data, Bicubic(2)).results) == 1
    with pytest.raises(RequestError, match="enlarges by 2"):
        evaluate_clips(BicubicUpscale(2), data, Bicubic(4))
    with pytest.raises(RequestError, match="c0 cannot be scored"):
        evaluate_clips(Identity(), data, GaussianNoise(0.1), metrics={"m": _Refuses()})


class _Refuses:
    protocol = {"metric": "m"}

    def __call__(self, restored, reference):
        raise ValueError("not of these")


# --- command line -----------------------------------------------------------------------------------------------------


@pytest.fixture
def videos(tmp_path):
    (tmp_path / "videos").mkdir()
    for k in range(2):
        make_clip(tmp_path / "videos" / f"v{k}.mkv", frames=4 + k)
    return tmp_path / "videos"


def test_a_folder_of_videos(restore, videos, tmp_path):
    done = restore(
        "eval", "--recipe", "bicubic", "--data", str(videos), "--frames", "3", "--metric", "flicker",
        "--csv", "t.csv", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [(r["name"], len(r["frames"])) for r in found["results"]] == [("v0", 3), ("v1", 3)]
    assert found["protocol"]["name"] == "clips"
    assert set(found["mean"]) == {"psnr", "ssim", "flicker", "seconds"}
    lines = (tmp_path / "t.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [r["name"] for r in rows] == ["v0#0", "v0#1", "v0#2", "v0", "v1#0", "v1#1", "v1#2", "v1", "mean"]


def test_folders_of_frames_and_their_observed_side(restore, tmp_path):
    rng = np.random.default_rng(3)
    for side, noise in (("clean", 0), ("low", 9)):
        for name in ("a", "b"):
            folder = tmp_path / side / name
            folder.mkdir(parents=True)
            for k in range(3):
                picture = np.full((24, 32, 3), 90 + 10 * k, np.int64) + rng.integers(-noise, noise + 1, (24, 32, 3))
                Image.fromarray(picture.astype(np.uint8)).save(folder / f"{k}.png")
    asked = ("eval", "--recipe", "identity", "--data", "clean", "--observed", "low", "--json")
    found = json.loads(restore(*asked, "--protocol", "clips").out)
    assert [(r["name"], len(r["frames"])) for r in found["results"]] == [("a", 3), ("b", 3)]
    assert 32 < found["mean"]["psnr"] < 35
    (tmp_path / "pairs.toml").write_text(
        'recipe = 1\nmodel = { use = "core:identity" }\n[data.test]\nuse = "paired"\n'
        'clean = { use = "frames", root = "clean" }\nobserved = { use = "frames", root = "low" }\n'
    )
    paired = json.loads(restore("eval", "--recipe", "pairs.toml", "--json").out)
    assert paired["mean"]["psnr"] == pytest.approx(found["mean"]["psnr"], abs=1e-9)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--protocol", "sr-y"), "clips are scored by 'clips'"),
        (("--metric", "flcker"), "flicker"),
        (("--metric", "delta-psnr"), "differ in shape"),
    ],
)
def test_wrong_requests(restore, videos, more, words):
    done = restore("eval", "--recipe", "bicubic", "--data", str(videos), *more)
    assert done.code == 2
    assert words in done.err


def test_clips_are_told_from_images_without_reading():
    class Known(Listed):
        def shape(self, index):
            return 7, 4, 4

        def __getitem__(self, index):
            raise AssertionError("read")

    assert is_clip(Known(1))
    assert not is_clip(Listed(clip(1, 3, 4, 4)))
