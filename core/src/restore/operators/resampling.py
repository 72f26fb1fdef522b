"""Down-sampling by one matrix per axis: MATLAB's bicubic (BI), Gaussian blur and stride (BD), true area."""

from __future__ import annotations

from typing import Literal, Sequence

import torch
from torch import Tensor

from restore.functional.resize import Border, taps
from restore.operators.diagonal import clip_sizes
from restore.operators.kernels import gaussian
from restore.operators.separable import Separable

BlurBorder = Literal["reflect", "mirror", "replicate", "circular", "zero"]


def _divide(shape: Sequence[int], factor: int) -> tuple[int, int]:
    height, width = clip_sizes(shape)[2:]
    if factor < 1:
        raise ValueError(f"the factor must be at least 1, got {factor}")
    if height % factor or width % factor:
        raise ValueError(
            f"the factor {factor} does not divide frames of {height}x{width}; crop them to "
            f"{height // factor * factor}x{width // factor * factor} first"
        )
    return height, width


def bicubic_matrix(n: int, factor: int, border: Border = "mirror") -> Tensor:
    """``(n / factor, n)`` float64: one pass of MATLAB's ``imresize(x, 1/factor)`` with antialiasing."""
    index, weight = taps(n, n // factor, 1 / factor, border=border)
    return torch.zeros(n // factor, n, dtype=torch.float64).scatter_add_(1, index, weight)


def bicubic_downsample(shape: Sequence[int], factor: int, border: Border = "mirror") -> Separable:
    """BI: ``(T, C, H, W)`` to ``(T, C, H/factor, W/factor)``, equal to ``restore.functional.resize.resize``.

    Args:
        shape: ``(T, C, H, W)``.
        factor: divides H and W.
        border: ``mirror``, current MATLAB; ``replicate``, older releases.

    Raises:
        ValueError: a factor below 1 or one that does not divide the frame.
    """
    height, width = _divide(shape, factor)
    if factor == 1:
        return Separable(shape, {})
    return Separable(shape, {2: bicubic_matrix(height, factor, border), 3: bicubic_matrix(width, factor, border)})


def _outside(index: Tensor, n: int, border: BlurBorder) -> Tensor:
    """Positions folded back into [0, n); -1 where nothing is."""
    if border == "replicate":
        return index.clamp(0, n - 1)
    if border == "circular":
        return index % n
    if border == "zero":
        return torch.where((index < 0) | (index >= n), torch.full_like(index, -1), index)
    period = 2 * n if border == "mirror" else max(1, 2 * n - 2)
    folded = index % period
    return torch.where(folded >= n, (period - 1 if border == "mirror" else period) - folded, folded)


def strided_matrix(n: int, kernel: Tensor, stride: int, border: BlurBorder) -> Tensor:
    """``(ceil(n / stride), n)`` float64: a centred convolution sampled at 0, stride, 2 stride, ...

    ``reflect`` mirrors at the first sample, ``mirror`` before it.
    """
    k = kernel.numel()
    positions = torch.arange(0, n, stride)[:, None] + k // 2 - torch.arange(k)[None, :]
    index = _outside(positions, n, border)
    weight = torch.where(index < 0, torch.zeros(1, dtype=torch.float64), kernel.to(torch.float64)[None, :])
    return torch.zeros(len(positions), n, dtype=torch.float64).scatter_add_(1, index.clamp_min(0), weight)


def gaussian_downsample(
    shape: Sequence[int], factor: int, sigma: float = 1.6, size: int = 13, border: BlurBorder = "reflect"
) -> Separable:
    """BD: a Gaussian blur, then every ``factor``-th pixel from the first on (the video super-resolution benchmarks).

    Args:
        shape: ``(T, C, H, W)``.
        factor: divides H and W.
        sigma: of the Gaussian, in pixels of the clean clip; 1.6 in the benchmarks.
        size: odd number of taps along each axis.
        border: what lies outside the frame.

    Raises:
        ValueError: a factor that is below 1 or does not divide the frame, sigma not above 0, an even size, or a border
            that the frame is too small for.
    """
    height, width = _divide(shape, factor)
    if size % 2 == 0:
        raise ValueError(f"the Gaussian needs an odd size, got {size}")
    if border not in ("reflect", "mirror", "replicate", "circular", "zero"):
        raise ValueError(f"the border must be reflect, mirror, replicate, circular or zero, got {border!r}")
    kernel = gaussian(size, sigma)
    return Separable(shape, {a: strided_matrix(n, kernel, factor, border) for a, n in ((2, height), (3, width))})


def area_matrix(n: int, m: int) -> Tensor:
    """``(m, n)`` float64: means over m equal intervals of n samples, a sample on a border counted by its part."""
    edges = torch.arange(m + 1, dtype=torch.float64) * n / m
    cells = torch.arange(n, dtype=torch.float64)
    upper = torch.minimum(edges[1:, None], cells[None, :] + 1)
    lower = torch.maximum(edges[:-1, None], cells[None, :])
    return (upper - lower).clamp_min(0) * m / n


def area_downsample(shape: Sequence[int], size: tuple[int, int]) -> Separable:
    """Mean colour of each of ``size[0]`` x ``size[1]`` equal rectangles, whether they divide the frame or not.

    Raises:
        ValueError: a size below 1 or larger than the frame.
    """
    height, width = clip_sizes(shape)[2:]
    if not (1 <= size[0] <= height and 1 <= size[1] <= width):
        raise ValueError(f"the size must lie between 1x1 and the frame's {height}x{width}, got {size[0]}x{size[1]}")
    return Separable(shape, {2: area_matrix(height, size[0]), 3: area_matrix(width, size[1])})
