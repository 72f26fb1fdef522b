"""What libav says while it works."""

from __future__ import annotations

import threading
from typing import Any

import av

# The level of libav's messages belongs to the whole process.
_lock = threading.Lock()


class Listening:
    """A context in which libav's messages to this thread are collected, and not shown.

    Args:
        level: of ``av.logging``, the least that is heard.

    Attributes:
        lines: ``(level, name of the speaker, text)`` of each, in order.
    """

    def __init__(self, level: int) -> None:
        self.level = level
        self.lines: list[tuple[int, str, str]] = []

    def __enter__(self) -> Listening:
        _lock.acquire()
        self._before, self._skips = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(self.level)
        av.logging.set_libav_level(self.level)
        av.logging.set_skip_repeated(False)
        self._capture = av.logging.Capture(True)
        self.lines = self._capture.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._capture.__exit__(*error)
        finally:
            av.logging.set_skip_repeated(self._skips)
            av.logging.set_level(self._before)
            av.logging.set_libav_level(av.logging.INFO)
            _lock.release()
