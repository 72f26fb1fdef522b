"""Colour conversions on float tensors.

The field scores super-resolution on the luma of MATLAB's ``rgb2ycbcr``: BT.601, studio range, 16/255 to 235/255. Models
that declare ``channels = "y"`` take and give exactly that luma.
"""

from __future__ import annotations

import torch
from torch import Tensor

STUDIO_OFFSET = 16 / 255
STUDIO_SPAN = 219 / 255
CHROMA_SPAN = 224 / 255

# Kr and Kb of ITU-R BT.601-7, BT.709-6, BT.2020-2 (non-constant luminance), SMPTE 240M and FCC.
LUMA_WEIGHTS: dict[str, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}

# MATLAB's published coefficients, per 255. They are rounded to three decimals and the tables were made with them.
_MATLAB = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
_MATLAB_OFFSET = (16.0, 128.0, 128.0)


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """MATLAB's ``rgb2ycbcr``: ``(..., 3, H, W)`` in [0, 1] to studio-range BT.601 Y, Cb, Cr in [16, 240]/255."""
    matrix = torch.tensor(_MATLAB, dtype=rgb.dtype, device=rgb.device) / 255
    offset = torch.tensor(_MATLAB_OFFSET, dtype=rgb.dtype, device=rgb.device) / 255
    return torch.einsum("ij,...jhw->...ihw", matrix, rgb) + offset[:, None, None]


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """The exact inverse of :func:`rgb_to_ycbcr`: ``(..., 3, H, W)`` studio-range BT.601 to RGB, not clamped."""
    matrix = torch.linalg.inv(torch.tensor(_MATLAB, dtype=torch.float64) / 255).to(ycbcr)
    offset = torch.tensor(_MATLAB_OFFSET, dtype=ycbcr.dtype, device=ycbcr.device) / 255
    return torch.einsum("ij,...jhw->...ihw", matrix, ycbcr - offset[:, None, None])


def rgb_to_y(rgb: Tensor) -> Tensor:
    """Studio-range BT.601 luma of ``(..., 3, H, W)`` RGB in [0, 1]: ``(..., 1, H, W)`` in [16, 235]/255."""
    weights = torch.tensor(_MATLAB[0], dtype=rgb.dtype, device=rgb.device) / 255
    return torch.einsum("j,...jhw->...hw", weights, rgb).unsqueeze(-3) + STUDIO_OFFSET


def full_to_studio(y: Tensor) -> Tensor:
    """Full-range grey in [0, 1] to studio range [16, 235]/255, any shape."""
    return y * STUDIO_SPAN + STUDIO_OFFSET


def studio_to_full(y: Tensor) -> Tensor:
    """Studio-range luma in [16, 235]/255 to [0, 1], any shape, not clamped."""
    return (y - STUDIO_OFFSET) / STUDIO_SPAN
