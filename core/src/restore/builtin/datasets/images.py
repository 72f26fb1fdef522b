"""A folder of clean images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from restore.builtin.datasets.cache import ByteCache
from restore.builtin.datasets.cutting import Shape, Shares, Window, check_window, dihedral, share
from restore.builtin.datasets.stills import image_size, list_files, read_pixels, wanted
from restore.errors import RequestError

__all__ = ["Images", "dihedral"]


class Images:
    """Images under a folder, searched recursively, as clips of one frame.

    Whole images come out of ``dataset[i]``. With ``patch``, ``dataset.sample(i, generator)`` cuts a random patch
    instead, and the length counts patches: an image stands for as many as its area holds, so that large images are not
    seen less per pixel than small ones.

    Args:
        root: folder, or one image.
        patch: side of the square patches, in pixels.
        augment: random flips and quarter turns (the eight symmetries of the square).
        include, exclude: patterns on the path below ``root``, e.g. ``"BSD200/*"``.
        channels: ``rgb``, grey images are repeated; ``native``, grey images keep their one channel.
        cache_mb: decoded images are kept in memory up to this many megabytes.

    Raises:
        RequestError: no such folder, or nothing in it that fits.
    """

    def __init__(
        self,
        root: Path,
        patch: int | None = None,
        augment: bool = True,
        include: list[str] | None = None,
        exclude: list[str] | None = None,
        channels: Literal["rgb", "native"] = "rgb",
        cache_mb: int = 2048,
    ) -> None:
        check_window(None, patch)
        self.root, self.patch, self.augment, self.channels = root, patch, augment, channels
        self.paths = [p for p in list_files(root) if wanted(p, root, include, exclude)]
        self._cache: ByteCache[Tensor] = ByteCache(cache_mb * 2**20)
        # Without patches no file is opened here: listing a large folder stays quick.
        self._shares = Shares([1 if patch is None else share((1, *image_size(p)), None, patch) for p in self.paths])
        if not len(self._shares):
            what = f"image of at least {patch}x{patch}" if patch else "image"
            raise RequestError(f"there is no {what} under {root}")

    def __len__(self) -> int:
        return len(self._shares)

    def name(self, index: int) -> str:
        """The file's name without suffix."""
        return self.path(index).stem

    def path(self, index: int) -> Path:
        """The file."""
        return self.paths[self._shares.locate(index)[0]]

    def __getitem__(self, index: int) -> Tensor:
        """The whole image, ``(1, C, H, W)`` float32 in [0, 1]."""
        return self._read(self.path(index)).unsqueeze(0).float() / 255

    def sample(self, index: int, generator: torch.Generator) -> Tensor:
        """A random patch, ``(1, C, patch, patch)`` float32 in [0, 1]; the whole image without ``patch``."""
        image = self._read(self.path(index))
        window = Window.draw((1, image.shape[1], image.shape[2]), None, self.patch, self.augment, generator)
        return window.turn(window.cut(image).unsqueeze(0)).float() / 255

    def shape(self, index: int) -> Shape:
        """One frame, height and width."""
        return (1, *image_size(self.path(index)))

    def read(self, index: int, window: Window) -> Tensor:
        """A given window of the image, ``(1, C, h, w)`` float32 in [0, 1], not turned."""
        return window.cut(self._read(self.path(index))).unsqueeze(0).float() / 255

    def _read(self, path: Path) -> Tensor:
        image = self._cache.get(path)
        if image is None:
            image = read_pixels(path, self.channels)
            self._cache.put(path, image, image.numel())
        return image
