"""PSNR and SSIM as metrics that say how they were measured."""

from __future__ import annotations

from typing import Any, Mapping

from torch import Tensor

from restore.functional.quality import Padding, psnr, ssim


def shave(clip: Tensor, border: int) -> Tensor:
    """``(..., H, W)`` without ``border`` pixels on every side."""
    return clip[..., border : clip.shape[-2] - border, border : clip.shape[-1] - border] if border else clip


class PSNR:
    """PSNR over all planes of a clip.

    Args:
        border: pixels shaved on every side.
    """

    def __init__(self, border: int = 0) -> None:
        self.border = border
        self.protocol: Mapping[str, Any] = {"metric": "psnr", "border": border, "peak": 1.0, "planes": "as given"}

    def __call__(self, restored: Tensor, reference: Tensor) -> float:
        """dB between two ``(B, T, C, H, W)`` clips in [0, 1]."""
        return psnr(shave(restored, self.border), shave(reference, self.border))


class SSIM:
    """SSIM averaged over the planes of a clip.

    Args:
        border: pixels shaved on every side.
        padding: ``valid`` or ``replicate``, see :func:`restore.functional.quality.ssim`.
    """

    def __init__(self, border: int = 0, padding: Padding = "valid") -> None:
        self.border, self.padding = border, padding
        self.protocol: Mapping[str, Any] = {
            "metric": "ssim", "border": border, "window": "11x11 Gaussian, sigma 1.5", "padding": padding, "peak": 1.0,
        }  # fmt: skip

    def __call__(self, restored: Tensor, reference: Tensor) -> float:
        """Mean SSIM between two ``(B, T, C, H, W)`` clips in [0, 1]."""
        return ssim(shave(restored, self.border), shave(reference, self.border), padding=self.padding)
