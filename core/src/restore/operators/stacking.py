"""Several measurements of one clip, and sums of operators."""

from __future__ import annotations

from functools import cached_property
from typing import Sequence

import torch
from torch import Tensor

from restore.operators.algebra import one_batch
from restore.operators.base import Operator
from restore.operators.constants import Diagonal


class Stack(Operator):
    """Several measurements of one clip, flattened and joined; see :func:`restore.operators.stack`."""

    def __init__(self, parts: Sequence[Operator]) -> None:
        if not parts:
            raise ValueError("a stack needs at least one operator")
        domains = {p.shape.input for p in parts}
        if len(domains) > 1:
            raise ValueError(f"stacked operators must take the same clips, got {sorted(domains)}")
        super().__init__(parts[0].shape.input, (sum(p.shape.rows for p in parts),))
        self.parts = tuple(parts)
        self._batch = one_batch(parts)

    def split(self, y: Tensor) -> list[Tensor]:
        """Views of ``(B, m1 + m2 + ...)``: each part's measurement in its own shape."""
        self.check(y, self.shape.output, "the measurement")
        return self._split(y)

    def _split(self, y: Tensor) -> list[Tensor]:
        pieces = torch.split(y, [p.shape.rows for p in self.parts], dim=1)
        return [piece.reshape(-1, *part.shape.output) for piece, part in zip(pieces, self.parts, strict=True)]

    def apply(self, x: Tensor) -> Tensor:
        """All measurements, joined."""
        return torch.cat([p.apply(x).flatten(1) for p in self.parts], dim=1)

    def back(self, y: Tensor) -> Tensor:
        """The sum of the parts' adjoints."""
        pieces = [p.back(piece) for p, piece in zip(self.parts, self._split(y), strict=True)]
        return torch.stack(pieces).sum(0)

    @cached_property
    def cogram(self) -> Diagonal | None:
        """The sum of the parts', where each has one: a stack of masks and selections stays diagonal."""
        diagonals = [p.cogram for p in self.parts]
        total: Diagonal = 0.0
        for diagonal in diagonals:
            if diagonal is None:
                return None
            total = total + diagonal
        return total

    @property
    def batch(self) -> int | None:
        """Of any part."""
        return self._batch

    def __repr__(self) -> str:
        return f"stack({', '.join(map(repr, self.parts))})"


def add(one: Operator, other: Operator) -> Operator:
    """``one + other``, merged where both are masks or circular blurs.

    Raises:
        ValueError: shapes that differ.
    """
    if one.shape != other.shape:
        raise ValueError(f"{one!r} + {other!r}: both must take and give the same sizes")
    merged = one.added(other)
    return merged if merged is not None else Sum((one, other))


class Sum(Operator):
    """``A + B``: solved densely where small, else by conjugate gradients."""

    def __init__(self, parts: Sequence[Operator]) -> None:
        super().__init__(parts[0].shape.input, parts[0].shape.output)
        self.parts = tuple(parts)
        self._batch = one_batch(parts)

    def apply(self, x: Tensor) -> Tensor:
        """The sum of what the parts give."""
        return torch.stack([p.apply(x) for p in self.parts]).sum(0)

    def back(self, y: Tensor) -> Tensor:
        """The sum of the parts' adjoints."""
        return torch.stack([p.back(y) for p in self.parts]).sum(0)

    def planes(self, frames: int, channels: int) -> Operator | None:
        """The sum of the parts', where each has one."""
        parts = [p.planes(frames, channels) for p in self.parts]
        known = [p for p in parts if p is not None]
        return Sum(known) if len(known) == len(parts) else None

    @property
    def batch(self) -> int | None:
        """Of any part."""
        return self._batch

    def __repr__(self) -> str:
        return f"({' + '.join(map(repr, self.parts))})"
