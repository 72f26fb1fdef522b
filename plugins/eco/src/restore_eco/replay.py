"""The same random draw twice."""

from __future__ import annotations

import contextlib
from typing import Iterator

import attrs
import torch
from restore import Step


class Replay:
    """Remembers where the generators stand, so that a degradation can be applied again with the same draws.

    Args:
        step: its generator is the one that counts; without one, torch's own do.
        device: of the clips, whose own generator is remembered too where there is no other.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self.step = step
        generator = step.generator
        self._state = torch.get_rng_state() if generator is None else generator.get_state()
        self._devices = [device] if generator is None and device.type == "cuda" else []
        self._device_states = [torch.cuda.get_rng_state(d) for d in self._devices]

    @contextlib.contextmanager
    def again(self) -> Iterator[Step]:
        """A step that draws what was drawn since; what comes afterwards is not affected."""
        generator = self.step.generator
        if generator is not None:
            copy = torch.Generator(generator.device)
            copy.set_state(self._state)
            yield attrs.evolve(self.step, generator=copy)
            return
        with torch.random.fork_rng(devices=self._devices):
            torch.set_rng_state(self._state)
            for device, state in zip(self._devices, self._device_states, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield self.step
