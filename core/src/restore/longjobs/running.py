"""Gives out the tasks of many files to workers, and sees to what goes wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable, Sequence

import attrs

from restore.errors import MediaError, RestoreError
from restore.inference.memory import OutOfMemory
from restore.longjobs.encoding import HungUp
from restore.longjobs.film import Film
from restore.longjobs.work import Task
from restore.longjobs.workers import Event, Pool
from restore.progress import Progress, say

TRIES = 3


@attrs.define(eq=False)
class _AtHand:
    """A task that a worker has."""

    film: Film
    key: int
    task: Task
    frames: int = 0


class Conductor:
    """Works through files until all are done or have failed.

    Args:
        films: the files, in the order in which they are begun.
        pool: who does the work.
        on_done, on_failed: told of each file's end; those of several need not end in order.
        bar: shows frames.
    """

    def __init__(
        self,
        films: Sequence[Film],
        pool: Pool,
        on_done: Callable[[Film, dict[str, Any]], None],
        on_failed: Callable[[Film, RestoreError], None],
        bar: Progress | None = None,
    ) -> None:
        self._open = list(films)
        self._pool, self._on_done, self._on_failed, self._bar = pool, on_done, on_failed, bar
        self._hands: dict[int, _AtHand] = {}
        self._failures: dict[Film, Counter[int]] = {film: Counter() for film in films}
        self._avoid: dict[tuple[Film, int], set[int]] = {}
        self._errors: dict[Film, RestoreError] = {}

    def run(self) -> None:
        """Does it all. KeyboardInterrupt: what is finished is kept, and that is said."""
        try:
            while self._open:
                self._give_out()
                waiting = len(self._open)
                for event in self._pool.listen(1.0) if self._hands else ():
                    self._hear(event)
                self._settle()
                if not self._hands and len(self._open) == waiting and not self._may_go_on():
                    raise MediaError("nothing is left that could be done; please report this bug")
        except BaseException:
            self._pool.close()
            for film in self._open:
                if kept := film.kept():
                    say(f"{film.job.output.name}: {kept}")
            raise
        finally:
            for film in self._open:
                film.close()

    def _give_out(self) -> None:
        for worker in self._pool.free():
            for film in list(self._open):
                if film not in self._errors and self._begun(film) and self._give(film, worker):
                    break

    def _may_go_on(self) -> bool:
        """Whether any file has a task to give; where none has and none is at hand, something is wrong here."""
        for film in self._open:
            if film not in self._errors and (found := film.next_task(self._failures[film])) is not None:
                film.give_back(found[0])
                return True
        return False

    def _begun(self, film: Film) -> bool:
        if not film.begun:
            try:
                film.begin()
            except RestoreError as error:
                self._errors[film] = error
                return False
            except OSError as error:
                self._errors[film] = MediaError(f"{film.job.source.path}: {error}")
                return False
        return True

    def _give(self, film: Film, worker: int) -> bool:
        found = film.next_task(self._failures[film])
        if found is None:
            return False
        key, task = found
        avoided = self._avoid.get((film, key), set())
        if worker in avoided and len(avoided) < self._pool.workers:
            film.give_back(key)
            return False
        self._hands[worker] = _AtHand(film, key, task)
        self._pool.give(worker, task)
        return True

    def _hear(self, event: Event) -> None:
        hand = self._hands.get(event.worker)
        if event.kind == "progress":
            if hand is not None:
                hand.frames += event.value
            self._show(event.value)
            return
        if hand is None:
            if event.kind == "died":
                say(f"a worker died ({event.value}); another was begun")
            return
        del self._hands[event.worker]
        try:
            if event.kind == "done":
                hand.film.accept(hand.key, hand.task, event.value)
                return
        except RestoreError as error:
            self._give_up(hand.film, error)
            return
        self._show(-hand.frames)
        hand.film.give_back(hand.key)
        self._failed(hand, event)

    def _show(self, frames: int) -> None:
        if self._bar is not None:
            self._bar.advance(frames)

    def _failed(self, hand: _AtHand, event: Event) -> None:
        film, key = hand.film, hand.key
        again = event.kind == "died" or isinstance(event.value, (OutOfMemory, HungUp))
        if not again:
            self._give_up(film, event.value)
            return
        self._failures[film][key] += 1
        self._avoid.setdefault((film, key), set()).add(event.worker)
        what = film.name_of(key)
        why = f"a worker died with it ({event.value})" if event.kind == "died" else str(event.value)
        if self._failures[film][key] < TRIES:
            say(f"{film.job.source.path.name}: {what}: {why}; trying again")
            return
        self._give_up(film, MediaError(f"{film.job.source.path}: {what} failed {TRIES} times: {why}"))

    def _give_up(self, film: Film, error: RestoreError) -> None:
        self._errors.setdefault(film, error)

    def _settle(self) -> None:
        """Ends files that are done, and those that failed once nobody works on them any more."""
        busy = {hand.film for hand in self._hands.values()}
        for film in list(self._open):
            if film in busy:
                continue
            if film not in self._errors and film.complete:
                try:
                    result = film.finish()
                except RestoreError as error:
                    self._give_up(film, error)
                else:
                    self._open.remove(film)
                    self._on_done(film, result)
                    continue
            if film in self._errors:
                self._open.remove(film)
                failure = self._errors[film]
                try:
                    kept = film.kept(failure)
                except RestoreError as error:
                    kept = str(error)
                film.close()
                self._on_failed(film, type(failure)(f"{failure}\n{kept}") if kept else failure)
