"""Checks of schedules: a finite number at every step, and nothing but the step decides it."""

from __future__ import annotations

import math
from typing import Any

from restore.contracts import Step
from restore.functional.seeding import seeded
from restore.testing.conformance import check, fail
from restore.testing.sample import Sample

TOTALS = (1, 10, 1000)


def value(schedule: Any, iteration: int, total: int) -> float:
    """The value, known to be a finite number. The generator is that of the iteration, as in training."""
    found = schedule(Step(iteration, total, seeded(0x5CED, iteration)))
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        fail(f"iteration {iteration} of {total} gives a {type(found).__name__}", "return a Python float: float(value)")
    if not math.isfinite(found):
        fail(f"iteration {iteration} of {total} gives {found}", "look for a division by 0 at the ends")
    return float(found)


@check("schedule", "a finite float at every iteration of a run, however short or long", devices=False)
def whole_run(schedule: Any, sample: Sample) -> None:
    """Runs of 1, 10 and 1000 iterations."""
    for total in TOTALS:
        for iteration in range(total):
            value(schedule, iteration, total)


@check("schedule", "finite at the ends: the first iteration, the last, the end, and after a run was made shorter")
def boundaries(schedule: Any, sample: Sample) -> None:
    """0, total - 1, total, and beyond."""
    for total in TOTALS:
        for iteration in (0, total - 1, total, total + 1, 3 * total):
            value(schedule, iteration, total)


@check("schedule", "a pure function of the step: a resumed run goes on with the same values", devices=False)
def pure(schedule: Any, sample: Sample) -> None:
    """Backwards the same as forwards."""
    total = 60
    forwards = [value(schedule, i, total) for i in range(total)]
    backwards = [value(schedule, i, total) for i in reversed(range(total))][::-1]
    wrong = [i for i in range(total) if forwards[i] != backwards[i]]
    if wrong:
        i = wrong[0]
        fail(
            f"iteration {i} gave {forwards[i]:g}, and asked again in another order {backwards[i]:g}",
            "compute the value from step.iteration and step.total; count no calls and keep no state",
        )
