"""Pairs of coded videos bring their QPs to training, validation and evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from restore.builtin.datasets.mixture import mixture
from restore.builtin.datasets.paired import Paired
from restore.builtin.datasets.videos import Videos
from restore.contracts import Traits
from restore.evaluation.clip_protocols import CLIP_PROTOCOLS
from restore.evaluation.clips import FirstFrames, evaluate_clips
from restore.functional.seeding import seeded
from restore.inference.temporal import restorer_of
from restore.media.quantizers import TAG
from restore.recipe import Run
from restore.training.data import batches
from restore.training.pairs import to_channels
from torch import nn

QPS = [36.0, 45.0, 44.0, 45.0, 38.0]


def video(path, frames, tag=None):
    """Frame k is grey, 40 k bright."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 24, 24, "bgr0"
        if tag is not None:
            file.metadata[TAG] = tag
        for k in range(frames):
            shade = np.full((24, 24, 3), 40 * (k % 6), np.uint8)
            frame = av.VideoFrame.from_ndarray(shade, format="rgb24")
            frame.pts = k
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


@pytest.fixture
def sides(tmp_path):
    for name in ("a", "b"):
        video(tmp_path / "clean" / f"{name}.mkv", 5)
        video(tmp_path / "observed" / f"{name}.mkv", 5, " ".join(map(str, QPS)) if name == "a" else None)
    return Videos(tmp_path / "clean"), Videos(tmp_path / "observed")


def shade(clip):
    return (clip[:, 0, 0, 0] * 255 / 40).round().int().tolist()


def test_qps_are_those_of_the_frames_that_were_cut_backwards_too(sides):
    data = Paired(*sides, length=3, patch=8)
    ways = set()
    for seed in range(40):
        index = seed % len(data)
        pair = data.sample_pair(index, seeded(seed))
        if data.name(index).startswith("a"):
            frames = shade(pair.observed)
            assert pair.qp.tolist() == [QPS[k] for k in frames]
            ways.add(frames[0] < frames[-1])
        else:
            assert pair.qp is None
    assert ways == {True, False}
    assert all(Paired(*sides, with_qp=False).pair(k).qp is None for k in range(2))


def test_batches_hold_them_beside_both_sides(sides):
    data = mixture([Paired(*sides, length=3, patch=8)])
    for observed, clean, qp in batches(data, 0, 4, 0, 5, pairs=True):
        assert observed.shape == clean.shape == (4, 3, 3, 8, 8)
        for clip, row in zip(observed, qp.tolist(), strict=True):
            assert row in ([QPS[k] for k in shade(clip)], [-1.0] * 3)


class Shades(nn.Module):
    """Answers with what it was told, which must be the frame's own: shade k goes with the QP of frame k."""

    def __init__(self, temporal="clip"):
        super().__init__()
        self.traits = Traits(channels="rgb+qp", temporal=temporal)
        self.seen = []

    def forward(self, clip):
        assert clip.shape[2] == 4
        for one in clip:
            self.seen += list(zip(shade(one), (51 * one[:, 3, 0, 0]).round(decimals=3).tolist(), strict=True))
        return clip[:, :, :3]


@pytest.mark.parametrize("temporal", ["frame", "clip"])
@pytest.mark.parametrize("whole", [64, 0])
def test_evaluation_tells_the_model(sides, temporal, whole):
    model, data = Shades(temporal), Paired(*sides)
    engine = None if temporal == "frame" else restorer_of(model, Run(precision="fp32", device="cpu"))
    protocol = CLIP_PROTOCOLS["mfqe"]
    evaluate_clips(model, data, None, protocol, observed=data.observed, engine=engine, whole=whole)
    told = {pair for pair in model.seen if pair[1] >= 0}
    assert told >= set(enumerate(QPS))
    assert {qp for _, qp in model.seen if qp < 0} == {-51.0}
    assert all(QPS[k] == qp for k, qp in told if k or qp)  # a trial of the engine is black, of QP 0


def test_long_clips_in_pieces_tell_it_too(tmp_path):
    qps = [float(20 + k % 20) for k in range(70)]
    video(tmp_path / "clean" / "a.mkv", 70)
    video(tmp_path / "observed" / "a.mkv", 70, " ".join(map(str, qps)))
    model, data = Shades("frame"), Videos(tmp_path / "observed")
    evaluate_clips(model, Videos(tmp_path / "clean"), None, CLIP_PROTOCOLS["mfqe"], observed=data)
    assert [qp for _, qp in model.seen] == qps
    for count in (68, 5):
        model.seen.clear()
        sides = [FirstFrames(side, count) for side in (Videos(tmp_path / "clean"), data)]
        evaluate_clips(model, sides[0], None, CLIP_PROTOCOLS["mfqe"], observed=sides[1])
        assert [qp for _, qp in model.seen] == qps[:count]


def test_planes_of_the_model():
    clip = torch.rand(1, 2, 3, 4, 4)
    assert [Traits(channels=c).planes for c in ("y", "rgb", "rgb+qp")] == [1, 3, 4]
    assert to_channels(clip, Traits(channels="rgb+qp")) is clip
