"""PSNR and SSIM with every choice spelled out."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = Literal["valid", "replicate"]


def psnr(a: Tensor, b: Tensor, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB over all elements of two equally shaped tensors; infinite where they agree.

    Raises:
        ValueError: shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"PSNR needs equal shapes, got {tuple(a.shape)} and {tuple(b.shape)}")
    error = float(((a.double() - b.double()) ** 2).mean())
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def gaussian_window(size: int = 11, sigma: float = 1.5) -> Tensor:
    """``(size,)`` float64 Gaussian weights that sum to one; ``fspecial('gaussian')`` is their outer product."""
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    w = torch.exp(-(x**2) / (2 * sigma**2))
    return w / w.sum()


def ssim(a: Tensor, b: Tensor, peak: float = 1.0, padding: Padding = "valid") -> float:
    """Structural similarity (Wang et al., IEEE TIP 2004): 11x11 Gaussian window, sigma 1.5, K1 = 0.01, K2 = 0.03.

    Args:
        a, b: ``(..., H, W)``; leading axes are averaged.
        peak: largest value.
        padding: ``valid``, the map holds only whole windows (the original code); ``replicate``, the whole image with
            its edges repeated (MATLAB's ``ssim``).

    Returns:
        the mean of the map, computed in float64.

    Raises:
        ValueError: shapes differ, or a side is below 11 under ``valid``.
    """
    if a.shape != b.shape:
        raise ValueError(f"SSIM needs equal shapes, got {tuple(a.shape)} and {tuple(b.shape)}")
    height, width = a.shape[-2:]
    window = gaussian_window().to(a.device)
    if padding == "valid" and min(height, width) < window.numel():
        raise ValueError(f"SSIM over valid windows needs at least 11x11 pixels, got {width}x{height}")
    x, y = (t.double().reshape(-1, 1, height, width) for t in (a, b))

    def blur(t: Tensor) -> Tensor:
        if padding == "replicate":
            t = F.pad(t, (5, 5, 5, 5), mode="replicate")
        return F.conv2d(F.conv2d(t, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    score = ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(score.mean())
