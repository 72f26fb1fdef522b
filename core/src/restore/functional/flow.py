"""Optical flow by a simple, documented method, and what follows from it: warping and occlusion.

A flow from frame ``a`` to frame ``b`` is ``(N, 2, H, W)``: x, then y, in pixels. The point at (x, y) of ``a`` is found
at (x, y) + flow in ``b``.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.functional.similarity import gaussian_window


def warp(image: Tensor, flow: Tensor, padding: Literal["border", "zeros"] = "border") -> Tensor:
    """``image`` fetched along ``flow``, bilinearly: the value at (x, y) is ``image`` at (x, y) + flow.

    Args:
        image: ``(N, C, H, W)``, float.
        flow: ``(N, 2, H, W)`` in pixels.
        padding: what lies outside of the image: ``border``, its edge goes on; ``zeros``.

    Returns:
        ``(N, C, H, W)`` in the image's dtype.
    """
    height, width = image.shape[-2:]
    # Half precision cannot tell positions apart beyond some hundred pixels.
    exact = torch.promote_types(torch.promote_types(image.dtype, flow.dtype), torch.float32)
    flow = flow.to(exact)
    x = torch.arange(width, dtype=exact, device=flow.device)
    y = torch.arange(height, dtype=exact, device=flow.device)[:, None]
    grid = torch.stack([(2 * (x + flow[:, 0]) + 1) / width - 1, (2 * (y + flow[:, 1]) + 1) / height - 1], dim=-1)
    fetched = F.grid_sample(image.to(exact), grid, mode="bilinear", padding_mode=padding, align_corners=False)
    return fetched.to(image.dtype)


def lucas_kanade(a: Tensor, b: Tensor, levels: int = 4, iterations: int = 5, window: int = 15) -> Tensor:
    """Dense flow from ``a`` to ``b``: iterated Lucas-Kanade from coarse to fine, as Bouguet has it, but at every pixel.

    At each level ``b`` is warped by the flow so far, and the step is the least-squares solution of the brightness
    constancy over a Gaussian window, with a small ridge where there is no texture, at most one pixel long. It is meant
    for measuring, not for the last percent: it finds smooth motion of textured things to about a tenth of a pixel, and
    neither small fast things nor motion of more than about ``2^(levels - 1)`` pixels.

    Args:
        a, b: ``(N, 1, H, W)`` in [0, 1].
        levels: of the pyramid, each half the size of the last; fewer are used while a side would fall below 16.
        iterations: steps at each level.
        window: odd width of the window in pixels.

    Returns:
        ``(N, 2, H, W)``.
    """
    pyramid = [(a, b)]
    while len(pyramid) < levels and min(pyramid[-1][0].shape[-2:]) >= 32:
        a, b = (F.avg_pool2d(t, 2, ceil_mode=True, count_include_pad=False) for t in (a, b))
        pyramid.append((a, b))
    flow = a.new_zeros(a.shape[0], 2, *pyramid[-1][0].shape[-2:])
    for now, after in pyramid[::-1]:
        size = now.shape[-2:]
        if flow.shape[-2:] != size:
            flow = 2 * F.interpolate(flow, size=size, mode="bilinear", align_corners=False)
        for _ in range(iterations):
            flow = flow + _step(now, warp(after, flow), window)
            flow = _smooth(flow, 5)
    return flow


def _step(a: Tensor, b: Tensor, window: int) -> Tensor:
    """The flow's next step, ``(N, 2, H, W)``: solves the 2x2 normal equations at each pixel."""
    middle = F.pad((a + b) / 2, (1, 1, 1, 1), mode="replicate")
    dx = (middle[..., 1:-1, 2:] - middle[..., 1:-1, :-2]) / 2
    dy = (middle[..., 2:, 1:-1] - middle[..., :-2, 1:-1]) / 2
    dt = b - a
    xx, xy, yy, xt, yt = (_smooth(t, window) for t in (dx * dx, dx * dy, dy * dy, dx * dt, dy * dt))
    ridge = 1e-6 + 1e-3 * (xx + yy)
    xx, yy = xx + ridge, yy + ridge
    determinant = xx * yy - xy * xy
    step = torch.cat([xy * yt - yy * xt, xy * xt - xx * yt], dim=1) / determinant
    return step.clamp(-1, 1)


def _smooth(t: Tensor, size: int) -> Tensor:
    """Each plane of ``(N, C, H, W)`` under a Gaussian window of ``size`` pixels, edges repeated."""
    weights = gaussian_window(size, size / 5).to(t)
    planes = t.reshape(-1, 1, *t.shape[-2:])
    half = size // 2
    padded = F.pad(planes, (half, half, half, half), mode="replicate")
    blurred = F.conv2d(F.conv2d(padded, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return blurred.reshape(t.shape)


def visible(forward: Tensor, backward: Tensor) -> Tensor:
    """Where a point of the first frame is seen in the second, by the agreement of both flows.

    The criterion of Sundaram, Brox and Keutzer (ECCV 2010): occluded where
    ``|f + b(x + f)|^2 > 0.01 (|f|^2 + |b(x + f)|^2) + 0.5``. Points that leave the frame are not seen either.

    Args:
        forward: from the first to the second frame, ``(N, 2, H, W)``.
        backward: from the second to the first.

    Returns:
        ``(N, 1, H, W)`` bool.
    """
    height, width = forward.shape[-2:]
    back = warp(backward, forward)
    apart = ((forward + back) ** 2).sum(dim=1, keepdim=True)
    agree = apart <= 0.01 * (forward**2 + back**2).sum(dim=1, keepdim=True) + 0.5
    x = torch.arange(width, dtype=forward.dtype, device=forward.device) + forward[:, 0]
    y = torch.arange(height, dtype=forward.dtype, device=forward.device)[:, None] + forward[:, 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return agree & inside[:, None]
