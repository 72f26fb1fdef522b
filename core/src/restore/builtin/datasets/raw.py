"""Raw YUV files, as test sequences of video coding are published: MFQE 2.0, JCT-VC, Derf's collection."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restore.builtin.datasets.cutting import Clips, Shape, Window, check_window
from restore.builtin.datasets.stills import list_files, wanted
from restore.builtin.datasets.videos import window_rgb
from restore.errors import MediaError, RequestError
from restore.media.frame import ColorInfo, PixelLayout, VideoFrame, guess_matrix

_SIZE = re.compile(r"(?:^|[_-])(\d+)x(\d+)(?=[_.-]|$)")


class Raw(Clips):
    """Files of raw 4:2:0 video, one after the other the planes Y, Cb and Cr of each frame; every file is a clip.

    The name says the size, ``BasketballPass_416x240_500.yuv``; how many frames there are follows from the length of the
    file. Only what an entry needs is read. Range is limited and chroma sited left, as is usual; nothing in such a file
    could say otherwise.

    Args:
        root: folder, searched recursively, or one file.
        length: frames of an entry; left out, whole clips.
        patch: side of the square patches, in pixels.
        augment: random flips, quarter turns and time reversal.
        include, exclude: patterns on the path below ``root``, e.g. ``"*_416x240_*"``.
        matrix: between RGB and what the file holds; ``auto``, BT.709 from 720 lines or 1280 columns on, else BT.601.
        bit_depth: 8, or 10 in two bytes, little-endian.

    Raises:
        RequestError: no such folder, nothing in it that fits, a name without a size, an odd size, or a file that is no
            whole number of frames long.
    """

    def __init__(
        self,
        root: Path,
        length: int | None = None,
        patch: int | None = None,
        augment: bool = True,
        include: list[str] | None = None,
        exclude: list[str] | None = None,
        matrix: Literal["auto", "bt601", "bt709"] = "auto",
        bit_depth: Literal[8, 10] = 8,
    ) -> None:
        check_window(length, patch)
        if matrix not in ("auto", "bt601", "bt709") or bit_depth not in (8, 10):
            raise ValueError(
                f"matrix must be auto, bt601 or bt709 and bit_depth 8 or 10, got {matrix!r} and {bit_depth}"
            )
        self.matrix, self.layout = matrix, PixelLayout("yuv", bit_depth, (1, 1))
        self.files = [p for p in list_files(root, {".yuv"}) if wanted(p, root, include, exclude)]
        if not self.files:
            raise RequestError(f"there is no .yuv file under {root}" + " that fits" * bool(include or exclude))
        names = [p.relative_to(root).with_suffix("").as_posix() if p != root else p.stem for p in self.files]
        super().__init__(f"under {root}", names, [self._measured(p) for p in self.files], length, patch, augment)

    @property
    def _type(self) -> np.dtype[np.unsignedinteger]:
        return np.dtype("u1" if self.layout.bit_depth == 8 else "<u2")

    def _measured(self, path: Path) -> Shape:
        found = _SIZE.search(path.stem)
        if found is None:
            raise RequestError(f"{path}: the name does not say the size; rename it to NAME_WIDTHxHEIGHT.yuv")
        width, height = int(found[1]), int(found[2])
        if not width or not height or width % 2 or height % 2:
            raise RequestError(f"{path}: 4:2:0 needs even sides, the name says {width}x{height}")
        frame, size = width * height * 3 // 2 * self._type.itemsize, path.stat().st_size
        if not size or size % frame:
            raise RequestError(
                f"{path} holds {size} bytes, no whole number of {self.layout.bit_depth}-bit 4:2:0 frames of "
                f"{width}x{height} ({frame} bytes each): it is cut off, or its name is wrong"
            )
        return size // frame, height, width

    def _read(self, clip: int, window: Window) -> Tensor:
        path, (count, height, width) = self.files[clip], self.shapes[clip]
        frame = width * height * 3 // 2
        try:
            held = np.memmap(path, self._type, "r", shape=(count, frame))
        except (OSError, ValueError) as error:
            raise MediaError(f"{path} cannot be read: {error}") from error
        matrix = guess_matrix(height, width) if self.matrix == "auto" else self.matrix
        color = ColorInfo(matrix=matrix)
        frames = [
            VideoFrame(self._planes(held[k], height, width), None, 0, Fraction(1), self.layout, color, k)
            for k in range(window.start, window.start + window.frames)
        ]
        return window_rgb(frames, window)

    @staticmethod
    def _planes(
        values: NDArray[np.unsignedinteger], height: int, width: int
    ) -> tuple[NDArray[np.unsignedinteger], ...]:
        luma, chroma = width * height, width * height // 4
        parts = np.split(values, [luma, luma + chroma])
        shapes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
        return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
