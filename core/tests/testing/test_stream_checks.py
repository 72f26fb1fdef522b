"""The kit's checks of models that carry state along time: good ones pass, each broken promise is caught."""

from __future__ import annotations

import attrs
import pytest
import torch
from restore.contracts import Halo
from restore.testing import ConformanceError, NotApplicableError, Sample, checks
from temporal_models import BASIC, FORWARD, TWO_BLOCKS, Recurrent, Window

SAMPLE = Sample((2, 3, 3, 8, 10))


class Broken(Recurrent):
    """Switches break one promise each."""

    def __init__(self, broken="", passes=BASIC):
        super().__init__(passes)
        self.broken = broken

    @property
    def sweeps(self):
        return tuple(Wrapped(self, sweep) for sweep in super().sweeps)

    def forward(self, clip):
        out = super().forward(clip)
        if self.broken == "border":
            out = torch.cat([out[:, :-1], out[:, -1:] + 1e-3], dim=1)
        if self.broken == "future":
            out = out + 1e-3 * clip.mean() * torch.ones_like(out)
        return out


class Wrapped:
    def __init__(self, owner, sweep):
        self.owner, self.sweep = owner, sweep
        self.direction, self.reach = sweep.direction, sweep.reach
        if owner.broken == "direction":
            self.direction = "sideways"

    def __call__(self, frames, state):
        if self.owner.broken == "in place":
            frames[self.reach]["frame"].mul_(0.5)
        value, state = self.sweep(frames, state)
        if self.owner.broken == "batch":
            state = {**state, "mean": value["frame"].mean(0)}
        if self.owner.broken == "hidden":
            last = getattr(self.owner, "last_frame", value["frame"])
            self.owner.last_frame = value["frame"]
            value = {**value, "frame": value["frame"] + 0.1 * (last if last.shape == value["frame"].shape else 0)}
        return value, state


def look(name, model):
    next(c for c in checks("model") if c.full_name == name)(model, SAMPLE)


@pytest.mark.parametrize("passes", [BASIC, TWO_BLOCKS, FORWARD])
def test_good_streams_pass_every_check(passes):
    def make():
        model = Recurrent(passes)
        # One pixel for every sweep's convolution, and one for the last.
        model.traits = attrs.evolve(model.traits, halo=Halo(pixels=len(passes) + 1))
        return model

    for check in checks("model"):
        model = make()
        sample = Sample(SAMPLE.shape, check.dtypes[0], make=make)
        try:
            check(model, sample)
        except NotApplicableError as reason:
            assert check.kind != "model" or check.name == "frames", reason  # noqa: PT017


@pytest.mark.parametrize(
    ("broken", "seen", "mend"),
    [
        ("border", "most in frame", "run_sweeps"),
        ("direction", "sideways", "forward"),
        ("in place", "changed the values", "in-place"),
        ("batch", "its state has the shape (3, ", "batch first"),
        ("hidden", "differ by up to", "run_sweeps"),
    ],
)
def test_broken_sweeps_are_caught(broken, seen, mend):
    with pytest.raises(ConformanceError) as caught:
        look("model.sweeps", Broken(broken))
    assert seen in str(caught.value)
    assert mend in str(caught.value)


def test_chunks_through_the_engine():
    """A reach that is not declared, and what a model keeps to itself from one call to the next."""
    for good in (Window(), Recurrent(TWO_BLOCKS), Recurrent(FORWARD)):
        look("engine.chunks", good)
    for broken, seen, mend in (
        (Window(declared=1), "windows: 9 frames, 3 at a time, differ", "raise Traits.halo.frames"),
        (Broken("hidden", FORWARD), "differ from the whole clip", "sweep's state"),
        (Broken("border"), "exact: 7 frames", "sweep's state"),
    ):
        with pytest.raises(ConformanceError) as caught:
            look("engine.chunks", broken)
        assert seen in str(caught.value)
        assert mend in str(caught.value)
    with pytest.raises(NotApplicableError, match="seams are blended"):
        look("engine.chunks", Window(whole=True))


def test_forward_sweeps_that_look_into_the_future_are_caught():
    look("model.frames", Broken(passes=FORWARD))
    with pytest.raises(ConformanceError, match="after it"):
        look("model.frames", Broken("future", passes=FORWARD))


def test_a_stream_without_sweeps_and_other_models():
    model = Recurrent(BASIC)
    model.__class__ = type("Bare", (Recurrent,), {"sweeps": None, "forward": lambda self, clip: clip})
    with pytest.raises(ConformanceError, match="property `sweeps`"):
        look("model.sweeps", model)
    with pytest.raises(NotApplicableError, match="clip"):
        look("model.sweeps", Window())
