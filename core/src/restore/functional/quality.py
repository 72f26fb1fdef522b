"""PSNR and SSIM with every choice spelled out."""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from restore.functional.similarity import WINDOW, ssim_maps

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
    if padding == "valid" and min(height, width) < WINDOW:
        raise ValueError(f"SSIM over valid windows needs at least 11x11 pixels, got {width}x{height}")
    x, y = (t.double().reshape(-1, 1, height, width) for t in (a, b))
    if padding == "replicate":
        half = WINDOW // 2
        x, y = (F.pad(t, (half, half, half, half), mode="replicate") for t in (x, y))
    luminance, structure = ssim_maps(x[:, 0], y[:, 0], peak)
    return float((luminance * structure).mean())
