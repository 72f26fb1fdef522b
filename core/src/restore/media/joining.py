"""A video encoded piece by piece, each a closed group of pictures in a file of its own, joined without encoding again.

A piece holds an encoder's packets as they came, so that no container rounds their times: a line that says what they are
(JSON), then for each packet a fixed head (pts, dts, duration, size, key frame or not) and its bytes.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Sequence

import attrs
import av

from restore.errors import MediaError, RequestError
from restore.media.encoders import DEFAULTS, OutputOptions
from restore.media.files import flush_folder
from restore.media.frame import PixelLayout
from restore.media.reader import VideoReader
from restore.media.writer import VideoWriter

_MAGIC = b"restore packets 1\n"
_HEAD = struct.Struct("<qqqIB")
# The number of an encoder's threads shapes what it writes, so a piece has as many on whatever machine.
THREADS = 4
_BITEXACT = 0x400  # AVFMT_FLAG_BITEXACT


@attrs.frozen
class Packet:
    """One packet of an encoder; times in the encoder's time base."""

    pts: int
    dts: int
    duration: int
    key: bool
    data: bytes


class PieceWriter(VideoWriter):
    """Encodes frames into a piece. Arguments and errors are those of :class:`VideoWriter`, and

    Args:
        piece: file that is written; whatever has the name is replaced.
        path: of the video that pieces will be joined to; its container decides what the encoder is told.
    """

    def __init__(
        self,
        piece: Path,
        path: str | Path,
        template: VideoReader,
        width: int,
        height: int,
        layout: PixelLayout,
        *,
        options: OutputOptions = DEFAULTS,
    ) -> None:
        self._piece = piece
        self._file: BinaryIO | None = None
        super().__init__(path, template, width, height, layout, options=options, overwrite=True)
        try:
            self._file = piece.open("wb")
            self._file.write(_MAGIC + json.dumps(self._header()).encode() + b"\n")
        except OSError as error:
            self._discard()
            raise self._failure(error) from error

    def _header(self) -> dict[str, Any]:
        extradata = self._stream.codec_context.extradata or b""
        return {"codec": self.codec, "time_base": str(self._time_base), "extradata": extradata.hex()}

    def _open_container(self) -> Any:
        # Only its kind matters: the encoder asks it whether headers go in front.
        return av.open(io.BytesIO(), "w", format=self.container_name)

    def _begin(self) -> None:
        context = self._stream.codec_context
        _fix_threads(context)
        context.open()

    def _mux(self, packet: Any) -> None:
        pts = packet.pts
        head = _HEAD.pack(pts, pts if packet.dts is None else packet.dts, packet.duration or 0, packet.size,
                          packet.is_keyframe)  # fmt: skip
        assert self._file is not None
        try:
            self._file.write(head)
            self._file.write(bytes(packet))
        except OSError as error:
            raise self._failure(error) from error

    def commit(self) -> Path:
        """Finishes the piece, on the disk to the last byte."""
        self._encode(None)
        assert self._file is not None
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise self._failure(error) from error
        self._file = None
        self._discard(keep=True)
        return self._piece

    def abort(self, keep: bool = False) -> None:
        """Removes the piece."""
        self._discard()

    def _discard(self, keep: bool = False) -> None:
        self._open = False
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        with contextlib.suppress(av.error.FFmpegError, OSError, ValueError, AttributeError):
            self._container.close()
        if not keep:
            with contextlib.suppress(OSError):
                self._piece.unlink(missing_ok=True)


def _fix_threads(context: Any) -> None:
    if "threads" not in context.options:
        context.thread_count = THREADS


def read_header(piece: Path) -> tuple[dict[str, Any], int]:
    """What a piece says of itself, and where its packets begin; MediaError where it is no piece."""
    with piece.open("rb") as file:
        if file.readline() != _MAGIC:
            raise MediaError(f"{piece} is no piece of a video that this version wrote; --restart begins again")
        header: dict[str, Any] = json.loads(file.readline())
        return header, file.tell()


