"""Masks, colours, coded sums: what has a diagonal ``A A^T`` and is solved by a division.

``z = v + A^T (y - A v)/(d + rho)`` and ``A^+ y = A^T (y/d)`` with ``A A^T = diag(d)``.
"""

from __future__ import annotations

from functools import cached_property
from typing import Hashable, Sequence

import torch
from torch import Tensor

from restore.functional.color import LUMA_WEIGHTS
from restore.operators.base import Operator, Sizes
from restore.operators.constants import Constants, Diagonal
from restore.operators.solvers import Rho, spread
from restore.operators.structure import Side, Structure


def clip_sizes(shape: Sequence[int]) -> Sizes:
    """``(T, C, H, W)`` as a tuple.

    Raises:
        ValueError: not four sizes.
    """
    if len(shape) != 4:
        raise ValueError(f"a clip's shape is (T, C, H, W), got {tuple(shape)}")
    return tuple(shape)


class Mask(Operator):
    """Inpainting: ``m * x``, the measurement as large as the clip (pixelwise, block, scattered, from a file).

    Args:
        shape: ``(T, C, H, W)``.
        mask: broadcasts to the shape, 1 where a value is seen and 0 where not (bool too; other weights are allowed); or
            five-dimensional with the batch first, one mask per sample.

    Raises:
        ValueError: a mask of the wrong size, or one that holds infinities.
    """

    disjoint = codisjoint = True

    def __init__(self, shape: Sequence[int], mask: Tensor) -> None:
        super().__init__(clip_sizes(shape), clip_sizes(shape))
        sizes = self.shape.input
        padded = (1,) * (4 - mask.ndim) + tuple(mask.shape)
        if mask.ndim > 5 or any(m not in (1, n) for m, n in zip(padded[-4:], sizes, strict=True)):
            raise ValueError(f"a mask for clips of {sizes} must have that size (1 repeats), got {tuple(mask.shape)}")
        if not bool(torch.isfinite(mask).all()):
            raise ValueError("a mask must hold finite numbers")
        if not mask.requires_grad and bool(((mask == 0) | (mask == 1)).all()):
            mask = mask.bool()
        self.mask = mask if mask.dtype == torch.bool or mask.is_floating_point() else mask.to(torch.float64)
        self._batch = mask.shape[0] if mask.ndim == 5 and mask.shape[0] > 1 else None

    @staticmethod
    def joined(masks: Sequence[Mask]) -> Mask:
        """One mask per sample from masks for clips of one shape."""
        seen = all(m.mask.dtype == torch.bool for m in masks)
        each = [(m.mask if seen else m._weights).expand(m.shape.input) for m in masks]
        return Mask(masks[0].shape.input, torch.stack([e.to(each[0]) for e in each]))

    @property
    def batch(self) -> int | None:
        """That of a mask per sample."""
        return self._batch

    def apply(self, x: Tensor) -> Tensor:
        """``m * x``."""
        return self.parameter("mask", self.mask, x) * x

    def back(self, y: Tensor) -> Tensor:
        """``m * y``."""
        return self.apply(y)

    def squared(self, d: Tensor) -> Tensor:
        """``m^2 * d``."""
        return self.parameter("mask", self.mask, d) ** 2 * d

    def cosquared(self, d: Tensor) -> Tensor:
        """``m^2 * d``."""
        return self.squared(d)

    @cached_property
    def gram(self) -> Diagonal:
        """``m^2``."""
        return self._weights**2

    @cached_property
    def cogram(self) -> Diagonal:
        """``m^2``."""
        return self._weights**2

    @property
    def _weights(self) -> Tensor:
        return self.mask.to(torch.float64) if self.mask.dtype == torch.bool else self.mask

    def solver(self) -> Structure | None:
        """Of what is either seen or not, by interpolation between the point and the measurement."""
        return Seen(self) if self.mask.dtype == torch.bool else None

    def merged(self, inner: Operator) -> Operator | None:
        """Two masks are one."""
        if not isinstance(inner, Mask) or (None not in (self.batch, inner.batch) and self.batch != inner.batch):
            return None
        return Mask(self.shape.input, self._weights * inner._weights.to(self._weights))

    def added(self, other: Operator) -> Operator | None:
        """Weights add."""
        if not isinstance(other, Mask) or (None not in (self.batch, other.batch) and self.batch != other.batch):
            return None
        return Mask(self.shape.input, self._weights + other._weights.to(self._weights))

    def multiplied(self, factor: float) -> Operator:
        """Its weights, multiplied."""
        return Mask(self.shape.input, self._weights * factor)

    def planes(self, frames: int, channels: int) -> Operator | None:
        """The same mask, if it is one for all frames and channels."""
        if self.batch is not None or any(n > 1 for n in self.mask.shape[:-2]):
            return None
        return Mask((frames, channels, *self.shape.input[2:]), self.mask)


