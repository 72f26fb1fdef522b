"""Kronecker products: one matrix per axis of the clip, solved through their singular value decompositions."""

from __future__ import annotations

from functools import cached_property
from typing import Mapping, Sequence

import torch
from torch import Tensor

from restore.operators.algebra import multiply_factors
from restore.operators.base import Operator
from restore.operators.diagonal import clip_sizes
from restore.operators.structure import Spectral, Structure

AXES = "TCHW"
# From this side on, a matrix with few numbers in a row is applied number by number.
BAND_SIDE = 192


def along(x: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """``matrix`` (m, n) applied to axis ``axis`` of the clips ``(B, T, C, H, W)``, counted without the batch."""
    if axis == 3:
        return x @ matrix.T
    # From the left, over all later axes at once: nothing is moved in memory.
    made: Tensor = matrix @ x.flatten(axis + 2) if axis < 2 else matrix @ x
    return made.reshape(*x.shape[: axis + 1], matrix.shape[0], *x.shape[axis + 2 :])


def _banded(matrix: Tensor) -> tuple[Tensor, Tensor] | None:
    """``(index, weight)``, both ``(m, p)``, of a large matrix with at most p numbers in a row; ``None`` for others."""
    used = matrix != 0
    p = int(used.sum(1).max())
    if matrix.shape[1] < BAND_SIDE or p * 8 > matrix.shape[1]:
        return None
    index = used.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :p]
    return index, matrix.gather(1, index)


class Separable(Operator):
    """``M_T ⊗ M_C ⊗ M_H ⊗ M_W`` on clips: resizing, separable blurs, blur in time, Gaussian blur with a stride.

    Exact: with ``M_a = U_a S_a V_a^T`` on each axis, ``z = v + V (S U^T y - S^2 V^T v)/(S^2 + rho)``; only the small
    matrices are decomposed, once.

    Args:
        shape: ``(T, C, H, W)``.
        matrices: by axis number, 0 for T to 3 for W, ``(outputs, inputs)``; an axis left out stays as it is.

    Raises:
        ValueError: an axis that is not there, or a matrix that does not fit it.
    """

    def __init__(self, shape: Sequence[int], matrices: Mapping[int, Tensor]) -> None:
        sizes = clip_sizes(shape)
        out = list(sizes)
        for axis, matrix in matrices.items():
            if axis not in range(4) or matrix.ndim != 2 or matrix.shape[1] != sizes[axis]:
                raise ValueError(
                    f"axis {axis} of clips of {sizes} cannot take a matrix of the shape {tuple(matrix.shape)}: "
                    "axes are 0 to 3, and a matrix has as many columns as its axis has entries"
                )
            out[axis] = matrix.shape[0]
        super().__init__(sizes, tuple(out))
        self.matrices = {axis: matrices[axis].to(torch.float64) for axis in sorted(matrices)}

    def _each(self, x: Tensor, matrices: Mapping[int, Tensor], name: str, transposed: bool = False) -> Tensor:
        # The axis that shrinks most goes first: the others then have less to do.
        order = sorted(matrices, key=lambda a: matrices[a].shape[0] / matrices[a].shape[1], reverse=transposed)
        for axis in order:
            m = self.parameter(f"{name}{axis}", matrices[axis], x)
            x = along(x, axis, m.T if transposed else m)
        return x

    def apply(self, x: Tensor) -> Tensor:
        """One matrix after the other."""
        return self._banded_each(x, transposed=False)

    def back(self, y: Tensor) -> Tensor:
        """The transposed matrices."""
        return self._banded_each(y, transposed=True)

    @cached_property
    def _bands(self) -> dict[tuple[int, bool], tuple[Tensor, Tensor] | None]:
        return {(a, t): _banded(m.T if t else m) for a, m in self.matrices.items() for t in (False, True)}

    def _banded_each(self, x: Tensor, transposed: bool) -> Tensor:
        order = sorted(self.matrices, key=lambda a: self.matrices[a].shape[0] / self.matrices[a].shape[1])
        for axis in reversed(order) if transposed else order:
            band = self._bands[axis, transposed]
            if band is None:
                m = self.parameter(f"m{axis}", self.matrices[axis], x)
                x = along(x, axis, m.T if transposed else m)
                continue
            index, weight = band[0].to(x.device), self.parameter(f"band {axis} {transposed}", band[1], x)
            sides = [-1 if a == axis + 1 else 1 for a in range(5)]
            terms = (x.index_select(axis + 1, i) * w.view(sides) for i, w in zip(index.T, weight.T, strict=True))
            x = sum(terms, torch.zeros((), dtype=x.dtype, device=x.device))
        return x

    def factors(self) -> dict[int, Tensor]:
        """The matrices."""
        return dict(self.matrices)

    def merged(self, inner: Operator) -> Operator | None:
        """A product of Kronecker products is one."""
        if not isinstance(inner, Separable):
            return None
        return Separable(inner.shape.input, multiply_factors(self.matrices, inner.matrices))

    def planes(self, frames: int, channels: int) -> Operator | None:
        """The same, where nothing acts on time or channels."""
        if set(self.matrices) & {0, 1}:
            return None
        return Separable((frames, channels, *self.shape.input[2:]), self.matrices)

    @cached_property
    def _decomposed(self) -> tuple[dict[int, Tensor], dict[int, Tensor], Tensor]:
        """``V^T`` and ``U^T`` by axis, and the singular values ``(T, C, H, W)`` of the product (1 on other axes)."""
        vh, uh = {}, {}
        values = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        for axis, matrix in self.matrices.items():
            u, s, v = torch.linalg.svd(matrix, full_matrices=False)
            vh[axis], uh[axis] = v, u.T.contiguous()
            values = values * s.view([-1 if a == axis else 1 for a in range(4)])
        return vh, uh, values

    def solver(self) -> Structure:
        """The singular value decomposition, axis by axis."""
        vh, uh, values = self._decomposed
        sizes = ", ".join(f"{AXES[a]} {m.shape[0]}x{m.shape[1]}" for a, m in self.matrices.items())
        return Spectral(
            self,
            "kronecker",
            f"singular value decompositions per axis: {sizes or 'none'}",
            lambda c: self.parameter("s", values, c),
            lambda x: self._each(x, vh, "v"),
            lambda c: self._each(c, vh, "v", transposed=True),
            lambda y: self._each(y, uh, "u"),
            lambda c: self._each(c, uh, "u", transposed=True),
        )
