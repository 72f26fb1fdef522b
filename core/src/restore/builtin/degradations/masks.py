"""Parts of a clip are missing where a mask says so: base of the masked problems, and masks from files."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from pathlib import Path
from typing import Any, Iterator, Literal

import numpy as np
import torch
from torch import Tensor

from restore.builtin.degradations.linear import LinearDegradation, Shape, Sigma
from restore.contracts import Place, Window
from restore.errors import RequestError
from restore.operators import Mask

# Masks of a video that are kept, as bits: the windows of a clip overlap.
_KEPT_FRAMES = 512
Bits = np.ndarray[Any, np.dtype[Any]]
_HALF = (16 + 219 / 2) / 255


class Masked(LinearDegradation):
    """What is seen of each frame of a video does not depend on its pixels. A subclass gives :meth:`seen`."""

    @abstractmethod
    def seen(self, first: int, frames: int, height: int, width: int) -> Tensor:
        """Bool, broadcasting to ``(frames, C, height, width)``: true where frames from number ``first`` on are seen."""

    def window(self, observed: Tensor, place: Place) -> Window:
        """The part of the mask that lies over the window."""
        frames, channels, height, width = observed.shape[1:]
        seen = self.seen(place.frame, frames, place.height, place.width)
        rows, columns = slice(place.top, place.top + height), slice(place.left, place.left + width)
        operator = Mask((frames, channels, height, width), seen[..., rows, columns].to(observed.device))
        return Window(operator, operator(observed))

    def kept(self, place: Place, frames: int) -> Tensor | None:
        """What is seen, unless it is noisy."""
        return self.seen(place.frame, frames, place.height, place.width) if self.sigma == 0 else None


class FileMask(Masked):
    """What a mask marks is missing: a logo, a scratch, dust.

    Args:
        mask: an image, the same for all frames, or a video with a mask for each frame, as large as the clips. A value
            counts as white where it is at least half of it. Images are grey, or have as many channels as the clips.
        missing: what is missing: what the mask leaves ``black``, or what it has ``white``.
        sigma: noise on what is seen, see :class:`LinearDegradation`.

    Raises:
        RequestError: there is no such file, or it marks nothing, or everything.
        ValueError: a negative sigma; when called, a clip of another size or longer than a mask video.
    """

    def __init__(self, mask: Path, missing: Literal["black", "white"] = "black", sigma: Sigma = 0.0) -> None:
        from restore.media.probe import probe

        super().__init__(sigma)
        if missing not in ("black", "white"):
            raise ValueError(f"missing must be 'black' or 'white', got {missing!r}")
        self.path, self.missing = mask, missing
        info = probe(mask)
        self.size = info.height, info.width
        self._video = None if info.kind == "image" else _MaskVideo(mask)
        self.channels = 1
        if self._video is None:
            self._still = self._read_still()
            self.channels = len(self._still)

    @property
    def per_frame(self) -> bool:  # type: ignore[override]
        """Only where all frames have the same mask."""
        return self._video is None

    def _read_still(self) -> Tensor:
        from restore.media.image import read_image

        image = read_image(self.path)
        white = torch.from_numpy(image.pixels >= 2 ** (image.bit_depth - 1)).permute(2, 0, 1)
        if bool((white == white[:1]).all()):
            white = white[:1]
        seen = ~white if self.missing == "white" else white
        what = "white" if self.missing == "white" else "black"
        if bool(seen.all()):
            raise RequestError(f"the mask {self.path} has nothing {what}, so nothing is missing (missing = {what!r})")
        if not bool(seen.any()):
            raise RequestError(f"the mask {self.path} is {what} all over, so nothing is left (missing = {what!r})")
        return seen

    def seen(self, first: int, frames: int, height: int, width: int) -> Tensor:
        """The still, or the frames of the mask video.

        Raises:
            RequestError: the mask video ends before.
        """
        if self._video is None:
            return self._still[None]
        white = torch.from_numpy(np.stack([self._video.white(first + k) for k in range(frames)]))[:, None]
        return ~white if self.missing == "white" else white

    def check_video(self, frames: int, height: int, width: int) -> None:
        """RequestError for a mask of another size, or a mask video that is shorter."""
        if self.size != (height, width):
            raise RequestError(
                f"the mask {self.path} is {self.size[1]}x{self.size[0]}, the frames are {width}x{height}; "
                "draw it over a frame of the file itself"
            )
        if self._video is not None and self._video.count < frames:
            raise RequestError(f"the mask {self.path} has {self._video.count} frames, the video {frames}")

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Mask:
        """The file's mask."""
        if self.size != tuple(shape[2:]) or self.channels not in (1, shape[1]):
            raise ValueError(
                f"the mask {self.path} is {self.size[1]}x{self.size[0]} with {self.channels} channels; "
                f"clips are {shape[3]}x{shape[2]} with {shape[1]}"
            )
        if self._video is not None and self._video.count < shape[0]:
            raise ValueError(f"the mask {self.path} has {self._video.count} frames, a clip {shape[0]}")
        return Mask(shape, self.seen(0, shape[0], *shape[2:]))


class _MaskVideo:
    """The frames of a video as black and white, read forward; the last ones are kept."""

    def __init__(self, path: Path) -> None:
        from restore.media.probe import open_container, picture_stream

        self.path = path
        with open_container(path) as container:
            stream = picture_stream(container, path)
            self.count = sum(1 for packet in container.demux(stream) if packet.size)
        self._kept: OrderedDict[int, Bits] = OrderedDict()
        self._frames: Iterator[Bits] | None = None
        self._next = 0

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_frames": None, "_next": 0, "_kept": OrderedDict()}

    def white(self, number: int) -> Bits:
        """``(H, W)`` bool of a frame; RequestError behind the last one."""
        if number not in self._kept:
            if self._frames is None or number < self._next:
                self._frames, self._next = self._read(), 0
            for frame in self._frames:
                self._kept[self._next] = frame
                self._next += 1
                if len(self._kept) > _KEPT_FRAMES:
                    self._kept.popitem(last=False)
                if self._next > number:
                    break
            else:
                raise RequestError(f"the mask {self.path} ends before frame {number}")
        packed = self._kept[number]
        rows, columns = self._size
        return np.unpackbits(packed, axis=1, count=columns)[:rows].astype(bool)

    def _read(self) -> Iterator[Bits]:
        from restore.media.color import Picture
        from restore.media.reader import VideoReader

        with VideoReader(self.path) as reader:
            self._size = reader.info.height, reader.info.width
            for frame in reader:
                luma = Picture.from_frames([frame]).channels("y")[0, 0]
                yield np.packbits((luma >= _HALF).numpy(), axis=1)
