"""How coarsely the frames of a video were quantised, as the headers in its stream say; nothing is decoded."""

from __future__ import annotations

import math
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

# Of videos without loss that were coded before: their metadata may say how.
TAG = "SOURCE_QP"
_SETS = {"pic_parameter_set_id", "pps_pic_parameter_set_id", "slice_pic_parameter_set_id"}
_INITIAL = {"pic_init_qp_minus26", "init_qp_minus26"}

# The quantizer of AC coefficients by index, of 8 bits: AV1, section 7.12.2 (Ac_Qlookup), and VP9.
_AC = (
    4, *range(8, 103), *range(104, 154, 2), *range(155, 204, 3), *range(207, 256, 4), *range(260, 306, 5),
    *range(311, 360, 6), *range(366, 409, 7), *range(416, 457, 8), *range(465, 511, 9), *range(520, 561, 10),
    *range(571, 616, 11), *range(627, 664, 12), *range(676, 716, 13), *range(729, 758, 14), *range(771, 802, 15),
    *range(816, 865, 16), *range(881, 916, 17), *range(933, 970, 18), *range(988, 1027, 19), 1046, 1066, 1087, 1108,
    1129, 1151, 1173, 1196, 1219, 1243, 1267, 1292, 1317, 1343, 1369, 1396, 1423, 1451, 1479, 1508, 1537, 1567, 1597,
    1628, 1660, 1692, 1725, 1759, 1793, 1828,
)  # fmt: skip


class _Slices:
    """H.264 and HEVC: a picture parameter set's QP and a slice's difference from it."""

    def __init__(self) -> None:
        self._initial: dict[int, int] = {}
        self._set = 0

    def follow(self, values: Iterable[tuple[str, int]]) -> float:
        """The mean over the slices of a packet."""
        slices = []
        for name, value in values:
            if name in _SETS:
                self._set = value
            elif name in _INITIAL:
                self._initial[self._set] = 26 + value
            elif name == "slice_qp_delta":
                slices.append(self._initial.get(self._set, 26) + value)
        return sum(slices) / len(slices) if slices else UNKNOWN


class _Frames:
    """AV1 and VP9: an index for each frame; a packet may hold frames that are shown later, from one of eight places."""

    def __init__(self) -> None:
        self._places = [UNKNOWN] * 8
        self._qp, self._refreshed, self._again = UNKNOWN, 0, False

    def follow(self, values: Iterable[tuple[str, int]]) -> float:
        """Of the frame that a packet shows."""
        shown = UNKNOWN
        for name, value in values:
            if name == "show_existing_frame":
                self._again = bool(value)
                self._refreshed = 0xFF  # what is not said of a key frame: it takes all places
            elif name == "frame_to_show_map_idx":
                shown = self._places[value]
            elif name == "refresh_frame_flags":
                self._refreshed = value
            elif name == "base_q_idx" and not self._again:
                # Steps of 1 mean eight times as fine a grid as H.264's, whose step is 1 at QP 4.
                shown = max(0.0, 4 + 6 * math.log2(_AC[value] / 8))
                self._places = [shown if self._refreshed >> k & 1 else old for k, old in enumerate(self._places)]
        return shown


_READERS: dict[str, type[_Slices] | type[_Frames]]
_READERS = {"h264": _Slices, "hevc": _Slices, "av1": _Frames, "vp9": _Frames}


class Headers:
    """Reads the headers of one stream's packets, in decoding order: libav's ``trace_headers`` spells them out.

    Args:
        codec: ``h264``, ``hevc``, ``av1`` or ``vp9``.
        stream: of a container, whose headers may lie outside of its packets; None: packets hold all.

    Raises:
        ValueError: another codec.
    """

    def __init__(self, codec: str, stream: Any = None) -> None:
        if codec not in _READERS:
            raise ValueError(f"the quantizer of {codec} cannot be read, only that of {', '.join(_READERS)}")
        self._reader = _READERS[codec]()
        with Listening(av.logging.INFO) as heard:
            self._filter = BitStreamFilterContext("trace_headers", codec if stream is None else stream)
        self._reader.follow(_values(heard.lines))

    def read(self, packets: Iterable[Any]) -> list[float]:
        """The QP of the frame that each packet shows, 0 to 51, the mean over its slices; -1 where it has none.

        Packets are left as they are.
        """
        found = []
        with Listening(av.logging.INFO) as heard:
            for packet in packets:
                heard.lines.clear()
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                self._filter.filter(copy)
                qp = self._reader.follow(_values(heard.lines))
                found.append(qp if qp == UNKNOWN else min(float(MAX_QP), max(0.0, qp)))
        return found


def _values(lines: Iterable[tuple[int, str, str]]) -> Iterator[tuple[str, int]]:
    """Name and value of every syntax element that was spelt out: ``position name bits = value``."""
    for _, _, line in lines:
        words = line.split()
        if len(words) >= 4 and words[-2] == "=":
            yield words[1], int(words[-1])


def with_qps(picture: Picture, path: Path, first: int) -> Picture:
    """Pictures of a video that know their QPs, as far as the file says them.

    Args:
        picture: N of them.
        path: the video that they were decoded from.
        first: number of the first of them in it.
    """
    found = _known(path, *_stamp(path))
    if found is None or len(found) < first + len(picture):
        return picture
    return attrs.evolve(picture, qp=torch.tensor(found[first : first + len(picture)]))


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
    """The QP of every frame of a video on the scale of H.264 and HEVC, 0 to 51, in the order they are shown: its tag
    ``SOURCE_QP``, numbers with blanks between, if it has one; else what its slices
    (H.264, HEVC) or frames (AV1, VP9: by the size of their steps) say.

    Returns:
        one number a frame, -1 where its packet tells none; None where the stream tells nothing: another codec, or times
        that do not say which frame a packet is.

    Raises:
        RequestError: not a video.
    """
    info = probe(path)
    if info.kind != "video":
        raise RequestError(f"{path} is an image; the frames of a video have a quantizer each")
    with open_container(info.path) as container:
        if TAG in container.metadata:
            return [float(word) for word in container.metadata[TAG].split()]
        if info.codec not in _READERS or info.interlaced:
            return None
        stream = picture_stream(container, info.path)
        headers = Headers(info.codec, stream)
        found = []
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                if packet.pts is None:
                    return None
                found.append((packet.pts, packet.is_keyframe, headers.read([packet])[0]))
    return [qp for _, _, qp in shown_in_order(found)]
