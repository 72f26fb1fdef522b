"""Scanned CIFAR-10 (Sec. 3.3)."""

from __future__ import annotations

from pathlib import Path

import torch
from restore.builtin.datasets.arrays import CIFAR10
from torch import Tensor

from restore_videoonet.datasets.splits import Split, check_split, chosen


class ScannedCIFAR10:
    """The four 16x16 corners of a photograph as frames, in the order of a snake: top left, bottom left, bottom right,
    top right.

    Args:
        root: folder of the official Python batches, or of ``train*.npz`` and ``test*.npz`` with ``images``.
        split: ``train``, nine tenths of the training images; ``validation``, the others; ``test``.
        count: only the first so many of them.

    Raises:
        RequestError: no such file.
        MediaError: a file is damaged, or a pickle that asks for more than arrays, lists and text.
        ValueError: an unknown split, or a count below 1.
    """

    def __init__(self, root: Path, split: Split = "train", count: int | None = None) -> None:
        check_split(split, count)
        self._images = CIFAR10(root, "test" if split == "test" else "train").images
        self.entries = chosen(len(self._images), split, count)
        self.split = split

    def __len__(self) -> int:
        return len(self.entries)

    def name(self, index: int) -> str:
        """The split, and the image's number in the official files."""
        return f"{self.split}-{self.entries[index]:05d}"

    def __getitem__(self, index: int) -> Tensor:
        """``(4, 3, 16, 16)`` float32 in [0, 1]."""
        return scanned(self._images[self.entries[index]].float() / 255)


def scanned(image: Tensor) -> Tensor:
    """The quarters of ``(C, H, W)``, sides even: ``(4, C, H/2, W/2)``, in the order of a snake."""
    left, right = image.chunk(2, dim=-1)
    (top_left, bottom_left), (top_right, bottom_right) = left.chunk(2, dim=-2), right.chunk(2, dim=-2)
    return torch.stack([top_left, bottom_left, bottom_right, top_right])
