"""Rotated MNIST (Sec. 3.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import numpy as np
import torch
from PIL import Image
from restore.builtin.datasets.arrays import MNIST
from torch import Tensor

from restore_videoonet.datasets.splits import Split, check_split, chosen, fixed_draw


class RotatedMNIST:
    """Digits turning counter-clockwise: frame t is the 28x28 image turned by ``phase + 40 t`` degrees (bilinear, in 8
    bit), its top left 14x14 pixels. The phase is drawn uniformly from [0, 360).

    Args:
        root: folder of the official idx files, plain or ``.gz``.
        split: ``train``, 54,000 of the 60,000 training images; ``validation``, the other 6,000; ``test``, all 10,000.
        count: only the first so many of them.
        frames: of a clip.
        degrees: from frame to frame.
        size: of the crop, in pixels.

    Raises:
        RequestError: no such file, or several.
        MediaError: it is no idx file of images, or is cut off.
        ValueError: an unknown split, or a number below 1.
    """

    def __init__(
        self,
        root: Path,
        split: Split = "train",
        count: int | None = None,
        frames: int = 9,
        degrees: float = 40.0,
        size: int = 14,
    ) -> None:
        check_split(split, count)
        if frames < 1 or size < 1:
            raise ValueError(f"frames and size must be at least 1, got {frames} and {size}")
        self._images = MNIST(root, "test" if split == "test" else "train").images
        self.entries = chosen(len(self._images), split, count)
        self.split, self.frames, self.degrees, self.size = split, frames, degrees, size

    def __len__(self) -> int:
        return len(self.entries)

    def name(self, index: int) -> str:
        """The split, and the image's number in the official file."""
        return f"{self.split}-{self.entries[index]:05d}"

    def __getitem__(self, index: int) -> Tensor:
        """One fixed clip of the digit, ``(frames, 1, size, size)`` float32 in [0, 1]."""
        return self.sample(index, fixed_draw(self.split, range(len(self))[index]))

    def sample(self, index: int, generator: torch.Generator) -> Tensor:
        """The digit from a random phase on, ``(frames, 1, size, size)`` float32 in [0, 1]."""
        phase = 360 * float(torch.rand((), generator=generator, dtype=torch.float64))
        image = self._images[self.entries[index], 0].numpy()
        return rotated(image, [phase + self.degrees * t for t in range(self.frames)], self.size)


def rotated(image: np.typing.NDArray[np.uint8], angles: Sequence[float], size: int) -> Tensor:
    """An image ``(H, W)`` turned counter-clockwise about its middle by each of the angles in degrees, the top left
    ``size`` x ``size`` pixels: ``(T, 1, size, size)`` float32 in [0, 1]."""
    picture = Image.fromarray(image)
    turned = [np.asarray(picture.rotate(angle, Image.Resampling.BILINEAR))[:size, :size] for angle in angles]
    return torch.from_numpy(np.stack(turned)).unsqueeze(1).float() / 255
