"""The dense matrix of an operator: the exact solve where it is small, and the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.operators.base import Operator
from restore.operators.structure import Spectral


def dense_matrix(operator: Operator) -> Tensor:
    """``(rows, columns)`` float64 on the CPU: the operator applied to every unit vector, one after the other in blocks.

    Raises:
        ValueError: the operator differs from sample to sample.
    """
    if operator.batch is not None:
        raise ValueError(f"{operator!r} differs from sample to sample; it has no one matrix")
    columns = operator.shape.columns
    blocks = []
    with torch.no_grad():
        for start in range(0, columns, 256):
            count = min(256, columns - start)
            units = torch.zeros(count, columns, dtype=torch.float64)
            units[torch.arange(count), start + torch.arange(count)] = 1
            blocks.append(operator(units.view(count, *operator.shape.input)).flatten(1))
    return torch.cat(blocks).T


def dense_structure(operator: Operator) -> Spectral:
    """The singular value decomposition of a small operator without other structure."""
    u, s, vh = torch.linalg.svd(dense_matrix(operator), full_matrices=False)

    def to_v(x: Tensor) -> Tensor:
        return x.flatten(1) @ operator.parameter("dense v", vh, x).T

    def from_v(c: Tensor) -> Tensor:
        return (c @ operator.parameter("dense v", vh, c)).view(-1, *operator.shape.input)

    def to_u(y: Tensor) -> Tensor:
        return y.flatten(1) @ operator.parameter("dense u", u, y)

    def from_u(c: Tensor) -> Tensor:
        return (c @ operator.parameter("dense u", u, c).T).view(-1, *operator.shape.output)

    detail = f"singular value decomposition of the dense {operator.shape.rows}x{operator.shape.columns} matrix"
    return Spectral(
        operator, "dense", detail, lambda c: operator.parameter("dense s", s, c), to_v, from_v, to_u, from_u
    )
