"""One of several degradations, drawn at random."""

from __future__ import annotations

from typing import Literal, Sequence

import torch
from torch import Tensor

from restore.builtin.degradations.chain import is_per_frame, settle
from restore.builtin.degradations.draw import check_range
from restore.contracts import Degradation, LinearOperator, Pair, Step
from restore.functional.quantizer import UNKNOWN
from restore.operators.base import Operator
from restore.operators.mixed import Mixed

Every = Literal["batch", "sample"]


class Choice:
    """One of several degradations, drawn anew for every batch or for every sample of it (for a video: once).

    Args:
        among: the degradations, at least one; give ``core:chain`` tables to choose between pipelines.
        weights: how often each is taken, relative to the others; absent: equally often.
        every: what is drawn for: the whole ``batch``, or each ``sample`` by itself (a codec a clip). All then have to
            give observed clips of one shape.

    Raises:
        ValueError: nothing to choose among, weights that do not fit, or an unknown ``every``.
    """

    def __init__(self, among: list[Degradation], weights: list[float] | None = None, every: Every = "batch") -> None:
        if not among:
            raise ValueError("among must hold at least one degradation")
        weights = [1.0] * len(among) if weights is None else list(weights)
        if len(weights) != len(among):
            raise ValueError(f"weights must be {len(among)} numbers, one for each degradation, got {len(weights)}")
        for weight in weights:
            check_range("a weight", weight, 0)
        if sum(weights) == 0:
            raise ValueError("weights must not all be 0")
        if every not in ("batch", "sample"):
            raise ValueError(f"every must be batch or sample, got {every!r}")
        self.among, self.weights, self.every = list(among), weights, every

    @property
    def per_frame(self) -> bool:
        """Whether all that may be chosen spoil frames independently of each other."""
        return all(is_per_frame(d) for d in self.among)

    def settled(self, generator: torch.Generator | None) -> Degradation:
        """The one drawn, settled itself."""
        return settle(self._drawn(1, generator)[0], generator)

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """What the drawn degradation, or each sample's own, makes of ``clean``, ``(B, T, C, H, W)``. With
        ``every = "sample"`` the operators of the samples are kept where all have one.

        Raises:
            ValueError: the observed or the target clips of two samples differ in shape.
        """
        if self.every == "batch":
            return self._drawn(1, step.generator)[0](clean, step)
        drawn = self._drawn(len(clean), step.generator)
        pairs = [degradation(clean[i : i + 1], step) for i, degradation in enumerate(drawn)]
        for side in ("observed", "target"):
            shapes = sorted({tuple(getattr(pair, side).shape[1:]) for pair in pairs})
            if len(shapes) > 1:
                raise ValueError(
                    f"the {side} clips of two samples have the shapes {shapes[0]} and {shapes[1]}; "
                    'choose among degradations that give one shape, or leave out every = "sample"'
                )
        observed, target = (torch.cat([getattr(pair, side) for pair in pairs]) for side in ("observed", "target"))
        return Pair(observed, target, _joined([pair.operator for pair in pairs]), joined_qps(pairs))

    def _drawn(self, count: int, generator: torch.Generator | None) -> list[Degradation]:
        weights: Sequence[float] = self.weights
        device = generator.device if generator is not None else "cpu"
        chances = torch.tensor(weights, dtype=torch.float64, device=device)
        drawn = torch.multinomial(chances, count, replacement=True, generator=generator)
        return [self.among[i] for i in drawn.tolist()]


def joined_qps(pairs: Sequence[Pair]) -> Tensor | None:
    """The QPs of a batch of these pairs, ``(B, T)``; None where nobody knows any."""
    if all(pair.qp is None for pair in pairs):
        return None
    return torch.cat([_qps(pair) for pair in pairs])


def _qps(pair: Pair) -> Tensor:
    shape = pair.observed.shape[:2]
    return pair.observed.new_full(shape, UNKNOWN, dtype=torch.float32) if pair.qp is None else pair.qp


def _joined(operators: Sequence[LinearOperator | None]) -> LinearOperator | None:
    single: list[Operator] = []
    for operator in operators:
        inner = operator.operators[0] if isinstance(operator, Mixed) and len(operator.operators) == 1 else operator
        if not isinstance(inner, Operator) or inner.batch is not None:
            return None
        single.append(inner)
    return Mixed(single)
