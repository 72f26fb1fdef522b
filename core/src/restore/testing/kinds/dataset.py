"""Checks of datasets: clips in [0, 1] that a seed decides, and that worker processes can read."""

from __future__ import annotations

import pickle
from typing import Any

import torch
from torch import Tensor

from restore.contracts import Pair
from restore.testing.conformance import NotApplicableError, check, fail
from restore.testing.sample import Sample, finite

# A slow or large one is looked at here and there only.
_PLACES = 3


def places(dataset: Any) -> list[int]:
    """The first index, one in the middle, the last."""
    count = length(dataset)
    return sorted({0, count // 2, count - 1})[:_PLACES]


def length(dataset: Any) -> int:
    """How many entries it has, at least one."""
    count = len(dataset)
    if count < 1:
        fail("it has no entries", "raise restore.RequestError when it is made, and say where nothing was found")
    return count


def look(clip: Any, what: str) -> None:
    """One clip: its type, axes and range."""
    if not isinstance(clip, Tensor):
        fail(f"{what} is a {type(clip).__name__}", "return one tensor, the clean clip alone: torch.from_numpy(...)")
    if clip.ndim != 4:
        fail(f"{what} has the shape {tuple(clip.shape)}", "return (T, C, H, W); an image is image.unsqueeze(0), T = 1")
    if not clip.is_floating_point():
        fail(f"{what} is {clip.dtype}", "return float32 in [0, 1]: clip.float() / 255")
    if clip.shape[1] not in (1, 3):
        fail(
            f"{what} has the shape {tuple(clip.shape)}", "return (T, C, H, W) with 3 or 1 channels; channels go second"
        )
    if not finite(clip):
        fail(f"{what} holds values that are not finite", "leave broken files out, or raise restore.MediaError")
    low, high = float(clip.min()), float(clip.max())
    if low < 0 or high > 1:
        mend = "divide by 255" if high > 1.5 else "clamp to [0, 1], and add no mean or variance: models do that"
        fail(f"{what} reaches from {low:.4g} to {high:.4g}", mend)


@check("dataset", "dataset[i] is a float clip (T, C, H, W) in [0, 1], for i from 0 to len - 1", devices=False)
def entries(dataset: Any, sample: Sample) -> None:
    """The first, the last, and one between; names are text."""
    for index in places(dataset):
        look(dataset[index], f"dataset[{index}]")
        if hasattr(dataset, "name") and not isinstance(dataset.name(index), str):
            fail(f"name({index}) is {dataset.name(index)!r}", "return text, e.g. the file's name without suffix")


@check("dataset", "dataset[len(dataset)] raises IndexError", devices=False)
def end(dataset: Any, sample: Sample) -> None:
    """Otherwise `for clip in dataset` never ends."""
    count = length(dataset)
    try:
        dataset[count]
    except IndexError:
        return
    fail(f"dataset[{count}] of {count} entries gave something", "raise IndexError outside -len to len - 1")


@check("dataset", "dataset[i] is the same whenever it is read; what is random belongs into sample()", devices=False)
def repeatable(dataset: Any, sample: Sample) -> None:
    """Evaluation and resuming rest on it."""
    for index in places(dataset):
        first, again = dataset[index], dataset[index]
        _same(first, again, f"dataset[{index}] read twice differs", "move random crops to sample(index, generator)")


def _same(a: Tensor, b: Tensor, seen: str, mend: str) -> None:
    if a.shape != b.shape or not torch.equal(a, b):
        fail(seen, mend)


@check(
    "dataset", "sample(index, generator) is a clip like dataset[i], and the generator's seed decides it", devices=False
)
def sampling(dataset: Any, sample: Sample) -> None:
    """Twice one seed, and where it draws, other seeds."""
    if not hasattr(dataset, "sample"):
        raise NotApplicableError("it has no sample(index, generator): training reads whole entries")
    mend = "draw everything from the generator that is handed over: torch.randint(..., generator=generator)"
    for index in places(dataset):
        first = dataset.sample(index, sample.generator(1))
        look(first, f"sample({index})")
        torch.rand(5)
        again = dataset.sample(index, sample.generator(1))
        _same(first, again, f"sample({index}) with the same seed differs", mend)
    generator = sample.generator(0)
    before = generator.get_state()
    dataset.sample(0, generator)
    if torch.equal(before, generator.get_state()):
        return
    many = [dataset.sample(0, sample.generator(seed)) for seed in range(8)]
    alike = all(m.shape == many[0].shape and torch.equal(m, many[0]) for m in many)
    # All windows of a flat picture look the same.
    if alike and float(many[0].std()) > 0:
        fail("it draws from the generator, but eight seeds give the same sample", "use what is drawn")


@check(
    "dataset", "sample_pair(index, generator) is a restore.Pair whose target is sample() of that seed", devices=False
)
def pairs(dataset: Any, sample: Sample) -> None:
    """The clean side larger by a whole factor, as many frames on both sides."""
    if not hasattr(dataset, "sample_pair"):
        raise NotApplicableError("it has no sample_pair(index, generator): it knows clean clips only")
    for index in places(dataset):
        pair = dataset.sample_pair(index, sample.generator(1))
        if not isinstance(pair, Pair):
            fail(f"sample_pair({index}) is a {type(pair).__name__}", "return restore.Pair(observed, target)")
        look(pair.observed, "the observed side")
        look(pair.target, "the target")
        small, large = pair.observed.shape, pair.target.shape
        if small[0] != large[0] or large[2] % small[2] or large[2] * small[3] != large[3] * small[2]:
            fail(
                f"observed is {tuple(small)}, target {tuple(large)}",
                "equally many frames, and sides that differ by one whole factor",
            )
        if hasattr(dataset, "sample"):
            same = dataset.sample(index, sample.generator(1))
            _same(
                pair.target, same, "its target is not what sample() gives", "let sample return sample_pair(...).target"
            )


@check("dataset", "it can be pickled, and is the same afterwards: worker processes get it that way", devices=False)
def workers(dataset: Any, sample: Sample) -> None:
    """After entries were read, so that open files are among what is pickled."""
    first = dataset[0]
    try:
        again = pickle.loads(pickle.dumps(dataset))
    except Exception as error:
        fail(
            f"pickling raised {type(error).__name__}: {error}",
            "leave open files, locks and lambdas out of it: drop them in __getstate__, open them again when needed",
        )
    if len(again) != len(dataset):
        fail(f"{len(dataset)} entries became {len(again)}", "keep in __getstate__ what the length depends on")
    _same(first, again[0], "dataset[0] differs after pickling", "keep in __getstate__ what the entries depend on")
