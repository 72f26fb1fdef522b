"""Clips in an HDF5 file."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from restore.builtin.datasets.cutting import Clips, Window, check_window
from restore.errors import MediaError, RequestError

Layout = Literal["nhw", "nchw", "nhwc", "ntchw", "nthwc"]


class HDF5(Clips):
    """One array of an HDF5 file whose first axis counts images or clips. Only what an entry needs is read. A file of
    pairs has two arrays: make two datasets of them and give them to ``paired``.

    Args:
        file: the HDF5 file.
        key: of the array, e.g. ``"label"`` or ``"train/gt"``.
        layout: what the axes are: number, time, channel, height, width. Time may be left out for images.
        length: frames of an entry; left out, all.
        patch: side of the square patches, in pixels.
        augment: random flips, quarter turns and time reversal.

    Raises:
        RequestError: h5py is not installed, no such file or array, or an array that does not fit.
        MediaError: floating-point values outside [0, 1].
    """

    def __init__(
        self,
        file: Path,
        key: str,
        layout: Layout = "nchw",
        length: int | None = None,
        patch: int | None = None,
        augment: bool = True,
    ) -> None:
        check_window(length, patch)
        self.file, self.key, self.layout = file, key, layout
        self._opened: tuple[int, Any] | None = None
        array = self._array()
        if len(array.shape) != len(layout):
            raise RequestError(f"{file}: {key!r} has {len(array.shape)} axes {tuple(array.shape)}, not {layout!r}")
        if array.dtype != np.uint8 and array.dtype.kind != "f":
            raise RequestError(f"{file}: {key!r} holds {array.dtype}; uint8 or floating point in [0, 1] can be read")
        sizes = dict(zip(layout, map(int, array.shape), strict=True))
        shape = sizes.get("t", 1), sizes["h"], sizes["w"]
        super().__init__(
            f"in {file}", [f"{k:06d}" for k in range(sizes["n"])], [shape] * sizes["n"], length, patch, augment
        )

    def _array(self) -> Any:
        # A handle does not survive a fork: every process opens its own.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), self._open()
        return self._opened[1]

    def _open(self) -> Any:
        try:
            h5py = importlib.import_module("h5py")
        except ImportError:
            raise RequestError("reading HDF5 needs h5py: pip install 'restorekit[hdf5]'") from None
        if not self.file.is_file():
            raise RequestError(f"{self.file} does not exist")
        try:
            opened = h5py.File(self.file, "r")
        except OSError as error:
            raise RequestError(f"{self.file} cannot be read as HDF5: {error}") from None
        found = opened.get(self.key)
        if found is None or not hasattr(found, "shape"):
            raise RequestError(f"{self.file} has no array {self.key!r}; it has: {', '.join(opened) or 'nothing'}")
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _read(self, clip: int, window: Window) -> Tensor:
        parts = {
            "n": clip,
            "t": slice(window.start, window.start + window.frames),
            "h": slice(window.top, window.top + window.height),
            "w": slice(window.left, window.left + window.width),
        }
        try:
            values = np.asarray(self._array()[tuple(parts.get(axis, slice(None)) for axis in self.layout)])
        except OSError as error:
            raise MediaError(f"{self.file}: entry {clip} of {self.key!r} cannot be read: {error}") from None
        axes = self.layout[1:]
        for axis in "ct":
            if axis not in axes:
                values, axes = values[None], axis + axes
        clips = torch.from_numpy(np.ascontiguousarray(values.transpose([axes.index(a) for a in "tchw"])))
        if clips.dtype == torch.uint8:
            return clips.float() / 255
        clips = clips.float()
        if not bool(((clips >= -1e-3) & (clips <= 1 + 1e-3)).all()):
            low, high = float(clips.min()), float(clips.max())
            raise MediaError(
                f"{self.file}: entry {clip} of {self.key!r} has values from {low:g} to {high:g}, not [0, 1]"
            )
        return clips.clamp(0, 1)
