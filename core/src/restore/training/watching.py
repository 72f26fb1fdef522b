"""Watching losses and validations: what is not finite, what jumps, and what no longer gets better."""

from __future__ import annotations

import math
from typing import Any, Mapping

import attrs
import torch
from torch import Tensor

from restore.recipe import EarlyStopping

BETTER_WHEN = {"psnr": 1.0, "ssim": 1.0, "loss": -1.0}
"""The sign of an improvement."""


@attrs.frozen
class Reading:
    """Losses of one iteration: their sum first, then each; ``first`` is the number of the batch's first sample."""

    iteration: int
    first: int
    values: list[float]


class LossReader:
    """Brings losses to the host. On a GPU they are read one iteration late, when they are there anyway: asking at once
    would stop the queue of work in every iteration.

    Args:
        device: where losses are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self.late = device.type == "cuda"
        self._pending: tuple[int, int, Tensor, Any] | None = None

    def read(self, iteration: int, first: int, values: Tensor, now: bool) -> list[Reading]:
        """What can be read when an iteration is queued, oldest first; with ``now``, this iteration too."""
        if not self.late:
            return [Reading(iteration, first, values.tolist())]
        readings = self.flush()
        if now:
            return [*readings, Reading(iteration, first, values.tolist())]
        there = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        there.copy_(values, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._pending = (iteration, first, there, event)
        return readings

    def flush(self) -> list[Reading]:
        """What has not been read yet."""
        if self._pending is None:
            return []
        iteration, first, values, event = self._pending
        self._pending = None
        event.synchronize()
        return [Reading(iteration, first, values.tolist())]


class Patience:
    """Counts validations that are no better than the best.

    Args:
        settings: of the phase.
    """

    def __init__(self, settings: EarlyStopping) -> None:
        self.settings = settings
        self.best, self.bad = -math.inf, 0

    def better(self, scores: Mapping[str, float]) -> bool:
        """Take note of a validation; whether it is the best so far."""
        value = BETTER_WHEN[self.settings.metric] * scores[self.settings.metric]
        if value > self.best + self.settings.minimum_change:
            self.best, self.bad = value, 0
            return True
        self.bad += 1
        return False

    @property
    def over(self) -> bool:
        """Whether the phase should end."""
        return self.bad >= self.settings.patience

    def state_dict(self) -> dict[str, Any]:
        """To go on from."""
        return {"best": self.best, "bad": self.bad}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.best, self.bad = state["best"], state["bad"]
