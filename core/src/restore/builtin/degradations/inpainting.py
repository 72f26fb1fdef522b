"""Parts of a clip are missing: single values, a block, scattered boxes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from restore.builtin.degradations.linear import LinearDegradation, Shape, Sigma, batched, check_keep, device_of
from restore.builtin.degradations.masks import Masked
from restore.functional.seeding import seeded
from restore.operators import Mask


def _part(name: str, value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError(f"{name} must lie in (0, 1], got {value}")
    return value


class Inpainting(LinearDegradation):
    """Single values are missing at random, others in every frame.

    Args:
        keep: chance of a value to be seen, in (0, 1].
        per: ``value``, every channel by itself (VideoOneNet's problem PID, with ``sigma = 0.1``); ``pixel``, all
            channels of a pixel together.
        sigma: noise on what is seen, see :class:`LinearDegradation`.

    Raises:
        ValueError: a chance outside (0, 1], or a negative sigma.
    """

    fixed = False

    def __init__(self, keep: float = 0.5, per: Literal["value", "pixel"] = "value", sigma: Sigma = 0.0) -> None:
        super().__init__(sigma)
        check_keep(keep)
        if per not in ("value", "pixel"):
            raise ValueError(f"per must be 'value' or 'pixel', got {per!r}")
        self.keep, self.per = keep, per

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Mask:
        """One mask per sample."""
        frames, channels, height, width = shape
        sizes = count, frames, channels if self.per == "value" else 1, height, width
        return Mask(shape, batched(torch.rand(sizes, generator=generator, device=device_of(generator)) < self.keep))


class BlockInpainting(Masked):
    """A box in the middle is missing, the same in all frames.

    Args:
        size: part of the height and of the width, in (0, 1]: ``int(size * H)`` rows from ``round(H/2 - rows/2)`` on,
            halves to even (VideoOneNet's problem BI has 0.4).
        sigma: noise on what is seen, see :class:`LinearDegradation`.

    Raises:
        ValueError: a part outside (0, 1], or a negative sigma.
    """

    def __init__(self, size: float = 0.4, sigma: Sigma = 0.0) -> None:
        super().__init__(sigma)
        self.size = _part("size", size)

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Mask:
        """The mask of the frame."""
        return Mask(shape, self.seen(0, 1, *shape[2:])[0, 0])

    def seen(self, first: int, frames: int, height: int, width: int) -> Tensor:
        """One mask for all frames."""
        mask = torch.ones(1, 1, height, width, dtype=torch.bool)
        spans = []
        for side in (height, width):
            length = int(self.size * side)
            begin = round(side / 2 - length / 2)
            spans.append(slice(begin, begin + length))
        mask[..., spans[0], spans[1]] = False
        return mask


class ScatteredInpainting(Masked):
    """Boxes at random places are missing, others in every frame.

    Args:
        boxes: per frame.
        size: of a box, as a part of the height and of the width, in (0, 1] (VideoOneNet's problem SI: ten of 0.2).
        sigma: noise on what is seen, see :class:`LinearDegradation`.
        seed: of the places, which then depend on it and a frame's number alone; absent: drawn for every sample.

    Raises:
        ValueError: fewer than one box, a part outside (0, 1], or a negative sigma.
    """

    def __init__(self, boxes: int = 10, size: float = 0.2, sigma: Sigma = 0.0, seed: int | None = None) -> None:
        super().__init__(sigma)
        if boxes < 1:
            raise ValueError(f"boxes must be at least 1, got {boxes}")
        self.boxes, self.size, self.seed = boxes, _part("size", size), seed
        # With a seed a frame's number counts, which a frame by itself does not have.
        self.fixed, self.per_frame = seed is not None, seed is None

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Mask:
        """One mask per sample and frame."""
        frames, _, height, width = shape
        if self.seed is not None:
            return Mask(shape, self.seen(0, frames, height, width))
        unit = torch.rand((2, count, frames, self.boxes, 1), generator=generator, device=device_of(generator))
        return Mask(shape, batched(self._seen(unit, height, width)))

    def seen(self, first: int, frames: int, height: int, width: int) -> Tensor:
        """The masks of numbered frames."""
        assert self.seed is not None
        units = [torch.rand((2, 1, self.boxes, 1), generator=seeded(self.seed, first + k)) for k in range(frames)]
        return self._seen(torch.stack(units, dim=2), height, width)[0]

    def _seen(self, unit: Tensor, height: int, width: int) -> Tensor:
        """``(2, B, T, boxes, 1)`` in [0, 1) to masks ``(B, T, 1, H, W)``."""
        hits = [self._hit(u, side) for u, side in zip(unit, (height, width), strict=True)]
        missing = (hits[0][..., :, None] & hits[1][..., None, :]).any(dim=2)
        return ~missing[:, :, None]

    def _hit(self, unit: Tensor, side: int) -> Tensor:
        """``(B, T, boxes, side)``: which rows (or columns) each box covers."""
        length = max(1, int(self.size * side))
        margin = 0.25 * length
        first = (unit * max(0.0, side - length - 1 - 2 * margin) + margin).long().clamp_max(side - length)
        places = torch.arange(side, device=unit.device)
        return (places >= first) & (places < first + length)
