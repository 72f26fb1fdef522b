"""Masks, selections, averages over disjoint sets: everything whose ``A A^T`` is diagonal and solved by a division.

``z = v + A^T (y - A v)/(d + rho)`` and ``A^+ y = A^T (y/d)`` with ``A A^T = diag(d)``.
"""

from __future__ import annotations

from functools import cached_property
from typing import Hashable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.functional.color import LUMA_WEIGHTS
from restore.operators.base import Identity, Operator, Sizes
from restore.operators.structure import Diagonal


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
        mask = mask if mask.is_floating_point() else mask.to(torch.float64)
        sizes = self.shape.input
        padded = (1,) * (4 - mask.ndim) + tuple(mask.shape)
        if mask.ndim > 5 or any(m not in (1, n) for m, n in zip(padded[-4:], sizes, strict=True)):
            raise ValueError(f"a mask for clips of {sizes} must have that size (1 repeats), got {tuple(mask.shape)}")
        if not bool(torch.isfinite(mask).all()):
            raise ValueError("a mask must hold finite numbers")
        self.mask = mask
        self._batch = mask.shape[0] if mask.ndim == 5 and mask.shape[0] > 1 else None

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
        return self.mask**2

    @cached_property
    def cogram(self) -> Diagonal:
        """``m^2``."""
        return self.mask**2

    def merged(self, inner: Operator) -> Operator | None:
        """Two masks are one."""
        if not isinstance(inner, Mask) or (None not in (self.batch, inner.batch) and self.batch != inner.batch):
            return None
        return Mask(self.shape.input, self.mask * inner.mask.to(self.mask))

    def added(self, other: Operator) -> Operator | None:
        """Weights add."""
        if not isinstance(other, Mask) or (None not in (self.batch, other.batch) and self.batch != other.batch):
            return None
        return Mask(self.shape.input, self.mask + other.mask.to(self.mask))

    def multiplied(self, factor: float) -> Operator:
        """Its weights, multiplied."""
        return Mask(self.shape.input, self.mask * factor)

    def planes(self, frames: int, channels: int) -> Operator | None:
        """The same mask, if it is one for all frames and channels."""
        if self.batch is not None or any(n > 1 for n in self.mask.shape[:-2]):
            return None
        return Mask((frames, channels, *self.shape.input[2:]), self.mask)


class FrameSelection(Operator):
    """Keeps some frames: frame interpolation, frame prediction, any subset.

    Args:
        shape: ``(T, C, H, W)``.
        frames: indices to keep, each once, in the order of the measurement.

    Raises:
        ValueError: no frames, a frame twice, or one that the clip does not have.
    """

    disjoint = codisjoint = True

    def __init__(self, shape: Sequence[int], frames: Sequence[int]) -> None:
        sizes = clip_sizes(shape)
        if not frames or len(set(frames)) < len(frames) or not all(0 <= f < sizes[0] for f in frames):
            raise ValueError(
                f"frames must be distinct numbers from 0 to {sizes[0] - 1}, at least one, got {list(frames)}"
            )
        super().__init__(sizes, (len(frames), *sizes[1:]))
        self.frames = tuple(frames)
        self._index = torch.tensor(self.frames)

    @property
    def key(self) -> Hashable:
        """Its sizes and frames."""
        return FrameSelection, self.shape, self.frames

    def apply(self, x: Tensor) -> Tensor:
        """``x[:, frames]``."""
        return x.index_select(1, self._index.to(x.device))

    def back(self, y: Tensor) -> Tensor:
        """The frames at their places, zeros elsewhere."""
        zeros = y.new_zeros(y.shape[0], *self.shape.input)
        return zeros.index_copy(1, self._index.to(y.device), y)

    def squared(self, d: Tensor) -> Tensor:
        """``d[:, frames]``."""
        return self.apply(d)

    def cosquared(self, d: Tensor) -> Tensor:
        """``d`` at its places."""
        return self.back(d)

    @cached_property
    def gram(self) -> Diagonal:
        """1."""
        return 1.0

    @cached_property
    def cogram(self) -> Diagonal:
        """1 at the frames that are kept."""
        kept = torch.zeros(self.shape.input[0], 1, 1, 1, dtype=torch.float64)
        kept[self._index] = 1
        return kept

    def merged(self, inner: Operator) -> Operator | None:
        """Two selections are one."""
        if not isinstance(inner, FrameSelection):
            return None
        return FrameSelection(inner.shape.input, [inner.frames[f] for f in self.frames])

    def factors(self) -> dict[int, Tensor]:
        """Rows of the identity, over time."""
        return {0: torch.eye(self.shape.input[0], dtype=torch.float64)[self._index]}


def frame_interpolation(shape: Sequence[int], rate: int) -> FrameSelection:
    """Every ``rate``-th frame is seen: 0, rate, 2 rate, ..., ``T // rate`` of them (VideoOneNet's problem FI).

    Of nine frames at rate 2 these are 0, 2, 4, 6: the last is not seen.

    Raises:
        ValueError: a rate below 1 or above the number of frames.
    """
    frames = clip_sizes(shape)[0]
    if not 1 <= rate <= frames:
        raise ValueError(f"the interpolation rate must lie between 1 and the {frames} frames of the clip, got {rate}")
    return FrameSelection(shape, range(0, rate * (frames // rate), rate))


def frame_prediction(shape: Sequence[int], missing: float) -> FrameSelection:
    """The first ``T - floor(T * missing)`` frames are seen (VideoOneNet's problem FP, missing = .75, .5 or .25).

    Raises:
        ValueError: a part outside [0, 1), or one that leaves no frame.
    """
    frames = clip_sizes(shape)[0]
    if not 0 <= missing < 1:
        raise ValueError(f"the missing part of the frames must lie in [0, 1), got {missing}")
    return FrameSelection(shape, range(frames - int(frames * missing)))


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
        return F.avg_pool2d(x.flatten(0, 2).unsqueeze(1), self.factor).view(*x.shape[:3], *self.low)

    def back(self, y: Tensor) -> Tensor:
        """Each value over its box, divided by the box's area; zeros where nothing is seen."""
        s, (h, w) = self.factor, self.low
        wide = (y / s**2)[..., :, None, :, None].expand(*y.shape[:3], h, s, w, s).reshape(*y.shape[:3], h * s, w * s)
        height, width = self.shape.input[2:]
        return wide if (h * s, w * s) == (height, width) else F.pad(wide, (0, width - w * s, 0, height - h * s))

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
        return (y * self.parameter("codes", self.codes, y)).expand(-1, *self.shape.input)

    def squared(self, d: Tensor) -> Tensor:
        """``sum_t m_t^2 d_t``."""
        return (d * self.parameter("codes", self.codes, d) ** 2).sum(1, keepdim=True)

    @cached_property
    def gram(self) -> Diagonal:
        """``sum_t m_t^2`` at every pixel."""
        return (self.codes.expand(self.shape.input) ** 2).sum(0, keepdim=True)


__all__ = [
    "BoxDownsample",
    "FrameSelection",
    "Grey",
    "Identity",
    "Mask",
    "Snapshot",
    "clip_sizes",
    "frame_interpolation",
    "frame_prediction",
]