class Seen(Structure):
    """The solve of a mask of zeros and ones: ``z = v + m/(1 + rho) (y - v)``, one pass over memory."""

    name = "diagonal"
    side: Side = "normal"
    operator: Mask

    def __init__(self, operator: Mask) -> None:
        super().__init__(operator)
        # One set of weights, as large as the mask, so that a large frame costs one more of its size.
        self._constants = Constants(1)

    def describe(self) -> str:
        """``A^T A``."""
        return "A^T A is diagonal, zeros and ones"

    def prepare(self, y: Tensor) -> Tensor:
        """``y`` as it is."""
        return y

    def step(self, v: Tensor, prepared: Tensor, rho: Rho) -> Tensor:
        """An interpolation."""
        m = self.operator.parameter("mask", self.operator.mask, v)
        if isinstance(rho, Tensor):
            return torch.lerp(v, prepared, m / (1 + spread(rho, v)))
        weight = rho
        return torch.lerp(v, prepared, self._constants.get(rho, v, lambda: (m / (1 + weight),))[0])

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """A division."""
        return b / (self.operator.parameter("mask", self.operator.mask, b) + spread(rho, b))

    def dual(self, r: Tensor, rho: Rho) -> Tensor:
        """The same."""
        return self.normal(r, rho)

    def pinv(self, y: Tensor) -> Tensor:
        """``m * y``."""
        return self.operator.apply(y)

    def pinv_t(self, x: Tensor) -> Tensor:
        """``m * x``."""
        return self.operator.apply(x)


class Grey(Operator):
    """Colourisation: a weighted sum of the channels, ``(T, C, H, W)`` to ``(T, 1, H, W)``.

    Args:
        shape: ``(T, C, H, W)``.
        weights: one per channel; by default the luma of ITU-R BT.601-7, (0.299, 0.587, 0.114).

    Raises:
        ValueError: another number of channels than of weights, or only zeros.
    """

    disjoint = True

    def __init__(self, shape: Sequence[int], weights: Sequence[float] | None = None) -> None:
        red, blue = LUMA_WEIGHTS["bt601"]
        self.weights = tuple(weights) if weights is not None else (red, 1 - red - blue, blue)
        frames, channels, *rest = clip_sizes(shape)
        if len(self.weights) != channels or not any(self.weights):
            raise ValueError(f"{channels} channels need as many weights, not all 0, got {self.weights}")
        super().__init__((frames, channels, *rest), (frames, 1, *rest))
        self._column = torch.tensor(self.weights, dtype=torch.float64).view(-1, 1, 1)

    @property
    def key(self) -> Hashable:
        """Its sizes and weights."""
        return Grey, self.shape, self.weights

    def apply(self, x: Tensor) -> Tensor:
        """``sum_c w_c x_c``."""
        return (x * self.parameter("weights", self._column, x)).sum(2, keepdim=True)

    def back(self, y: Tensor) -> Tensor:
        """``w_c y`` in channel c."""
        return y * self.parameter("weights", self._column, y)

    def plus_back(self, v: Tensor, r: Tensor) -> Tensor:
        """``v_c + w_c r``."""
        return torch.addcmul(v, self.parameter("weights", self._column, v), r)

    def squared(self, d: Tensor) -> Tensor:
        """``sum_c w_c^2 d_c``."""
        return (d * self.parameter("weights", self._column, d) ** 2).sum(2, keepdim=True)

    @cached_property
    def gram(self) -> Diagonal:
        """``|w|^2``, 0.44697 for BT.601."""
        return sum(w * w for w in self.weights)

    def factors(self) -> dict[int, Tensor]:
        """One row over the channels."""
        return {1: self._column.view(1, -1)}


class Snapshot(Operator):
    """Snapshot compressive video: ``T`` coded frames summed, ``y = sum_t m_t x_t`` (CACTI, Llull et al. 2013).

    Args:
        shape: ``(T, C, H, W)``.
        codes: broadcasts to the shape; usually ``(T, 1, H, W)`` of zeros and ones.

    Raises:
        ValueError: codes of the wrong size.
    """

    disjoint = True

    def __init__(self, shape: Sequence[int], codes: Tensor) -> None:
        sizes = clip_sizes(shape)
        if codes.ndim != 4 or any(c not in (1, n) for c, n in zip(codes.shape, sizes, strict=True)):
            raise ValueError(f"codes for clips of {sizes} must have that size (1 repeats), got {tuple(codes.shape)}")
        super().__init__(sizes, (1, *sizes[1:]))
        self.codes = codes if codes.is_floating_point() else codes.to(torch.float64)

    def apply(self, x: Tensor) -> Tensor:
        """The coded sum over time: ``(B, 1, C, H, W)``."""
        return (x * self.parameter("codes", self.codes, x)).sum(1, keepdim=True)

    def back(self, y: Tensor) -> Tensor:
        """``m_t y`` in frame t."""
        coded = y * self.parameter("codes", self.codes, y)
        return coded if coded.shape[1:] == self.shape.input else coded.expand(-1, *self.shape.input)

    def plus_back(self, v: Tensor, r: Tensor) -> Tensor:
        """``v_t + m_t r``."""
        return torch.addcmul(v, self.parameter("codes", self.codes, v), r)

    def squared(self, d: Tensor) -> Tensor:
        """``sum_t m_t^2 d_t``."""
        return (d * self.parameter("codes", self.codes, d) ** 2).sum(1, keepdim=True)

    @cached_property
    def gram(self) -> Diagonal:
        """``sum_t m_t^2`` at every pixel."""
        # Where the channels share a code they share its diagonal.
        every = (self.shape.input[0], *self.codes.shape[1:])
        return (self.codes.expand(every) ** 2).sum(0, keepdim=True)
