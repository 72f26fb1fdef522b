"""Folders of frame images, one folder a clip: REDS, Vid4, Vimeo-90K, MFQE as PNG."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from restore.builtin.datasets.cache import ByteCache
from restore.builtin.datasets.cutting import Clips, Shape, Window, check_window
from restore.builtin.datasets.stills import SUFFIXES, image_size, read_pixels, wanted
from restore.errors import RequestError
from restore.media.probe import natural_key


class Frames(Clips):
    """Clips stored as images. Every folder below ``root`` (and ``root`` itself) that holds images is a clip, its images
    in natural order (``f2`` before ``f10``) are its frames.

    ``dataset[i]`` gives whole frames: the clip, or with ``length`` one stretch of it. ``dataset.sample(i, generator)``
    cuts ``length`` frames anywhere in the clip, and with ``patch`` the same square of each. The number of entries
    counts what the clips hold side by side, so that long and large clips are not seen less per pixel.

    Args:
        root: folder of folders, or one folder of images.
        length: frames of an entry; left out, whole clips.
        patch: side of the square patches, in pixels.
        augment: random flips, quarter turns and time reversal.
        include, exclude: patterns on the clip's path below ``root``, e.g. ``"train_sharp/*"``.
        channels: ``rgb``, grey images are repeated; ``native``, grey images keep their one channel.
        cache_mb: decoded frames are kept in memory up to this many megabytes.

    Raises:
        RequestError: no such folder, nothing in it that fits, or a clip whose images differ in size.
        MediaError: a file cannot be read as an image.
    """

    def __init__(
        self,
        root: Path,
        length: int | None = None,
        patch: int | None = None,
        augment: bool = True,
        include: list[str] | None = None,
        exclude: list[str] | None = None,
        channels: Literal["rgb", "native"] = "rgb",
        cache_mb: int = 2048,
    ) -> None:
        check_window(length, patch)
        self.channels = channels
        folders = {k: v for k, v in _frame_folders(root).items() if wanted(k, root, include, exclude)}
        if not folders:
            raise RequestError(f"there is no folder of images under {root}" + " that fits" * bool(include or exclude))
        self.files = list(folders.values())
        names = [k.relative_to(root).as_posix() if k != root else root.resolve().name for k in folders]
        shapes = [_shape(k, files) for k, files in folders.items()]
        self._cache: ByteCache[Tensor] = ByteCache(cache_mb * 2**20)
        super().__init__(f"under {root}", names, shapes, length, patch, augment)

    def _read(self, clip: int, window: Window) -> Tensor:
        files = self.files[clip][window.start : window.start + window.frames]
        return torch.stack([window.cut(self._frame(path)) for path in files]).float() / 255

    def _frame(self, path: Path) -> Tensor:
        frame = self._cache.get(path)
        if frame is None:
            frame = read_pixels(path, self.channels)
            self._cache.put(path, frame, frame.numel())
        return frame


def _frame_folders(root: Path) -> dict[Path, list[Path]]:
    if not root.is_dir():
        raise RequestError(f"{root} is not a folder; frames are images in folders, one folder a clip")
    found = {}
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=lambda f: natural_key(Path(f)))
        there = [Path(folder, f) for f in files if Path(f).suffix.lower() in SUFFIXES and not f.startswith(".")]
        if there:
            found[Path(folder)] = sorted(there, key=natural_key)
    return found


def _shape(folder: Path, files: list[Path]) -> Shape:
    height, width = image_size(files[0])
    for file in files[1:]:
        other = image_size(file)
        if other != (height, width):
            raise RequestError(
                f"the frames of {folder} differ in size: {files[0].name} is {width}x{height}, "
                f"{file.name} is {other[1]}x{other[0]}; a folder is one clip"
            )
    return len(files), height, width
