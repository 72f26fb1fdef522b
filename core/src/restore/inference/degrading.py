"""What `restore degrade` does to one image or video, through the degradations that training uses."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Callable, Iterator

import attrs
import numpy as np
import torch
from torch import Tensor

from restore.builtin.degradations.chain import Chain, is_per_frame, settle
from restore.builtin.degradations.codec import Codec
from restore.contracts import Degradation, Step
from restore.errors import RequestError
from restore.functional.color import studio_to_full
from restore.functional.resize import quantize, resize
from restore.functional.seeding import seeded
from restore.inference.jobs import options
from restore.inference.stages import count_frames, refuse_interlaced
from restore.inference.video import VideoJob
from restore.media.coding import CODECS, LAYOUT, Coding, coded_size, recode
from restore.media.color import Picture
from restore.media.encoders import OutputOptions, container_for
from restore.media.frame import ColorInfo, PixelLayout, VideoFrame, guess_matrix
from restore.media.image import read_image, write_image
from restore.media.probe import MediaInfo
from restore.recipe import Output

_CRF = 10.0  # of a degraded video whose container holds no lossless codec that players know
_SEGMENT_PIXELS = 2**26


def degrade_image(source: Path, target: Path, degradation: Degradation, seed: int, quality: int) -> dict[str, Any]:
    """Spoil one image in double precision; depth, kind, alpha and words are kept.

    Args:
        source: the image.
        target: where the result goes.
        degradation: what is done to it, as a clip of one frame.
        seed: of everything random.
        quality: of a JPEG or WebP result, 1 to 100.

    Returns:
        ``input``, ``output``, ``width``, ``height``, and ``warnings`` where there are any.

    Raises:
        RequestError: the degradation does not take the image, or the target cannot be written.
        MediaError: the image is damaged.
    """
    image = read_image(source)
    top = 2**image.bit_depth - 1
    clip = torch.from_numpy(image.pixels.astype(np.float64) / top).permute(2, 0, 1)[None, None]
    try:
        observed = degradation(clip, Step(generator=seeded(seed))).observed
    except ValueError as error:
        raise RequestError(f"{source}: {error}") from error
    if observed.ndim != 5 or observed.shape[:3] != clip.shape[:3]:
        raise RequestError(f"{source}: the degradation makes no image of it, but measurements {list(observed.shape)}")
    made = observed[0, 0]

    def codes(x: Tensor) -> np.ndarray[Any, Any]:
        whole: np.ndarray[Any, Any] = (quantize(x, top) * top).round().numpy().astype(image.pixels.dtype)
        return whole

    height, width = (int(side) for side in made.shape[-2:])
    alpha = image.alpha
    if alpha is not None and alpha.shape != (height, width):
        alpha = codes(resize(torch.from_numpy(alpha.astype(np.float64) / top), size=(height, width)))
    result = attrs.evolve(image, pixels=codes(made.permute(1, 2, 0)), alpha=alpha)
    warnings = write_image(target, result, quality=quality)
    answer: dict[str, Any] = {"input": str(source), "output": str(target), "width": width, "height": height}
    return {**answer, **({"warnings": warnings} if warnings else {})}


class Spoiling:
    """A degradation as work on the pictures of one video.

    Frames that are spoilt independently of each other get a generator each, so that neither batches nor where the
    video is cut change the result. Others are spoilt in segments: one call for each batch of pictures.

    Args:
        degradation: settled; None changes nothing.
        seed: of this video.
        segment: frames of a segment.
        coding: done last, segment by segment, on 8-bit 4:2:0 planes in the file's own matrix.
    """

    def __init__(self, degradation: Degradation | None, seed: int, segment: int, coding: Coding | None = None) -> None:
        self.degradation, self.seed, self.segment, self.coding = degradation, seed, segment, coding
        self.device, self.late, self.rate = torch.device("cpu"), False, 1
        self._size: tuple[int, int] | None = None

    @property
    def per_frame(self) -> bool:
        """Whether segments do not matter."""
        return self.coding is None and (self.degradation is None or is_per_frame(self.degradation))

    def layout_of(self, layout: PixelLayout) -> PixelLayout:
        """As the file."""
        return layout

    def accept(self, info: MediaInfo) -> None:
        """RequestError for interlaced video."""
        refuse_interlaced(info)

    def output_size(self, info: MediaInfo) -> tuple[int, int]:
        """Height and width of spoilt frames, found by spoiling black ones.

        Raises:
            RequestError: the degradation does not take such frames, or makes no frames of them.
        """
        if self.degradation is None:
            return info.height, info.width
        if self._size is None:
            count = 1 if is_per_frame(self.degradation) else min(self.segment, info.frames or self.segment)
            black = torch.zeros(count, 1 if info.layout.kind == "gray" else 3, info.height, info.width)
            try:
                made = self._spoilt(black, 0)
            except ValueError as error:
                raise RequestError(f"{info.path}: {error}") from error
            self._size = int(made.shape[-2]), int(made.shape[-1])
        return self._size

    def begin(self, info: MediaInfo, beside: Path) -> None:
        """Nothing is kept from picture to picture."""

    def reset(self) -> None:
        """Nothing is held back."""

    def tell(self, note: Callable[[str], None]) -> None:
        """There is nothing to tell: every picture comes out at once."""

    def push(self, picture: Picture, first: int = 0) -> Iterator[Picture]:
        """N pictures, spoilt."""
        yield self(picture, first)

    def flush(self) -> Iterator[Picture]:
        """Nothing is held back."""
        yield from ()

    @torch.no_grad()
    def __call__(self, picture: Picture, first: int = 0) -> Picture:
        """N pictures to N spoilt ones; ``first`` is the number of the first of them.

        YUV goes through RGB, in which super-whites lie above 1. Where the size stays, the change is added to the stored
        planes, so that what is not spoilt stays bit for bit; where it does not, chroma is sampled anew at the places
        the file's siting says.
        """
        if self.degradation is not None:
            picture = self._changed(picture, first)
        return picture if self.coding is None else _coded(picture, self.coding)

    def _changed(self, picture: Picture, first: int) -> Picture:
        grey = picture.kind == "gray"
        clean = studio_to_full(picture.parts[0]) if grey else picture.channels("rgb")
        try:
            made = self._spoilt(clean, first)
        except ValueError as error:
            raise RequestError(f"frames {first} to {first + len(picture) - 1}: {error}") from error
        if self._size is not None and self._size != tuple(made.shape[-2:]):
            raise RequestError(f"from frame {first} on the degradation makes frames of another size")
        return picture.with_channels("rgb", clean, made, _scale(picture.size, made))

    def _spoilt(self, clean: Tensor, first: int) -> Tensor:
        assert self.degradation is not None
        if is_per_frame(self.degradation):
            frames = [self._called(f[None, None], first + k) for k, f in enumerate(clean)]
            return torch.cat(frames, dim=1)[0]
        return self._called(clean[None], first)[0]

    def _called(self, clip: Tensor, number: int) -> Tensor:
        assert self.degradation is not None
        observed = self.degradation(clip, Step(generator=seeded(self.seed, 1, number))).observed
        if observed.ndim != 5 or observed.shape[:3] != clip.shape[:3]:
            raise ValueError(
                f"of {list(clip.shape)} (batch, frames, channels, height, width) the degradation makes "
                f"{list(observed.shape)}, which is no video of the same frames"
            )
        return observed


def _coded(picture: Picture, coding: Coding) -> Picture:
    matrix = picture.matrix if picture.kind == "yuv" else guess_matrix(*picture.size)
    color = ColorInfo(matrix=matrix, siting=picture.siting)
    made, _ = recode(picture.to_planes(LAYOUT, color), coding)
    frames = [VideoFrame(planes, 0, 0, Fraction(1), LAYOUT, color) for planes in made]
    return attrs.evolve(Picture.from_frames(frames), alpha=picture.alpha)


def _scale(size: tuple[int, int], made: Tensor) -> float:
    """Spoilt pixels per clean pixel: one over a whole number where rows were merely left over."""
    if size == tuple(made.shape[-2:]):
        return 1.0
    factor = round(size[0] / made.shape[-2])
    fits = factor > 0 and all(s // factor == m for s, m in zip(size, made.shape[-2:], strict=True))
    return 1 / factor if fits else made.shape[-2] / size[0]


def segment_frames(info: MediaInfo) -> int:
    """Frames spoilt together where the degradation looks along time: 64, fewer from about 1280x720 on, at least 8."""
    return max(8, min(64, _SEGMENT_PIXELS // (info.width * info.height)))


@attrs.frozen
class Way:
    """How one video is degraded: pictures through ``work``, then into a file with ``options``.

    Attributes:
        work: what happens to decoded pictures.
        options: of the writer.
        coding: the degradation's last step, if the file's own stream is it.
        notes: what should be said.
    """

    work: Spoiling
    options: OutputOptions
    coding: Coding | None
    notes: list[str]


def find_way(
    info: MediaInfo, target: Path, degradation: Degradation, seed: int, settings: Output, segment: int | None = None
) -> Way:
    """Chooses how to degrade a video.

    Where the last step is ``core:codec`` and the file can hold its stream, that stream is what is written: what a
    player shows is then the degraded video, with the size and bit rate it costs. Everything else is decoded, spoilt and
    written without further loss where the container allows.

    Raises:
        RequestError: the degradation does not take such frames, or the file name's ending is unknown.
    """
    container = container_for(target)
    length = segment or segment_frames(info)
    steps = _steps(settle(degradation, seeded(seed, 0)))
    notes: list[str] = []
    if isinstance(steps[-1], Codec):
        work = Spoiling(_joined(steps[:-1]), seed, length)
        coding = steps[-1].codings(1, None)[0]
        reason = _refused(coding, work.output_size(info), container, settings)
        if not reason:
            count = count_frames(info.path) if coding.ladder is not None else 0
            notes += [f"{target.name}: its stream is the degraded one, {coding.label}"]
            return Way(work, coding.output_options(count), coding, notes + _segments(work, info))
        notes += [f"{target.name}: {coding.label} cannot be its own stream, {reason}; decoded and written again"]
        work.coding = coding
    else:
        work = Spoiling(_joined(steps), seed, length)
    written, said = _writing(target, container, settings)
    return Way(work, written, None, notes + _segments(work, info) + said)


def _steps(degradation: Degradation) -> list[Degradation]:
    if not isinstance(degradation, Chain):
        return [degradation]
    return [inner for step in degradation.steps for inner in _steps(step)]


def _joined(steps: list[Degradation]) -> Degradation | None:
    return Chain(steps) if len(steps) > 1 else steps[0] if steps else None


def _refused(coding: Coding, size: tuple[int, int], container: str, settings: Output) -> str:
    """Why a file cannot hold the codec's stream as the degradation would make it; empty if it can."""
    if settings.codec != "auto":
        return f"as run.output.codec asks for {settings.codec}"
    # AVI would need x264 without B-frames, which is another coding.
    if container not in ("mp4", "mov", "matroska"):
        return f"which does not go into {container}"
    if coded_size(*size, coding.codec) != size:
        return f"as {CODECS[coding.codec]} in 4:2:0 holds no {size[1]}x{size[0]} pictures"
    return ""


