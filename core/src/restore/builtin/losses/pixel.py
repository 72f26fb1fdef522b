"""Losses between the restored and the target clip, pixel by pixel."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from restore.contracts import Pair, Prediction, Step
from restore.functional.color import rgb_to_y

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


class LogMSE:
    """``log10(mse + eps^2)`` of each frame, in the mean over frames: PSNR in -10 dB, known as PSNR loss (Chen et
    al., HINet, 2021). A frame that is hardly spoilt counts as much as one that is spoilt beyond repair, whose errors
    would else drown it.

    Args:
        plane: ``rgb``: all channels; ``y``: luma alone, BT.601's in studio range, as protocols count it.
        eps: on the [0, 1] scale; keeps what is perfect already finite.

    Raises:
        ValueError: eps is not above 0; later, ``y`` of clips that do not have three channels.
    """

    def __init__(self, plane: Literal["rgb", "y"] = "rgb", eps: float = 1e-3) -> None:
        if not eps > 0:
            raise ValueError(f"eps must be above 0, got {eps}")
        self.plane, self.eps = plane, eps

    def __call__(self, prediction: Prediction, pair: Pair, step: Step) -> Tensor:
        """The scalar loss between ``prediction.restored`` and ``pair.target``, ``(B, T, C, H, W)``."""
        restored, target = prediction.restored, pair.target
        if self.plane == "y":
            if target.shape[2] != 3:
                raise ValueError(f"luma is taken of clips of 3 channels, these have {target.shape[2]}")
            restored, target = rgb_to_y(restored), rgb_to_y(target)
        difference = restored - target
        return (difference.square().mean(dim=(-3, -2, -1)) + self.eps**2).log10().mean()
