"""What a file holds, told by its content and not by its name."""

from __future__ import annotations

import re
import threading
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import attrs
import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from restore.errors import MediaError, RequestError
from restore.media.frame import SITINGS, ColorInfo, PixelLayout

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".ogv",
     ".3gp", ".vob", ".mxf", ".y4m", ".nut", ".h264", ".hevc", ".264", ".265", ".ivf"}
)  # fmt: skip
# Demuxers that turn text, playlists or still pictures into "video", or that open further files.
_REFUSED_DEMUXERS = {"tty", "hls", "dash", "concat", "ffmetadata", "sdp", "rtsp", "image2", "bin", "xbin", "adf", "idf"}
_FIELDS = frozenset({2, 3, 4, 5})
_log_lock = threading.Lock()


@attrs.frozen
class MediaInfo:
    """What :func:`probe` found.

    Attributes:
        path: the file.
        kind: ``image`` or ``video``.
        width, height: of the decoded picture in pixels, before any rotation by tag. An image is already upright.
        frames: how many, exactly if the container says so, else estimated from duration and rate; None if unknown.
        frame_rate: frames per second on average; None for images or if unknown.
        duration: seconds; None if unknown.
        layout: planes and depth.
        color: what the numbers mean, and what had to be guessed.
        transfer: ``sdr``, ``pq`` or ``hlg``.
        interlaced: the frames consist of two fields.
        rotation: degrees counter-clockwise that a player applies, from the display matrix.
        display_matrix: the nine integers behind ``rotation``, or None.
        sample_aspect_ratio: width by height of a pixel.
        codec: name of the codec or of the image format.
        container: name of the container; the image format for images.
        audio, subtitles, attachments: how many streams of each kind.
        pix_fmt: libav's name of the decoded pixel format, empty for images.
    """

    path: Path
    kind: Literal["image", "video"]
    width: int
    height: int
    frames: int | None
    frame_rate: Fraction | None
    duration: float | None
    layout: PixelLayout
    color: ColorInfo
    transfer: Literal["sdr", "pq", "hlg"] = "sdr"
    interlaced: bool = False
    rotation: int = 0
    display_matrix: tuple[int, ...] | None = None
    sample_aspect_ratio: Fraction = Fraction(1)
    codec: str = ""
    container: str = ""
    audio: int = 0
    subtitles: int = 0
    attachments: int = 0
    pix_fmt: str = ""


def check_file(path: str | Path) -> Path:
    """``path`` as a Path to a file with something in it; RequestError says what is wrong with any other."""
    path = Path(path)
    if path.is_dir():
        raise RequestError(f"{path} is a folder; give a file, or list the folder's media")
    if not path.exists():
        raise RequestError(f"{path} does not exist; check the name")
    if not path.is_file():
        raise RequestError(f"{path} is not a plain file; give an image or a video file")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise RequestError(f"{path} is empty (zero bytes); copy or download it again")
    except OSError as error:
        raise RequestError(f"{path} cannot be opened: {error.strerror}; check its permissions") from error
    return path


def probe(path: str | Path) -> MediaInfo:
    """Opens ``path``, decodes its first picture and tells what it is.

    Raises:
        RequestError: missing, a folder, empty, neither image nor video, sound only, or an animated image.
    """
    path = check_file(path)
    image = _probe_image(path)
    return image if image is not None else _probe_video(path)


def is_media_name(path: str | Path) -> bool:
    """Whether the name ends like an image's or a video's and is not hidden."""
    path = Path(path)
    return path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and not path.name.startswith(".")


def list_media(folder: str | Path) -> list[Path]:
    """The images and videos directly in ``folder``, ``a2`` before ``a10``; RequestError if there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder")
    found = [p for p in folder.iterdir() if is_media_name(p) and p.is_file()]
    if not found:
        raise RequestError(f"{folder} holds no images or videos; known endings are .png, .jpg, .mp4, .mkv and the like")
    return sorted(found, key=natural_key)


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """A sorting key that takes runs of digits as numbers."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p]


def open_pillow(path: Path) -> Image.Image | None:
    """Opens ``path`` lazily if it is one of the known image formats; None if it is not; RequestError if too large."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path, formats=IMAGE_FORMATS)
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError as error:
        raise RequestError(f"{path} has more pixels than is safe to open ({error}); cut it into parts first") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise RequestError(f"{path} is not an image or video that can be read ({error})") from error


def _probe_image(path: Path) -> MediaInfo | None:
    image = open_pillow(path)
    if image is None:
        return None
    with image:
        count = getattr(image, "n_frames", 1)
        if image.format == "GIF" or (count > 1 and image.format != "MPO"):
            what = "several pages" if image.format == "TIFF" else "an animation"
            raise RequestError(f"{path} is {image.format} ({what}); convert it to a video or to single images first")
        gray = image.mode in ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")
        alpha = image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info
        depth = 16 if is_deep(image, path) else 8
        tags = getattr(image, "tag_v2", {})  # TIFF: some versions of Pillow turn the size at once, some do not
        width, height = (tags[256], tags[257]) if 256 in tags and 257 in tags else image.size
        if _orientation(image, path, tags.get(0x0112, 1)) in (5, 6, 7, 8):
            width, height = height, width
        layout = PixelLayout("gray" if gray else "rgb", depth, alpha=alpha)
        color = ColorInfo(matrix="rgb", range="full", siting="center")
        name = "jpeg" if image.format == "MPO" else str(image.format).lower()
        return MediaInfo(path, "image", width, height, 1, None, None, layout, color, codec=name, container=name)


def _orientation(image: Image.Image, path: Path, default: int) -> int:
    try:
        return int(image.getexif().get(0x0112, default))
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # a PNG's words may stand behind its pixels
        raise MediaError(f"{path} is damaged or cut off: {error}; copy or download it again") from error


def is_deep(image: Image.Image, path: Path) -> bool:
    """Whether the file stores 16 bits per sample, which Pillow's mode does not always tell."""
    if image.format == "PNG":
        with path.open("rb") as file:
            header = file.read(26)
        return len(header) > 24 and header[24] == 16
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
        return bool(max(bits if isinstance(bits, tuple) else (bits,)) == 16)
    return False


