"""Checks of metrics: the protocol can be printed, closer is better, and a batch counts every sample alike."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any, Mapping

from torch import Tensor

from restore.testing.conformance import NotApplicableError, check, fail
from restore.testing.sample import Sample, largest

# 8-bit rounding inside a metric must not swallow the smallest.
SIGMAS = (0.02, 0.06, 0.2)


def measure(metric: Any, restored: Tensor, reference: Tensor, observed: Tensor) -> float:
    """The number, known to be one. The observed clip goes where the metric asks for it."""
    third = (observed,) if getattr(metric, "needs_observed", False) is True else ()
    found = metric(restored, reference, *third)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        fail(f"it returned a {type(found).__name__}", "return a Python number: float(value)")
    return float(found)


def clips(sample: Sample, sigma: float, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Restored (the reference with noise), reference and observed, ``(B, T, C, H, W)`` in [0, 1]."""
    reference = sample.clip()
    restored = (reference + sigma * sample.noise(reference, seed)).clamp(0, 1)
    return restored, reference, (reference + 0.1 * sample.noise(reference, seed=9)).clamp(0, 1)


@check("metric", "`protocol` is a mapping that says how it measures, and goes into JSON", devices=False)
def protocol(metric: Any, sample: Sample) -> None:
    """Names and plain values."""
    found = getattr(metric, "protocol", None)
    if not isinstance(found, Mapping) or not found:
        fail(
            f"protocol is {found!r}",
            'set self.protocol = {"metric": ..., "border": ..., "peak": ...}: all that moves the number',
        )
    assert isinstance(found, Mapping)
    odd = [k for k in found if not isinstance(k, str)]
    if odd:
        fail(f"protocol has the key {odd[0]!r}", "keys are text")
    try:
        json.dumps(dict(found), allow_nan=False)
    except (TypeError, ValueError) as error:
        fail(f"protocol cannot be written as JSON: {error}", "use text, numbers, lists and dicts")


@check("metric", "a finite number for clips that differ", dtypes=("float32", "float64"))
def number(metric: Any, sample: Sample) -> None:
    """In either precision, and the same to four digits."""
    made = measure(metric, *clips(sample, 0.05))
    if not math.isfinite(made):
        fail(f"clips that differ by 0.05 give {made}", "look for a division by 0")
    wide = measure(metric, *(c.double() for c in clips(sample, 0.05)))
    if not math.isclose(made, wide, rel_tol=1e-4, abs_tol=1e-5):
        fail(f"{made:.8g} in {sample.dtype}, {wide:.8g} in float64", "sum in float64: clip.double()")


@check("metric", "closer to the reference is better, and equal is best")
def order(metric: Any, sample: Sample) -> None:
    """More and more noise moves it one way; the scale's direction is the metric's own."""
    best = measure(metric, *clips(sample, 0.0))
    values = [measure(metric, *clips(sample, sigma)) for sigma in SIGMAS]
    said = ", ".join(f"{s:g}: {v:.6g}" for s, v in zip((0.0, *SIGMAS), (best, *values), strict=True))
    steps = [b - a for a, b in pairwise(values)]
    mend = "compare restored with reference, in this order, and let no branch turn the sign round"
    if not (all(s > 0 for s in steps) or all(s < 0 for s in steps)):
        fail(f"with noise of these sigmas it is {said}: it does not go one way", mend)
    if math.isnan(best):
        # A gain may leave out frames that equal the reference, where PSNR is infinite.
        if getattr(metric, "needs_observed", False) is True:
            return
        fail("equal clips give NaN", "give the best value of the scale (math.inf is one) where clips are equal")
    if not (best < values[0] if steps[0] > 0 else best > values[0]):
        fail(f"with noise of these sigmas it is {said}: equality is not the best", mend)


@check("metric", "a batch gives a value between its samples' values: a mean, not a sum")
def batch(metric: Any, sample: Sample) -> None:
    """A sample twice counts as once, and two differ less than the worse one."""
    restored, reference, observed = (c[:1] for c in clips(sample, 0.03))
    worse = clips(sample, 0.12, seed=2)[0][:1]
    one = measure(metric, restored, reference, observed)
    two = measure(metric, worse, reference, observed)
    twice = [t.repeat(2, 1, 1, 1, 1) for t in (restored, reference, observed)]
    same = measure(metric, *twice)
    if not math.isclose(same, one, rel_tol=1e-5, abs_tol=1e-7):
        fail(f"one sample gives {one:.6g}, the same one twice {same:.6g}", "take the mean over the batch, not the sum")
    twice[0] = twice[0].clone()
    twice[0][1] = worse[0]
    both = measure(metric, *twice)
    if not min(one, two) < both < max(one, two):
        fail(
            f"samples of {one:.6g} and {two:.6g} give {both:.6g} together",
            "every sample of the batch counts alike: take the mean over all of them",
        )


@check("metric", "clips of different shapes are refused with ValueError, not broadcast", devices=False)
def shapes(metric: Any, sample: Sample) -> None:
    """Fewer samples, fewer frames, fewer channels, a smaller frame."""
    restored, reference, observed = clips(sample, 0.05)
    cut = {
        "one frame": reference[:, :1],
        "one channel": reference[:, :, :1],
        "fewer columns": reference[..., :-2],
    }
    for name, other in cut.items():
        if other.shape == reference.shape:
            continue
        try:
            found = measure(metric, restored, other, observed)
        except ValueError:
            continue
        fail(
            f"a reference of {name} ({tuple(other.shape)} against {tuple(restored.shape)}) gives {found:.6g}",
            "raise ValueError where restored.shape != reference.shape",
        )


@check("metric", "the clips are left as they were")
def inputs_kept(metric: Any, sample: Sample) -> None:
    """Nothing in place."""
    given = clips(sample, 0.05)
    before = [c.clone() for c in given]
    measure(metric, *given)
    for name, old, new in zip(("restored", "reference", "observed"), before, given, strict=True):
        if largest(old - new):
            fail(f"it changed the {name} clip", "no in-place operations on its inputs")


@check("metric", "with `needs_observed = True` it raises ValueError when the observed clip is missing", devices=False)
def observed(metric: Any, sample: Sample) -> None:
    """And the observed clip has a part in the number."""
    if getattr(metric, "needs_observed", False) is not True:
        raise NotApplicableError("needs_observed is not True: it compares two clips")
    restored, reference, seen = clips(sample, 0.05)
    try:
        found = metric(restored, reference)
    except ValueError:
        pass
    else:
        fail(f"without it, it gives {found!r}", "raise ValueError where observed is None")
    other = (seen + 0.1 * sample.noise(seen, seed=11)).clamp(0, 1)
    if measure(metric, restored, reference, seen) == measure(metric, restored, reference, other):
        fail("another observed clip gives the same number", "use it, or leave needs_observed out")
