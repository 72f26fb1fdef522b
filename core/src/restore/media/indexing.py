"""When each frame of a video is shown and where its key frames lie, told from packets; and reading a part of it."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any, Iterator, Sequence

import attrs
import av

from restore.errors import MediaError
from restore.media.frame import VideoFrame
from restore.media.probe import MediaInfo, open_container, picture_stream
from restore.media.reader import VideoReader

# Where a packet is a frame, and jumping to a key frame's time lands on it.
_SEEKABLE = frozenset({"mov", "mp4", "matroska", "webm"})
_ONE_TO_ONE = frozenset({"h264", "hevc", "ffv1", "prores", "mjpeg", "av1", "vp9", "dnxhd", "mpeg4"})


class NotIndexed(MediaError):
    """A video whose frames cannot be told from its packets, or that is not whole; it is read from end to end."""


class Broken(MediaError):
    """A file breaks at a frame; those before it are whole."""


@attrs.frozen
class VideoIndex:
    """The frames of a video in the order they are shown.

    Attributes:
        pts: of each frame, in ``time_base`` units, strictly increasing.
        keys: numbers of the frames at which decoding can begin, in order; the first is 0.
        time_base: seconds per unit.
    """

    pts: tuple[int, ...]
    keys: tuple[int, ...]
    time_base: Fraction

    def __len__(self) -> int:
        return len(self.pts)

    def digest(self) -> str:
        """SHA-256 of all times, hex."""
        text = f"{self.time_base} {' '.join(map(str, self.pts))} {' '.join(map(str, self.keys))}"
        return hashlib.sha256(text.encode()).hexdigest()

    def stretch(self, first: int, stop: int) -> Stretch:
        """What a reader of frames ``first`` to ``stop - 1`` needs to know."""
        before = [k for k in self.keys if k <= first]
        # If a jump to the nearest key frame does not give the frame, one further back may; the beginning always does.
        starts = [before[-1], before[-2]] if len(before) > 2 else before[::-1]
        end = self.pts[stop] if stop < len(self.pts) else None
        return Stretch(first, self.pts[first:stop], end, tuple(self.pts[k] for k in starts if k))


@attrs.frozen
class Stretch:
    """Consecutive frames of a video.

    Attributes:
        first: number of the first.
        pts: of each.
        end: pts of the frame behind the last; None at the end of the video.
        starts: pts of key frames to try to begin at; after them the beginning of the file.
    """

    first: int
    pts: tuple[int, ...]
    end: int | None
    starts: tuple[int, ...] = ()


def index_video(info: MediaInfo) -> VideoIndex:
    """Reads a whole file's packets, without decoding.

    Raises:
        NotIndexed: its container or codec does not promise a frame per packet, times are missing or double, or it is
            cut off or damaged; the message says which.
    """
    names = set(info.container.split(","))
    if not names & _SEEKABLE or info.codec not in _ONE_TO_ONE or info.interlaced:
        raise NotIndexed(f"{info.path}: frames of {info.codec} in {info.container} cannot be told from packets")
    with VideoReader(info.path) as reader:
        try:
            found = _packets(reader)
        except (av.error.FFmpegError, OSError) as error:
            raise NotIndexed(f"{info.path}: {error}") from error
        if reader._is_cut_off():
            raise NotIndexed(f"{info.path} is cut off")
        base = reader.time_base
    shown = shown_in_order(found)
    pts = tuple(p for p, _ in shown)
    if not pts or len(set(pts)) != len(pts):
        raise NotIndexed(f"{info.path}: frames without a time of their own")
    return VideoIndex(pts, tuple(k for k, (_, key) in enumerate(shown) if key), base)


def shown_in_order(packets: Sequence[Any]) -> list[Any]:
    """Packets, ``(pts, whether a key frame, ...)`` in the order of the file, in the order that they are shown. What
    precedes the first key frame in time could never be."""
    first = next((packet[0] for packet in packets if packet[1]), None)
    return sorted(packet for packet in packets if first is not None and packet[0] >= first)


def _packets(reader: VideoReader) -> list[tuple[int, bool]]:
    found = []
    for packet in reader.container.demux():
        if packet.stream_index != reader.stream.index:
            reader._pass_on(packet)
            continue
        reader._note(packet)
        if not packet.size or packet.is_discard:
            continue
        if packet.pts is None or packet.is_corrupt:
            raise NotIndexed(f"{reader.path}: a packet without a time, or damaged")
        found.append((packet.pts, packet.is_keyframe))
    return found


class StretchReader(VideoReader):
    """The frames of a :class:`Stretch`, as :class:`VideoReader` would give them, decoded from the nearest key frame on.

    Args:
        path: the video.
        stretch: from :meth:`VideoIndex.stretch` of this file.

    Raises:
        RequestError: as for :class:`VideoReader`.
        Broken: while iterating, when the file breaks, or its frames are not those of the index.
    """

    def __init__(self, path: str | Path, stretch: Stretch) -> None:
        super().__init__(path)
        self.stretch = stretch
        self.decoded = 0  # frames, those before the stretch included

    def __iter__(self) -> Iterator[VideoFrame]:
        given, wanted = 0, self.stretch.pts
        for start in (*self.stretch.starts, None):
            for frame in self._from(start, given):
                end = wanted[given + 1] if given + 1 < len(wanted) else self.stretch.end
                duration = end - wanted[given] if end is not None else getattr(frame, "duration", 0) or self._step()
                number = self.stretch.first + given
                made = self._to_frame(frame, wanted[given], duration)
                yield attrs.evolve(made, index=number)
                given += 1
            if given == len(wanted):
                return
        reason = self._broken or "its frames are not those that its packets promise"
        raise Broken(self._message(self.stretch.first + given, wanted[given], reason))

    def _step(self) -> int:
        wanted = self.stretch.pts
        return wanted[-1] - wanted[-2] if len(wanted) > 1 else self._nominal_step()

    def _from(self, start: int | None, given: int) -> Iterator[av.VideoFrame]:
        """The frames from number ``given`` of the stretch on, as far as they come as they should."""
        self._reopen()
        if start is not None:
            try:
                self.container.seek(start, stream=self.stream)
            except (av.error.FFmpegError, OSError):
                return
        wanted = self.stretch.pts
        for frame in self._quietly_decoded():
            self.decoded += 1
            if frame.pts is None or frame.pts < wanted[given]:
                continue
            self._broken = self._damage_of(frame)
            if self._broken or frame.pts != wanted[given]:
                return
            yield frame
            given += 1
            if given == len(wanted):
                return

    def _reopen(self) -> None:
        self.container.close()
        self.container = open_container(self.path)
        self.stream: Any = picture_stream(self.container, self.path)
        self.stream.thread_type = "AUTO"
        self._broken = ""

    def _damage_of(self, frame: av.VideoFrame) -> str:
        self._first_pts = None  # packets are not counted here: the index says which frames there are
        self._pending.clear()
        return self._damage(frame)

    def _quietly_decoded(self) -> Iterator[av.VideoFrame]:
        try:
            for packet in self.container.demux(self.stream):
                yield from self.stream.codec_context.decode(packet if packet.size else None)
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, OSError) as error:
            self._broken = f"the data cannot be decoded ({getattr(error, 'strerror', None) or error})"
