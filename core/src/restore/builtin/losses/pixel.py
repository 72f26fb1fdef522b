"""Losses between the restored and the target clip, pixel by pixel."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from restore.contracts import Pair, Prediction, Step

Reduction = Literal["mean", "sum", "image"]


def reduce(values: Tensor, reduction: Reduction) -> Tensor:
    """``(B, T, C, H, W)`` to a scalar: ``mean`` or ``sum`` over everything, or ``image``: summed over each frame's
    pixels and averaged over frames."""
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    return values.sum(dim=(-3, -2, -1)).mean()


class Charbonnier:
    """``sqrt(d^2 + eps^2)``, a differentiable L1 (Charbonnier et al., ICIP 1994; LapSRN; SrSENet, Eq. 3).

    Args:
        eps: on the [0, 1] scale.
        reduction: ``mean``, ``sum`` or ``image`` (sum over pixels, mean over images).
    """

    def __init__(self, eps: float = 1e-3, reduction: Reduction = "mean") -> None:
        self.eps, self.reduction = eps, reduction

    def __call__(self, prediction: Prediction, pair: Pair, step: Step) -> Tensor:
        """The scalar loss between ``prediction.restored`` and ``pair.target``."""
        difference = prediction.restored - pair.target
        return reduce((difference * difference + self.eps**2).sqrt(), self.reduction)


class L1:
    """Mean (or summed) absolute difference.

    Args:
        reduction: ``mean``, ``sum`` or ``image`` (sum over pixels, mean over images).
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        self.reduction: Reduction = reduction

    def __call__(self, prediction: Prediction, pair: Pair, step: Step) -> Tensor:
        """The scalar loss between ``prediction.restored`` and ``pair.target``."""
        return reduce((prediction.restored - pair.target).abs(), self.reduction)


class MSE:
    """Mean (or summed) squared difference.

    Args:
        reduction: ``mean``, ``sum`` or ``image`` (sum over pixels, mean over images).
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        self.reduction: Reduction = reduction

    def __call__(self, prediction: Prediction, pair: Pair, step: Step) -> Tensor:
        """The scalar loss between ``prediction.restored`` and ``pair.target``."""
        return reduce((prediction.restored - pair.target) ** 2, self.reduction)
