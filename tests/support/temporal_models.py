"""Small models that look along time, with random weights and every trait of large ones."""

from __future__ import annotations

import torch
from restore.contracts import Halo, Traits
from restore.functional.sweeping import run_sweeps
from torch import nn


def conv(inputs, outputs):
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Pass:
    """A sweep: state = tanh(conv(neighbours of `looks`, state)); value = what came plus the state as `name`."""

    def __init__(self, owner, direction, reach, layer, name, last=None):
        self.owner, self.direction, self.reach = owner, direction, reach
        self.layer, self.name, self.last = layer, name, last

    def __call__(self, frames, state):
        self.owner.seen(frames, state)
        here = frames[self.reach]
        near = [torch.zeros_like(here["frame"]) if f is None else f["frame"] for f in frames]
        own = [v for k, v in sorted(here.items()) if k != "frame"]
        if state is None:
            height, width = here["frame"].shape[-2:]
            hidden = here["frame"].new_zeros(here["frame"].shape[0], self.owner.width, height, width)
        else:
            hidden = state["hidden"]
        inputs = torch.cat([*near, *own, hidden], dim=1)
        hidden = torch.tanh(self.layer(inputs))
        if self.last is not None:
            up = nn.functional.interpolate(here["frame"], scale_factor=self.owner.traits.scale)
            return {"frame": up + nn.functional.pixel_shuffle(self.last(hidden), self.owner.traits.scale)}, {
                "hidden": hidden
            }
        return {**here, self.name: hidden}, {"hidden": hidden}


class Recurrent(nn.Module):
    """Sweeps in the given directions and reaches; the answer is enlarged. Like BasicVSR: backward, then forward."""

    def __init__(self, passes=(("backward", 0), ("forward", 1)), scale=2, width=4, channels="rgb", **traits):
        super().__init__()
        planes = 1 if channels == "y" else 3
        self.width, self.passes = width, passes
        self.traits = Traits(scale=scale, channels=channels, temporal="stream", halo=Halo(pixels=3), **traits)
        generator = torch.Generator().manual_seed(3)
        layers = [conv(planes * (2 * reach + 1) + k * width + width, width) for k, (_, reach) in enumerate(passes)]
        self.layers, self.last = nn.ModuleList(layers), conv(width, planes * scale**2)
        for p in self.parameters():
            p.data = 0.12 * torch.randn(p.shape, generator=generator)

    def seen(self, frames, state):
        """Called by every sweep."""

    @property
    def sweeps(self):
        count = len(self.passes)
        return tuple(
            Pass(self, d, r, self.layers[k], f"h{k}", self.last if k == count - 1 else None)
            for k, (d, r) in enumerate(self.passes)
        )

    def forward(self, clip):
        return run_sweeps(self.sweeps, clip)


BASIC = (("backward", 0), ("forward", 1))
TWO_BLOCKS = (("backward", 1), ("forward", 1), ("backward", 1), ("forward", 1))
FORWARD = (("forward", 1), ("forward", 0), ("none", 2))


class Window(nn.Module):
    """Answers a whole window: frames up to `reach` away are weighed in; nothing else."""

    def __init__(self, reach=2, declared=None, whole=False):
        super().__init__()
        self.reach, self.whole = reach, whole
        frames = reach if declared is None else declared
        self.traits = Traits(temporal="clip", halo=Halo(pixels=0, frames=frames), global_context=whole)
        self.lengths = []

    def forward(self, clip):
        self.lengths.append(clip.shape[1])
        out = clip.clone()
        for k in range(1, self.reach + 1):
            out[:, k:] = out[:, k:] + 0.5**k * clip[:, :-k]
            out[:, :-k] = out[:, :-k] - 0.3**k * clip[:, k:]
        return out + (clip.mean(dim=1, keepdim=True) if self.whole else 0)


class Unchanged(nn.Module):
    """A stream that gives every frame back as it is, after it has gone through all its sweeps."""

    def __init__(self, passes=TWO_BLOCKS, channels="rgb"):
        super().__init__()
        self.passes, self.traits = passes, Traits(temporal="stream", channels=channels)

    @property
    def sweeps(self):
        def made(direction, reach):
            def sweep(frames, state):
                return frames[reach], {"count": frames[reach]["frame"][:, 0, :1, :1]}

            sweep.direction, sweep.reach = direction, reach
            return sweep

        return tuple(made(*p) for p in self.passes)

    def forward(self, clip):
        return clip


class ToldFrames(nn.Module):
    """Paints every frame as grey as its QP: black for 0, or where nobody knows; white for 51."""

    def __init__(self):
        super().__init__()
        self.traits = Traits(channels="rgb+qp")

    def forward(self, clip):
        return clip[:, :, 3:].clamp(0, 1).expand(-1, -1, 3, -1, -1)


class Told(nn.Module):
    """The same as a stream, after sweeps in both directions."""

    def __init__(self, passes=BASIC):
        super().__init__()
        self.passes, self.traits = passes, Traits(channels="rgb+qp", temporal="stream")

    @property
    def sweeps(self):
        def made(direction, reach, last):
            def sweep(frames, state):
                here = frames[reach]["frame"]
                answer = here[:, 3:].clamp(0, 1).expand(-1, 3, -1, -1) if last else here
                return {"frame": answer}, {"count": here[:, 0, :1, :1]}

            sweep.direction, sweep.reach = direction, reach
            return sweep

        return tuple(made(d, r, k == len(self.passes) - 1) for k, (d, r) in enumerate(self.passes))

    def forward(self, clip):
        return run_sweeps(self.sweeps, clip)
