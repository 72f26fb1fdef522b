"""Frames of a video in the order they are shown, and the other streams' packets on the side."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Iterator

import attrs
import av

from restore.errors import MediaError
from restore.media.frame import ColorInfo, VideoFrame
from restore.media.pixels import frame_to_planes
from restore.media.probe import MediaInfo, is_cover, open_container, picture_stream, probe

# Codecs that give one shown frame per packet, so that a packet without its frame is a lost frame.
_ONE_TO_ONE = frozenset({"h264", "hevc", "ffv1", "prores", "mjpeg", "av1", "vvc", "dnxhd", "mpeg4"})
_INDEXED = frozenset({"mov", "mp4", "matroska", "webm", "avi"})

PacketSink = Callable[[Any], None]


class VideoReader:
    """A context manager over one video; iterate it once for its :class:`VideoFrame` objects in presentation order.

    Memory does not grow with the length. Pixels are given as coded: rotation stays a tag. Every other stream's packets
    go to ``on_packet`` in the order they lie in the file, in the thread that iterates.

    Args:
        path: the video.
        on_packet: takes PyAV packets of sound, subtitles and cover pictures; may be set later as an attribute.

    Raises:
        RequestError: not a video.
        MediaError: while iterating, when the file breaks; all frames before the break were given, and the message says
            at which frame it broke. A file that is cut off raises at its end. Damage that the decoder takes for
            valid data (a flipped bit in HEVC, AV1 or FFV1) cannot be seen here.
    """

    def __init__(self, path: str | Path, on_packet: PacketSink | None = None) -> None:
        self.info: MediaInfo = probe(path)
        self.path = self.info.path
        self.on_packet = on_packet
        self.frames_read = 0
        self.container: Any = open_container(self.path)
        self.stream: Any = picture_stream(self.container, self.path)
        self.stream.thread_type = "AUTO"
        self._pending: set[int] = set()  # pts of packets whose frame has not come out
        self._first_pts: int | None = None
        self._ends = Fraction(0)
        self._broken: str = ""
        self._packets = 0
        self._format: tuple[int, int, str] | None = None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; harmless when repeated."""
        self.container.close()

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of the frames' pts."""
        base: Fraction = self.stream.time_base
        return base

    @property
    def other_streams(self) -> list[Any]:
        """All streams but the one whose frames are read."""
        return [s for s in self.container.streams if s.index != self.stream.index]

    def __iter__(self) -> Iterator[VideoFrame]:
        # Held back by one, because a frame's true duration is known from the next one's pts: containers and decoders
        # give durations in decoding order.
        held: tuple[av.VideoFrame, int] | None = None
        step, early = self._nominal_step(), 0
        for frame in self._checked():
            pts = frame.pts - early if frame.pts is not None else (held[1] + step if held else 0)
            if held is None and self.info.container == "avi":
                # AVI has no times, all starts at 0; libav adds a delay for B-frames that may not be there.
                early, pts = pts, 0
            if held:
                step = max(1, pts - held[1])
                yield self._to_frame(*held, step)
            held = frame, pts
        if held:
            yield self._to_frame(*held, getattr(held[0], "duration", 0) or step)
        if self._broken:
            raise MediaError(self._broken)

    def _nominal_step(self) -> int:
        rate = self.info.frame_rate
        return max(1, round(1 / (rate * self.time_base))) if rate else 1

    def _to_frame(self, frame: av.VideoFrame, pts: int, duration: int) -> VideoFrame:
        layout, planes = frame_to_planes(frame)
        index, self.frames_read = self.frames_read, self.frames_read + 1
        return VideoFrame(planes, pts, duration, self.time_base, layout, self._color(frame), index)

    def _color(self, frame: av.VideoFrame) -> ColorInfo:
        color = self.info.color
        codes = (int(frame.colorspace), int(frame.color_range))
        told = (codes[0] if codes[0] != 2 else color.codes[0], codes[1] or color.codes[1])
        if told == color.codes[:2] or "yuvj" in frame.format.name:
            return color
        again = ColorInfo.from_codes(
            (*told, *color.codes[2:]), frame.format.name, (frame.height, frame.width), color.siting
        )
        return attrs.evolve(again, guessed=color.guessed)

    def _checked(self) -> Iterator[av.VideoFrame]:
        """Frames until the first that is not whole; then the reason is in ``_broken``."""
        given = 0
        for frame in self._decoded():
            reason = self._damage(frame)
            if reason:
                self._broken = self._message(given, frame.pts, reason)
                return
            given += 1
            yield frame
        if not self._broken:
            reason = "the file is cut off" if self._is_cut_off() else self._lost_at_the_end()
            if reason or given == 0:
                self._broken = self._message(given, None, reason or "no frame can be decoded")
        else:
            self._broken = self._message(given, None, self._broken)

    def _message(self, index: int, pts: int | None, reason: str) -> str:
        when = f" ({float(pts * self.time_base):.3f} s)" if pts is not None else ""
        return f"{self.path} breaks at frame {index}{when}: {reason}. The {index} frames before it are whole"

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Frames as the decoder gives them. A demuxer or decoder error ends them and is left in ``_broken``."""
        packet: Any = None
        last_dts: int | None = None
        try:
            for packet in self.container.demux():
                if packet.stream_index != self.stream.index:
                    self._pass_on(packet)
                    continue
                self._note(packet)
                if packet.size:
                    last_dts = packet.dts if packet.dts is not None else last_dts
                    yield from self.stream.codec_context.decode(packet)
                else:
                    yield from self._flushed(last_dts)
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, OSError) as error:
            self._broken = f"the data cannot be decoded ({getattr(error, 'strerror', None) or error})"
            yield from self._drain(packet)

    def _flushed(self, last_dts: int | None) -> Iterator[av.VideoFrame]:
        cut = self._is_cut_off()
        for frame in self.stream.codec_context.decode(None):
            # What was cut away may have come before this frame in time, as B-frames do.
            if cut and last_dts is not None and frame.pts is not None and frame.pts > last_dts:
                return
            yield frame

    def _drain(self, packet: Any) -> Iterator[av.VideoFrame]:
        limit = packet.pts if packet is not None else None
        try:
            frames = self.stream.codec_context.decode(None)
        except (av.error.FFmpegError, OSError):
            return
        for frame in frames:
            # What lies behind the break in time may rest on it.
            if limit is not None and frame.pts is not None and frame.pts >= limit:
                return
            yield frame

    def _pass_on(self, packet: Any) -> None:
        if not packet.size:
            return
        if packet.pts is not None and packet.time_base:
            self._ends = max(self._ends, (packet.pts + (packet.duration or 0)) * packet.time_base)
        if self.on_packet is not None:
            self.on_packet(packet)

    def _note(self, packet: Any) -> None:
        self._packets += bool(packet.size)
        if packet.pts is None or not packet.size:
            return
        self._ends = max(self._ends, (packet.pts + (packet.duration or 0)) * packet.time_base)
        if not packet.is_discard and self.info.codec in _ONE_TO_ONE and not self.info.interlaced:
            self._pending.add(packet.pts)

    def _damage(self, frame: av.VideoFrame) -> str:
        shape = (frame.width, frame.height, frame.format.name)
        self._format = self._format or shape
        if shape != self._format:
            old, new = ("{}x{} {}".format(*s) for s in (self._format, shape))
            return f"the picture changes from {old} to {new}; cut the video there and restore the parts"
        if frame.is_corrupt:
            return "the picture is damaged"
        if frame.pts is None:
            self._pending.clear()
            return ""
        if self._first_pts is None:
            # What precedes the first picture in time could never be shown: an open group of pictures.
            self._first_pts = frame.pts
            self._pending = {p for p in self._pending if p > frame.pts}
            return ""
        self._pending.discard(frame.pts)
        lost = [p for p in self._pending if p < frame.pts]
        return "a picture of the file cannot be decoded" if lost and self._in_indexed() else ""

    def _in_indexed(self) -> bool:
        return bool(set(self.info.container.split(",")) & _INDEXED)

    def _lost_at_the_end(self) -> str:
        self._pending.discard(self._first_pts if self._first_pts is not None else -1)
        lost = bool(self._pending) and self._in_indexed()
        return "the last pictures of the file cannot be decoded" if lost else ""

    def _is_cut_off(self) -> bool:
        names = set(self.info.container.split(","))
        if names & {"matroska", "webm", "avi"}:
            # The header's length is the end of the last packet of any stream.
            total, rate = self.container.duration, self.info.frame_rate
            if not total or not rate:
                return False
            promised = Fraction(total, av.time_base)
            return self._ends < promised - max(3 / rate, promised / 100)
        entries: Any = getattr(self.stream, "index_entries", ())
        if "mov" in names and len(entries):
            return bool(entries[-1].pos + entries[-1].size > self.path.stat().st_size)
        # An edit list may hide frames that MP4 counts, hence the slack where there is no index to look at.
        return bool(names & _INDEXED) and self._packets < 0.98 * self.stream.frames - 2

    @property
    def covers(self) -> list[Any]:
        """The cover pictures among the other streams."""
        return [s for s in self.other_streams if s.type == "video" and is_cover(s)]
