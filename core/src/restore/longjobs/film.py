"""One video in parts: its plan, its journal, what is left to do, and the parts joined."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any, Mapping

from restore.inference import jobs
from restore.inference.parts import SweptPart
from restore.longjobs.identity import refuse_other, source_identity, stamp
from restore.longjobs.joining import can_be_parted, join, summary, was_joined, whole_because
from restore.longjobs.journal import Journal, folder_for, sha256_of, throw_away
from restore.longjobs.passes import Pass, scratch_of
from restore.longjobs.planning import Context, Segment, bounds_of, segments_of
from restore.longjobs.sweeping import Place, Sweeping, folder_of
from restore.longjobs.work import Look, Piece, Setting, Task, Whole
from restore.media.files import check_output, partial_name
from restore.media.indexing import Broken, NotIndexed, VideoIndex, index_video
from restore.progress import say

LOOK, WHOLE = -1, -2  # keys of tasks that are no part


class Film:
    """A video and its parts.

    Args:
        job: source and output.
        setting: what workers know.
        identity: of recipe, plugins and weights.
        restart: an earlier run's parts are thrown away.

    Attributes:
        job: as given.
        begun: whether :meth:`begin` was called.
        total: frames that this run has to restore, as far as known.
    """

    def __init__(self, job: jobs.Job, setting: Setting, identity: Mapping[str, Any], restart: bool = False) -> None:
        self.job, self.setting, self._identity, self._restart = job, setting, identity, restart
        self.begun = False
        self.journal: Journal | None = None
        self.segments: list[Segment] = []
        self._index: VideoIndex | None = None
        self._finished: dict[int, dict[str, Any]] = {}
        self._given: dict[int, Task] = {}
        self._sweeping: Sweeping | None = None
        self._header: dict[str, Any] = {}
        self._resumed = self.resumed_frames = 0
        self._start = time.perf_counter()
        self._whole: dict[str, Any] | None = None
        self._at_once = False

    @property
    def total(self) -> int:
        """Frames that this run has to restore."""
        return (len(self._index) if self._index is not None else self.job.source.frames or 0) - self._frames_done()

    def _frames_done(self) -> int:
        return sum(self.segments[k].frames for k in self._finished)

    def begin(self) -> None:
        """Finds what an earlier run has finished, or what there is to do.

        Raises:
            RequestError: the journal is of other settings or of another source, or someone else works on it.
            MediaError: the source cannot be read.
        """
        self.begun, source = True, self.job.source
        folder = folder_for(self.job.output)
        self._overwrite = self.setting.overwrite or was_joined(self.job.output)
        journal = Journal.find(folder)
        if journal is not None and self._restart:
            self._forget(journal)
            journal = None
        try:
            check_output(self.job.output, [source.path], self._overwrite)
        except BaseException:
            if journal is not None:
                journal.close()
            raise
        if journal is None and not can_be_parted(source, self.job.output, self.setting):
            self._at_once = True
            return
        try:
            self._index = index_video(source)
        except NotIndexed as error:
            if journal is not None:
                journal.close()
                raise
            say(f"{error}; it is restored in one go, which cannot be taken up again")
            self._at_once = True
            return
        if guesses := source.color.describe_guesses():
            say(f"{source.path.name}: {guesses}")
        self._stamp = stamp(source.path)
        told = {**source_identity(source.path), "frames": len(self._index), "times": self._index.digest()}
        self._whole_identity = {**self._identity, "source": told}
        if journal is not None:
            self._take_up(journal)

    def _take_up(self, journal: Journal) -> None:
        try:
            refuse_other(journal.header["identity"], self._whole_identity, journal.folder)
            self.journal, self._header = journal, journal.header
            self._plan()
        except BaseException:
            self.journal = None
            journal.close()
            raise
        self._finished = self._whole_parts()
        self._resumed, self.resumed_frames = len(self._finished), self._frames_done()
        wanted = {name for e in self._finished.values() for name in (e["file"], e["state"]) if name}
        found = f"{self.resumed_frames} of {self.segments[-1].stop} frames"
        if self._sweeping is not None:
            self._sweeping.take_up(self._finished)
            wanted |= self._sweeping.names
            found += f", and {self._sweeping.count} sweeps over parts,"
        journal.forget(wanted)
        say(f"{self.job.output.name}: {found} are there from before; going on behind them")

    def _plan(self) -> None:
        context, cuts = Context(**self._header["context"]), self._header["cuts"]
        self.segments = segments_of(self._header["bounds"], context, cuts)
        self._carried = context.carried
        if context.sweeps:
            assert self.journal is not None
            each = self._header["swept"]["bytes"]
            self._sweeping = Sweeping(self.journal, self._scratch, self.segments, context.sweeps, each)
            self._sweeping.check_room(f'{self.job.source.path}: schedule = "exact"')

    @property
    def _scratch(self) -> Path | None:
        asked = self.setting.recipe.run.temporal.scratch
        return None if asked is None else Path(asked).expanduser()

    def _forget(self, journal: Journal) -> None:
        """Nothing of a journal is needed any more."""
        journal.remove()
        if self._scratch is not None:
            throw_away(folder_of(journal.folder, self._scratch))

    def _whole_parts(self) -> dict[int, dict[str, Any]]:
        """Entries whose files are whole, and from which all others can be reached."""
        assert self.journal is not None
        folder = self.journal.folder
        found = {e["segment"]: e for e in self.journal.entries if "file" in e}
        found = {k: e for k, e in found.items() if _is_whole(folder / e["file"], e["sha256"])}
        for segment in reversed(self.segments):
            if segment.number in found or not self._needs_state(segment):
                continue
            before = found.get(segment.number - 1)
            if before is None or (before["state"] and _is_whole(folder / before["state"], before["state_sha"])):
                continue
            del found[segment.number - 1]
        return found

    def _needs_state(self, segment: Segment) -> bool:
        return self._carried and not segment.fresh

    def next_task(self, attempts: Mapping[int, int]) -> tuple[int, Task] | None:
        """A task that may begin now, and its key; None: all that may begin has.

        Args:
            attempts: how often each key has failed.
        """
        if self._at_once:
            return self._give(WHOLE, Whole(self.job.source, self.job.output, again=WHOLE in attempts))
        if not self.segments:
            return self._give(LOOK, Look(self.job.source.path))
        for segment in self.segments:
            k = segment.number
            if k not in self._finished and k not in self._given and self._ready(segment):
                return self._give(k, self._piece(segment, attempts.get(k, 0) + 1))
        if self._sweeping is None:
            return None
        for place in self._sweeping.ready(self._finished):
            if (key := self._key(place)) not in self._given:
                self._sweeping.begin(place)
                return self._give(key, self._pass(place, attempts.get(key, 0) + 1))
        return None

    def _ready(self, segment: Segment) -> bool:
        if segment.scene is not None:
            return self._sweeping is not None and self._sweeping.answers(segment.number) is not None
        return not self._needs_state(segment) or segment.number - 1 in self._finished

    def _key(self, place: Place) -> int:
        return (place[0] + 1) * len(self.segments) + place[1]

    def name_of(self, key: int) -> str:
        """What a task is, for people."""
        if key in (LOOK, WHOLE):
            return "it"
        sweep, number = divmod(key, len(self.segments))
        segment = self.segments[number]
        what = f"part {number + 1} of {len(self.segments)} (frames {segment.first} to {segment.stop - 1})"
        return f"sweep {sweep} over {what}" if sweep else what

    def _give(self, key: int, task: Task) -> tuple[int, Task] | None:
        if key in self._given or self._whole is not None:
            return None
        self._given[key] = task
        return key, task

    def _pass(self, place: Place, attempt: int) -> Pass:
        assert self._sweeping is not None
        assert self._index is not None
        sweeping, (sweep, number), source = self._sweeping, place, self.job.source
        segment, before, unique = self.segments[number], sweeping.beside(place), _unique()
        assert segment.scene is not None
        size = source.height, source.width
        return Pass(
            source=source.path,
            stamp=self._stamp,
            part=SweptPart(sweep, range(segment.first, segment.stop), range(*segment.scene), size,
                           self._header["swept"]["channels"]),
            stretch=self._index.stretch(*sweeping.seen(number)) if sweep == 0 else None,
            settled=self._header["settled"],
            inputs=tuple(sweeping.values(p) for p in sweeping.inputs(place)),
            target=sweeping.values(place).with_suffix(unique),
            state_in=None if before is None else sweeping.state(before),
            state_out=sweeping.state(place).with_suffix(".state" + unique) if sweeping.hands_on(place) else None,
            attempt=attempt,
        )  # fmt: skip

    def _piece(self, segment: Segment, attempt: int) -> Piece:
        assert self.journal is not None
        assert self._index is not None
        folder, k = self.journal.folder, segment.number
        unique = _unique()
        follows = k + 1 < len(self.segments) and self._needs_state(self.segments[k + 1])
        return Piece(
            source=self.job.source.path,
            stamp=self._stamp,
            output=self.job.output,
            stretch=self._index.stretch(segment.low, segment.high),
            segment=segment,
            cuts=tuple(c for c in self._header["cuts"] if segment.low < c < segment.high),
            settled=self._header["settled"],
            target=folder / (_file(k) + unique),
            state_in=folder / self._finished[k - 1]["state"] if self._needs_state(segment) else None,
            state_out=folder / (_state(k) + unique) if follows else None,
            answers=self._sweeping.answers(k) if self._sweeping is not None and segment.scene is not None else None,
            attempt=attempt,
        )

    def accept(self, key: int, task: Task, result: dict[str, Any]) -> None:
        """A task is done. What is kept is on the disk when this returns."""
        self._given.pop(key, None)
        if key == WHOLE:
            self._whole = result
        elif key == LOOK:
            self._looked(result)
        elif isinstance(task, Pass):
            assert self._sweeping is not None
            self._sweeping.accept((task.part.sweep, key % len(self.segments)), task.target, task.state_out, result)
            self._sweeping.clean(self._finished)
        else:
            assert isinstance(task, Piece)
            self._keep(key, task, result)
            if self._sweeping is not None:
                self._sweeping.clean(self._finished)

    def give_back(self, key: int) -> None:
        """A task failed; it may be given again. What it had written is removed."""
        task = self._given.pop(key, None)
        if isinstance(task, (Piece, Pass)):
            for path in (task.target, scratch_of(task.target), task.state_out):
                if path is not None:
                    throw_away(path)

    def _looked(self, result: dict[str, Any]) -> None:
        assert self._index is not None
        bounds = [0]
        if result["why"]:
            say(whole_because(self.job.source.path, result["why"]))
        if result["context"] is not None:
            settings, context = self.setting.recipe.run.segments, Context(**result["context"])
            bounds = bounds_of(len(self._index), settings, context, result["cuts"], self._index.keys)
        if len(bounds) <= 2:
            self._at_once = True  # nothing to divide: a scene that must be whole
            return
        self._header = {
            "identity": self._whole_identity,
            "settled": result["settled"],
            "context": result["context"],
            "cuts": result["cuts"],
            "bounds": bounds,
            **({"swept": result["swept"]} if "swept" in result else {}),
        }
        self.journal = Journal.create(folder_for(self.job.output), self._header)
        self._plan()

    def _keep(self, key: int, task: Piece, result: dict[str, Any]) -> None:
        assert self.journal is not None
        assert self._index is not None
        segment, state = self.segments[key], _state(key) if task.state_out is not None else None
        self.journal.keep(task.target, _file(key))
        if task.state_out is not None and state is not None:
            self.journal.keep(task.state_out, state)
        entry = {
            "segment": key,
            "first": segment.first,
            "frames": segment.frames,
            "from": self._index.pts[segment.first],
            "to": self._index.pts[segment.stop - 1],
            "file": _file(key),
            "size": result["size"],
            "sha256": result["sha256"],
            "state": state,
            "state_sha": result.get("state"),
            **{name: result[name] for name in ("width", "height", "codec", "seconds", "cpu", "decoded")},
            "said": [result["precision"], result["schedule"], *result["warnings"]],
        }
        self.journal.append(entry)
        self._finished[key] = entry
        if task.state_in is not None:
            # A state can be as large as its frames; once the part behind it is there, nobody needs it.
            task.state_in.unlink(missing_ok=True)

    @property
    def complete(self) -> bool:
        """Whether only joining is left."""
        return self._whole is not None or (bool(self.segments) and len(self._finished) == len(self.segments))

    def finish(self) -> dict[str, Any]:
        """Joins the parts, removes the journal, and says what :func:`restore.inference.jobs.run_job` says, and the
        number of ``segments`` and of those that were there before (``resumed``)."""
        if self._whole is not None:
            return {k: v for k, v in self._whole.items() if k != "stamp"}
        assert self.journal is not None
        entries = [self._finished[k] for k in range(len(self.segments))]
        warnings = [w for e in self.journal.entries if "sweep" in e for w in e.get("said", ())]
        warnings += self._join(entries)
        self._forget(self.journal)
        self.journal = None
        seconds, here = time.perf_counter() - self._start, self.segments[-1].stop - self.resumed_frames
        return summary(self.job, self._header, entries, warnings, seconds, here, self._resumed)

    def _join(self, entries: list[dict[str, Any]], partial: Path | None = None) -> list[str]:
        """Of all parts, or of the first ones into a file that says by its name that it is not whole."""
        assert self.journal is not None
        return join(self.job, self.setting.options, self.journal, entries, self._stamp, self._overwrite, partial)

    def kept(self, error: BaseException | None = None) -> str:
        """For an error: what is kept, and how to go on; empty where nothing is. Where the source itself is broken,
        going on would meet the same frame again: the parts before it become a file."""
        swept = 0 if self._sweeping is None else self._sweeping.count
        if self.journal is None or not (self._finished or swept):
            return ""
        if isinstance(error, Broken):
            return self._salvaged()
        count = f"{len(self._finished)} of {len(self.segments)} parts of it are finished"
        count += f", {swept} sweeps over parts" if swept else ""
        return f"{count} and kept in {self.journal.folder}; the same command goes on behind them"

    def _salvaged(self) -> str:
        assert self.journal is not None
        whole = []
        for segment in self.segments:
            if segment.number not in self._finished:
                break
            whole.append(self._finished[segment.number])
        if whole:
            target = partial_name(self.job.output)
            self._join(whole, target)
        self._finished.clear()
        self._sweeping = None
        frames = sum(e["frames"] for e in whole)
        return f"What was finished until then ({frames} frames) is in {target}" if whole else ""

    def close(self) -> None:
        """Lets go of the journal; it stays where there is something in it."""
        if self.journal is None:
            return
        if self._finished or (self._sweeping is not None and self._sweeping.count):
            self.journal.close()
        else:
            self._forget(self.journal)


def _unique() -> str:
    return f".{os.getpid()}-{secrets.token_hex(3)}.part"


def _file(number: int) -> str:
    return f"{number:06d}.packets"


def _state(number: int) -> str:
    return f"{number:06d}.state"


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return sha256_of(path) == sha256
    except OSError:
        return False
