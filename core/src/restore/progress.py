"""A progress bar on terminals, silence elsewhere; messages always go to standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any


def hide_bars() -> None:
    """No bars in this process: another one shows the sum."""
    Progress.shown = False


def say(message: str) -> None:
    """One line for people, on standard error."""
    print(message, file=sys.stderr, flush=True)


class Progress:
    """Counts done work against a total; shows rate and time left.

    Args:
        label: what is being worked on.
        total: units of work, ``None`` when it is not known.
        unit: what is counted, e.g. ``"frames"``.
    """

    shown = True

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self._start, self._base = 0, time.monotonic(), 0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self.shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = [
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(f"{self.unit}, {{task.fields[rate]:.2f}}/s"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            ]
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self.label, total=self.total, rate=0.0, note="")
            self._bar.start()
        return self

    def begin_at(self, done: int) -> None:
        """Work that was finished earlier; it does not count towards the rate."""
        self.done = self._base = done
        self._start = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        """``count`` more units are done; ``note`` is shown behind the bar."""
        self.done += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=self.rate, note=note)

    @property
    def rate(self) -> float:
        """Units a second since the start."""
        return (self.done - self._base) / max(1e-9, time.monotonic() - self._start)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
