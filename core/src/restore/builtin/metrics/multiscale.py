"""MS-SSIM as a metric."""

from __future__ import annotations

from typing import Any, Mapping

from torch import Tensor

from restore.builtin.metrics.basic import shave
from restore.functional.similarity import WEIGHTS, ms_ssim


class MSSSIM:
    """Multi-scale SSIM (Wang, Simoncelli, Bovik 2003) averaged over the planes of a clip.

    Args:
        border: pixels shaved on every side; what is left must have 161x161 pixels.
    """

    def __init__(self, border: int = 0) -> None:
        self.border = border
        self.protocol: Mapping[str, Any] = {
            "metric": "ms_ssim", "border": border, "scales": len(WEIGHTS), "weights": WEIGHTS,
            "window": "11x11 Gaussian, sigma 1.5", "padding": "valid", "peak": 1.0, "planes": "as given, then the mean",
        }  # fmt: skip

    def __call__(self, restored: Tensor, reference: Tensor) -> float:
        """Mean MS-SSIM between two ``(B, T, C, H, W)`` clips in [0, 1]; ValueError below 161x161 pixels."""
        return ms_ssim(shave(restored, self.border), shave(reference, self.border))
