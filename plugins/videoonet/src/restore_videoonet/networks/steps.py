"""Data steps: Z' of X + U, by the operator itself or by dense pseudo-inverses as published."""

from __future__ import annotations

import math
from typing import Any, Callable, Literal, Sequence

import torch
from restore.operators import Mixed, Operator, dense_matrix
from torch import Tensor

Solver = Literal["matrix-free", "dense"]
DataStep = Callable[[Tensor], Tensor]


def data_step(operator: Any, observed: Tensor, rho: float | Tensor, solver: Solver = "matrix-free") -> DataStep:
    """The function ``v -> argmin_z 1/2 |A z - y|^2 + rho/2 |z - v|^2`` on clips ``(B, T, C, H, W)``.

    Args:
        operator: any linear operator, or one for each sample.
        observed: y.
        rho: above 0; for ``dense`` a number.
        solver: ``matrix-free``, the operator's own solve; ``dense``, the paper's way, kept to compare.

    Raises:
        ValueError: ``dense`` with an operator of which no matrix can be made, or with a rho to be learned.
    """
    if solver == "dense":
        return DenseStep(operator, observed, rho)
    make = getattr(operator, "data_step", None)
    if make is not None:
        step: DataStep = make(observed, rho)
        return step
    return lambda v: operator.prox(v, observed, rho)


class DenseStep:
    """``z = pinv([A; sqrt(rho) I]) [y; sqrt(rho) v]`` with the matrix written out for every sample (Sec. 3.2).

    Args:
        operator: of ``restore.operators``.
        observed: y.
        rho: a number.

    Raises:
        ValueError: another kind of operator, or a rho that is a tensor.
    """

    def __init__(self, operator: Any, observed: Tensor, rho: float | Tensor) -> None:
        if isinstance(rho, Tensor):
            raise ValueError('the dense solver knows only a fixed rho; use solver = "matrix-free" to learn it')
        self.rho = rho
        singles = _singles(operator, len(observed))
        parts = operator.split(observed) if isinstance(operator, Mixed) else list(observed)
        self._measured = [part.reshape(-1) for part in parts]
        made = {id(one): self._inverse(one, observed) for one in {id(one): one for one in singles}.values()}
        self._inverses = [made[id(one)] for one in singles]

    def _inverse(self, operator: Operator, like: Tensor) -> Tensor:
        """``(d, m + d)``. The matrix has full column rank, so that its pseudo-inverse is ``(A^T A + rho I)^-1 [A^T,
        sqrt(rho) I]``, which costs far less than the published singular value decomposition."""
        # Beyond some thousand columns float64 would double what is large enough already.
        exact = torch.float64 if operator.shape.columns <= 2048 else torch.float32
        matrix = dense_matrix(operator).to(device=like.device, dtype=exact)
        normal = matrix.T @ matrix
        normal.diagonal().add_(self.rho)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(normal))
        del normal
        whole = matrix.new_empty(matrix.shape[1], sum(matrix.shape))
        torch.mm(inverse, matrix.T, out=whole[:, : len(matrix)])
        torch.mul(inverse, math.sqrt(self.rho), out=whole[:, len(matrix) :])
        return whole.to(like.dtype)

    def __call__(self, v: Tensor) -> Tensor:
        """``(B, T, C, H, W)`` to the same."""
        root = math.sqrt(self.rho)
        samples = zip(self._inverses, self._measured, v, strict=True)
        return torch.stack([(b @ torch.cat([y, root * x.reshape(-1)])).view_as(x) for b, y, x in samples])


def _singles(operator: Any, count: int) -> Sequence[Operator]:
    if isinstance(operator, Mixed):
        return operator.operators
    if isinstance(operator, Operator) and operator.batch is None:
        return [operator] * count
    raise ValueError(f"no dense matrix can be made of {operator!r}; use solver = 'matrix-free'")
