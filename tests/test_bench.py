"""`restore bench`: what it counts is right, what fails says why, and what it cannot measure it refuses."""

from __future__ import annotations

import json
import math

import pytest
import torch
from restore.bench import Bench, Setting, settings
from restore.contracts import Halo, Traits
from restore.inference.precision import Mode
from torch import nn


class Net(nn.Module):
    """One convolution; slow, or out of order in a short float, where it is asked for."""

    def __init__(self, broken=False):
        super().__init__()
        self.broken, self.calls = broken, 0
        self.traits = Traits(multiple_of=4, halo=Halo(pixels=1))
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)

    def forward(self, clip):
        self.calls += 1
        out = self.conv(clip.flatten(0, 1))
        if self.broken and out.dtype != torch.float32:
            raise RuntimeError("no kernel for this\nand a long story")
        return out.unflatten(0, clip.shape[:2])


def test_rows_hold_what_was_measured():
    model = Net()
    found = list(
        Bench(model, torch.device("cpu"), 0.0).measure([(22, 10)], 2, settings(["fp32", "bf16"], False, False))
    )
    assert [(row.setting, row.width, row.height, row.frames) for row in found] == [
        ("fp32", 24, 12, 2),
        ("bf16", 24, 12, 2),
    ]
    for row in found:
        assert row.macs == 24 * 12 * 3 * 3 * 9
        assert row.fps == pytest.approx(1 / row.seconds)
        assert row.seconds > 0
        # A frame in and a frame out, of three planes of four bytes, times two frames.
        assert row.memory >= 2 * 3 * 24 * 12 * 4
    assert found[0].agreement is None
    assert 30 < found[1].agreement < 90


def test_what_fails_says_why_and_the_rest_goes_on():
    plain, short = Bench(Net(broken=True), torch.device("cpu"), 0.0).measure(
        [(8, 8)], 1, settings(["fp32", "bf16"], False, False)
    )
    assert plain.failure == ""
    assert short.failure == "RuntimeError: no kernel for this"
    assert short.seconds is None


def test_every_setting_is_asked_for_once():
    names = [s.name for s in settings(["fp32", "bf16"], True, True)]
    assert len(names) == len(set(names)) == 8
    assert Setting(Mode("bf16", True), True).name == "bf16, channels-last, compiled"


def test_the_command(restore):
    arguments = ["bench", "srsenet", "--set", "scale=2", "--set", "blocks=1", "--set", "features=8", "--seconds", "0"]
    done = restore(*arguments, "--size", "32x24", "--precision", "fp32", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["component"] == "srsenet:srsenet"
    (row,) = said["results"]
    assert (row["width"], row["height"]) == (32, 24)
    assert math.isclose(row["fps"] * row["seconds"], 1)
    done = restore(*arguments, "--size", "32x24")
    assert "vs fp32" in done.out
    assert "bf16" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["videoonet", "--set", "filters=4"], "called with a linear operator"),
        (["srsenet", "--size", "32"], "WIDTHxHEIGHT"),
        (["srsenet", "--plugin", "eco"], "name a component, or a recipe, not both"),
        (["srsenet", "--set", "blocs=1"], "did you mean 'blocks'"),
    ],
)
def test_refusals(restore, arguments, said):
    done = restore("bench", *arguments)
    assert done.code == 2
    assert said in done.err
