"""The encoders a video can be written with: what they take, how good they are by default, and what fits which file."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Mapping

import attrs
import av

from restore.errors import RequestError
from restore.media.frame import PixelLayout

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}


@attrs.frozen
class OutputOptions:
    """How the output is coded.

    Attributes:
        codec: ``auto``, ``h264``, ``hevc``, ``av1``, ``ffv1`` or ``vp9``. ``auto`` takes AV1 for .webm, H.264 for 8-bit
            YUV and gray, HEVC for more bits, FFV1 (.mkv, .avi) or HEVC (other) for RGB and alpha.
        quality: the encoder's constant quality, smaller is better, 0 is lossless; None takes one that looks like the
            source: 16 for H.264, 18 for HEVC, 24 for AV1 and VP9. FFV1 is always lossless.
        preset: the encoder's own name of a speed, e.g. ``slow``; None takes a middling one.
        options: further options of the encoder, as they are.
        pixel_format: a libav name such as ``yuv444p10le``; None stays as near to the source as the encoder allows.
    """

    codec: str = "auto"
    quality: float | None = None
    preset: str | None = None
    options: Mapping[str, str] = attrs.field(factory=dict)
    pixel_format: str | None = None


DEFAULTS = OutputOptions()


@attrs.frozen
class Encoder:
    """One encoder.

    Attributes:
        library: libav's name.
        quality: default constant quality; None where there is no such thing.
        lossless: options that make it lossless; None if it cannot be.
        preset: option name and default value for speed.
        even: sides must divide by the chroma subsampling.
        minimum: smallest width and height in pixels.
        containers: container names it is written to.
    """

    library: str
    quality: float | None
    lossless: Mapping[str, str] | None
    preset: tuple[str, str] | None
    even: bool
    minimum: tuple[int, int]
    containers: frozenset[str]


_COMMON = frozenset({"mp4", "mov", "matroska"})
ENCODERS: dict[str, Encoder] = {
    "h264": Encoder("libx264", 16, {"qp": "0"}, ("preset", "medium"), True, (1, 1), _COMMON | {"avi"}),
    # x265 itself takes 16 pixels, but below about 56 columns it writes past its look-ahead's buffers and may take the
    # process down with it (seen with x265 4.1 at every preset).
    "hevc": Encoder("libx265", 18, {"x265-params": "lossless=1"}, ("preset", "medium"), True, (64, 16), _COMMON),
    "av1": Encoder("libsvtav1", 24, None, ("preset", "6"), False, (4, 4), _COMMON | {"webm"}),
    "vp9": Encoder("libvpx-vp9", 24, {"lossless": "1"}, ("cpu-used", "2"), False, (1, 1), _COMMON | {"webm"}),
    "ffv1": Encoder("ffv1", None, {}, None, False, (1, 1), frozenset({"matroska", "avi"})),
}


def container_for(path: str | Path) -> str:
    """libav's name of the container that the ending of ``path`` asks for; RequestError for an unknown ending."""
    suffix = Path(path).suffix.lower()
    if suffix not in CONTAINERS:
        known = ", ".join(CONTAINERS)
        raise RequestError(f"{path}: cannot write a video that ends in {suffix or 'nothing'}; use {known}")
    return CONTAINERS[suffix]


def choose_codec(
    path: str | Path, layout: PixelLayout, options: OutputOptions = DEFAULTS, width: int | None = None
) -> str:
    """The codec's short name for a source in ``layout`` written to ``path``; ``width`` is the output's in pixels.

    Raises:
        RequestError: an unknown codec, one that this PyAV lacks, or one that the container does not hold.
    """
    container = container_for(path)
    name = options.codec
    if name == "auto":
        if container == "webm":
            name = "vp9" if layout.alpha else "av1"
        elif container == "avi":
            name = "h264" if layout.kind != "rgb" and not layout.alpha else "ffv1"
        elif layout.kind == "rgb" or layout.alpha:
            name = "ffv1" if container == "matroska" else "hevc"
        else:
            name = "h264" if layout.bit_depth == 8 else "hevc"
        if name == "hevc" and width is not None and width < ENCODERS[name].minimum[0]:
            name = "h264"
    if name not in ENCODERS:
        raise RequestError(f"there is no codec {name!r} here; use auto, {', '.join(ENCODERS)}")
    if container not in ENCODERS[name].containers:
        raise RequestError(f"{Path(path).name}: {name} does not go into {container}; use .mkv, or another codec")
    encoder_formats(name)
    return name


@lru_cache(maxsize=16)
def encoder_formats(codec: str) -> tuple[str, ...]:
    """The pixel formats of the encoder that can be written without loss; RequestError if this PyAV lacks it."""
    library = ENCODERS[codec].library
    try:
        found = [f.name for f in av.Codec(library, "w").video_formats or ()]
    except (ValueError, LookupError, av.error.FFmpegError) as error:
        raise RequestError(f"this PyAV has no {library}; choose another codec than {codec}") from error
    # x265 lists alpha, but most builds of it refuse.
    return tuple(name for name in found if _is_writable(name) and not (codec == "hevc" and name.startswith("yuva")))


