"""A folder of clean images."""

from __future__ import annotations

import threading
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restore.errors import MediaError, RequestError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm"}


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
        if patch is not None and patch < 1:
            raise ValueError(f"patch must be at least 1, got {patch}")
        self.root, self.patch, self.augment, self.channels = root, patch, augment, channels
        self.paths = [p for p in _image_files(root) if _wanted(p, root, include, exclude)]
        self._room = cache_mb * 2**20
        self._cache: dict[int, Tensor] = {}
        self._lock = threading.Lock()
        self._owner = list(range(len(self.paths)))
        if patch is not None:
            sizes = [_size(p) for p in self.paths]
            self._owner = [i for i, (w, h) in enumerate(sizes) if min(w, h) >= patch for _ in range(w * h // patch**2)]
        if not self._owner:
            what = f"image of at least {patch}x{patch}" if patch else "image"
            raise RequestError(f"there is no {what} under {root}")

    def __len__(self) -> int:
        return len(self._owner)

    def name(self, index: int) -> str:
        """The file's name without suffix."""
        return self.paths[self._owner[index]].stem

    def path(self, index: int) -> Path:
        """The file."""
        return self.paths[self._owner[index]]

    def __getitem__(self, index: int) -> Tensor:
        """The whole image, ``(1, C, H, W)`` float32 in [0, 1]."""
        return self._read(self._owner[index]).unsqueeze(0).float() / 255

    def sample(self, index: int, generator: torch.Generator) -> Tensor:
        """A random patch, ``(1, C, patch, patch)`` float32 in [0, 1]; the whole image without ``patch``."""
        image = self._read(self._owner[index])
        if self.patch is not None:
            top, left = (
                int(torch.randint(side - self.patch + 1, (), generator=generator)) for side in image.shape[-2:]
            )
            image = image[:, top : top + self.patch, left : left + self.patch]
        if self.augment:
            image = dihedral(image, int(torch.randint(8, (), generator=generator)))
        return image.unsqueeze(0).float() / 255

    def _read(self, owner: int) -> Tensor:
        kept = self._cache.get(owner)
        if kept is not None:
            return kept
        path = self.paths[owner]
        try:
            with Image.open(path) as file:
                deep = file.mode.startswith("I")
                grey = self.channels == "native" and (deep or file.mode in ("1", "L", "LA"))
                # Pillow would clip 16-bit grey to 255 on the way to 8 bits.
                image8 = Image.fromarray((np.asarray(file) / 257 + 0.5).astype(np.uint8)) if deep else file
                pixels = np.array(image8.convert("L" if grey else "RGB"))
        except (OSError, SyntaxError) as error:
            raise MediaError(f"{path} cannot be read as an image: {error}") from None
        image = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()
        with self._lock:
            if image.numel() <= self._room and owner not in self._cache:
                self._room -= image.numel()
                self._cache[owner] = image
        return image


def dihedral(image: Tensor, which: int) -> Tensor:
    """One of the eight symmetries of the square, ``which`` in [0, 8), on the last two axes."""
    if which & 1:
        image = image.flip(-1)
    if which & 2:
        image = image.flip(-2)
    return image.transpose(-1, -2) if which & 4 else image


def _image_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise RequestError(f"folder {root} does not exist")
    return sorted(p for p in root.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())


def _wanted(path: Path, root: Path, include: list[str] | None, exclude: list[str] | None) -> bool:
    inside = path.relative_to(root).as_posix() if path != root else path.name
    if include is not None and not any(fnmatch(inside, p) for p in include):
        return False
    return not any(fnmatch(inside, p) for p in exclude or [])


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as file:
            width, height = file.size
            return int(width), int(height)
    except (OSError, SyntaxError) as error:
        raise MediaError(f"{path} cannot be read as an image: {error}") from None