def read_piece(piece: Path) -> Iterator[Packet]:
    """The packets of a piece, in the encoder's order."""
    _, start = read_header(piece)
    with piece.open("rb") as file:
        file.seek(start)
        while head := file.read(_HEAD.size):
            pts, dts, duration, size, key = _HEAD.unpack(head)
            yield Packet(pts, dts, duration, bool(key), file.read(size))


def delay_of(pts: Sequence[int]) -> int:
    """By how many packets decoding must run ahead of showing, for packets with these times in decoding order."""
    place = {p: k for k, p in enumerate(sorted(pts))}
    return max((k - place[p] for k, p in enumerate(pts)), default=0)


class JoinedWriter(VideoWriter):
    """Puts pieces one behind the other, and carries over all else from the source, once.

    Decoding times are made anew over the whole, for those at the beginning of a piece know nothing of the piece before:
    packet n is decoded when frame n - d is shown, d the longest delay of any piece.

    Arguments and errors are those of :class:`VideoWriter`. Raises, when pieces are added:
        MediaError: a piece was encoded otherwise than this machine's encoder would, so that its packets cannot be read
            with this header; or the disk is full.
    """

    def _begin(self) -> None:
        _fix_threads(self._stream.codec_context)
        super()._begin()

    def _open_container(self) -> Any:
        container = super()._open_container()
        # Matroska would draw random numbers: the same parts make the same file, whoever joins them and when.
        container.flags |= _BITEXACT
        return container

    def place_in(self, folder: Path) -> None:
        """Keeps the file in a folder of the same disk until it is whole."""
        inside = folder / self._part.name
        os.replace(self._part, inside)
        self._part = inside

    def join(self, pieces: Sequence[Path]) -> Iterator[Packet]:
        """Writes all pieces, in order; each packet is given once it is written, with its final dts."""
        delays, shown = [], []
        for piece in pieces:
            self._check(piece)
            times = [p.pts for p in read_piece(piece)]
            delays.append(delay_of(times))
            shown += sorted(times)
        if any(b <= a for a, b in itertools.pairwise(shown)):
            raise MediaError(f"{self.path}: the times of its pieces overlap; please report this bug")
        delay, number = max(delays), 0
        for piece in pieces:
            for packet in read_piece(piece):
                if number >= delay:
                    dts = shown[number - delay]
                else:
                    # Before the first frame, as far apart as the first ones are.
                    ahead = shown[min(delay, len(shown) - 1)]
                    dts = min(shown[number] - (ahead - shown[0]), shown[0] - (delay - number))
                final = attrs.evolve(packet, dts=dts)
                self._mux(self._packet(final))
                self.frames_written += 1
                number += 1
                yield final

    @property
    def seconds(self) -> Fraction:
        """Of one unit of the packets' times."""
        return self._time_base

    def _packet(self, packet: Packet) -> Any:
        made = av.Packet(packet.data)
        made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
        made.time_base, made.is_keyframe, made.stream = self._time_base, packet.key, self._stream
        return made

    def _check(self, piece: Path) -> None:
        header, _ = read_header(piece)
        mine = (self._stream.codec_context.extradata or b"").hex()
        for what, theirs, ours in (
            ("codec", header["codec"], self.codec),
            ("time base", header["time_base"], str(self._time_base)),
            ("parameters", header["extradata"], mine),
        ):
            if theirs != ours:
                raise MediaError(
                    f"{piece}: its {what} are not those of this machine's encoder, so it cannot be joined with others; "
                    "the encoders of all machines must be of one version. --restart begins again"
                )

    def _encode(self, picture: av.VideoFrame | None) -> None:
        """Nothing is encoded here."""

    def commit(self) -> Path:
        """Finishes the file, on the disk to the last byte, and gives it its final name."""
        self._finish()
        try:
            with self._part.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(self._part, self.path)
            flush_folder(self.path.parent)
        except OSError as error:
            raise MediaError(f"{self.path} could not be named: {error.strerror}; the result is {self._part}") from error
        return self.path


def joinable(layout: PixelLayout, codec: str, container: str) -> None:
    """RequestError for what pieces cannot hold: frames without times of their own, or planes beside the packets."""
    if container == "avi":
        raise RequestError("AVI knows no times of frames")
    if codec == "vp9" and layout.alpha:
        raise RequestError("VP9 keeps alpha beside its packets")
