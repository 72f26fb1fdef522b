"""Structural similarity at one scale as maps, and over several scales as a number."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
_BLOCK = 32  # rows of a band matrix: wide enough for matmul, narrow enough that few of its entries are zero


def gaussian_window(size: int = 11, sigma: float = 1.5) -> Tensor:
    """``(size,)`` float64 Gaussian weights that sum to one; ``fspecial('gaussian')`` is their outer product."""
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    w = torch.exp(-(x**2) / (2 * sigma**2))
    return w / w.sum()


def blur(planes: Tensor, window: Tensor) -> Tensor:
    """Planes under a separable window, whole windows only.

    As products with short band matrices, about eight times as fast in float64 as torch's convolution.

    Args:
        planes: ``(N, H, W)``, H and W at least as long as the window.
        window: ``(K,)`` weights of both axes.

    Returns:
        ``(N, H - K + 1, W - K + 1)``.
    """
    count = window.numel()
    band = window.new_zeros(_BLOCK, _BLOCK + count - 1)
    for row in range(_BLOCK):
        band[row, row : row + count] = window
    for axis in (1, 2):
        length = planes.shape[axis] - count + 1
        size = [length if i == axis else n for i, n in enumerate(planes.shape)]
        result = planes.new_empty(size)
        for start in range(0, length, _BLOCK):
            rows = min(_BLOCK, length - start)
            part = band[:rows, : rows + count - 1]
            piece = planes.narrow(axis, start, rows + count - 1)
            result.narrow(axis, start, rows).copy_(part @ piece if axis == 1 else piece @ part.T)
        planes = result
    return planes


def ssim_maps(x: Tensor, y: Tensor, peak: float = 1.0) -> tuple[Tensor, Tensor]:
    """The two factors of SSIM (Wang et al. 2004): luminance, and contrast times structure.

    Args:
        x, y: ``(N, H, W)`` float64, sides of at least 11 pixels.
        peak: largest value.

    Returns:
        two maps ``(N, H - 10, W - 10)``; the mean of their product is :func:`restore.functional.quality.ssim`.
    """
    window = gaussian_window(WINDOW).to(x)
    mx, my = blur(x, window), blur(y, window)
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    product, energy = mx * my, mx * mx + my * my
    # The variances are only ever needed as a sum: one blur less.
    structure = (2 * (blur(x * y, window) - product) + c2) / (blur(x * x + y * y, window) - energy + c2)
    return (2 * product + c1) / (energy + c1), structure


def smallest_side(scales: int = len(WEIGHTS)) -> int:
    """The fewest pixels of a side that leave one whole window at the last scale: 161 for five scales."""
    # Halving rounds up, so that n pixels are left of (n - 1) * 2^(scales - 1) + 1.
    return (WINDOW - 1 << scales - 1) + 1


def ms_ssim(a: Tensor, b: Tensor, peak: float = 1.0) -> float:
    """Multi-scale structural similarity (Wang, Simoncelli, Bovik, Asilomar 2003), as in the authors' ``msssim.m``.

    Five scales, each a 2x2 mean and every second pixel of the one before (an odd last row or column is mirrored); 11x11
    Gaussian window, sigma 1.5, whole windows only; K1 = 0.01, K2 = 0.03. At the first four scales the mean of contrast
    times structure counts, at the last the mean of full SSIM, each to the power of its weight. A mean below zero, which
    has no real power, counts as zero.

    Args:
        a, b: ``(..., H, W)``; every plane gives one value, and their mean is returned.
        peak: largest value.

    Returns:
        a number in [0, 1], computed in float64.

    Raises:
        ValueError: shapes differ, or a side is below 161 pixels.
    """
    if a.shape != b.shape:
        raise ValueError(f"MS-SSIM needs equal shapes, got {tuple(a.shape)} and {tuple(b.shape)}")
    height, width = a.shape[-2:]
    if min(height, width) < smallest_side():
        least = f"{smallest_side()}x{smallest_side()}"
        raise ValueError(f"MS-SSIM over {len(WEIGHTS)} scales needs at least {least} pixels, got {width}x{height}")
    x, y = (t.double().reshape(-1, height, width) for t in (a, b))
    result = torch.ones(len(x), dtype=torch.float64, device=x.device)
    for scale, weight in enumerate(WEIGHTS):
        luminance, structure = ssim_maps(x, y, peak)
        score = structure if scale < len(WEIGHTS) - 1 else luminance * structure
        result = result * score.mean(dim=(1, 2)).clamp(min=0) ** weight
        x, y = _halve(x), _halve(y)
    return float(result.mean())


def _halve(x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    return F.avg_pool2d(F.pad(x, (0, width % 2, 0, height % 2), mode="replicate"), 2)
