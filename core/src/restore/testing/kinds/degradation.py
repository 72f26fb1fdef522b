"""Checks of degradations: pairs that fit, and randomness that a seed decides."""

from __future__ import annotations

from typing import Any, Sequence

import torch
from torch import Tensor

from restore.contracts import LinearOperator, Pair, plain_degradation
from restore.testing.conformance import NotApplicableError, check, fail
from restore.testing.sample import Sample, finite, largest

_SEED = "draw everything from step.generator: torch.rand(..., generator=step.generator), never from torch's, "
_SEED += "numpy's or Python's own state"


def degraded(degradation: Any, clean: Tensor, sample: Sample, seed: int = 0) -> Pair:
    """The pair that a seed gives."""
    if isinstance(degradation, LinearOperator):
        raise NotApplicableError("the component is an operator by itself; its own checks say what it promises")
    pair = degradation(clean, sample.step(seed))
    if not isinstance(pair, Pair):
        fail(f"it returned a {type(pair).__name__}", "return restore.Pair(observed, target)")
    assert isinstance(pair, Pair)
    return pair


def samples(pair: Pair) -> Sequence[Tensor]:
    """The observed side of every sample; a mixed batch whose measurements differ in size is flat."""
    split = getattr(pair.operator, "split", None)
    return list(split(pair.observed)) if split is not None else list(pair.observed.unbind(0))


def draws(degradation: Any, clean: Tensor, sample: Sample) -> bool:
    """Whether it takes anything from the generator."""
    step = sample.step()
    assert step.generator is not None
    before = step.generator.get_state()
    degradation(clean, step)
    return not torch.equal(before, step.generator.get_state())


@check("degradation", "the pair's target is a clip (B, T, C, H, W), its observed side has the same B", shapes=True)
def shapes(degradation: Any, sample: Sample) -> None:
    """The target may be cropped, never more; an operator fits both sides."""
    clean = sample.clip()
    pair = degraded(degradation, clean, sample)
    if pair.target.ndim != 5 or pair.target.shape[0] != clean.shape[0]:
        fail(f"{tuple(clean.shape)} got the target {tuple(pair.target.shape)}", "the target is a clip: keep all axes")
    if any(t > c for t, c in zip(pair.target.shape[3:], clean.shape[3:], strict=True)):
        fail(f"{tuple(clean.shape)} got the larger target {tuple(pair.target.shape)}", "crop the target, do not pad it")
    if pair.operator is not None:
        measured = pair.operator(pair.target)
        if measured.shape != pair.observed.shape:
            fail(
                f"the operator makes {tuple(measured.shape)} of the target, observed is {tuple(pair.observed.shape)}",
                "give the pair the operator that made observed from target (after cropping), or None",
            )
    elif pair.observed.shape[0] != clean.shape[0]:
        fail(f"{tuple(clean.shape)} became {tuple(pair.observed.shape)}", "keep the batch axis first")


@check("degradation", "both sides are finite and on the scale of [0, 1]; an operator explains observed up to noise")
def value_range(degradation: Any, sample: Sample) -> None:
    """Noise may leave [0, 1]; 0 to 255 it is not."""
    pair = degraded(degradation, sample.clip(), sample)
    for name, clip in (("observed", pair.observed), ("target", pair.target)):
        if not finite(clip):
            fail(f"the {name} side holds values that are not finite", "look for a division by 0 or a root below 0")
    low, high = float(pair.target.min()), float(pair.target.max())
    if low < -1e-3 or high > 1 + 1e-3:
        fail(f"the target reaches from {low:.3g} to {high:.3g}", "the target is a clean clip in [0, 1]: divide by 255?")
    if pair.operator is not None:
        measured = pair.operator(pair.target)
        error = float((measured - pair.observed).norm() / measured.norm().clamp_min(1e-12))
        if error > 0.5:
            fail(
                f"the operator's measurement of the target is {100 * error:.0f} percent away from observed",
                "give the pair the operator that was applied, with its own draw and its own scale, or None",
            )
        return
    typical = float(pair.observed.abs().mean())
    if typical > 2:
        fail(f"observed has a mean magnitude of {typical:.3g}", "stay on the scale of [0, 1]: divide by 255?")


@check("degradation", "a generator's seed decides the result")
def deterministic(degradation: Any, sample: Sample) -> None:
    """Twice the same seed, and what torch's own generator does in between does not matter."""
    clean = sample.clip()
    first = degraded(degradation, clean, sample, seed=1)
    torch.rand(7)
    again = degraded(degradation, clean, sample, seed=1)
    for name in ("observed", "target"):
        one, two = getattr(first, name), getattr(again, name)
        if one.shape != two.shape or not torch.equal(one, two):
            size = f" by up to {largest(one - two):.3g}" if one.shape == two.shape else " in shape"
            fail(f"two calls with the same seed differ{size} ({name})", _SEED)


@check("degradation", "what draws from the generator differs under another seed, and from sample to sample")
def random(degradation: Any, sample: Sample) -> None:
    """Eight seeds; a degradation that draws nothing is not asked."""
    clean = sample.clip()
    clean = clean[:1].expand(2, *clean.shape[1:]).contiguous()
    first = degraded(degradation, clean, sample)
    if not draws(degradation, clean, sample):
        raise NotApplicableError("nothing in it is random")
    others = [degraded(degradation, clean, sample, seed) for seed in range(1, 9)]
    if all(o.observed.shape == first.observed.shape and torch.equal(o.observed, first.observed) for o in others):
        fail(
            "it draws from the generator, but nine seeds give the same",
            "use what is drawn (or give the kit an example in which chance has a part)",
        )


