"""A loss that forgives outliers."""

from __future__ import annotations

import torch
from restore import Pair, Prediction, Step
from torch import Tensor


class Lorentzian:
    """``mean log(1 + (d / scale)^2 / 2)`` (Black and Anandan, 1996).

    Args:
        scale: differences on the [0, 1] scale beyond which an error counts less and less.

    Raises:
        ValueError: a scale that is not above 0.
    """

    def __init__(self, scale: float = 0.1) -> None:
        if scale <= 0:
            raise ValueError(f"scale must be above 0, got {scale}")
        self.scale = scale

    def __call__(self, prediction: Prediction, pair: Pair, step: Step) -> Tensor:
        """The scalar between ``prediction.restored`` and ``pair.target``, both ``(B, T, C, H, W)``."""
        difference = (prediction.restored - pair.target) / self.scale
        return torch.log1p(difference.square() / 2).mean()
