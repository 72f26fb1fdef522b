"""Degradations one after the other: pipelines of any order are tables in a recipe."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from restore.contracts import Degradation, LinearOperator, Pair, Step


def is_per_frame(degradation: Degradation) -> bool:
    """Whether every frame is spoilt independently of the others; a degradation says so with ``per_frame = True``."""
    return getattr(degradation, "per_frame", False) is True


def settle(degradation: Degradation, generator: torch.Generator | None) -> Degradation:
    """The degradation with what is random per sample drawn once (its method ``settled``); itself if nothing is."""
    method = getattr(degradation, "settled", None)
    return degradation if method is None else cast(Degradation, method(generator))


class Chain:
    """Each step spoils what the one before observed.

    The first step makes the target, and may wrap other degradations. A later one may crop the target, never change it.

    Args:
        steps: in order, at least one.

    Raises:
        ValueError: no steps.
    """

    def __init__(self, steps: list[Degradation]) -> None:
        if not steps:
            raise ValueError('steps must hold at least one degradation, e.g. steps = [{ use = "jpeg", quality = 30 }]')
        self.steps = list(steps)

    @property
    def per_frame(self) -> bool:
        """Whether all steps spoil frames independently of each other."""
        return all(is_per_frame(step) for step in self.steps)

    def settled(self, generator: torch.Generator | None) -> Chain:
        """The same chain with every step settled, in order."""
        return Chain([settle(step, generator) for step in self.steps])

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``(B, T, C, H, W)`` to the last step's observed clip and the first step's target, cropped as later steps do.

        ``operator`` is the one that makes observed from target up to the noise that later steps add: the first step's,
        multiplied by later ones that are linear too; None once a step crops, or changes the shape and is not linear.
        ``qp`` is the last step's.

        Raises:
            ValueError: a later step changes its target other than by cropping whole pixels of the chain's target.
        """
        pair = self.steps[0](clean, step)
        for number, degradation in enumerate(self.steps[1:], start=2):
            made = degradation(pair.observed, step)
            pair = _joined(pair, made, f"step {number} ({type(degradation).__name__})")
        return pair


def _joined(before: Pair, made: Pair, name: str) -> Pair:
    seen, kept = before.observed, made.target
    if kept is seen:
        return Pair(made.observed, before.target, _product(before, made), made.qp)
    height, width = kept.shape[-2:]
    if kept.shape[:-2] != seen.shape[:-2] or not torch.equal(kept, seen[..., :height, :width]):
        raise ValueError(f"{name} changes the target; in a chain only the first step may do that")
    if kept.shape == seen.shape:
        return Pair(made.observed, before.target, _product(before, made), made.qp)
    sides = []
    for clean, old, new in zip(before.target.shape[-2:], seen.shape[-2:], (height, width), strict=True):
        if clean * new % old:
            raise ValueError(
                f"{name} crops {old} pixels to {new}, which are no whole pixels of the target's {clean}; "
                "crop the clean clips to sizes that fit all steps"
            )
        sides.append(clean * new // old)
    return Pair(made.observed, before.target[..., : sides[0], : sides[1]], qp=made.qp)


def _product(before: Pair, made: Pair) -> LinearOperator | None:
    if before.operator is None:
        return None
    if made.operator is None:
        return before.operator if made.observed.shape == before.observed.shape else None
    later: Any = made.operator
    try:
        return cast(LinearOperator, later @ before.operator)
    except TypeError:  # operators of two families that know nothing of each other
        return None
