"""The smooth first guess where every value is either seen or not: solved from coarse to fine."""

from __future__ import annotations

from typing import Callable

import torch
from restore.operators import conjugate_gradients
from torch import Tensor
from torch.nn import functional as F

Weights = dict[int, Tensor]
_SMALLEST = 12  # side from which a coarser picture is asked first
_STEPS = 100


def fill(
    mass: Tensor, weighted: Tensor, weights_of: Callable[[Tensor, float], Weights], tolerance: float, share: float = 1.0
) -> Tensor:
    """``argmin_z 1/2 sum mass (z - weighted / mass)^2 + 1/2 |D z|^2``.

    A solution at half the height and width is where conjugate gradients begin, so that the middle of a large hole need
    not wait for what its edges say; time, the strong coupling there, is solved exactly at every step.

    Args:
        mass: ``(B, T, C, H, W)``, at least 0: how much each value was seen.
        weighted: that times what was seen.
        weights_of: from what was seen, and the share of the weight along space, the weights of squared differences by
            axis.
        tolerance: relative residual.
        share: of the weight along space: less than 1 on the coarser levels.

    Returns:
        ``(B, T, C, H, W)``.
    """
    weights = {axis: weight.to(mass) for axis, weight in weights_of(mass != 0, share).items()}

    def system(z: Tensor) -> Tensor:
        return mass * z + roughness(z, weights)

    start = torch.zeros_like(weighted)
    if min(mass.shape[-2:]) > _SMALLEST:
        # A step between coarse pixels spans two fine ones: squared, a quarter of the weight is as stiff.
        coarse = fill(_halved(mass), _halved(weighted), weights_of, tolerance, share / 4)
        flat = F.interpolate(coarse.flatten(0, 2).unsqueeze(1), mass.shape[-2:], mode="bilinear", align_corners=False)
        start = flat.view(mass.shape)
    rest = weighted - system(start)
    size, left = (torch.linalg.vector_norm(x.flatten(1), dim=1) for x in (weighted, rest))
    ratio = float((size / left.clamp_min(torch.finfo(left.dtype).tiny)).min())
    solved = conjugate_gradients(system, rest, min(0.5, tolerance * ratio), _STEPS, _along_time(mass, weights), "holes")
    return start + solved.x


def _halved(x: Tensor) -> Tensor:
    frames = x.flatten(0, 1)
    return F.avg_pool2d(frames, 2, ceil_mode=True, count_include_pad=False).unflatten(0, x.shape[:2])


def roughness(z: Tensor, weights: Weights) -> Tensor:
    """``D^T D z`` for clips ``(B, T, C, H, W)`` and the weights of squared differences, by axis."""
    out = torch.zeros_like(z)
    for dim, weight in weights.items():
        step = z.diff(dim=dim).mul_(weight)
        out.narrow(dim, z.shape[dim] - step.shape[dim], step.shape[dim]).add_(step)
        out.narrow(dim, 0, step.shape[dim]).sub_(step)
    return out


def _along_time(mass: Tensor, weights: Weights) -> Callable[[Tensor], Tensor]:
    """Divides by the system without what couples pixels of a frame: tridiagonal along time, solved by elimination."""
    diagonal = mass.clone()
    for dim, weight in weights.items():
        diagonal.narrow(dim, 1, weight.shape[dim]).add_(weight)
        diagonal.narrow(dim, 0, weight.shape[dim]).add_(weight)
    coupling, frames = weights[1], mass.shape[1]
    pivots, factors = [diagonal[:, 0]], []
    for t in range(1, frames):
        factors.append(coupling[:, t - 1] / pivots[-1])
        pivots.append(diagonal[:, t] - coupling[:, t - 1] * factors[-1])

    def divide(r: Tensor) -> Tensor:
        rows = list(r.unbind(1))
        for t in range(1, frames):
            rows[t] = torch.addcmul(rows[t], factors[t - 1], rows[t - 1])
        rows[-1] = rows[-1] / pivots[-1]
        for t in range(frames - 2, -1, -1):
            rows[t] = torch.addcmul(rows[t] / pivots[t], factors[t], rows[t + 1])
        return torch.stack(rows, 1)

    return divide
