"""Bicubic up-scaling as a model: the baseline every super-resolution table begins with."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from restore.contracts import Halo, Traits
from restore.functional.resize import resize


class BicubicUpscale(nn.Module):
    """MATLAB-compatible bicubic up-scaling (``imresize``), without parameters.

    Args:
        scale: output pixels per input pixel along each side, at least 1.
        channels: ``rgb`` or ``y``; the arithmetic is the same, it says which planes the engine hands over.

    Raises:
        ValueError: a scale below 1.
    """

    def __init__(self, scale: int = 2, channels: Literal["rgb", "y"] = "rgb") -> None:
        super().__init__()
        if scale < 1:
            raise ValueError(f"scale must be at least 1, got {scale}")
        self.traits = Traits(scale=scale, channels=channels, halo=Halo(pixels=3))

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, C, H, W)``, any range, to ``(B, T, C, scale*H, scale*W)``."""
        return resize(clip, float(self.traits.scale))


class Identity(nn.Module):
    """Gives back what it gets: to test a pipeline, or to change only the container and codec of a file.

    Args:
        channels: which planes the engine hands over.
    """

    def __init__(self, channels: Literal["rgb", "y"] = "rgb") -> None:
        super().__init__()
        self.traits = Traits(channels=channels, transfers=("sdr", "pq", "hlg"))

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, C, H, W)`` unchanged."""
        return clip
