"""Frame k of a video without decoding all that lies before it, and exactly the frame that a full decode gives."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any, Iterator

import attrs
import av
from torch.utils.data import get_worker_info

from restore.errors import MediaError
from restore.media.frame import VideoFrame
from restore.media.pixels import frame_to_planes
from restore.media.probe import MediaInfo, open_container, picture_stream
from restore.media.reader import VideoReader

# One shown frame per packet: the packets alone tell which frames there are.
_ONE_TO_ONE = frozenset(
    {"h264", "hevc", "vvc", "av1", "vp9", "ffv1", "prores", "mjpeg", "dnxhd", "mpeg4", "mpeg2video"}
)
# Containers whose times can be sought. AVI has none, a bare stream neither.
_SOUGHT = frozenset({"mov", "mp4", "matroska", "webm", "mpegts", "nut"})


@attrs.frozen
class FrameIndex:
    """Where the frames of a video are.

    Attributes:
        pts: of each frame in the order they are shown, strictly rising. Empty where the file cannot be sought: then
            frames are counted from its start.
        keys: numbers of the frames at which decoding can begin, rising, the first is 0.
        count: how many frames there are.
    """

    pts: tuple[int, ...]
    keys: tuple[int, ...]
    count: int


def index_frames(info: MediaInfo) -> FrameIndex:
    """The index of a video, from its packets without decoding where the codec allows.

    Raises:
        MediaError: it cannot be decoded, and so not be indexed either.
    """
    sought = bool(set(info.container.split(",")) & _SOUGHT)
    index = _from_packets(info) if sought and info.codec in _ONE_TO_ONE else None
    return index or _from_frames(info, sought)


def _from_packets(info: MediaInfo) -> FrameIndex | None:
    found: list[tuple[int, bool]] = []
    with open_container(info.path) as container:
        try:
            for packet in container.demux(picture_stream(container, info.path)):
                # A packet to be discarded comes before an edit list's first frame and is never shown.
                if not packet.size or packet.is_discard:
                    continue
                if packet.pts is None:
                    return None
                found.append((packet.pts, packet.is_keyframe))
        except av.error.FFmpegError:
            return None
    return _index(found)


def _from_frames(info: MediaInfo, sought: bool) -> FrameIndex:
    # VP8's hidden frames have packets of their own and are never shown: only decoding tells.
    with VideoReader(info.path) as reader:
        times = [frame.pts for frame in reader]
    index = None
    if sought and None not in times:
        with open_container(info.path) as container:
            packets = container.demux(picture_stream(container, info.path))
            keys = {p.pts for p in packets if p.size and p.is_keyframe}
        index = _index([(t, t in keys) for t in times if t is not None])
    return index if index is not None and index.count == len(times) else FrameIndex((), (0,), len(times))


def _index(found: list[tuple[int, bool]]) -> FrameIndex | None:
    found.sort()
    # What precedes the first key frame in time rests on pictures that the file does not hold: it is never shown.
    first = next((i for i, (_, key) in enumerate(found) if key), None)
    if first is None:
        return None
    found = found[first:]
    pts = tuple(p for p, _ in found)
    if any(a == b for a, b in pairwise(pts)):
        return None
    return FrameIndex(pts, tuple(i for i, (_, key) in enumerate(found) if key), len(pts))


def read_frames(info: MediaInfo, index: FrameIndex, start: int, stop: int) -> Iterator[VideoFrame]:
    """The frames from the last key frame up to ``start``, in order, to the one before ``stop``.

    Those before ``start`` had to be decoded anyway and are given for a cache. Their planes are those of a full decode.

    Raises:
        MediaError: a frame from ``start`` on cannot be decoded.
    """
    given = start
    if not index.pts:
        with VideoReader(info.path) as reader:
            for frame in islice(reader, stop):
                yield frame
                given = frame.index + 1
    # A container may land behind the key frame (times of decoding and of showing differ), and some key frames need what
    # lies before them. Then an earlier one is tried, and at last the start of the file.
    nearest = bisect_right(index.keys, start) - 1
    for key in dict.fromkeys([index.keys[nearest], index.keys[max(0, nearest - 1)], -1] if index.pts else []):
        for frame in _run(info, index, key, stop):
            if frame.index > given:
                break
            yield frame
            given = max(given, frame.index + 1)
        if given == stop:
            return
    if given < stop:
        raise MediaError(f"{info.path} cannot be decoded at frame {given}; leave it out with exclude")


def _run(info: MediaInfo, index: FrameIndex, key: int, stop: int) -> Iterator[VideoFrame]:
    """Frames from key frame number ``key`` on, or from the start of the file for -1."""
    numbers = {p: k for k, p in enumerate(index.pts[max(key, 0) : stop], max(key, 0))}
    last = index.pts[stop - 1]
    with open_container(info.path) as container:
        stream = picture_stream(container, info.path)
        # Every worker of a data loader decodes on its own; threads on top would only crowd the cores.
        stream.thread_type = "AUTO" if get_worker_info() is None else "SLICE"
        try:
            if key >= 0:
                container.seek(index.pts[key], stream=stream, backward=True)
            for frame in _decode(container, stream, key >= 0):
                if frame.pts in numbers:
                    yield _to_frame(info, frame, numbers[frame.pts], stream.time_base)
                if frame.pts is not None and frame.pts >= last:
                    return
        except av.error.FFmpegError:
            return


def _decode(container: Any, stream: Any, sought: bool) -> Iterator[av.VideoFrame]:
    begun = not sought
    for packet in container.demux(stream):
        # A transport stream is sought to the byte: what comes before a key frame would be decoded from nothing.
        begun = begun or packet.is_keyframe
        if not begun:
            continue
        for frame in packet.decode():
            if not frame.is_corrupt:
                yield frame


def _to_frame(info: MediaInfo, frame: av.VideoFrame, number: int, time_base: Fraction) -> VideoFrame:
    if (frame.width, frame.height, frame.format.name) != (info.width, info.height, info.pix_fmt):
        raise MediaError(
            f"{info.path} changes at frame {number} from {info.width}x{info.height} {info.pix_fmt} to "
            f"{frame.width}x{frame.height} {frame.format.name}; cut it there"
        )
    layout, planes = frame_to_planes(frame)
    assert frame.pts is not None
    return VideoFrame(planes, frame.pts, 0, time_base, layout, info.color, number)
