"""Two fields of unlike times woven into one frame, as a linear operator and as a degradation."""

from __future__ import annotations

from functools import cached_property
from typing import Hashable

import torch
from restore import Pair, Step
from restore.operators import Operator
from torch import Tensor


class WovenFields(Operator):
    """Odd rows of frame t are those of frame t - 1; of the first frame, its own. Even rows stay.

    Args:
        shape: ``(T, C, H, W)``.
    """

    # Every measured value is one value of the clip; one may be measured twice.
    codisjoint = True

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        super().__init__(shape, shape)

    @property
    def key(self) -> Hashable:
        """Its sizes."""
        return WovenFields, self.shape

    def apply(self, x: Tensor) -> Tensor:
        """``(B, T, C, H, W)`` to the same shape."""
        y = x.clone()
        y[:, 1:, :, 1::2] = x[:, :-1, :, 1::2]
        return y

    def back(self, y: Tensor) -> Tensor:
        """Every measured row goes to where it came from."""
        x = y.clone()
        x[:, :, :, 1::2] = 0
        x[:, :-1, :, 1::2] += y[:, 1:, :, 1::2]
        x[:, :1, :, 1::2] += y[:, :1, :, 1::2]
        return x

    @cached_property
    def cogram(self) -> Tensor:
        """How often each value of the clip is measured: the diagonal of ``A^T A``."""
        return self.back(torch.ones(1, *self.shape.output, dtype=torch.float64))

    def cosquared(self, d: Tensor) -> Tensor:
        """``A^T diag(d) A = diag(A^T d)``, as all entries are 0 or 1."""
        return self.back(d)


class Weave:
    """What a naive deinterlacer leaves: rows of two times in one frame.

    Attributes:
        per_frame: frames are not spoilt independently of each other.
    """

    per_frame = False

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``(B, T, C, H, W)`` to a pair of that shape, with the operator."""
        frames, channels, height, width = clean.shape[1:]
        operator = WovenFields((frames, channels, height, width))
        return Pair(operator(clean), clean, operator)
