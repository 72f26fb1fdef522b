"""Values that change with training: learning rates, weights, strengths."""

from __future__ import annotations

import math
from itertools import accumulate

import torch

from restore.contracts import Step


class Constant:
    """The same value always. A recipe may write the bare number instead.

    Args:
        value: the number.
    """

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, step: Step) -> float:
        """The value."""
        return self.value


class Linear:
    """From ``start`` at the first iteration straight to ``end`` at the last; with ``iterations``, after so many."""

    def __init__(self, start: float, end: float, iterations: int | None = None) -> None:
        _at_least_one("iterations", iterations)
        self.start, self.end, self.iterations = start, end, iterations

    def __call__(self, step: Step) -> float:
        """The value at ``step.progress``."""
        return self.start + (self.end - self.start) * _progress(step, self.iterations)


class Polynomial:
    """``end + (start - end) * (1 - progress)^power``; power 1 is linear.

    Args:
        start: first value.
        end: last value.
        power: above 0.
        iterations: until ``end`` is reached; left out, all.
    """

    def __init__(self, start: float, end: float = 0.0, power: float = 1.0, iterations: int | None = None) -> None:
        _at_least_one("iterations", iterations)
        if power <= 0:
            raise ValueError(f"power must be above 0, got {power}")
        self.start, self.end, self.power, self.iterations = start, end, power, iterations

    def __call__(self, step: Step) -> float:
        """The value at ``step.progress``."""
        return float(self.end + (self.start - self.end) * (1 - _progress(step, self.iterations)) ** self.power)


class Cosine:
    """Half a cosine from ``start`` down to ``end``, after a linear warm-up from zero, with warm restarts where asked
    (SGDR: Loshchilov & Hutter, ICLR 2017, Eq. 5).

    Args:
        start: value after the warm-up.
        end: value at the last iteration.
        warmup: iterations of the warm-up.
        periods: iterations of each half cosine; the last one is repeated. Left out, one period takes all iterations.
        restart_factor: ``start`` is multiplied by this at every restart.

    Raises:
        ValueError: a negative warm-up or a period below one.
    """

    def __init__(
        self,
        start: float,
        end: float = 0.0,
        warmup: int = 0,
        periods: list[int] | None = None,
        restart_factor: float = 1.0,
    ) -> None:
        if warmup < 0:
            raise ValueError(f"warmup must not be negative, got {warmup}")
        if periods is not None and (not periods or min(periods) < 1):
            raise ValueError(f"periods must hold whole numbers of at least 1, got {periods}")
        self.start, self.end, self.warmup = start, end, warmup
        self.periods, self.restart_factor = periods, restart_factor

    def __call__(self, step: Step) -> float:
        """The value at ``step.iteration``."""
        if step.iteration < self.warmup:
            return self.start * (step.iteration + 1) / self.warmup
        done, length, restarts = self._period(step.iteration - self.warmup, step.total - self.warmup)
        start = self.start * self.restart_factor**restarts
        return float(self.end + (start - self.end) * 0.5 * (1 + math.cos(math.pi * min(1.0, done / max(1, length)))))

    def _period(self, iteration: int, total: int) -> tuple[int, int, int]:
        """Iterations since the last restart, the period's length, and how many restarts there were."""
        if self.periods is None:
            return iteration, total, 0
        for count, (length, stop) in enumerate(zip(self.periods, accumulate(self.periods), strict=True)):
            if iteration < stop:
                return iteration - (stop - length), length, count
        beyond, last = iteration - sum(self.periods), self.periods[-1]
        return beyond % last, last, len(self.periods) + beyond // last