def _writing(target: Path, container: str, settings: Output) -> tuple[OutputOptions, list[str]]:
    chosen = options(settings)
    if settings.codec != "auto":
        return chosen, []
    if container in ("matroska", "avi"):
        return attrs.evolve(chosen, codec="ffv1", quality=None, preset=None), []
    if settings.quality is not None:
        return chosen, []
    said = f"{target.name}: written at quality {_CRF:g}, close but not exact; write to .mkv for a lossless result"
    return attrs.evolve(chosen, quality=_CRF), [said]


def _segments(work: Spoiling, info: MediaInfo) -> list[str]:
    if work.per_frame or (info.frames is not None and info.frames <= work.segment):
        return []
    return [f"{info.path.name}: degraded in segments of {work.segment} frames, each by itself (--segment)"]


def degrade_video(info: MediaInfo, target: Path, way: Way, overwrite: bool) -> dict[str, Any]:
    """Degrade one video into one file: frames, times and all other streams are kept.

    Returns:
        ``input``, ``output``, ``frames``, ``width``, ``height``, ``codec``, ``warnings``, and ``coding`` where the
        file's stream is the degraded one.

    Raises:
        RequestError, MediaError: see :class:`restore.inference.video.VideoJob`.
    """
    batch: int | str = "auto" if way.work.per_frame else way.work.segment
    done = VideoJob(info.path, target, way.work, way.options, batch, overwrite).run(info.path.name)
    result: dict[str, Any] = {
        "input": str(info.path),
        "output": str(target),
        "frames": done.frames,
        "width": done.width,
        "height": done.height,
        "codec": done.codec,
        "warnings": [*way.notes, *done.warnings],
    }
    return {**result, **({"coding": way.coding.label} if way.coding is not None else {})}
