"""A scene swept part by part (``exact``): which sweep may go over which part, what waits on disk, and what no more.

Each sweep over each part leaves two files: the values of its frames, for the next sweep, and the state for the part
beside it. What is wanted follows from what is not finished, as in a makefile: a file that is missing or damaged is made
again, with whatever that takes, and one that nobody wants any more is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
from pathlib import Path
from typing import Any, Collection, Iterator, Mapping, Sequence

from restore.errors import RequestError
from restore.inference.store import pick_folder
from restore.longjobs.journal import Journal, sha256_of, throw_away
from restore.longjobs.planning import Segment

Place = tuple[int, int]  # number of a sweep, number of a part


class Sweeping:
    """The sweeps over all scenes that are divided.

    Args:
        journal: where finished sweeps are written down.
        scratch: folder for what waits, where it is not to be the journal's own.
        segments: all parts of the video.
        sweeps: direction and reach of each.
        each: bytes that a frame takes on disk.
    """

    def __init__(
        self,
        journal: Journal,
        scratch: Path | None,
        segments: Sequence[Segment],
        sweeps: Sequence[tuple[str, int]],
        each: int,
    ) -> None:
        self._journal, self._sweeps, self._each = journal, list(sweeps), each
        self.folder = folder_of(journal.folder, scratch)
        divided = [s for s in segments if s.scene is not None]
        self._scenes = [list(group) for _, group in itertools.groupby(divided, key=lambda s: s.scene)]
        self._scene_of = {s.number: k for k, scene in enumerate(self._scenes) for s in scene}
        self._segments = {s.number: s for s in divided}
        self._values: set[Place] = set()
        self._states: set[Place] = set()
        self._begun: set[int] = set()

    def check_room(self, what: str) -> None:
        """RequestError where the longest scene does not fit on the disk."""
        spans = [scene[-1].stop - scene[0].first for scene in self._scenes]
        if spans and not self._values:
            self.folder.mkdir(exist_ok=True)
            pick_folder(max(spans) * self._each, self.folder, self.folder, f"{what}: a scene of {max(spans)} frames")

    def take_up(self, finished: Collection[int]) -> None:
        """Finds what an earlier run left, and checks whatever is still wanted; the rest is removed."""
        told = {(e["sweep"], e["segment"]): e for e in self._journal.entries if "sweep" in e}
        known = {p: e for p, e in told.items() if p[1] in self._segments}
        self._values = {p for p in known if self.values(p).is_file()}
        self._states = {p for p, e in known.items() if e["state"] and self.state(p).is_file()}
        checked: set[Path] = set()
        while True:
            _, values, states = self._wanted(finished)
            bad = {p for p in values & self._values if not _is(self.values(p), known[p]["sha256"], checked)}
            ill = {p for p in states & self._states if not _is(self.state(p), known[p]["state"], checked)}
            if not bad and not ill:
                break
            self._values -= bad
            self._states -= ill
        self._begun = {self._scene_of[p[1]] for p in self._values}
        self.clean(finished)
        if self.folder.is_dir() and self.folder != self._journal.folder:
            for path in self.folder.iterdir():
                if path.name not in self.names:
                    throw_away(path)

    @property
    def names(self) -> set[str]:
        """Of the files that are kept."""
        return {self.values(p).name for p in self._values} | {self.state(p).name for p in self._states}

    @property
    def count(self) -> int:
        """Finished sweeps over parts that are kept."""
        return len(self._values | self._states)

    def values(self, place: Place) -> Path:
        """The file of a sweep's values."""
        return self.folder / f"{place[0]:02d}-{place[1]:06d}.values"

    def state(self, place: Place) -> Path:
        """The file of the state behind a part."""
        return self.folder / f"{place[0]:02d}-{place[1]:06d}.state"

    def answers(self, segment: int) -> Path | None:
        """The file of what the last sweep said, if it is there."""
        place = len(self._sweeps) - 1, segment
        return self.values(place) if place in self._values else None

    def beside(self, place: Place) -> Place | None:
        """From where the state comes; None at the beginning, or where there is no state."""
        sweep, number = place
        direction = self._sweeps[sweep][0]
        other = number + {"forward": -1, "backward": 1, "none": 0}[direction]
        same = self._scene_of.get(other) == self._scene_of[number]
        return (sweep, other) if direction != "none" and same else None

    def hands_on(self, place: Place) -> bool:
        """Whether another part wants the state."""
        sweep, number = place
        others = [other for other in (number - 1, number + 1) if other in self._segments]
        return any(self.beside((sweep, other)) == place for other in others)

    def inputs(self, place: Place) -> list[Place]:
        """Whose values a sweep over a part looks at; none for the first sweep."""
        sweep, number = place
        if sweep == 0:
            return []
        here, reach = self._segments[number], self._sweeps[sweep][1]
        scene = self._scenes[self._scene_of[number]]
        return [(sweep - 1, s.number) for s in scene if s.first < here.stop + reach and s.stop > here.first - reach]

    def seen(self, number: int) -> tuple[int, int]:
        """Frames that the first sweep over a part looks at."""
        here, reach = self._segments[number], self._sweeps[0][1]
        assert here.scene is not None
        return max(here.scene[0], here.first - reach), min(here.scene[1], here.stop + reach)

    def ready(self, finished: Collection[int]) -> Iterator[Place]:
        """What can be done now; of early scenes first, and late sweeps first, so that little waits."""
        todo, _, _ = self._wanted(finished)
        for place in todo:
            scene = self._scene_of[place[1]]
            before = self.beside(place)
            there = all(p in self._values for p in self.inputs(place)) and (before is None or before in self._states)
            if there and (scene in self._begun or self._has_room(scene, todo)):
                yield place

    def begin(self, place: Place) -> None:
        """It is being done."""
        self._begun.add(self._scene_of[place[1]])
        self.folder.mkdir(exist_ok=True)

    def accept(self, place: Place, target: Path, state: Path | None, result: Mapping[str, Any]) -> None:
        """It is done: its files get their names, and the journal knows."""
        self._journal.keep(target, str(self.values(place).absolute()))
        if state is not None:
            self._journal.keep(state, str(self.state(place).absolute()))
        entry = {"sweep": place[0], "segment": place[1], "sha256": result["sha256"], "state": result["state"]}
        self._journal.append({**entry, **({"said": result["warnings"]} if result["warnings"] else {})})
        self._values.add(place)
        if state is not None:
            self._states.add(place)

    def clean(self, finished: Collection[int]) -> None:
        """Removes what nobody wants any more."""
        _, values, states = self._wanted(finished)
        for p in self._values - values:
            throw_away(self.values(p))
        for p in self._states - states:
            throw_away(self.state(p))
        self._values &= values
        self._states &= states

    def _has_room(self, scene: int, todo: Collection[Place]) -> bool:
        """Whether a scene may be begun beside those that are not finished; the only one may always."""
        if not any(self._scene_of[p[1]] in self._begun for p in todo):
            return True
        parts = self._scenes[scene]
        return shutil.disk_usage(self.folder).free > 2 * self._each * (parts[-1].stop - parts[0].first)

    def _wanted(self, finished: Collection[int]) -> tuple[list[Place], set[Place], set[Place]]:
        """What is to be done, and the values and states that are wanted for it and for parts that are not finished."""
        todo: list[Place] = []
        values: set[Place] = set()
        states: set[Place] = set()
        last = len(self._sweeps) - 1
        for scene in self._scenes:
            values |= {(last, s.number) for s in scene if s.number not in finished}
            for sweep in range(last, -1, -1):
                # The last part that the sweep comes to first: it wants the state of the one before.
                order = scene if self._sweeps[sweep][0] == "backward" else scene[::-1]
                mine: list[Place] = []
                for place in ((sweep, s.number) for s in order):
                    lacking = (place in values - self._values) or (place in states - self._states)
                    if not lacking:
                        continue
                    mine.append(place)
                    values.update(self.inputs(place))
                    before = self.beside(place)
                    if before is not None:
                        states.add(before)
                todo += mine[::-1]
        return todo, values, states


def folder_of(journal: Path, scratch: Path | None) -> Path:
    """Where what waits lies: the journal's own folder, or one of its own in ``scratch``.

    Raises:
        RequestError: there is no such folder.
    """
    if scratch is None:
        return journal
    if not scratch.is_dir():
        raise RequestError(f"run.temporal.scratch = {str(scratch)!r} is no folder")
    return scratch / f".restore-{hashlib.sha256(str(journal.absolute()).encode()).hexdigest()[:16]}"


def _is(path: Path, sha256: str, checked: set[Path]) -> bool:
    """Whether a file is whole; each is read once."""
    with contextlib.suppress(OSError):
        if path not in checked and sha256_of(path) == sha256:
            checked.add(path)
    return path in checked
