"""Some frames of a clip: interpolation, prediction, any subset."""

from __future__ import annotations

from functools import cached_property
from typing import Hashable, Sequence

import torch
from torch import Tensor

from restore.operators.base import Operator
from restore.operators.constants import Diagonal
from restore.operators.diagonal import clip_sizes
from restore.operators.solvers import Rho, spread
from restore.operators.structure import DualDiagonal, Structure


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
        steps = {b - a for a, b in zip(self.frames, self.frames[1:], strict=False)} or {1}
        # Frames at equal distances are a view; others are picked one by one.
        step = steps.pop()
        self._slice = slice(self.frames[0], self.frames[-1] + 1, step) if not steps and step > 0 else None

    @property
    def key(self) -> Hashable:
        """Its sizes and frames."""
        return FrameSelection, self.shape, self.frames

    def apply(self, x: Tensor) -> Tensor:
        """``x[:, frames]``."""
        if self._slice is not None:
            return x[:, self._slice].clone(memory_format=torch.contiguous_format)
        return x.index_select(1, self._index.to(x.device))

    def back(self, y: Tensor) -> Tensor:
        """The frames at their places, zeros elsewhere."""
        zeros = y.new_zeros(y.shape[0], *self.shape.input)
        if self._slice is None:
            return zeros.index_copy(1, self._index.to(y.device), y)
        zeros[:, self._slice] = y
        return zeros

    def mixed_in(self, v: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        """``v``, where the frames are ``v + weight (y - v)``."""
        if self._slice is None:
            index = self._index.to(v.device)
            return v.index_copy(1, index, torch.lerp(v.index_select(1, index), y, weight))
        z = v.clone()
        z[:, self._slice].lerp_(y, weight)
        return z

    def solver(self) -> Structure:
        """Of what is seen or not, by interpolation between the point and the measurement."""
        return SeenFrames(self, 1.0)

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


class SeenFrames(DualDiagonal):
    """The solve of a selection: ``(y + rho v)/(1 + rho)`` where a frame is seen, else ``v``."""

    operator: FrameSelection

    def step(self, v: Tensor, prepared: Tensor, rho: Rho) -> Tensor:
        """One pass over the frames that are seen."""
        return self.operator.mixed_in(v, prepared, 1 / (1 + spread(rho, v)))


def frame_interpolation(shape: Sequence[int], rate: int, to_the_end: bool = False) -> FrameSelection:
    """Every ``rate``-th frame is seen: 0, rate, 2 rate, ..., ``T // rate`` of them (VideoOneNet's problem FI).

    Of nine frames at rate 2 these are 0, 2, 4, 6: the last is not seen. ``to_the_end``: all up to the last, 0, 2, 4, 6
    and 8, so that every frame that is missing lies between two that are seen wherever ``T = n rate + 1``.

    Raises:
        ValueError: a rate below 1 or above the number of frames.
    """
    frames = clip_sizes(shape)[0]
    if not 1 <= rate <= frames:
        raise ValueError(f"the interpolation rate must lie between 1 and the {frames} frames of the clip, got {rate}")
    return FrameSelection(shape, range(0, frames if to_the_end else rate * (frames // rate), rate))


def frame_prediction(shape: Sequence[int], missing: float) -> FrameSelection:
    """The first ``T - floor(T * missing)`` frames are seen (VideoOneNet's problem FP, missing = .75, .5 or .25).

    Raises:
        ValueError: a part outside [0, 1), or one that leaves no frame.
    """
    frames = clip_sizes(shape)[0]
    if not 0 <= missing < 1:
        raise ValueError(f"the missing part of the frames must lie in [0, 1), got {missing}")
    return FrameSelection(shape, range(frames - int(frames * missing)))
