"""Parts of a clip are missing: single values, a block, scattered boxes, or what a file says."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from restore.builtin.degradations.linear import LinearDegradation, Shape, Sigma, batched, check_keep, device_of
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


class BlockInpainting(LinearDegradation):
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
        mask = torch.ones(shape[2:], dtype=torch.bool)
        spans = []
        for side in shape[2:]:
            length = int(self.size * side)
            first = round(side / 2 - length / 2)
            spans.append(slice(first, first + length))
        mask[spans[0], spans[1]] = False
        return Mask(shape, mask)


class ScatteredInpainting(LinearDegradation):
    """Boxes at random places are missing, others in every frame.

    Args:
        boxes: per frame.
        size: of a box, as a part of the height and of the width, in (0, 1] (VideoOneNet's problem SI: ten of 0.2).
        sigma: noise on what is seen, see :class:`LinearDegradation`.

    Raises:
        ValueError: fewer than one box, a part outside (0, 1], or a negative sigma.
    """

    fixed = False

    def __init__(self, boxes: int = 10, size: float = 0.2, sigma: Sigma = 0.0) -> None:
        super().__init__(sigma)
        if boxes < 1:
            raise ValueError(f"boxes must be at least 1, got {boxes}")
        self.boxes, self.size = boxes, _part("size", size)

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Mask:
        """One mask per sample and frame."""
        frames, _, height, width = shape
        unit = torch.rand((2, count, frames, self.boxes, 1), generator=generator, device=device_of(generator))
        hits = [self._hit(u, side) for u, side in zip(unit, (height, width), strict=True)]
        missing = (hits[0][..., :, None] & hits[1][..., None, :]).any(dim=2)
        return Mask(shape, batched(~missing[:, :, None]))

    def _hit(self, unit: Tensor, side: int) -> Tensor:
        """``(B, T, boxes, side)``: which rows (or columns) each box covers."""
        length = max(1, int(self.size * side))
        margin = 0.25 * length
        first = (unit * max(0.0, side - length - 1 - 2 * margin) + margin).long().clamp_max(side - length)
        places = torch.arange(side, device=unit.device)
        return (places >= first) & (places < first + length)


class FileMask(LinearDegradation):
    """What an image leaves black is missing, in all frames.

    Args:
        path: an image as large as the clips; a value is seen where it is at least half of white. Grey, or with as many
            channels as the clips.
        sigma: noise on what is seen, see :class:`LinearDegradation`.

    Raises:
        RequestError: there is no such image.
        ValueError: a negative sigma; when called, a clip of another size.
    """

    def __init__(self, path: Path, sigma: Sigma = 0.0) -> None:
        from restore.media.image import read_image

        super().__init__(sigma)
        image = read_image(path)
        self.path = path
        pixels = torch.from_numpy(image.pixels.astype("float64"))
        self.mask = (pixels >= 2 ** (image.bit_depth - 1)).permute(2, 0, 1)

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Mask:
        """The file's mask."""
        channels, height, width = self.mask.shape
        if (height, width) != shape[2:] or channels not in (1, shape[1]):
            raise ValueError(
                f"the mask {self.path} is {width}x{height} with {channels} channels; "
                f"clips are {shape[3]}x{shape[2]} with {shape[1]}"
            )
        return Mask(shape, self.mask)
