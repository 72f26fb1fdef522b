"""Sound and subtitles at the pace of pictures that come late."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterator

import av

from restore.media.probe import open_container

_AHEAD = 0.5  # seconds


class Follower:
    """Reads a file's other streams once more, as far as its pictures have been written.

    Where pictures are answered long after they were read, packets that came along with them would lie far from them in
    the output, or wait in memory.

    Args:
        path: of the source.
        picture: index of the stream whose frames are restored.
        copy: takes each packet.
    """

    def __init__(self, path: Path, picture: int, copy: Callable[[Any], None]) -> None:
        self._container = open_container(path)
        self._copy = copy
        self._packets = self._read(picture)
        self._waiting: Any = None

    def _read(self, picture: int) -> Iterator[Any]:
        others = [s for s in self._container.streams if s.index != picture and s.type in ("audio", "subtitle", "video")]
        if not others:
            return
        try:
            for packet in self._container.demux(others):
                if packet.size and packet.dts is not None:
                    yield packet
        except (av.error.FFmpegError, OSError):
            # Where the file breaks the pictures break too, and that is said.
            return

    def up_to(self, seconds: float | None) -> None:
        """Copies what belongs to the time until then; None: all that is left."""
        while True:
            packet = self._waiting if self._waiting is not None else next(self._packets, None)
            self._waiting = None
            if packet is None:
                return
            if seconds is not None and float(packet.dts * packet.time_base) > seconds + _AHEAD:
                self._waiting = packet
                return
            self._copy(packet)

    def close(self) -> None:
        """Closes the file."""
        self._container.close()
