"""Super-resolution by whole factors: the mean of each box of pixels."""

from __future__ import annotations

from functools import cached_property
from typing import Hashable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.operators.base import Operator
from restore.operators.constants import Diagonal
from restore.operators.diagonal import clip_sizes
from restore.operators.solvers import Rho, spread
from restore.operators.structure import DualDiagonal, Structure

# From this many numbers on, sums of slices are faster than a pooling.
SLICES_FROM = 1 << 16


class BoxDownsample(Operator):
    """Super-resolution: the mean of ``factor`` x ``factor`` boxes, ``floor(H/factor)`` by ``floor(W/factor)`` of them.

    Rows and columns left over at the bottom and right are not seen: 14 pixels at factor 4 give 3
    (VideoOneNet's "14/3x").

    Args:
        shape: ``(T, C, H, W)``.
        factor: at least 1.

    Raises:
        ValueError: a factor below 1 or above a side.
    """

    disjoint = True

    def __init__(self, shape: Sequence[int], factor: int) -> None:
        frames, channels, height, width = clip_sizes(shape)
        if not 1 <= factor <= min(height, width):
            raise ValueError(f"the factor must lie between 1 and the smaller side of {height}x{width}, got {factor}")
        self.factor = factor
        self.low = height // factor, width // factor
        super().__init__((frames, channels, height, width), (frames, channels, *self.low))

    @property
    def key(self) -> Hashable:
        """Its sizes and factor."""
        return BoxDownsample, self.shape, self.factor

    def apply(self, x: Tensor) -> Tensor:
        """The mean of each box."""
        s, (h, w) = self.factor, self.low
        if s > 2 and x.numel() < SLICES_FROM:
            return F.avg_pool2d(x.flatten(0, 2).unsqueeze(1), s).view(*x.shape[:3], *self.low)
        if s == 1:
            return x.clone()
        # Sums of slices, rows first: several times as fast as the pooling on CPUs, which goes box by box.
        rows = x[..., 0 : h * s : s, :] + x[..., 1 : h * s : s, :]
        for i in range(2, s):
            rows += x[..., i : h * s : s, :]
        boxes = rows[..., 0 : w * s : s] + rows[..., 1 : w * s : s]
        for i in range(2, s):
            boxes += rows[..., i : w * s : s]
        return boxes.mul_(1 / s**2)

    def back(self, y: Tensor) -> Tensor:
        """Each value over its box, divided by the box's area; zeros where nothing is seen."""
        return self.repeat(y * (1 / self.factor**2))

    def repeat(self, y: Tensor) -> Tensor:
        """Each value over its box: the pseudo-inverse."""
        s, (h, w) = self.factor, self.low
        wide = y.repeat_interleave(s, -1).repeat_interleave(s, -2)
        height, width = self.shape.input[2:]
        return wide if (h * s, w * s) == (height, width) else F.pad(wide, (0, width - w * s, 0, height - h * s))

    def plus_repeat(self, v: Tensor, r: Tensor) -> Tensor:
        """``v + repeat(r)``; rows are repeated by the addition itself."""
        s, (h, w) = self.factor, self.low
        if (h * s, w * s) != self.shape.input[2:]:
            return v + self.repeat(r)
        rows = r.repeat_interleave(s, -1).unsqueeze(-2)
        return (v.reshape(*v.shape[:3], h, s, w * s) + rows).view(v.shape)

    def solver(self) -> Structure:
        """That of a tight frame, in fewer passes over memory."""
        return Boxes(self, self.gram)

    def squared(self, d: Tensor) -> Tensor:
        """Entries are ``1/factor^2``."""
        return self.apply(d) / self.factor**2

    @cached_property
    def gram(self) -> Diagonal:
        """``1/factor^2``."""
        return 1 / self.factor**2

    def planes(self, frames: int, channels: int) -> Operator:
        """The same boxes."""
        return BoxDownsample((frames, channels, *self.shape.input[2:]), self.factor)

    def factors(self) -> dict[int, Tensor]:
        """Rows with ``factor`` entries of ``1/factor``, over height and width."""
        out = {}
        for axis in (2, 3):
            eye = torch.eye(self.low[axis - 2], dtype=torch.float64).repeat_interleave(self.factor, 1) / self.factor
            out[axis] = F.pad(eye, (0, self.shape.input[axis] - eye.shape[1]))
        return out


class Boxes(DualDiagonal):
    """The solve of box down-sampling: ``z = v + repeat((y - A v)/(1 + rho s^2))``, ``A^+ = repeat``."""

    operator: BoxDownsample

    def step(self, v: Tensor, prepared: Tensor, rho: Rho) -> Tensor:
        """A pooling and a repetition."""
        a = self.operator
        r, area = prepared - a.apply(v), a.factor**2
        r = r / (1 + area * spread(rho, r)) if isinstance(rho, Tensor) else r.mul_(1 / (1 + area * rho))
        return a.plus_repeat(v, r)

    def pinv(self, y: Tensor) -> Tensor:
        """Repetition."""
        return self.operator.repeat(y)
