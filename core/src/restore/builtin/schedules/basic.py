"""Values that change with training: learning rates, weights, strengths."""

from __future__ import annotations

import math

from restore.contracts import Step


class Constant:
    """The same value always."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, step: Step) -> float:
        """The value."""
        return self.value


class Linear:
    """From ``start`` at the first iteration straight to ``end`` at the last."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end

    def __call__(self, step: Step) -> float:
        """The value at ``step.progress``."""
        return self.start + (self.end - self.start) * step.progress


class Cosine:
    """Half a cosine from ``start`` down to ``end``, after a linear warm-up from zero (Loshchilov & Hutter, ICLR 2017).

    Args:
        start: value after the warm-up.
        end: value at the last iteration.
        warmup: iterations of the warm-up.
    """

    def __init__(self, start: float, end: float = 0.0, warmup: int = 0) -> None:
        if warmup < 0:
            raise ValueError(f"warmup must not be negative, got {warmup}")
        self.start, self.end, self.warmup = start, end, warmup

    def __call__(self, step: Step) -> float:
        """The value at ``step.iteration``."""
        if step.iteration < self.warmup:
            return self.start * (step.iteration + 1) / self.warmup
        progress = (step.iteration - self.warmup) / max(1, step.total - self.warmup)
        return self.end + (self.start - self.end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


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
