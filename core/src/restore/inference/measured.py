"""Models that need the linear operator which made their input: a window's own operator, for windows and tiles."""

from __future__ import annotations

import math
from typing import Any, Iterator

import attrs
import torch
from torch import Tensor, nn

from restore.contracts import Halo, Place, Prediction, VideoMeasurement
from restore.errors import RequestError, RestoreError
from restore.inference import tiles
from restore.inference.lines import TemporalLine
from restore.inference.precision import Mode
from restore.inference.windows import WindowRunner
from restore.media.color import Picture
from restore.media.frame import PixelLayout
from restore.operators import Mask
from restore.recipe import Run

# The luma of BT.601, which colourisation measures.
_LUMA = (0.299, 0.587, 0.114)


class MeasuredRunner(WindowRunner):
    """A model that is called with a measurement and its operator, on videos of any size and length.

    Windows along time and tiles in space overlap by the model's halo and are blended: data steps look at a whole
    window, and so may the model. Every window gets the operator that belongs to its place. Where the file's own pixels
    are kept (a mask), the model works only around what is missing.

    Answers hold, for each frame of the file, the ``rate`` frames from it up to the next one, side by side as channels:
    ``(n, rate C, scale H, scale W)``. Behind the last frame of a scene there is nothing to come, and it is repeated.

    Args:
        model: its traits say ``needs_operator``.
        settings, name, work: see :class:`restore.inference.running.Runner`.
        measurement: what made the file.

    Raises:
        RequestError: a model or a schedule that cannot be run so.
    """

    takes_operator = True

    def __init__(
        self, model: nn.Module, settings: Run, measurement: VideoMeasurement, name: str, work: int | None = None
    ) -> None:
        super().__init__(model, settings, name, work)
        own: Any = self.traits
        if own.multiple_of != 1 or own.minimum != 1 or own.scale != 1:
            raise RequestError(
                f"{name} does not take every size, or enlarges by itself; it cannot be given an operator"
            )
        if own.channels != "rgb":
            raise RequestError(f"{name} was made for grey clips; files are restored by models of three channels")
        if measurement.rate > 1 and self.causal:
            raise RequestError('run.temporal.schedule = "causal": a frame between two others needs the later one')
        self.measurement, self.rate = measurement, measurement.rate
        frames = max(math.ceil(own.halo.frames / self.rate), int(self.rate > 1))
        # From here on in the file's own frames and pixels.
        halo = Halo(math.ceil(own.halo.pixels / measurement.scale), frames)
        self.traits = attrs.evolve(own, scale=measurement.scale, halo=halo)
        self._begun = self._low = 0

    def seen(self, first: int, frames: int, height: int, width: int) -> Tensor | None:
        """What of a file's frames is the scene's, see :data:`restore.inference.scenes.Seen`."""
        return self._kept(Place(first, 0, 0, height, width), frames)

    def settle_mode(self, frames: Tensor, count: int = 1) -> Mode:
        """float32 unless another was asked for: data steps are solved in it."""
        if self.mode is None and self.settings.precision == "auto":
            self.mode = Mode(reason="data steps are solved in float32")
        return super().settle_mode(frames, count)

    def try_out(self, frames: Tensor, mode: Mode) -> Tensor:
        """A trial on the first frames."""
        height, width = int(frames.shape[-2]), int(frames.shape[-1])
        return self._answer(frames, Place(self._begun, 0, 0, height, width), mode)

    def finish(self) -> Iterator[Tensor]:
        """Counts on: places are those of the whole video."""
        count = self._first + len(self._held)
        yield from super().finish()
        self._begun += count

    def reset(self) -> None:
        """A new video."""
        super().reset()
        self._begun = 0

    def begin_at(self, first: int) -> None:
        """After :meth:`reset`: the next frame is number ``first`` of the video, for the operator as well."""
        self.answered = self._begun = first

    def _needs(self, channels: int, chunk: int) -> float:
        if not self._bytes:
            length = 5
            piece = self.measuring_piece(length, channels)
            shape = length, channels, int(piece.shape[-2]), int(piece.shape[-1])
            operator = Mask(shape, torch.ones(1, dtype=torch.bool))
            measured = self.activations(piece, lambda: self.model(piece.unsqueeze(0), operator))
            # Of the clean clip, whose state takes some clips of its size besides.
            self._bytes = (measured / length + 16 * channels * 4) * self.scale**2 * self.rate
        return (chunk + self.past + self.ahead) * self._bytes

    def _advance(self, stop: int, ended: bool) -> Tensor:
        self._low = max(self._first, self._next - self.past)
        return super()._advance(stop, ended)

    def _tiled(self, frames: Tensor, kept: slice, tile: int, mode: Mode) -> Tensor:
        height, width = int(frames.shape[-2]), int(frames.shape[-1])
        place = Place(self._begun + self._low, 0, 0, height, width)
        region = self._region(place, len(frames))
        if region is None:
            return frames[kept]
        (top, bottom), (left, right) = region
        inner = frames[..., top:bottom, left:right]
        halo = self.traits.halo.pixels + self.fade
        planned = tiles.plan(bottom - top, right - left, tile, halo)
        fade = self.fade if len(planned) > 1 else 0

        def run(one: tiles.Tile) -> Tensor:
            (a, _), (c, _) = one.region
            return self._answer(tiles.cut(inner, one), attrs.evolve(place, top=top + a, left=left + c), mode)[kept]

        size = bottom - top, right - left
        out = tiles.merge(((one, run(one)) for one in planned), size, self.scale, fade)
        if size == (height, width):
            return out
        # Only where the file's own pixels are kept is there anything outside: scale and rate are 1.
        whole = frames[kept].clone()
        whole[..., top:bottom, left:right] = out
        return whole

    def _kept(self, place: Place, frames: int) -> Tensor | None:
        return self.measurement.kept(place, frames) if self.rate == self.scale == 1 else None

    def _region(self, place: Place, frames: int) -> tuple[tiles.Span, tiles.Span] | None:
        """The rows and columns around all that is missing, with what reaches it; None where nothing is."""
        kept = self._kept(place, frames)
        if kept is None:
            return (0, place.height), (0, place.width)
        missing = (~kept).flatten(0, -3).any(0)
        if not bool(missing.any()):
            return None
        halo, spans = self.traits.halo.pixels, []
        for axis, side in ((1, place.height), (0, place.width)):
            where = missing.any(axis).nonzero().flatten()
            spans.append((max(0, int(where[0]) - halo), min(side, int(where[-1]) + 1 + halo)))
        return spans[0], spans[1]

    def _answer(self, piece: Tensor, place: Place, mode: Mode) -> Tensor:
        """``(n, C, h, w)`` of the file to ``(n, rate C, scale h, scale w)``."""
        window = self.measurement.window(piece.unsqueeze(0), place)
        with mode.arithmetic(self.device), torch.inference_mode():
            call: Any = self.call
            answer = call(window.measured, window.operator)
        clip: Tensor = answer.restored if isinstance(answer, Prediction) else answer
        count, height, width = len(piece), piece.shape[-2] * self.scale, piece.shape[-1] * self.scale
        t, r, c = window.first
        clip = clip[0, t : t + (count - 1) * self.rate + 1, :, r : r + height, c : c + width]
        wanted = (count - 1) * self.rate + 1, height, width
        if (clip.shape[0], *clip.shape[-2:]) != wanted:
            raise RestoreError(f"{self.name}: its answer has not the size of the operator's domain, {wanted}")
        if self.rate == 1:
            return clip
        clip = torch.cat([clip, *[piece[-1:].to(clip)] * (self.rate - 1)])
        return clip.reshape(count, -1, height, width)


