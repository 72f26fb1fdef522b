"""A video written beside its final name and renamed when whole."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import av

from restore.errors import MediaError, RequestError
from restore.media.encoders import (
    DEFAULTS,
    ENCODERS,
    OutputOptions,
    choose_codec,
    container_for,
    encoder_options,
    encoder_pix_fmt,
)
from restore.media.files import check_output, hold, partial_name, temporary_name
from restore.media.frame import ColorInfo, PixelLayout, VideoFrame
from restore.media.pixels import planes_to_frame
from restore.media.reader import VideoReader
from restore.media.streams import StreamCopier, kept_metadata, needs_free_tags, set_disposition

_FRAME_DURATION = 1 << 8  # AV_CODEC_FLAG_FRAME_DURATION
_MAX_TIMESCALE = 2**31 - 1


class VideoWriter:
    """Encodes frames and carries over all else from the video they were restored from.

    Construct it, connect ``reader.on_packet = writer.copy``, write every frame, then :meth:`commit`. Leaving the
    ``with`` block without commit removes what was written. ``write`` and ``copy`` may run in different threads.

    Args:
        path: the final name; its ending chooses the container.
        template: the open reader whose streams, tags and time base are kept.
        width, height: of the output in pixels.
        layout: of the planes that will come, from :func:`restore.media.encoders.choose_layout`.
        options: codec and quality.
        overwrite: an existing file may be replaced. The input never is.
        rate: frames that will come per frame of the template.

    Attributes:
        warnings: one line for each thing that could not be kept.
        color: what the output is tagged with; planes must be in this matrix and range.
        codec: the short name of the codec in use.

    Raises:
        RequestError: the output cannot be written as asked.
        MediaError: writing fails on the way, e.g. the disk is full.
    """

    rate = 1

    def __init__(
        self,
        path: str | Path,
        template: VideoReader,
        width: int,
        height: int,
        layout: PixelLayout,
        *,
        options: OutputOptions = DEFAULTS,
        overwrite: bool = False,
        rate: int = 1,
    ) -> None:
        self.rate = rate
        self.path = check_output(path, [template.path], overwrite)
        self.container_name = container_for(self.path)
        self.codec = choose_codec(self.path, template.info.layout, options, width)
        self.layout, self.width, self.height = layout, width, height
        self.color: ColorInfo = template.info.color.for_output(template.info.layout, layout, height, width)
        self.warnings: list[str] = _losses(template.info.layout, layout, self.codec)
        self.frames_written = 0
        self._template = template
        self._lock = threading.Lock()
        self._last_pts: int | None = None
        self._open = True
        self._part = temporary_name(self.path)
        self._held: IO[bytes] | None = None
        self._time_base = self._encoder_time_base()
        self._pix_fmt = encoder_pix_fmt(layout, self.codec)
        try:
            self._container = self._open_container()
            self._stream = self._add_picture(options)
            self._begin()
        except (av.error.FFmpegError, ValueError, OSError) as error:
            self._discard()
            raise RequestError(
                f"{self.path.name}: {self.codec} cannot write {width}x{height} {layout.label} with these options "
                f"({error}); try another codec, e.g. ffv1 in .mkv"
            ) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._open:
            self.abort(keep=False)

    def write(self, frame: VideoFrame) -> None:
        """Encodes one frame: planes in ``layout`` and of the output's size, pts in the source's time base."""
        if frame.planes[0].shape != (self.height, self.width):
            raise ValueError(f"a frame of {frame.planes[0].shape} does not fit a {self.height}x{self.width} video")
        picture = planes_to_frame(frame.planes, self.layout, self._pix_fmt)
        picture.pts, duration = self._times(frame)
        with contextlib.suppress(AttributeError):  # PyAV 14 has no durations
            picture.duration = duration
        picture.time_base = self._time_base
        tag_colors(picture, self.color.codes)
        self._encode(picture)
        self.frames_written += 1

    def copy(self, packet: Any) -> None:
        """Takes one packet of another stream of the template, as ``reader.on_packet`` gives it."""
        target = self._targets.get(packet.stream_index)
        if target is None or packet.dts is None:
            return
        packet.stream = target
        self._mux(packet)

    def commit(self) -> Path:
        """Finishes the file and gives it its final name, which is returned."""
        self._finish()
        try:
            os.replace(self._part, self.path)
        except OSError as error:
            raise MediaError(f"{self.path} could not be named: {error.strerror}; the result is {self._part}") from error
        return self.path

    def abort(self, keep: bool) -> Path | None:
        """Ends early. With ``keep`` and at least one frame, the result so far is finished and its path returned."""
        if not self._open:
            return None
        if not keep or not self.frames_written:
            self._discard()
            return None
        self._finish()
        target = partial_name(self.path)
        os.replace(self._part, target)
        return target

    def _begin(self) -> None:
        copier = StreamCopier(self._container, self.container_name, self._template)
        self._targets = copier.targets
        self.warnings += copier.warnings
        self._container.start_encoding()

    def _encoder_time_base(self) -> Fraction:
        source, rate = self._template.time_base / self.rate, self._frame_rate
        if self.container_name == "avi":  # AVI knows only frame numbers
            return 1 / rate if rate else Fraction(1, 25)
        return source if source.denominator <= _MAX_TIMESCALE else Fraction(1, 1_000_000)

    @property
    def _frame_rate(self) -> Fraction | None:
        rate = self._template.info.frame_rate
        return None if rate is None else rate * self.rate

    def _open_container(self) -> Any:
        options: dict[str, str] = {}
        metadata = kept_metadata(self._template.container.metadata)
        if self.container_name in ("mp4", "mov"):
            scale = str(self._time_base.denominator)
            # The movie's own clock too: edit lists, which hold the first pts, are told in it.
            options = {"video_track_timescale": scale, "movie_timescale": scale}
            if needs_free_tags(metadata):
                options["movflags"] = "use_metadata_tags"
        elif self.container_name == "matroska":
            options = {"avoid_negative_ts": "disabled"}
        self._held = hold(self._part)
        container = av.open("file:" + str(self._part), "w", format=self.container_name, container_options=options)
        container.metadata.update(metadata)
        return container

    def _add_picture(self, options: OutputOptions) -> Any:
        info, source = self._template.info, self._template.stream
        rate = self._frame_rate or Fraction(25) * self.rate
        stream = self._container.add_stream(ENCODERS[self.codec].library, rate=rate)
        context = stream.codec_context
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, self._pix_fmt
        context.time_base = self._time_base
        context.sample_aspect_ratio = info.sample_aspect_ratio
        tag_colors(context, self.color.codes)
        context.flags |= _FRAME_DURATION
        stream.options = self._codec_options(options)
        if self.codec == "hevc" and self.container_name in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # what QuickTime plays
        if info.display_matrix is not None:
            self._rotate(stream, info.display_matrix)
        # These codecs do not hold the pixel shape, and PyAV cannot tell Matroska's muxer.
        shapeless = self.codec in ("av1", "vp9") and self.container_name in ("matroska", "webm")
        if info.sample_aspect_ratio != 1 and shapeless:
            self.warnings.append(
                f"the pixel shape {info.sample_aspect_ratio} cannot be kept with {self.codec} in "
                f"{self.container_name}; use .mp4, or h264 or hevc"
            )
        stream.metadata.update(kept_metadata(source.metadata))
        set_disposition(stream, source)
        return stream

    def _codec_options(self, options: OutputOptions) -> dict[str, str]:
        chosen = encoder_options(self.codec, options, self.width, self.height)
        if self.layout.subsampling == (1, 1) and "siting" not in self.color.guessed:
            chosen.setdefault("chroma_sample_location", self.color.siting)
        if self.container_name == "avi":
            chosen.setdefault("bf", "0")  # AVI has no presentation times, so frames go in the order they are shown
        return chosen

    def _rotate(self, stream: Any, matrix: tuple[int, ...]) -> None:
        if self.container_name in ("webm", "avi") or not hasattr(stream, "set_display_matrix"):
            said = f"the rotation tag cannot be kept in {self.container_name} here; write to .mp4 or .mkv"
            self.warnings.append(said)
            return
        stream.set_display_matrix(matrix)

    def _times(self, frame: VideoFrame) -> tuple[int, int]:
        factor = frame.time_base / self._time_base
        pts = self.frames_written if frame.pts is None else round(frame.pts * factor)
        if self._last_pts is not None and pts <= self._last_pts:
            pts = self._last_pts + 1
            if self.container_name != "avi" and not any("not in order" in w for w in self.warnings):
                said = f"frame {frame.index}: its time is not in order; it follows the one before at once"
                self.warnings.append(said)
        self._last_pts = pts
        return pts, max(0, round(frame.duration * factor))

    def _encode(self, picture: av.VideoFrame | None) -> None:
        try:
            packets = self._stream.encode(picture)
        except (av.error.FFmpegError, OSError) as error:
            if isinstance(error, av.error.EOFError) and picture is None:
                return
            raise self._failure(error) from error
        for packet in packets:
            if picture is None and self.codec == "hevc" and self.frames_written <= 2:
                packet.dts = packet.pts  # x265 leaves it uninitialised when a video ends within its B-frame delay
            self._mux(packet)

    def _mux(self, packet: Any) -> None:
        try:
            with self._lock:
                if self._open:
                    self._container.mux(packet)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> MediaError:
        cause = getattr(error, "strerror", None) or error
        hint = "; free some space on the disk" if getattr(error, "errno", None) == errno.ENOSPC else ""
        return MediaError(f"{self.path}: writing failed after frame {self.frames_written}: {cause}{hint}")

    def _finish(self) -> None:
        if not self._open:
            raise ValueError("the writer is closed")
        self._encode(None)
        self._open = False
        try:
            self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise self._failure(error) from error
        finally:
            self._let_go()

    def _discard(self) -> None:
        self._open = False
        container = getattr(self, "_container", None)
        if container is not None:
            with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):  # it is thrown away
                container.close()
        self._part.unlink(missing_ok=True)
        self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


def tag_colors(target: Any, codes: tuple[int, int, int, int]) -> None:
    """Sets matrix, range, primaries and transfer on a frame or an encoder, as far as this PyAV has them."""
    for name, code in zip(("colorspace", "color_range", "color_primaries", "color_trc"), codes, strict=True):
        with contextlib.suppress(AttributeError):
            setattr(target, name, code)


def _losses(source: PixelLayout, layout: PixelLayout, codec: str) -> list[str]:
    coarser = any(b > a for a, b in zip(source.subsampling, layout.subsampling, strict=True)) and source.kind != "gray"
    lost = (source.alpha and not layout.alpha) or layout.bit_depth < source.bit_depth or coarser
    if lost or (source.kind == "rgb" and layout.kind != "rgb"):
        return [f"the source is {source.label}, {codec} holds it as {layout.label}; ffv1 in .mkv keeps all of it"]
    return []
