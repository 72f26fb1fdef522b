"""Photographs panned, zoomed and turned, with pieces of others moving before them: video when videos are scarce."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from restore.builtin.datasets.cache import ByteCache
from restore.builtin.datasets.cutting import Shares, dihedral, draw_int, share
from restore.builtin.datasets.motion import Blob, Layer, Motion, Scene, smooth_path, spline, uniform
from restore.builtin.datasets.stills import image_size, list_files, read_pixels, wanted
from restore.errors import RequestError
from restore.functional.resize import resize
from restore.functional.seeding import seeded

# Pixels around what is seen: a bicubic tap reaches two, and one for rounding.
_MARGIN = 3
# A photograph is shrunk at most to this part of its size.
_SMALLEST = 0.25
# Photograph pixels per pixel of the clip, at most. At 1, detail near the clip's own limit would be lost differently at
# every position between pixels, and shimmer. At 0.65 a bicubic warp by the true motion was right to 0.41 of 255 levels
# in the mean and to 0.98 in the worst of 150 clips (96x96); at 0.8 to 0.57 and 1.12.
_DENSITY = 0.65
# The most that a clip zooms in or out, as a logarithm.
_ZOOM_RANGE = 0.35


class StillsInMotion:
    """Clips made of photographs. A camera moves over one along a smooth random path, and up to ``pieces`` soft-edged
    pieces of others move before it, each its own way. Everything is sampled between pixels (bicubic spline) from
    pictures that were first shrunk, antialiased, so that one pixel of the clip never spans a whole one of theirs
    whatever the zoom and the angle: no aliasing, and exact motion.

    ``sample(i, generator)`` draws a clip around photograph ``i``; ``sample_with_flow`` also gives the true motion;
    ``dataset[i]`` is one fixed clip. The number of entries counts the patches that the photographs hold side by side.
    Motion that would leave a photograph is made smaller.

    Args:
        root: folder of photographs, searched recursively, or one.
        length: frames of a clip.
        patch: side of a clip in pixels; photographs need eight more.
        pieces: at most so many, the number is drawn for each clip; 0 moves the camera only.
        speed: pixels per frame: the standard deviation of the camera's and the pieces' velocity along each axis, times
            a factor drawn from [0, 2) for each clip.
        rotation: the same in degrees per frame.
        zoom: the same as change of size per frame, 0.01 for one percent; a clip's sizes differ by 1.4 times at most.
        include, exclude: patterns on the path below ``root``.
        cache_mb: decoded photographs are kept in memory up to this many megabytes.

    Raises:
        RequestError: no such folder, or no photograph that is large enough.
        MediaError: a file cannot be read as an image.
    """

    def __init__(
        self,
        root: Path,
        length: int,
        patch: int,
        pieces: int = 3,
        speed: float = 2.0,
        rotation: float = 0.4,
        zoom: float = 0.006,
        include: list[str] | None = None,
        exclude: list[str] | None = None,
        cache_mb: int = 2048,
    ) -> None:
        for name, value, least in (("length", length, 1), ("patch", patch, 8), ("pieces", pieces, 0),
                                   ("speed", speed, 0), ("rotation", rotation, 0), ("zoom", zoom, 0)):  # fmt: skip
            if not value >= least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.root, self.length, self.patch, self.pieces = root, length, patch, pieces
        self.speed, self.rotation, self.zoom = speed, math.radians(rotation), zoom
        files = [p for p in list_files(root) if wanted(p, root, include, exclude)]
        sizes = [(p, image_size(p)) for p in files]
        large = [(p, size) for p, size in sizes if min(size) >= patch + 8]
        if not large:
            raise RequestError(f"there is no image of at least {patch + 8}x{patch + 8} under {root}")
        self.paths = [p for p, _ in large]
        self._shares = Shares([share((1, *size), None, patch) for _, size in large])
        self._cache: ByteCache[Tensor] = ByteCache(cache_mb * 2**20)

    def __len__(self) -> int:
        return len(self._shares)

    def name(self, index: int) -> str:
        """The photograph's name without suffix."""
        return self.paths[self._shares.locate(index)[0]].stem

    def __getitem__(self, index: int) -> Tensor:
        """One fixed clip, ``(length, 3, patch, patch)`` float32 in [0, 1]."""
        return self.sample(index, seeded(0x57111, index % len(self)))

    def sample(self, index: int, generator: torch.Generator) -> Tensor:
        """A random clip, ``(length, 3, patch, patch)`` float32 in [0, 1]."""
        return self.scene(index, generator).render()

    def sample_with_flow(self, index: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """The clip that ``sample`` gives for the same generator, and its true motion.

        Returns:
            ``(clip, flow, valid)``: flow ``(length - 1, 2, patch, patch)`` float32 in pixels, x (right) then y (down):
            what frame t shows at p is at ``p + flow`` in frame t + 1. valid ``(length - 1, 1, patch, patch)`` bool:
            false where it is then hidden or outside, and on the soft edges of pieces, where two motions mix.
        """
        scene = self.scene(index, generator)
        return (scene.render(), *scene.flow())

    def scene(self, index: int, generator: torch.Generator) -> Scene:
        """The moving pictures of a random clip."""
        photograph, _ = self._shares.locate(index)
        pace = uniform(0, 2, generator)
        background, camera = self._background(self._picture(photograph, generator), pace, generator)
        layers = [background]
        for _ in range(draw_int(self.pieces + 1, generator)):
            other = self._picture(draw_int(len(self.paths), generator), generator)
            layers.append(self._piece(other, camera, pace, generator))
        return Scene(tuple(layers), self.length, self.patch, self.patch)

    def _picture(self, number: int, generator: torch.Generator) -> Tensor:
        path = self.paths[number]
        picture = self._cache.get(path)
        if picture is None:
            picture = read_pixels(path)
            self._cache.put(path, picture, picture.numel())
        return dihedral(picture, draw_int(8, generator))

    def _turns(self, pace: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Angles and logarithms of size over time."""
        angle = smooth_path(self.length, pace * self.rotation, generator)
        size = smooth_path(self.length, pace * self.zoom, generator)
        spread = float(size.max() - size.min())
        return angle, size * min(1.0, _ZOOM_RANGE / spread) if spread else size

    def _shift(self, pace: float, generator: torch.Generator) -> Tensor:
        return torch.stack([smooth_path(self.length, pace * self.speed, generator) for _ in range(2)], -1)

    def _background(self, picture: Tensor, pace: float, generator: torch.Generator) -> tuple[Layer, Tensor]:
        """The layer, and how its contents move over the frame, ``(T, 2)``."""
        angle, size = self._turns(pace, generator)
        shift = self._shift(pace, generator)
        middle = torch.full((2,), (self.patch - 1) / 2, dtype=torch.float64)
        corners = Scene((), 1, 2, 2).grid(self.length) * (self.patch - 1)
        room = torch.tensor([picture.shape[-1], picture.shape[-2]], dtype=torch.float64) - 2 * _MARGIN - 1
        for attempt in range(7):
            motion = Motion.similarity(_no_coarser(size, angle), angle, middle + shift, torch.zeros(2).double())
            points = motion.source(corners).reshape(-1, 2)
            low, high = points.amin(0), points.amax(0)
            if bool((high - low <= room).all()):
                break
            smaller = 0.5 if attempt < 5 else 0.0
            angle, size, shift = angle * smaller, size * smaller, shift * smaller
        part, factor = _draw_part(picture, high - low, generator)
        shrunk = _shrink(part, factor)
        spare = torch.tensor([shrunk.shape[-1], shrunk.shape[-2]]).double() - 1 - 2 * _MARGIN - (high - low)
        place = torch.rand(2, generator=generator, dtype=torch.float64) * spare.clamp(min=0)
        return Layer(spline(shrunk), Motion(motion.matrix, motion.offset + _MARGIN + place - low)), shift

    def _piece(self, picture: Tensor, camera: Tensor, pace: float, generator: torch.Generator) -> Layer:
        angle, size = self._turns(pace, generator)
        shift = camera + self._shift(pace, generator)
        largest = (min(picture.shape[-2:]) - 2 * _MARGIN - 1) / 3.2
        radius = min(self.patch * uniform(0.08, 0.3, generator), largest)
        side = torch.full((2,), 3.2 * radius, dtype=torch.float64)
        part, factor = _draw_part(picture, side, generator)
        shrunk = _shrink(part, factor)
        centre = (torch.tensor([shrunk.shape[-1], shrunk.shape[-2]]).double() - 1) / 2
        # It is somewhere in the frame halfway through the clip, or it might never be seen.
        start = (self.patch - 1) * torch.rand(2, generator=generator, dtype=torch.float64)
        shown = start + shift - shift[self.length // 2]
        motion = Motion.similarity(_no_coarser(size, angle), angle, shown, centre)
        return Layer(spline(shrunk), motion, Blob.draw(centre, radius, generator))


def _no_coarser(size: Tensor, angle: Tensor) -> Tensor:
    """Picture pixels per frame pixel over time such that no frame samples it more coarsely than its own grid: a turned
    square grid reaches ``|cos| + |sin|`` times as far along an axis."""
    reach = angle.cos().abs() + angle.sin().abs()
    scale = torch.exp(-size)
    return _DENSITY * scale / (scale * reach).max()


def _draw_part(picture: Tensor, extent: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
    """A random part of a picture ``(C, H, W)`` and a factor to shrink it by, so that ``extent`` (x, y) fits into it."""
    sides = torch.tensor([picture.shape[-1], picture.shape[-2]], dtype=torch.float64)
    needed = extent + 2 * _MARGIN + 1
    least = min(1.0, max(_SMALLEST, float((needed / sides).max())))
    factor = math.exp(uniform(math.log(least), 0.0, generator))
    width, height = (min(int(s), math.ceil(n / factor)) for s, n in zip(sides.tolist(), needed.tolist(), strict=True))
    left = draw_int(picture.shape[-1] - width + 1, generator)
    top = draw_int(picture.shape[-2] - height + 1, generator)
    return picture[:, top : top + height, left : left + width], factor


def _shrink(part: Tensor, factor: float) -> Tensor:
    return resize(part.float() / 255, factor) if factor < 1 else part.float() / 255