class MeasuredLine(TemporalLine):
    """The pictures of a :class:`MeasuredRunner`: what was measured exactly stays as it is stored, to the last bit."""

    runner: MeasuredRunner
    _first = 0  # number of the first picture

    def reset(self) -> None:
        """The next picture is number 0."""
        super().reset()
        self._first = 0

    def count_from(self, first: int) -> None:
        """The next picture is number ``first``."""
        self._first = first
        self.runner.begin_at(first)

    @property
    def rate(self) -> int:
        """Pictures out per picture in."""
        return self.runner.rate

    def _answered(self, answer: Tensor) -> Iterator[Picture]:
        for one in torch.split(answer, 1):
            number = self._first + self._out
            yield self._made(self._next(), one, number)

    def _made(self, picture: Picture, answer: Tensor, number: int) -> Picture:
        measurement, scale = self.runner.measurement, self.scale
        if measurement.colours:
            return _coloured(picture, answer)
        before = picture.channels("rgb")
        if self.rate == 1:
            made = picture.with_channels("rgb", before, answer, scale)
            kept = measurement.kept(Place(number, 0, 0, *picture.size), 1) if scale == 1 else None
            return made if kept is None else _unchanged(picture, made, kept.flatten(0, -3).all(0))
        _, *between = answer.chunk(self.rate, dim=1)
        return Picture.joined([picture, *[picture.with_channels("rgb", before, after) for after in between]])


def with_colours(layout: PixelLayout) -> PixelLayout:
    """The layout of results of which the file holds no colours."""
    return attrs.evolve(layout, kind="yuv", subsampling=(1, 1)) if layout.kind == "gray" else layout


def _coloured(picture: Picture, answer: Tensor) -> Picture:
    """Colours from the answer, luma from the picture."""
    if picture.kind == "gray":
        picture = picture.as_layout(PixelLayout("yuv", alpha=picture.alpha is not None))
    before = picture.channels("rgb")
    weights = torch.tensor(_LUMA, device=answer.device, dtype=answer.dtype).view(1, 3, 1, 1)
    after = answer + ((before.to(answer) - answer) * weights).sum(1, keepdim=True)
    made = picture.with_channels("rgb", before, after)
    return attrs.evolve(made, parts=(picture.parts[0], *made.parts[1:])) if picture.kind == "yuv" else made


def _unchanged(picture: Picture, made: Picture, kept: Tensor) -> Picture:
    """``made``, with the stored samples of ``picture`` wherever all that a sample stands for is kept, ``(H, W)``."""
    parts = []
    missing = (~kept).float()[None, None].to(made.parts[0].device)
    for old, new in zip(picture.parts, made.parts, strict=True):
        rows, columns = (-(-m // s) for m, s in zip(missing.shape[-2:], old.shape[-2:], strict=True))
        pooled = missing
        if (rows, columns) != (1, 1):
            pooled = nn.functional.max_pool2d(missing, (rows, columns), ceil_mode=True)
        parts.append(torch.where(pooled > 0, new, old))
    return attrs.evolve(made, parts=tuple(parts), alpha=picture.alpha)