def libav_name(path: Path) -> str:
    """A name that libav takes for a local file whatever characters it has."""
    return "file:" + str(path)


def open_container(path: Path) -> Any:
    """Opens a video for reading; RequestError if it is none."""
    try:
        container = av.open(libav_name(path), metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise RequestError(f"{path} is not an image or video that can be read, or most of it is missing") from error
    names = set(container.format.name.split(","))
    if names & _REFUSED_DEMUXERS or any(n.endswith("_pipe") for n in names):
        container.close()
        raise RequestError(f"{path} is not an image or video that can be read")
    return container


def picture_stream(container: Any, path: Path) -> Any:
    """The first video stream that is no cover picture; RequestError if there is none or it cannot be decoded."""
    streams = [s for s in container.streams.video if not is_cover(s)]
    if not streams:
        what = "only sound" if container.streams.audio else "nothing to look at"
        raise RequestError(f"{path} has no picture stream; it holds {what}")
    if streams[0].codec_context is None:
        raise RequestError(f"{path} has a picture stream of a kind that cannot be decoded here; convert it first")
    return streams[0]


def is_cover(stream: Any) -> bool:
    """Whether a video stream is a cover picture."""
    return bool(disposition(stream) & 0x400)


def disposition(stream: Any) -> int:
    """The bits that say default, forced, cover and so on; 0 where PyAV is too old to tell."""
    try:
        flags = stream.disposition
    except AttributeError:
        return 0
    return int(getattr(flags, "value", flags))


def _probe_video(path: Path) -> MediaInfo:
    container = open_container(path)
    with container:
        stream = picture_stream(container, path)
        frame = _first_frame(container, stream)
        if frame is None:
            raise RequestError(f"{path} has a picture stream, but no picture in it can be decoded")
        pix_fmt, codec = frame.format.name, _codec_name(stream)
        siting = _chroma_siting(container, stream)
        color = ColorInfo.from_codes(_codes(frame, stream), pix_fmt, (frame.height, frame.width), siting, codec)
        duration = _duration(container, stream)
        rate = stream.average_rate or stream.guessed_rate
        frames = stream.frames or (round(duration * rate) if duration and rate else None)
        matrix, rotation = _display_matrix(frame)
        return MediaInfo(
            path, "video", frame.width, frame.height, frames, rate, duration,
            PixelLayout.from_pix_fmt(pix_fmt), color,
            transfer="pq" if color.transfer == "pq" else "hlg" if color.transfer == "hlg" else "sdr",
            interlaced=frame.interlaced_frame or getattr(stream.codec_context, "field_order", 0) in _FIELDS,
            rotation=rotation, display_matrix=matrix, sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
            codec=codec, container=container.format.name, audio=len(container.streams.audio),
            subtitles=len(container.streams.subtitles), attachments=len(container.streams.attachments), pix_fmt=pix_fmt,
        )  # fmt: skip


def _codec_name(stream: Any) -> str:
    codec = stream.codec_context.codec
    return str(getattr(codec, "canonical_name", None) or stream.codec_context.name)


def _first_frame(container: Any, stream: Any) -> av.VideoFrame | None:
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue  # the reader will say where; here only the format matters
            if frames:
                first: av.VideoFrame = frames[0]
                return first
    except av.error.FFmpegError:
        return None
    return None


def _codes(frame: av.VideoFrame, stream: Any) -> tuple[int, int, int, int]:
    context = stream.codec_context

    def pick(name: str, unset: int) -> int:
        value = int(getattr(frame, name, unset))
        return value if value != unset else int(getattr(context, name, unset))

    return pick("colorspace", 2), pick("color_range", 0), pick("color_primaries", 2), pick("color_trc", 2)


def _duration(container: Any, stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _display_matrix(frame: av.VideoFrame) -> tuple[tuple[int, ...] | None, int]:
    items: Any = frame.side_data  # a mapping that iterates over its values
    for data in items:
        if data.type.name == "DISPLAYMATRIX":
            values = tuple(int(v) for v in np.frombuffer(data, np.int32))
            return values, int(frame.rotation)
    return None, 0


def _chroma_siting(container: Any, stream: Any) -> str | None:
    """PyAV has no attribute for it: libav's own description of the file names it at verbose level only."""
    with _log_lock:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.VERBOSE)
        av.logging.set_libav_level(av.logging.VERBOSE)
        try:
            text = container.dumps_format()
        finally:
            av.logging.set_level(level)
            av.logging.set_libav_level(av.logging.INFO)
    for line in text.splitlines():
        if re.match(rf"\s*Stream #0:{stream.index}\D", line) and (inside := re.search(r"Video: .*", line)):
            words = re.split(r"[(),]\s*|\s+", inside.group())
            return next((word for word in words if word in SITINGS), None)
    return None