def _is_writable(name: str) -> bool:
    if name.endswith("be") or name.startswith(("yuvj", "nv", "p0", "p2", "p4", "yuyv", "uyvy", "yvyu", "pal")):
        return False
    try:
        layout = PixelLayout.from_pix_fmt(name)
    except RequestError:
        return False
    return layout.bit_depth in (8, 10, 12, 14, 16)


def choose_layout(
    source: PixelLayout, width: int, height: int, codec: str, pixel_format: str | None = None
) -> PixelLayout:
    """The layout nearest to ``source`` that ``codec`` takes at this size; the caller converts planes to it.

    What is lost weighs most: colour, then alpha, then RGB, then depth, then chroma; the least is added. H.264 and HEVC
    take no odd sides in 4:2:0 and 4:2:2, so those become 4:4:4.

    Raises:
        RequestError: a size or a pixel format that the encoder does not take.
    """
    encoder = ENCODERS[codec]
    if width < encoder.minimum[0] or height < encoder.minimum[1]:
        least = "x".join(str(n) for n in encoder.minimum)
        raise RequestError(f"{codec} takes no {width}x{height} video, only {least} pixels and more; use h264 or ffv1")
    candidates = [PixelLayout.from_pix_fmt(name) for name in encoder_formats(codec)]
    if pixel_format is not None:
        wanted = PixelLayout.from_pix_fmt(pixel_format)
        if wanted not in candidates:
            raise RequestError(f"{codec} does not take {pixel_format}; it takes {', '.join(encoder_formats(codec))}")
        candidates = [wanted]
    if encoder.even:
        candidates = [c for c in candidates if height % (1 << c.subsampling[0]) == 0 == width % (1 << c.subsampling[1])]
    if not candidates:
        raise RequestError(f"{codec} takes no {width}x{height} video in {pixel_format}; use a 4:4:4 format, or ffv1")
    return min(candidates, key=lambda c: _distance(source, c))


def _distance(source: PixelLayout, to: PixelLayout) -> tuple[int, ...]:
    coarser = sum(max(0, b - a) for a, b in zip(source.subsampling, to.subsampling, strict=True))
    finer = sum(max(0, a - b) for a, b in zip(source.subsampling, to.subsampling, strict=True))
    if source.kind == "gray":
        coarser, finer = 0, 4 - sum(to.subsampling)
    return (
        int(source.kind != "gray" and to.kind == "gray"),
        int(source.alpha and not to.alpha),
        int((source.kind == "rgb") != (to.kind == "rgb")),
        max(0, source.bit_depth - to.bit_depth),
        coarser,
        int(source.kind != to.kind),
        finer,
        int(to.alpha and not source.alpha),
        max(0, to.bit_depth - source.bit_depth),
    )


def encoder_pix_fmt(layout: PixelLayout, codec: str) -> str:
    """The encoder's pixel format that holds ``layout``; planar where there is a choice."""
    names = [name for name in encoder_formats(codec) if PixelLayout.from_pix_fmt(name) == layout]
    if not names:
        raise RequestError(f"{codec} cannot hold {layout.label} pictures")
    return layout.pix_fmt if layout.pix_fmt in names else names[0]


def encoder_options(codec: str, options: OutputOptions, width: int, height: int) -> dict[str, str]:
    """Options for libav's encoder; RequestError where lossless coding is asked of a codec that has none."""
    encoder = ENCODERS[codec]
    out: dict[str, str] = {}
    quality = encoder.quality if options.quality is None else options.quality
    if encoder.preset:
        out[encoder.preset[0]] = options.preset or encoder.preset[1]
    if quality == 0 and encoder.lossless is None:
        raise RequestError(f"{codec} has no lossless mode here; use ffv1, h264 or hevc for that")
    if quality == 0 and encoder.lossless is not None:
        out.update(encoder.lossless)
    elif quality is not None:
        out["crf"] = f"{quality:g}"
    for name, value in options.options.items():
        joined = [out[name], str(value)] if name == "x265-params" and name in out else [str(value)]
        out[name] = ":".join(joined)
    out.update(_quirks(codec, width, height, out))
    return out


def _quirks(codec: str, width: int, height: int, chosen: Mapping[str, str]) -> dict[str, Any]:
    if codec == "hevc":
        # x265 writes to the terminal unless told otherwise.
        return {"x265-params": ":".join(filter(None, ["log-level=none", chosen.get("x265-params")]))}
    if codec == "av1":
        os.environ.setdefault("SVT_LOG", "1")
    if codec == "vp9":
        return {"b": chosen.get("b", "0"), "row-mt": "1"}  # without b=0 libvpx takes crf for a bound, not a quality
    if codec == "ffv1":
        # Level 3 has checksums, but its slices do not fit into the smallest pictures.
        return {"level": "1"} if min(width, height) < 16 else {"level": chosen.get("level", "3"), "slicecrc": "1"}
    return {}
