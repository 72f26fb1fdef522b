"""Kronecker products: one matrix per axis of the clip, solved through their singular value decompositions."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Callable, Hashable, Mapping, Sequence

import torch
from torch import Tensor

from restore.operators.algebra import multiply_factors
from restore.operators.base import Operator
from restore.operators.constants import RCOND, lasting
from restore.operators.diagonal import clip_sizes
from restore.operators.solvers import Rho
from restore.operators.structure import Spectral, Structure

AXES = "TCHW"
# A matrix with few numbers in a row is applied block by block: this many rows at a time, on the columns they use.
BLOCK_ROWS = 128
# Sides up to which the data step of one axis is a product with a matrix of its own.
DIRECT_SIDE = 256

Block = tuple[int, int, Tensor]
Link = Callable[[Tensor], Tensor]


def along(x: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """``matrix`` (m, n) applied to axis ``axis`` of the clips ``(B, T, C, H, W)``, counted without the batch."""
    if axis == 3:
        return x @ matrix.T
    if axis == 2:
        return matrix @ x
    # From the left, over all later axes at once: nothing is moved in memory.
    made: Tensor = matrix @ x.flatten(axis + 2)
    return made.view(*x.shape[: axis + 1], matrix.shape[0], *x.shape[axis + 2 :])


def blocks(matrix: Tensor) -> list[Block] | None:
    """``(first column, columns, rows there)`` of a matrix whose rows use few columns; ``None`` for others.

    Convolutions and resizes of large frames: 720 rows of 13 numbers cost 128 + 12 columns per block, not 720.
    """
    parts = []
    for rows in torch.split(matrix, BLOCK_ROWS):
        used = (rows != 0).any(0).nonzero().flatten()
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
        parts.append((first, last + 1 - first, rows[:, first : last + 1].contiguous()))
    cost = sum(part.numel() for _, _, part in parts)
    return parts if len(parts) > 1 and 2 * cost <= matrix.numel() else None


def _product(axis: int, matrix: Tensor) -> Link:
    """:func:`along` for one matrix, in the order in memory that it is multiplied fastest."""
    if axis == 3:
        right = lasting(matrix.T.contiguous(), matrix)
        return lambda x: x @ right
    return partial(torch.matmul, matrix) if axis == 2 else lambda x: along(x, axis, matrix)


def _blockwise(axis: int, parts: Sequence[Block]) -> Link:
    """The same, block by block."""
    links = [(first, count, _product(axis, part)) for first, count, part in parts]

    def apply(x: Tensor) -> Tensor:
        return torch.cat([link(x.narrow(axis + 1, first, count)) for first, count, link in links], dim=axis + 1)

    return apply


class Chain:
    """One matrix per axis, applied one after the other; the axis that shrinks most goes first and leaves less to do.

    Args:
        matrices: by axis of ``(T, C, H, W)``, ``(outputs, inputs)``, float64.
    """

    def __init__(self, matrices: Mapping[int, Tensor]) -> None:
        gain = {a: m.shape[0] / m.shape[1] for a, m in matrices.items()}
        # Of equals the last axis goes while the clips are small: a product from the right costs more per row.
        order = sorted(matrices, key=lambda a: (gain[a], a if gain[a] <= 1 else -a))
        self._links = [(a, blocks(matrices[a]) or matrices[a].contiguous()) for a in order]
        self._cast: dict[tuple[torch.dtype, torch.device], list[Link]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """``(B, T, C, H, W)`` to the clips of the product."""
        links = self._cast.get((x.dtype, x.device))
        if links is None:
            links = self._cast[x.dtype, x.device] = [self._link(axis, matrix, x) for axis, matrix in self._links]
        for link in links:
            x = link(x)
        return x

    @staticmethod
    def _link(axis: int, matrix: Tensor | list[Block], like: Tensor) -> Link:
        if isinstance(matrix, Tensor):
            return _product(axis, lasting(matrix, like))
        return _blockwise(axis, [(first, count, lasting(part, like)) for first, count, part in matrix])


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

    @cached_property
    def _there(self) -> Chain:
        return Chain(self.matrices)

    @cached_property
    def _back(self) -> Chain:
        return Chain({a: m.T for a, m in self.matrices.items()})

    def apply(self, x: Tensor) -> Tensor:
        """One matrix after the other."""
        return self._there(x) if self.matrices else x.clone()

    def back(self, y: Tensor) -> Tensor:
        """The transposed matrices."""
        return self._back(y) if self.matrices else y.clone()

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

    def solver(self) -> Structure:
        """The singular value decomposition, axis by axis; of one short axis alone, matrices made from it."""
        vh, uh = {}, {}
        values = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        for axis, matrix in self.matrices.items():
            u, s, v = torch.linalg.svd(matrix, full_matrices=False)
            vh[axis], uh[axis] = v, u.T
            values = values * s.view([-1 if a == axis else 1 for a in range(4)])
        sizes = ", ".join(f"{AXES[a]} {m.shape[0]}x{m.shape[1]}" for a, m in self.matrices.items())
        transforms = [Chain(m) for m in (vh, _turned(vh), uh, _turned(uh))]
        sides = [n for m in self.matrices.values() for n in m.shape]
        kind = OneAxis if len(sides) == 2 and max(sides) <= DIRECT_SIDE else Spectral
        return kind(
            self,
            "kronecker",
            f"singular value decompositions per axis: {sizes or 'none'}",
            lambda c: self.parameter("s", values, c),
            *transforms,
        )


def _turned(matrices: Mapping[int, Tensor]) -> dict[int, Tensor]:
    return {a: m.T for a, m in matrices.items()}


class OneAxis(Spectral):
    """The solve of one short matrix M on one axis: every answer is a product with a matrix as small as M.

    ``z = rho (M^T M + rho I)^-1 v + (M^T M + rho I)^-1 M^T y``.
    """

    operator: Separable

    def _along(self, x: Tensor, key: Hashable, make: Callable[[Tensor], Tensor]) -> Tensor:
        axis, m = next(iter(self.operator.matrices.items()))
        return along(x, axis, self._constants.get(key, x, lambda: (make(m),))[0])

    def prepare(self, y: Tensor) -> Tensor:
        """``y`` as it is."""
        return y

    def step(self, v: Tensor, prepared: Tensor, rho: Rho) -> Tensor:
        """Two products."""
        if isinstance(rho, Tensor):
            return super().step(v, super().prepare(prepared), rho)
        weight = rho
        of_v = self._along(v, ("v", rho), lambda m: weight * _inverted(m.T @ m, weight))
        return of_v + self._along(prepared, ("y", rho), lambda m: _inverted(m.T @ m, weight) @ m.T)

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """One product."""
        if isinstance(rho, Tensor):
            return super().normal(b, rho)
        weight = rho
        return self._along(b, ("normal", rho), lambda m: _inverted(m.T @ m, weight))

    def dual(self, r: Tensor, rho: Rho) -> Tensor:
        """One product."""
        if isinstance(rho, Tensor):
            return super().dual(r, rho)
        weight = rho
        return self._along(r, ("dual", rho), lambda m: _inverted(m @ m.T, weight))

    def pinv(self, y: Tensor) -> Tensor:
        """One product."""
        return self._along(y, "pinv", lambda m: torch.linalg.pinv(m, rtol=RCOND))

    def pinv_t(self, x: Tensor) -> Tensor:
        """One product."""
        return self._along(x, "pinv_t", lambda m: torch.linalg.pinv(m, rtol=RCOND).T)


def _inverted(gram: Tensor, rho: float) -> Tensor:
    inverse: Tensor = torch.linalg.inv(gram + rho * torch.eye(len(gram), dtype=gram.dtype))
    return inverse
