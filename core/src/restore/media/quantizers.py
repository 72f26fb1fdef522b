"""How coarsely the frames of a video were quantised, as the headers in its stream say; nothing is decoded."""

from __future__ import annotations

import contextlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterable, Iterator

import attrs
import av
import torch
from av.bitstream import BitStreamFilterContext

from restore.errors import RequestError
from restore.functional.quantizer import MAX_QP, UNKNOWN
from restore.media.color import Picture
from restore.media.indexing import shown_in_order
from restore.media.listening import Listening
from restore.media.probe import open_container, picture_stream, probe

# Of others, such as AV1, loop filters leave so little to do that quantizers of one step mean another thing.
CODECS = frozenset({"h264", "hevc"})
# Of videos without loss that were coded before: their metadata may say how.
TAG = "SOURCE_QP"
_SETS = {"pic_parameter_set_id", "pps_pic_parameter_set_id", "slice_pic_parameter_set_id"}
_INITIAL = {"pic_init_qp_minus26", "init_qp_minus26"}


class SliceHeaders:
    """Reads the headers of one stream's packets, in decoding order: libav's ``trace_headers`` spells them out.

    Args:
        codec: ``h264`` or ``hevc``.
        stream: of a container, whose headers may lie outside of its packets; None: packets hold all.

    Raises:
        ValueError: another codec.
    """

    def __init__(self, codec: str, stream: Any = None) -> None:
        if codec not in CODECS:
            raise ValueError(f"the quantizer of {codec} cannot be read, only that of {' and '.join(sorted(CODECS))}")
        self._initial: dict[int, int] = {}
        self._set = 0
        with Listening(av.logging.INFO) as heard:
            self._filter = BitStreamFilterContext("trace_headers", codec if stream is None else stream)
        self._follow(heard.lines)

    def read(self, packets: Iterable[Any]) -> list[float]:
        """The QP of each packet's frame, 0 to 51, the mean over its slices; -1 where it has none.

        Packets are left as they are.
        """
        found = []
        with Listening(av.logging.INFO) as heard:
            for packet in packets:
                heard.lines.clear()
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                # Of a damaged packet counts what was spelt out; the decoder says what is wrong with it.
                with contextlib.suppress(av.error.FFmpegError):
                    self._filter.filter(copy)
                slices = self._follow(heard.lines)
                found.append(min(float(MAX_QP), max(0.0, sum(slices) / len(slices))) if slices else UNKNOWN)
        return found

    def _follow(self, lines: Iterable[tuple[int, str, str]]) -> list[int]:
        """The QP of every slice: that of its picture parameter set, and its own difference from it."""
        slices = []
        for name, value in _values(lines):
            if name in _SETS:
                self._set = value
            elif name in _INITIAL:
                self._initial[self._set] = 26 + value
            elif name == "slice_qp_delta":
                slices.append(self._initial.get(self._set, 26) + value)
        return slices


def _values(lines: Iterable[tuple[int, str, str]]) -> Iterator[tuple[str, int]]:
    """Name and value of every syntax element that was spelt out: ``position name bits = value``."""
    for _, _, line in lines:
        words = line.split()
        if len(words) >= 4 and words[-2] == "=":
            yield words[1], int(words[-1])


def with_qps(picture: Picture, path: Path, first: int) -> Picture:
    """Pictures of a video that know their QPs, as far as the file says them; -1 for those behind a break in it.

    Args:
        picture: N of them.
        path: the video that they were decoded from.
        first: number of the first of them in it.
    """
    found = _known(path, *_stamp(path))
    if found is None:
        return picture
    told = found[first : first + len(picture)]
    return attrs.evolve(picture, qp=torch.tensor([*told, *[UNKNOWN] * (len(picture) - len(told))]))


def tells_qps(path: Path) -> bool:
    """Whether a video says what its frames were coded with, any of them."""
    found = _known(path, *_stamp(path))
    return found is not None and any(qp >= 0 for qp in found)


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=2)
def _known(path: Path, size: int, changed: int) -> tuple[float, ...] | None:
    found = frame_qps(path)
    return None if found is None else tuple(found)


def frame_qps(path: str | Path) -> list[float] | None:
    """The QP of every frame of a video on the scale of H.264 and HEVC, 0 to 51, in the order they are shown: what its
    slices say; of another codec its tag ``SOURCE_QP``, numbers with blanks between, if it has one.

    Returns:
        one number a frame, -1 where its packet tells none, as far as the file can be read; None where it tells nothing:
        another codec, a tag that is no numbers, or times that do not say which frame a packet is.

    Raises:
        RequestError: not a video.
    """
    info = probe(path)
    if info.kind != "video":
        raise RequestError(f"{path} is an image; the frames of a video have a quantizer each")
    with open_container(info.path) as container:
        if info.codec not in CODECS:
            return _tagged(container.metadata.get(TAG, ""))
        if info.interlaced:
            return None
        stream = picture_stream(container, info.path)
        headers = SliceHeaders(info.codec, stream)
        found = []
        # Where a file breaks is said by whoever decodes it, after what came before.
        with contextlib.suppress(av.error.FFmpegError, OSError):
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    if packet.pts is None:
                        return None
                    found.append((packet.pts, packet.is_keyframe, headers.read([packet])[0]))
    return [qp for _, _, qp in shown_in_order(found)]


def _tagged(words: str) -> list[float] | None:
    try:
        return [float(word) for word in words.split()] or None
    except ValueError:
        return None
