"""Blur kernels: float64 tensors of taps that sum to one."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Boundary = Literal["full", "valid", "circular"]


def disk(size: int = 4, radius: float = 2.0) -> Tensor:
    """``(size, size)``: equal taps on the grid points no farther than ``radius`` from the centre.

    The default, 4x4 with radius 2, has 12 taps of 1/12: the corners lie at 2.12 (VideoOneNet's problem DD).

    Raises:
        ValueError: a size below 1, or a radius that no grid point lies within.
    """
    if size < 1:
        raise ValueError(f"a disk kernel needs a size of at least 1, got {size}")
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    inside = (x[:, None] ** 2 + x[None, :] ** 2).sqrt() <= radius
    if not bool(inside.any()):
        raise ValueError(f"no tap of a {size}x{size} kernel lies within the radius {radius}")
    return inside.to(torch.float64) / inside.sum()


def gaussian(size: int, sigma: float) -> Tensor:
    """``(size,)`` samples of a Gaussian; the outer product is MATLAB's ``fspecial('gaussian')``.

    Raises:
        ValueError: a size below 1 or a sigma not above 0.
    """
    if size < 1 or not sigma > 0:
        raise ValueError(f"a Gaussian kernel needs a size of at least 1 and a sigma above 0, got {size} and {sigma}")
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    w = torch.exp(-(x**2) / (2 * sigma**2))
    return w / w.sum()


def motion_line(length: int = 7, angle: float = 0.0) -> Tensor:
    """``(length, length)``: a centred line of ``length`` taps at ``angle`` degrees, counter-clockwise from the right.

    One tap per column, or per row where the line is steep, at the nearest pixel: 7x7 by default (VideoOneNet's MD).

    Raises:
        ValueError: a length that is not odd and positive.
    """
    if length < 1 or length % 2 == 0:
        raise ValueError(f"a motion kernel needs an odd length of at least 1, got {length}")
    middle = length // 2
    dx, dy = math.cos(math.radians(angle)), -math.sin(math.radians(angle))
    largest = max(abs(dx), abs(dy))
    kernel = torch.zeros(length, length, dtype=torch.float64)
    for step in range(-middle, middle + 1):
        kernel[middle + round(step * dy / largest), middle + round(step * dx / largest)] = 1 / length
    return kernel


def motion_legacy(angle: float) -> Tensor:
    """``(3, 3)``: ones in the last row, turned by ``angle`` degrees about the centre (nearest neighbour), normalised.

    What the published VideoOneNet code builds where the paper says 7x7: 2 or 3 taps, off centre.
    """
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    kernel = torch.zeros(3, 3, dtype=torch.float64)
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            source = round(c * row - s * column), round(s * row + c * column)
            kernel[row + 1, column + 1] = float(source[0] == 1 and abs(source[1]) <= 1)
    return kernel / kernel.sum()


def toeplitz(n: int, taps: Tensor, boundary: Boundary = "full") -> Tensor:
    """The matrix of a convolution over ``n`` samples.

    Args:
        n: samples in.
        taps: ``(k,)``.
        boundary: ``full``, zeros outside, ``n + k - 1`` rows; ``valid``, ``n - k + 1`` rows; ``circular``, ``n`` rows,
            tap ``k // 2`` on the diagonal.

    Raises:
        ValueError: more taps than samples under ``valid`` or ``circular``, or taps that are not a vector.
    """
    if taps.ndim != 1 or taps.numel() < 1:
        raise ValueError(f"taps must be a vector, got the shape {tuple(taps.shape)}")
    k = taps.numel()
    if boundary != "full" and k > n:
        raise ValueError(f"{k} taps do not fit into {n} samples under the boundary {boundary!r}")
    full = torch.zeros(n + k - 1, n, dtype=torch.float64)
    for j in range(n):
        full[j : j + k, j] = taps.to(full)
    if boundary == "full":
        return full
    if boundary == "valid":
        return full[k - 1 : n]
    rows = (torch.arange(n + k - 1) - k // 2) % n
    return torch.zeros(n, n, dtype=torch.float64).index_add_(0, rows, full)
