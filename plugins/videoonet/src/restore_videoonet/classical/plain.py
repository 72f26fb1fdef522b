"""The two answers that need no prior."""

from __future__ import annotations

from restore import LinearOperator, Traits
from torch import Tensor, nn

TRAITS = Traits(temporal="clip", global_context=True, needs_operator=True)


class ZeroFilling(nn.Module):
    """``A^T y``: what was not measured stays 0."""

    traits = TRAITS

    def forward(self, observed: Tensor, operator: LinearOperator) -> Tensor:
        """A measurement and its operator to clips ``(B, T, C, H, W)``."""
        return operator.adjoint(observed)


class PseudoInverse(nn.Module):
    """``pinv(A) y``: of all clips that explain the measurement best, the one of least norm. It is exact where the
    operator loses nothing and there is no noise."""

    traits = TRAITS

    def forward(self, observed: Tensor, operator: LinearOperator) -> Tensor:
        """A measurement and its operator to clips ``(B, T, C, H, W)``."""
        return operator.pinv(observed)
