"""Ctrl-C and SIGTERM between iterations, never inside one: half a step could not be continued bit for bit."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """Holds back the first Ctrl-C until :meth:`check`; a second one comes at once. SIGTERM, by which schedulers and
    torchrun end a process, is held back too. Elsewhere than in the main thread it does nothing: no signals arrive
    there."""

    def __init__(self) -> None:
        self.asked = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

    def check(self) -> None:
        """Where it is safe to stop.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed, or SIGTERM came.
        """
        if self.asked:
            raise KeyboardInterrupt

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
