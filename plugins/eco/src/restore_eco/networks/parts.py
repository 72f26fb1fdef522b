"""What the networks share: the value range and mean, enlarging by pixel shuffle, and names in others' files."""

from __future__ import annotations

import math
import re
from typing import Mapping, Sequence

import torch
from restore.pruning import Gate, Slot
from torch import Tensor, nn

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
SCALES = (2, 3, 4, 8)
"""Enlargements that the networks can be built for."""


def check_at_least_one(**numbers: int) -> None:
    """ValueError for the first number below 1, by its name."""
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def check_scale(scale: int, scales: Sequence[int] = SCALES) -> None:
    """ValueError unless ``scale`` is one of ``scales``."""
    if scale not in scales:
        raise ValueError(f"scale must be {', '.join(map(str, scales[:-1]))} or {scales[-1]}, got {scale}")


def conv3(features_in: int, features_out: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps height and width, with bias, initialised as torch does, like the official code."""
    return nn.Conv2d(features_in, features_out, 3, padding=1)


class RangeShift(nn.Module):
    """From [0, 1] to the values that a network works on, ``value_range * (x - mean)``, and back.

    Mean and range are buffers, not parameters: they are stored with the weights, because published weights differ in
    both, and are never trained.

    Args:
        mean: of R, G, B on the [0, 1] scale.
        value_range: 255 for EDSR and RCAN, 1 for the published SwinIR.
    """

    mean: Tensor
    value_range: Tensor

    def __init__(self, mean: Sequence[float] = DIV2K_MEAN, value_range: float = 255.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("value_range", torch.tensor(float(value_range)))

    def inward(self, x: Tensor) -> Tensor:
        """``(N, 3, H, W)`` in [0, 1] to centred values."""
        return (x - self.mean) * self.value_range

    def outward(self, x: Tensor) -> Tensor:
        """The way back; not clamped."""
        return x / self.value_range + self.mean


class Upsampler(nn.Sequential):
    """Enlarging by convolution and pixel shuffle: once by 3, or as often by 2 as the scale needs (EDSR, Sec. 3.2).

    The layers of the official code's ``Upsampler`` and BasicSR's ``Upsample``, in the same order, so that numbers in
    names agree: convolutions at 0, 2, 4.

    Args:
        scale: one of :data:`SCALES`.
        features: channels before and after.
    """

    def __init__(self, scale: int, features: int) -> None:
        layers: list[nn.Module] = []
        for factor in [3] if scale == 3 else [2] * round(math.log2(scale)):
            layers += [conv3(features, factor * factor * features), nn.PixelShuffle(factor)]
        super().__init__(*layers)


def tail_gates(scale: int, tail: str = "tail") -> tuple[Gate, ...]:
    """The gates of an up-sampler and the convolution ``last`` after it: each group of r^2 channels that a pixel shuffle
    by r makes one of has one factor.

    Args:
        scale: one of :data:`SCALES`.
        tail: path of the module that holds ``upsample`` and ``last``.
    """
    factors = [3] if scale == 3 else [2] * round(math.log2(scale))
    layers = [f"{tail}.upsample.{2 * i}" for i in range(len(factors))]
    readers = [*layers[1:], f"{tail}.last"]
    return tuple(
        Gate(layer, group=factor**2, followers=(Slot(reader),))
        for layer, reader, factor in zip(layers, readers, factors, strict=True)
    )


TAIL_REACH = 2
"""Input pixels that the up-sampler and a 3x3 convolution after it reach at any of :data:`SCALES`: the first
convolution one, all that come after it, on finer grids, less than one more."""


def translated(tensors: Mapping[str, Tensor], table: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Tensors under new names: each name is rewritten by the first expression of the table that matches it whole.

    Args:
        tensors: of a file.
        table: regular expressions and what takes their place; ``""`` drops the tensor.
    """
    found = {}
    for name, value in tensors.items():
        new = name
        for pattern, replacement in table:
            match = re.fullmatch(pattern, name)
            if match:
                new = match.expand(replacement) if replacement else ""
                break
        if new:
            found[new] = value
    return found


def shift_of(tensors: Mapping[str, Tensor], value_range: float) -> dict[str, Tensor]:
    """``shift.mean`` and ``shift.value_range`` of a published file: from the official code's ``sub_mean`` convolution,
    whose bias is ``-value_range * mean``; where there is none, the mean of DIV2K.

    Args:
        tensors: of the file, under its own names.
        value_range: that its code works on.
    """
    bias = tensors.get("sub_mean.bias")
    mean = torch.tensor(DIV2K_MEAN) if bias is None else -bias.float() / value_range
    return {"shift.mean": mean.view(-1, 1, 1), "shift.value_range": torch.tensor(float(value_range))}
