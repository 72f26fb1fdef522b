"""Random cuts out of clips, and indices that give every clip its share of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from itertools import accumulate
from typing import Any, Sequence

import attrs
import torch
from torch import Tensor

from restore.errors import RequestError

Shape = tuple[int, int, int]
"""Frames, height and width of a clip."""


def dihedral(image: Tensor, which: int) -> Tensor:
    """One of the eight symmetries of the square, ``which`` in [0, 8), on the last two axes."""
    if which & 1:
        image = image.flip(-1)
    if which & 2:
        image = image.flip(-2)
    return image.transpose(-1, -2) if which & 4 else image


def draw_int(below: int, generator: torch.Generator) -> int:
    """A whole number in [0, below)."""
    return int(torch.randint(below, (), generator=generator))


@attrs.frozen
class Window:
    """What is taken of a clip: ``frames`` from ``start`` on, a rectangle of each, and how it is turned afterwards."""

    start: int
    frames: int
    top: int
    left: int
    height: int
    width: int
    symmetry: int = 0
    reverse: bool = False

    @classmethod
    def whole(cls, shape: Shape, start: int = 0, frames: int | None = None) -> Window:
        """All pixels of the frames."""
        return cls(start, shape[0] if frames is None else frames, 0, 0, shape[1], shape[2])

    @classmethod
    def draw(
        cls, shape: Shape, length: int | None, patch: int | None, augment: bool, generator: torch.Generator
    ) -> Window:
        """A random window; without ``length`` all frames, without ``patch`` all pixels. Nothing is drawn for a choice
        that is none, so an image gives the same draws whatever is known of time."""
        frames, height, width = shape[0] if length is None else length, *((patch, patch) if patch else shape[1:])
        start = draw_int(shape[0] - frames + 1, generator) if frames < shape[0] else 0
        top, left = 0, 0
        if patch is not None:
            top, left = draw_int(shape[1] - patch + 1, generator), draw_int(shape[2] - patch + 1, generator)
        symmetry = draw_int(8, generator) if augment else 0
        reverse = bool(draw_int(2, generator)) if augment and frames > 1 else False
        return cls(start, frames, top, left, height, width, symmetry, reverse)

    def cut(self, image: Tensor) -> Tensor:
        """The rectangle of ``(..., H, W)``."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def turn(self, clip: Tensor) -> Tensor:
        """A cut clip ``(T, C, h, w)``, mirrored, turned and perhaps backwards."""
        clip = dihedral(clip, self.symmetry)
        return clip.flip(0) if self.reverse else clip


def read_qps(dataset: Any, clip: int, window: Window) -> Tensor | None:
    """The QPs of a window's frames, ``(T,)``, as far as a dataset that is cut knows them: its ``read_qps``."""
    read = getattr(dataset, "read_qps", None)
    found: Tensor | None = None if read is None else read(clip, window)
    return found


def segments(frames: int, length: int | None) -> int:
    """How many stretches of ``length`` frames lie side by side in a clip; a whole clip is one."""
    return 1 if length is None else frames // length


def share(shape: Shape, length: int | None, patch: int | None) -> int:
    """How many windows of this size a clip holds side by side; 0 where none fits."""
    if patch is None:
        return segments(shape[0], length)
    fits = min(shape[1:]) >= patch
    return segments(shape[0], length) * (shape[1] * shape[2] // patch**2) if fits else 0


def check_window(length: int | None, patch: int | None) -> None:
    """ValueError for a length or a patch below one."""
    for name, value in (("length", length), ("patch", patch)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


class Shares:
    """Indices spread over clips: the first clip has the first ``counts[0]`` of them, and so on."""

    def __init__(self, counts: Sequence[int]) -> None:
        self._ends = list(accumulate(counts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def locate(self, index: int) -> tuple[int, int]:
        """The clip and the place among its own indices; negative ones count from the end, IndexError outside."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} for {len(self)} entries")
        index %= len(self)
        clip = bisect_right(self._ends, index)
        return clip, index - (self._ends[clip - 1] if clip else 0)


class Clips(ABC):
    """A dataset whose entries are cut from longer clips.

    Args:
        where: for errors, e.g. ``"under data/train"``.
        names: of the clips.
        shapes: frames, height and width of each.
        length: frames of an entry; None takes whole clips.
        patch: side of random square patches in pixels; None takes whole frames.
        augment: the eight symmetries of the square, and time reversal.

    Raises:
        RequestError: no clip is long and large enough.
    """

    def __init__(
        self,
        where: str,
        names: list[str],
        shapes: list[Shape],
        length: int | None,
        patch: int | None,
        augment: bool,
    ) -> None:
        self.names, self.shapes = names, shapes
        self.length, self.patch, self.augment = length, patch, augment
        self._shares = Shares([share(s, length, patch) for s in shapes])
        if not len(self._shares):
            wanted = [f"at least {length} frames"] * (length is not None) + [f"at least {patch}x{patch}"] * bool(patch)
            there = ", ".join(f"{n} has {t} of {w}x{h}" for n, (t, h, w) in list(zip(names, shapes, strict=True))[:3])
            raise RequestError(f"there is no clip of {' and '.join(wanted)} {where}: {there}")

    def __len__(self) -> int:
        return len(self._shares)

    def _segment(self, index: int) -> tuple[int, int]:
        clip, rank = self._shares.locate(index)
        return clip, rank % segments(self.shapes[clip][0], self.length) * (self.length or 0)

    def name(self, index: int) -> str:
        """The clip's name; with ``length``, also the frame at which ``dataset[index]`` begins: ``"name@12"``."""
        clip, start = self._segment(index)
        return self.names[clip] if self.length is None else f"{self.names[clip]}@{start}"

    def __getitem__(self, index: int) -> Tensor:
        """Whole frames ``(T, C, H, W)`` float32 in [0, 1]: the clip, or with ``length`` one stretch of it. Stretches
        lie side by side from the first frame on; frames left over at the end are not among them."""
        clip, start = self._segment(index)
        shape = self._exact(clip)
        frames = shape[0] if self.length is None else self.length
        return self._read(clip, Window.whole(shape, min(start, shape[0] - frames), frames))

    def sample(self, index: int, generator: torch.Generator) -> Tensor:
        """A random window of the clip, ``(T, C, h, w)`` float32 in [0, 1], wherever in the clip it lies."""
        clip, _ = self._shares.locate(index)
        window = Window.draw(self._exact(clip), self.length, self.patch, self.augment, generator)
        return window.turn(self._read(clip, window))

    def shape(self, index: int) -> Shape:
        """Frames, height and width of the clip that an entry belongs to."""
        return self._exact(self._shares.locate(index)[0])

    def read(self, index: int, window: Window) -> Tensor:
        """A given window of that clip, ``(T, C, h, w)`` float32 in [0, 1], not turned."""
        return self._read(self._shares.locate(index)[0], window)

    def _exact(self, clip: int) -> Shape:
        """The clip's shape, where the one given at the start was an estimate."""
        return self.shapes[clip]

    @abstractmethod
    def _read(self, clip: int, window: Window) -> Tensor:
        """The window's pixels, ``(frames, C, height, width)`` float32 in [0, 1], not yet turned."""
