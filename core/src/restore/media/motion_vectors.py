"""The motion vectors that an H.264 stream holds, as its decoder sees them (libavcodec's ``export_mvs``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, Literal

import attrs
import av
import numpy as np
from numpy.typing import NDArray

from restore.errors import MediaError, RequestError
from restore.media.probe import open_container, picture_stream, probe

CELL = 4
"""Side of the smallest block that H.264 moves, in pixels."""

Floats = NDArray[np.float32]


@attrs.frozen(eq=False)
class FrameVectors:
    """The vectors of one frame.

    A vector leads from where a block is shown to where its prediction was taken from: what this frame shows at p is at
    p + vector in the reference.

    Attributes:
        index: of the frame, in the order they are shown.
        pts: of the frame, in the stream's time base.
        kind: ``I``, ``P`` or ``B``.
        height, width: of the frame in pixels.
        past, future: frames between this one and the nearest reference before and after it, which an encoder takes
            first of all; 0 where there is none. Which of several references a block has is not told: vectors of a
            stream with one reference in each direction (x264: ``ref=1:b-pyramid=none``) are exact.
        boxes: ``(N, 4)`` int, left, top, right and bottom of each block in pixels, cut to the frame.
        vectors: ``(N, 2)`` float32 in pixels, x (right) then y (down), to quarters of a pixel.
        backward: ``(N,)`` bool, whether the reference is a past one. A block that is predicted from both sides occurs
            twice.
    """

    index: int
    pts: int
    kind: str
    height: int
    width: int
    past: int
    future: int
    boxes: NDArray[np.int32]
    vectors: Floats
    backward: NDArray[np.bool_]

    def field(self, per_frame: bool = True) -> tuple[Floats, NDArray[np.bool_]]:
        """The vectors on a grid of 4x4 pixels, pointing back in time.

        Args:
            per_frame: divided by how many frames lie between, so that a vector says where things were one frame ago;
                those to later frames are turned round, as if the motion went on evenly. Else only vectors to past
                frames count, at full length.

        Returns:
            ``(field, known)``: ``(2, ceil(H/4), ceil(W/4))`` float32 in pixels, x then y, the mean where several
            vectors meet, 0 where there is none; ``(ceil(H/4), ceil(W/4))`` bool, false there (intra blocks).
        """
        rows, columns = -(-self.height // CELL), -(-self.width // CELL)
        total = np.zeros((3, rows, columns), np.float32)
        for (left, top, right, bottom), vector, backward in zip(self.boxes, self.vectors, self.backward, strict=True):
            apart = self.past if backward else -self.future
            if not apart or (apart < 0 and not per_frame):
                continue
            x, y = vector / apart if per_frame else vector
            inside = (slice(None), slice(top // CELL, -(-bottom // CELL)), slice(left // CELL, -(-right // CELL)))
            total[inside] += np.array([x, y, 1], np.float32)[:, None, None]
        known = total[2] > 0
        return total[:2] / np.maximum(total[2], 1), known


@attrs.frozen
class _Coded:
    """What the packets tell of a picture: whether others may refer to it, and its place in decoding order."""

    reference: bool
    order: int


def motion_vectors(path: str | Path, frames: int | None = None) -> Iterator[FrameVectors]:
    """The vectors of each frame of an H.264 video, in the order they are shown. An I-frame has none.

    Args:
        path: the video.
        frames: at most so many, from the first.

    Raises:
        RequestError: at once, if it is not a video, interlaced, of another codec (none but H.264's decoder tells), or a
            bare stream, whose pictures have no times.
        MediaError: while iterating, a stream that cannot be decoded.
    """
    info = probe(path)
    if info.kind != "video" or info.codec != "h264":
        raise RequestError(
            f"{path} is {info.codec or 'an image'}; motion vectors can be read of H.264 alone: "
            "code it with x264 first (restore degrade --use codec --set codec=x264)"
        )
    if info.interlaced:
        raise RequestError(f"{path} is interlaced; its vectors are those of fields, deinterlace it first")
    coded = _packets(Path(path))
    if not coded:
        raise RequestError(f"{path} holds pictures without times; put it into a container first, e.g. mp4 or mkv")
    return _read(Path(path), coded, frames)


def _read(path: Path, coded: dict[int, _Coded], frames: int | None) -> Iterator[FrameVectors]:
    times = sorted(coded)
    with open_container(path) as container:
        stream = picture_stream(container, path)
        stream.codec_context.options = {"flags2": "+export_mvs"}
        stream.thread_type = "NONE"
        index = 0
        try:
            for frame in container.decode(stream):
                if frames is not None and index == frames:
                    return
                yield _vectors(frame, index, times, coded)
                index += 1
        except av.error.FFmpegError as error:
            raise MediaError(f"{path} cannot be decoded at frame {index}: {error}") from error


def _packets(path: Path) -> dict[int, _Coded]:
    found: dict[int, _Coded] = {}
    with open_container(path) as container:
        stream = picture_stream(container, path)
        extra: bytes = stream.codec_context.extradata or b""
        # avcC, as MP4 and Matroska have it, says how many bytes a length takes; else there are start codes.
        length = (extra[4] & 3) + 1 if len(extra) > 4 and extra[0] == 1 else 0
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None and not packet.is_discard:
                found[packet.pts] = _Coded(_is_reference(bytes(packet), length), len(found))
    return found


def _is_reference(data: bytes, length: int) -> bool:
    """Whether a picture may be referred to: ``nal_ref_idc`` of its first slice (ITU-T H.264, 7.4.1)."""
    position = 0
    while position < len(data):
        if length:
            start = position + length
            position = start + int.from_bytes(data[position:start], "big")
        else:
            found = data.find(b"\x00\x00\x01", position)
            if found < 0:
                break
            start = position = found + 3
        if start < len(data) and data[start] & 31 in (1, 2, 5):
            return bool(data[start] >> 5 & 3)
    return True


def _apart(pts: int, times: list[int], coded: dict[int, _Coded], direction: Literal[-1, 1]) -> int:
    """Frames to the nearest reference in a direction that is decoded before; 0 if there is none."""
    at = times.index(pts)
    for distance in range(1, at + 1 if direction < 0 else len(times) - at):
        other = coded[times[at + direction * distance]]
        if other.reference and other.order < coded[pts].order:
            return distance
    return 0


def _vectors(frame: av.VideoFrame, index: int, times: list[int], coded: dict[int, _Coded]) -> FrameVectors:
    side: Any = frame.side_data.get("MOTION_VECTORS")
    table = None if side is None else side.to_ndarray()
    count = 0 if table is None else len(table)
    boxes, vectors = np.zeros((count, 4), np.int32), np.zeros((count, 2), np.float32)
    backward = np.zeros(count, np.bool_)
    if table is not None:
        for column, (middle, side_name, limit) in enumerate(
            (("dst_x", "w", frame.width), ("dst_y", "h", frame.height))
        ):
            side_length = table[side_name].astype(np.int32)
            first = table[middle].astype(np.int32) - side_length // 2
            boxes[:, column] = first.clip(0, limit)
            boxes[:, column + 2] = (first + side_length).clip(0, limit)
        for column, name in enumerate(("motion_x", "motion_y")):
            vectors[:, column] = table[name] / np.maximum(table["motion_scale"], 1)
        backward = table["source"] < 0
    pts = frame.pts if frame.pts is not None else index
    past, future = (_apart(pts, times, coded, d) if pts in coded else 0 for d in (-1, 1))
    kind = av.video.frame.PictureType(frame.pict_type).name
    return FrameVectors(index, pts, kind, frame.height, frame.width, past, future, boxes, vectors, backward)
