"""Schedules made of schedules."""

from __future__ import annotations

from itertools import accumulate

import attrs

from restore.contracts import Schedule, Step


class Warmup:
    """A straight rise to another schedule's value: in iteration i < ``iterations`` it is multiplied by
    ``factor + (1 - factor) * (i + 1) / iterations``. The other schedule's clock runs from the beginning.

    Args:
        schedule: what is warmed up.
        iterations: of the rise.
        factor: fraction of the value just before the first iteration.

    Raises:
        ValueError: fewer than one iteration.
    """

    def __init__(self, schedule: Schedule, iterations: int, factor: float = 0.0) -> None:
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.schedule, self.iterations, self.factor = schedule, iterations, factor

    def __call__(self, step: Step) -> float:
        """The value at ``step.iteration``."""
        risen = min(1.0, (step.iteration + 1) / self.iterations)
        return self.schedule(step) * (self.factor + (1 - self.factor) * risen)


class Chain:
    """Schedules one after the other, each on a clock of its own that begins when it does.

    Args:
        schedules: in order; numbers are constants.
        iterations: of each but the last, which takes what is left.

    Raises:
        ValueError: no schedules, or not one length fewer than schedules.
    """

    def __init__(self, schedules: list[Schedule], iterations: list[int]) -> None:
        if not schedules or len(iterations) != len(schedules) - 1 or min(iterations, default=1) < 1:
            raise ValueError(f"iterations must be {max(0, len(schedules) - 1)} lengths of at least 1, got {iterations}")
        self.schedules, self.iterations = schedules, iterations

    def __call__(self, step: Step) -> float:
        """The value of the schedule whose turn it is."""
        begin = 0
        for schedule, stop in zip(self.schedules, accumulate(self.iterations), strict=False):
            if step.iteration < stop:
                return schedule(attrs.evolve(step, iteration=step.iteration - begin, total=stop - begin))
            begin = stop
        left = max(1, step.total - begin)
        return self.schedules[-1](attrs.evolve(step, iteration=step.iteration - begin, total=left))
