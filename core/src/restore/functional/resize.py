"""Separable resizing with the numbers of MATLAB's ``imresize``, and with chroma siting.

The field's super-resolution tables rest on ``imresize(image, scale, "bicubic")``: Keys' cubic (a = -0.5), widened by
the factor when shrinking (antialiasing), half-sample symmetric borders, rows before columns, and for 8-bit input one
rounding after each of the two passes.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Border = Literal["mirror", "replicate"]
Rounding = Literal["none", "each-pass", "end"]


def cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -0.5, any shape, support [-2, 2] (Keys, IEEE TASSP 1981, Eq. 15)."""
    a = x.abs()
    near = 1.5 * a**3 - 2.5 * a**2 + 1
    far = -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2
    return torch.where(a <= 1, near, torch.where(a <= 2, far, torch.zeros_like(a)))


# Made outside inference mode, wherever it is asked for: what is kept may be used under autograd later.
@lru_cache(maxsize=256)
@torch.inference_mode(False)
def taps(
    n_in: int, n_out: int, scale: float, offset: float = 0.0, antialias: bool = True, border: Border = "mirror"
) -> tuple[Tensor, Tensor]:
    """Indices and weights of one resizing pass, as MATLAB's ``contributions`` computes them.

    Args:
        n_in: input length in samples.
        n_out: output length in samples.
        scale: output samples per input sample; output j lies at ``(j + 0.5)/scale - 0.5 + offset`` on the input grid.
        offset: shift of the sampling positions, in input samples (chroma siting).
        antialias: widen the kernel by ``1/scale`` when shrinking.
        border: ``mirror`` (half-sample symmetric, current MATLAB) or ``replicate`` (older MATLAB).

    Returns:
        ``(index, weight)``, both ``(n_out, P)``: int64 in [0, n_in) and float64 with rows that sum to one.
    """
    shrink = scale if antialias and scale < 1 else 1.0
    width = 4.0 / shrink
    position = (torch.arange(n_out, dtype=torch.float64) + 0.5) / scale - 0.5 + offset
    left = torch.floor(position + 1 - width / 2)  # MATLAB counts from one; keep its floor, then go back
    count = math.ceil(width) + 2
    index = left[:, None] + torch.arange(count, dtype=torch.float64) - 1
    weight = shrink * cubic(shrink * (position[:, None] - index))
    weight = weight / weight.sum(dim=1, keepdim=True)
    used = (weight != 0).any(dim=0)
    index, weight = index[:, used].long(), weight[:, used]
    if border == "replicate":
        index = index.clamp(0, n_in - 1)
    else:
        index = index.remainder(2 * n_in)
        index = torch.where(index >= n_in, 2 * n_in - 1 - index, index)
    return index, weight


def _one_pass(x: Tensor, dim: int, index: Tensor, weight: Tensor) -> Tensor:
    index = index.to(x.device)
    shape = [1] * x.ndim
    shape[dim] = -1
    out: Tensor | None = None
    for k in range(index.shape[1]):
        term = x.index_select(dim, index[:, k]) * weight[:, k].to(x).view(shape)
        out = term if out is None else out + term
    assert out is not None
    return out


def resize(
    x: Tensor,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    *,
    offset: tuple[float, float] = (0.0, 0.0),
    antialias: bool = True,
    border: Border = "mirror",
    rounding: Rounding = "none",
) -> Tensor:
    """Bicubic resize of the last two axes, equal to MATLAB's ``imresize`` in the input's own precision.

    Args:
        x: ``(..., H, W)`` floating point. Any value range; with ``rounding`` the values are in [0, 1] and stand for
            8-bit levels.
        scale: factor for both axes; the output has ``ceil(scale * H)`` by ``ceil(scale * W)`` samples.
        size: output ``(H', W')`` instead; with ``scale`` too, the sampling grid follows ``scale`` and the size only
            says how many samples are taken.
        offset: shift of the sampling positions in input samples, ``(vertical, horizontal)``.
        antialias: widen the kernel when shrinking.
        border: ``mirror`` or ``replicate``.
        rounding: ``none`` for floating-point input, ``each-pass`` for what MATLAB does to uint8, ``end`` for a float
            resize whose result is stored in 8 bits.

    Returns:
        ``(..., H', W')``, differentiable in ``x`` where nothing is rounded.

    Raises:
        ValueError: neither scale nor size, or an output without samples.
    """
    if scale is None and size is None:
        raise ValueError("resize needs a scale or a size")
    height, width = x.shape[-2:]
    if size is None:
        assert scale is not None
        size = (math.ceil(scale * height - 1e-9), math.ceil(scale * width - 1e-9))
    if min(size) < 1 or min(height, width) < 1:
        raise ValueError(f"cannot resize {height}x{width} to {size[0]}x{size[1]}: every side needs at least one pixel")
    scales = (scale, scale) if scale is not None else (size[0] / height, size[1] / width)
    # MATLAB takes the axis with the smaller factor first, rows on a tie.
    order = (-2, -1) if scales[0] <= scales[1] else (-1, -2)
    out = x
    if rounding != "none":
        # On whole levels in double, as MATLAB has them: at scale 2 and 4 many results lie exactly between two levels,
        # and on [0, 1] the last bit would decide which way they go.
        out = x.double() * 255
        out = _whole(out) if rounding == "each-pass" else out
    for axis in order:
        s, n_in, n_out = scales[axis], out.shape[axis], size[axis]
        index, weight = taps(n_in, n_out, float(s), float(offset[axis]), antialias, border)
        out = _one_pass(out, out.ndim + axis, index, weight)
        if rounding == "each-pass":
            out = _whole(out)
    return out if rounding == "none" else (_whole(out) / 255).to(x.dtype)


def _whole(levels: Tensor) -> Tensor:
    return torch.floor(levels.clamp(0, 255) + 0.5)


def quantize(x: Tensor, levels: int = 255) -> Tensor:
    """``x`` in [0, 1] clamped and rounded to ``levels + 1`` levels, halves away from zero as MATLAB does."""
    return torch.floor(x.clamp(0, 1) * levels + 0.5) / levels
