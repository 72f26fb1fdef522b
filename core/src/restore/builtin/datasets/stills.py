"""Image files of a dataset: which there are, how large they are, and their pixels in 8 bits."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restore.errors import MediaError, RequestError

Planes = Literal["rgb", "native"]
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm"}


def list_files(root: Path, suffixes: set[str] | frozenset[str] = frozenset(SUFFIXES)) -> list[Path]:
    """The files below a folder with these endings, sorted by path; a file is a list of itself.

    Raises:
        RequestError: no such folder.
    """
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise RequestError(f"folder {root} does not exist")
    return sorted(p for p in root.rglob("*") if p.suffix.lower() in suffixes and p.is_file())


def wanted(path: Path, root: Path, include: list[str] | None, exclude: list[str] | None) -> bool:
    """Whether the patterns, on the path below ``root``, let a path through."""
    inside = path.relative_to(root).as_posix() if path != root else path.name
    if include is not None and not any(fnmatch(inside, p) for p in include):
        return False
    return not any(fnmatch(inside, p) for p in exclude or [])


def image_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels, from the file's head; MediaError if it cannot be read."""
    try:
        with Image.open(path) as file:
            width, height = file.size
            return int(height), int(width)
    except (OSError, SyntaxError) as error:
        raise MediaError(f"{path} cannot be read as an image: {error}") from None


def read_pixels(path: Path, channels: Planes = "rgb") -> Tensor:
    """The pixels, ``(C, H, W)`` uint8; 16 bits are rounded to 8.

    Args:
        path: an image file.
        channels: ``rgb``, grey is repeated; ``native``, grey keeps its one channel.

    Raises:
        MediaError: it cannot be read.
    """
    try:
        with Image.open(path) as file:
            deep = file.mode.startswith("I")
            grey = channels == "native" and (deep or file.mode in ("1", "L", "LA"))
            # Pillow would clip 16-bit grey to 255 on the way to 8 bits.
            image8 = Image.fromarray((np.asarray(file) / 257 + 0.5).astype(np.uint8)) if deep else file
            pixels = np.array(image8.convert("L" if grey else "RGB"))
    except (OSError, SyntaxError) as error:
        raise MediaError(f"{path} cannot be read as an image: {error}") from None
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()
