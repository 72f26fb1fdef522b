"""A trained model as the prior of ADMM, without any training of the two together."""

from __future__ import annotations

import torch
from restore import Teacher
from torch import Tensor

from restore_videoonet.classical.admm import ADMM, Start
from restore_videoonet.networks.priors import through_model


class PlugAndPlay(ADMM):
    """ADMM whose proximal step is a trained model: a denoiser, or anything of scale 1 that makes clips more likely.

    Args:
        denoiser: its table, with weights: ``{ use = "srsenet", scale = 1, weights = "FILE" }``.
        iterations, rho, tolerance, start: see :class:`ADMM`.

    Raises:
        ValueError: a denoiser that enlarges or needs an operator, or a number out of its range.
    """

    def __init__(
        self,
        denoiser: Teacher,
        iterations: int = 13,
        rho: float = 0.3,
        tolerance: float = 1e-6,
        start: Start = "pinv",
    ) -> None:
        super().__init__(iterations, rho, tolerance, start)
        if denoiser.traits.scale != 1 or denoiser.traits.needs_operator:
            raise ValueError("the denoiser must keep the size of its clip (scale 1) and need no operator")
        self.denoiser = denoiser

    def proximal(self, v: Tensor) -> Tensor:
        """The model's answer, without gradients."""
        with torch.no_grad():
            return through_model(self.denoiser, v)
