"""Long videos in parts, with small models, in whatever process: functions here can be sent to others."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from restore import Traits
from restore.builtin.degradations.inpainting import ScatteredInpainting
from restore.builtin.degradations.linear import FrameInterpolation
from restore.contracts import Halo
from restore.inference.jobs import Job
from restore.inference.stages import Stages
from restore.inference.temporal import restorer_of
from restore.longjobs.restoring import restore_here
from restore.longjobs.work import Setting
from restore.media.probe import probe
from restore.recipe import Output, Recipe, Run, Segments, Temporal
from temporal_models import BASIC, FORWARD, Recurrent, Window
from torch import nn

torch.set_num_threads(1)


class Brighter(nn.Module):
    """One frame at a time, twice as large. A white frame kills the process, and is counted in the file ``kills``."""

    def __init__(self, pause=0.0, kills=""):
        super().__init__()
        self.pause, self.kills = pause, kills
        self.traits = Traits(scale=2)
        self.weight = nn.Parameter(torch.tensor(1.1))

    def forward(self, clip):
        time.sleep(self.pause)
        if self.kills and bool((clip > 0.9).flatten(2).all(2).any()):
            with open(self.kills, "ab") as file:
                file.write(b".")
            os.kill(os.getpid(), signal.SIGKILL)
        return (clip * self.weight).clamp(0, 1).repeat_interleave(2, -1).repeat_interleave(2, -2)


class Filling(nn.Module):
    """What is missing becomes the mean of the frames beside; all else is moved by how much of it is missing there."""

    def __init__(self):
        super().__init__()
        self.traits = Traits(temporal="clip", halo=Halo(0, 1), needs_operator=True)

    def forward(self, observed, operator):
        seen = operator.adjoint(operator(torch.ones(1, *operator.shape.input)))
        shown = operator.adjoint(observed)
        beside = torch.zeros_like(shown)
        beside[:, 1:] += 0.5 * shown[:, :-1]
        beside[:, :-1] += 0.3 * shown[:, 1:]
        return torch.where(seen > 0, shown, beside)


def fading():
    """Its state forgets, as those of trained models do; that of random ones may keep its first frames for ever."""
    model = Recurrent(BASIC)
    for p in model.parameters():
        p.data *= 0.5
    return model


MODELS = {
    "fading": fading,
    "frame": Brighter,
    "causal": lambda **more: Recurrent(BASIC, **more),
    "clip": lambda **more: Window(reach=2, **more),
    "blended": lambda **more: Window(reach=1, whole=True, **more),
    "look_ahead": lambda **more: Recurrent(BASIC, **more),
    "forward": lambda **more: Recurrent(FORWARD, **more),
    "measured": Filling,
    "between": Filling,
    "exact": lambda **more: Recurrent(BASIC, **more),
}


# The places that are missing depend on a frame's number in the whole video.
MEASUREMENTS = {
    "measured": lambda: ScatteredInpainting(boxes=4, size=0.4, seed=5),
    "between": lambda: FrameInterpolation(2),
}


def recipe_for(
    kind,
    codec="ffv1",
    frames=20,
    at="frames",
    cuts="ignore",
    time_limit=60.0,
    state="auto",
    precision="fp32",
    tile=0,
    **temporal,
):
    schedule = kind if kind in ("causal", "exact") else "look_ahead"
    temporal = {"schedule": schedule, "chunk": 4, "look_ahead": 8, "scene_cuts": cuts, **temporal}
    if kind == "blended":
        temporal["overlap"] = 2
    run = Run(
        precision=precision,
        channels_last=False,
        device="cpu",
        tile=tile,
        batch=2,
        temporal=Temporal(**temporal),
        segments=Segments(frames=frames, at=at, state=state, time_limit=time_limit),
        output=Output(codec=codec, preset="ultrafast" if codec == "h264" else None),
    )
    return Recipe(run=run)


def build(kind, recipe, more, device):
    """A worker's models."""
    torch.set_num_threads(1)
    measurement = MEASUREMENTS.get(kind, lambda: None)()
    return Stages([restorer_of(MODELS[kind](**more), recipe.run, kind, None, measurement)])


def setting_for(kind, more=None, overwrite=False, **recipe):
    made = recipe_for(kind, **recipe)
    return Setting(made, functools.partial(build, kind, made, more or {}), overwrite)


def restore(source, output, kind, more=None, restart=False, identity=None, overwrite=False, **recipe):
    """Restores a video here, in parts; what was said of it."""
    setting = setting_for(kind, more, overwrite, **recipe)
    found = []

    def failed(job, error):
        raise error

    told = {"kind": kind, "recipe": {k: str(v) for k, v in recipe.items()}} if identity is None else identity
    job = Job(probe(source), Path(output))
    restore_here([job], setting, setting.build(None), lambda: told, lambda job, r: found.append(r), failed, restart)
    return found[0]


def restore_silently(*arguments, **more):
    """In a process of its own, that may be killed."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    restore(*arguments, **more)


def measured(source, output, pipe):
    """The most memory that a process took for a video, in KiB."""
    import resource

    restore(source, output, "frame", codec="h264")
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def moving(layout, height, width, k):
    """Waves that move: frames differ, and an encoder finds something to predict."""
    planes = []
    for c, (h, w) in enumerate(layout.shapes(height, width)):
        y, x = np.mgrid[0:h, 0:w] * (height // h)
        wave = 0.5 + 0.25 * np.sin((x + 3 * k) / 7 + c) * np.cos((y - k) / 9)
        planes.append((wave * ((1 << layout.bit_depth) - 1)).astype(layout.dtype))
    return tuple(planes)
