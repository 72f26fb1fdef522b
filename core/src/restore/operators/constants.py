"""What a solve computes once: diagonals, their inverses, and tensors that belong to one rho."""

from __future__ import annotations

from typing import Callable, Hashable

import torch
from torch import Tensor

# Singular values below this fraction of the largest count as zero in a pseudo-inverse.
RCOND = 1e-10

Diagonal = float | Tensor


def lasting(constant: Tensor, like: Tensor) -> Tensor:
    """A constant in the dtype (complex numbers in the precision) and on the device of ``like``, to be kept.

    It has no graph, and is an ordinary tensor even where ``torch.inference_mode`` is on: a backward may need it later.
    """
    dtype = like.dtype
    if constant.is_complex() != dtype.is_complex:
        dtype = dtype.to_complex() if constant.is_complex() else dtype.to_real()
    with torch.inference_mode(False), torch.no_grad():
        made = constant.to(dtype=dtype, device=like.device)
        return made.clone() if made.is_inference() else made


class Constants:
    """Tensors that belong to one rho, in the dtype and on the device they are used in; the last few are kept."""

    def __init__(self, limit: int = 4) -> None:
        self._limit = limit
        self._made: dict[tuple[Hashable, torch.dtype, torch.device], tuple[Tensor, ...]] = {}

    def get(self, key: Hashable, like: Tensor, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What ``make()`` gave for this key, cast to ``like`` (complex numbers to its precision)."""
        where = key, like.dtype, like.device
        found = self._made.get(where)
        if found is None:
            with torch.no_grad():
                found = tuple(lasting(t, like) for t in make())
            if len(self._made) >= self._limit:
                del self._made[next(iter(self._made))]
            self._made[where] = found
        return found


def inverse_or_zero(values: Diagonal, cut: float) -> Diagonal:
    """``1/values``, and 0 where a value is at most ``cut`` times the largest."""
    if not isinstance(values, Tensor):
        return 1 / values if values else 0.0
    kept = values > cut * values.max()
    return torch.where(kept, 1 / torch.where(kept, values, torch.ones_like(values)), torch.zeros_like(values))