class Stepwise:
    """``start``, multiplied by ``factor`` every so many iterations.

    Args:
        start: first value.
        every: iterations between two drops.
        factor: multiplier.
        end: the value never falls below this.
    """

    def __init__(self, start: float, every: int, factor: float = 0.5, end: float = 0.0) -> None:
        _at_least_one("every", every)
        self.start, self.every, self.factor, self.end = start, every, factor, end

    def __call__(self, step: Step) -> float:
        """The value at ``step.iteration``."""
        return float(max(self.end, self.start * self.factor ** (step.iteration // self.every)))


class MultiStep:
    """``start``, multiplied by ``factor`` at each milestone.

    Args:
        start: first value.
        milestones: iterations, rising.
        factor: multiplier.

    Raises:
        ValueError: milestones that do not rise.
    """

    def __init__(self, start: float, milestones: list[int], factor: float = 0.1) -> None:
        if milestones != sorted(set(milestones)):
            raise ValueError(f"milestones must rise, got {milestones}")
        self.start, self.milestones, self.factor = start, milestones, factor

    def __call__(self, step: Step) -> float:
        """The value at ``step.iteration``."""
        passed = sum(step.iteration >= m for m in self.milestones)
        return float(self.start * self.factor**passed)


class Ramp:
    """``start``, raised by ``increment`` every so many iterations until ``end``. SSL (Alg. 1) rises from 0 to 0.1, by
    1e-4 every 5 iterations.

    Args:
        start: first value.
        end: never passed; may lie below ``start``.
        increment: size of a raise, or of a fall where ``end`` lies below; above 0.
        every: iterations between two raises; the first comes after so many.
    """

    def __init__(self, end: float, increment: float, every: int = 1, start: float = 0.0) -> None:
        _at_least_one("every", every)
        if increment <= 0:
            raise ValueError(f"increment must be above 0, got {increment}")
        self.start, self.end, self.increment, self.every = start, end, increment, every

    def __call__(self, step: Step) -> float:
        """The value at ``step.iteration``."""
        # Multiplied, not summed: a thousand raises by 1e-4 would not sum to 0.1.
        moved = self.increment * (step.iteration // self.every)
        if self.end >= self.start:
            return min(self.end, self.start + moved)
        return max(self.end, self.start - moved)


class SigmoidClip:
    """ECO's weight of the clean side: ``clip(1/2 + stretch*(sigmoid(steepness*(tau - 1/2) - shift) - 1/2), 0, 1)`` with
    tau = progress. As published it is 0 until tau = 0.26 and 1 from tau = 0.74.

    Args:
        steepness: of the sigmoid.
        stretch: over the unit interval before clipping; above 1 the ends are flat.
        shift: positive values delay the rise.
        start: value where the clipped sigmoid is 0.
        end: value where it is 1.
    """

    def __init__(
        self, steepness: float = 10.0, stretch: float = 1.2, shift: float = 0.0, start: float = 0.0, end: float = 1.0
    ) -> None:
        self.steepness, self.stretch, self.shift, self.start, self.end = steepness, stretch, shift, start, end

    def __call__(self, step: Step) -> float:
        """The value at ``step.progress``."""
        sigmoid = 1 / (1 + math.exp(-(self.steepness * (step.progress - 0.5) - self.shift)))
        level = min(1.0, max(0.0, 0.5 + self.stretch * (sigmoid - 0.5)))
        return self.start + (self.end - self.start) * level


class Ladder:
    """One value after the other, or one of them drawn in every step (CRDS: the levels of its degradation ladder).

    Args:
        values: the rungs, in order.
        milestones: iterations at which the next rung begins, one fewer than values; left out, all last equally long.
        random: draw a rung uniformly in every step instead.

    Raises:
        ValueError: no values, or milestones that do not rise or do not fit the values.
    """

    def __init__(self, values: list[float], milestones: list[int] | None = None, random: bool = False) -> None:
        if not values:
            raise ValueError("values must hold at least one number")
        if milestones is not None and (milestones != sorted(set(milestones)) or len(milestones) != len(values) - 1):
            raise ValueError(f"milestones must be {len(values) - 1} rising iterations, got {milestones}")
        if milestones is not None and random:
            raise ValueError("give milestones or random, not both")
        self.values, self.milestones, self.random = values, milestones, random

    def __call__(self, step: Step) -> float:
        """The value at ``step.iteration``; with ``random``, drawn from ``step.generator``."""
        if self.random:
            generator = step.generator
            device = "cpu" if generator is None else generator.device
            return self.values[int(torch.randint(len(self.values), (), generator=generator, device=device))]
        if self.milestones is not None:
            return self.values[sum(step.iteration >= m for m in self.milestones)]
        return self.values[min(len(self.values) - 1, step.iteration * len(self.values) // max(1, step.total))]


def _progress(step: Step, iterations: int | None) -> float:
    return step.progress if iterations is None else min(1.0, step.iteration / iterations)


def _at_least_one(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
