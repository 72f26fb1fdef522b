"""The alternating direction method of multipliers (Boyd et al., 2011), Alg. 1 of the paper."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from restore import LinearOperator
from torch import Tensor, nn

from restore_videoonet.classical.plain import TRAITS
from restore_videoonet.networks.steps import data_step

Start = Literal["pinv", "adjoint"]


class ADMM(nn.Module):
    """``X = prox(Z - U)``, ``Z = argmin 1/2 |A Z - y|^2 + rho/2 |X - Z + U|^2``, ``U = U + X - Z``; the answer is Z.

    A subclass gives the proximal operator of its prior.

    Args:
        iterations: at most.
        rho: weight of the constraint X = Z, above 0.
        tolerance: ends when X and Z differ by no more, as a root mean square; 0: never before.
        start: of Z, ``pinv(A) y`` or ``A^T y``.

    Raises:
        ValueError: a number out of its range.
    """

    def __init__(self, iterations: int, rho: float, tolerance: float = 1e-6, start: Start = "pinv") -> None:
        super().__init__()
        if iterations < 1 or not rho > 0 or tolerance < 0:
            raise ValueError(
                "iterations must be at least 1, rho above 0 and tolerance not negative, "
                f"got {iterations}, {rho} and {tolerance}"
            )
        self.traits = TRAITS
        self.iterations, self.rho, self.tolerance, self.start = iterations, rho, tolerance, start

    @abstractmethod
    def proximal(self, v: Tensor) -> Tensor:
        """``argmin_x lambda phi(x) + rho/2 |x - v|^2`` for clips ``(B, T, C, H, W)``."""

    def forward(self, observed: Tensor, operator: LinearOperator) -> Tensor:
        """A measurement and its operator to clips ``(B, T, C, H, W)``, not clamped."""
        z = operator.pinv(observed) if self.start == "pinv" else operator.adjoint(observed)
        u = torch.zeros_like(z)
        step = data_step(operator, observed, self.rho)
        for _ in range(self.iterations):
            x = self.proximal(z - u)
            z = step(x + u)
            u = u + x - z
            if self.tolerance and float((x - z).detach().square().mean().sqrt()) <= self.tolerance:
                break
        return z