@check("degradation", "the clean clip is left as it was")
def input_kept(degradation: Any, sample: Sample) -> None:
    """Nothing in place."""
    clean = sample.clip()
    before = clean.clone()
    degraded(degradation, clean, sample)
    if not torch.equal(clean, before):
        changed = int((clean != before).sum())
        fail(f"{changed} of {clean.numel()} values of the clean clip changed", "no in-place operations: clone() first")


@check("degradation", "dtype and device are those of the clean clip", dtypes=("float32", "float64"))
def dtype(degradation: Any, sample: Sample) -> None:
    """Training runs in float32, evaluation in float64."""
    clean = sample.clip()
    pair = degraded(degradation, clean, sample)
    for name, clip in (("observed", pair.observed), ("target", pair.target)):
        if clip.dtype != clean.dtype or clip.device != clean.device:
            fail(
                f"{clean.dtype} on {clean.device} got {name} in {clip.dtype} on {clip.device}",
                "make what you add in the clip's dtype, on its device: .to(clean)",
            )


def _drawn_alike(degradation: Any, sample: Sample, axis: int, what: str, mend: str) -> None:
    """Exchange the last entry of an axis, and see whether earlier ones stay; where nothing is random, the first too.

    With one stream of random numbers, how many an entry takes may depend on its values (Poisson), so later ones may
    rightly change.
    """
    clean = sample.clip()
    random = draws(degradation, clean, sample)
    # The next sample's draws come after this one's last frame.
    clean = clean[:1] if axis == 1 and random else clean
    ends = [-1] if random else [-1, 0]
    before = degraded(degradation, clean, sample)
    for end in ends:
        other = clean.clone()
        other.select(axis, end).copy_(1 - other.select(axis, end).flip(-1))
        after = degraded(degradation, other, sample)
        pairs: list[tuple[Tensor, Tensor]] = list(zip(samples(before), samples(after), strict=True))
        if axis == 1:
            pairs = [(a[t], b[t]) for a, b in pairs for t in range(len(a))]
            pairs = [p for i, p in enumerate(pairs) if i % clean.shape[1] != end % clean.shape[1]]
        else:
            pairs.pop(end)
        for one, two in pairs:
            difference = largest(one - two)
            if difference > 1e-6 * max(1.0, largest(one)):
                fail(f"changing the {'last' if end else 'first'} {what} changed others by up to {difference:.3g}", mend)


@check("degradation", "a sample's result does not depend on the other samples of the batch")
def batch(degradation: Any, sample: Sample) -> None:
    """The last sample is exchanged."""
    clean = sample.clip()
    if len(samples(degraded(degradation, clean, sample))) < 2:
        raise NotApplicableError("a batch of one")
    _drawn_alike(
        degradation,
        sample,
        0,
        "sample of a batch",
        "take means, maxima and the like over a sample's own axes (dim=...)",
    )


@check("degradation", "with `per_frame = True`, a frame's result depends on that frame alone")
def per_frame(degradation: Any, sample: Sample) -> None:
    """`restore degrade` then works frame by frame."""
    if getattr(degradation, "per_frame", False) is not True:
        raise NotApplicableError("per_frame is not True")
    clean = sample.clip()
    pair = degraded(degradation, clean, sample)
    if any(len(s) != clean.shape[1] for s in samples(pair)):
        fail(
            f"{clean.shape[1]} frames became {[len(s) for s in samples(pair)]}",
            "set per_frame = False: what drops or adds frames must see them together",
        )
    _drawn_alike(degradation, sample, 1, "frame", "set per_frame = False, or leave the neighbours of a frame alone")


@check("degradation", "`settled(generator)` gives the same kind of thing with its draws made, and changes nothing else")
def settled(degradation: Any, sample: Sample) -> None:
    """A seed decides what it settles on, and the original works as before."""
    settle = getattr(degradation, "settled", None)
    if settle is None:
        raise NotApplicableError("it has no `settled`: nothing in it is drawn once for a sample")
    clean = sample.clip()
    before = degraded(degradation, clean, sample)
    results = [degraded(settle(sample.generator(4)), clean, sample) for _ in range(2)]
    if results[0].observed.shape != results[1].observed.shape or not torch.equal(
        results[0].observed, results[1].observed
    ):
        fail("two that were settled with the same seed differ", "draw in settled from the generator it is given alone")
    if not torch.equal(degraded(degradation, clean, sample).observed, before.observed):
        fail("settling one changed the degradation itself", "return a copy: copy.copy(self), then set what was drawn")


@check("degradation", "`plain`, where it is set, is the degradation under which a trained model is measured")
def plain(degradation: Any, sample: Sample) -> None:
    """Its target is the clean clip, cropped at most."""
    clean = sample.clip()
    inner = plain_degradation(degradation)
    if inner is degradation:
        raise NotApplicableError("it wraps no other degradation: it has no `plain`")
    target = degraded(inner, clean, sample).target
    if target.shape[:3] != clean.shape[:3] or largest(target - clean[..., : target.shape[3], : target.shape[4]]):
        fail("the plain degradation's target is not the clean clip", "let `plain` be the innermost degradation")
