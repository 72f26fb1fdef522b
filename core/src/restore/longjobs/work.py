"""What one worker does: looks at a video, restores a part of it, or a whole file."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Protocol, Sequence

import attrs

from restore.document import Document
from restore.errors import MediaError
from restore.inference import jobs
from restore.inference.exact import ExactRunner
from restore.inference.measured import MeasuredRunner
from restore.inference.memory import OutOfMemory
from restore.inference.parts import Values
from restore.inference.restorer import Restorer
from restore.inference.scenes import FLASH, CutFinder, Seen
from restore.inference.stages import Stages
from restore.inference.stream import StreamRunner
from restore.inference.temporal import TRIAL_FRAMES, TemporalRunner
from restore.inference.video import batch_size, in_batches
from restore.inference.windows import WindowRunner
from restore.longjobs.easing import ease, less_precise
from restore.longjobs.encoding import Advance, Encoding, unchanged
from restore.longjobs.identity import stamp
from restore.longjobs.journal import sha256_of
from restore.longjobs.planning import Segment, context_of
from restore.media.color import Picture
from restore.media.encoders import OutputOptions
from restore.media.indexing import Stretch
from restore.media.probe import MediaInfo
from restore.media.reader import VideoReader
from restore.recipe import Recipe


@attrs.frozen
class Setting:
    """What all workers know.

    Attributes:
        recipe: checked.
        build: makes the models on a device, ``None`` for the recipe's own; it can be pickled where there are several
            processes.
        overwrite: existing outputs may be replaced.
        document: the recipe as it was read, where there is one: other nodes check by it that they have the same.
        origins: URLs of inputs, by the names of their copies here: another machine fetches its own.
    """

    recipe: Recipe
    build: Callable[[str | None], Stages]
    overwrite: bool = False
    document: Document | None = None
    origins: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def options(self) -> OutputOptions:
        """How outputs are coded."""
        return jobs.options(self.recipe.run.output)


class Task(Protocol):
    """Something that one worker does by itself."""

    def do(self, bench: Workbench, advance: Advance) -> dict[str, Any]:
        """Does it; ``advance`` is told how many frames have been finished."""
        ...


class Workbench:
    """The models of one worker.

    Args:
        setting: what all workers know.
        device: of this one, or None for the recipe's own.
        stages: models that are there already.
    """

    def __init__(self, setting: Setting, device: str | None = None, stages: Stages | None = None) -> None:
        self.setting = setting
        self.stages = setting.build(device) if stages is None else stages
        self.cuts: set[int] = set()
        self._parts: Stages | None = None

    @property
    def parts(self) -> Stages:
        """The same models for parts of videos, whose scenes (:attr:`cuts`) are known."""
        if self._parts is None:
            self._parts = Stages(self.stages.restorers, self.cuts)
        return self._parts

    def prepared(self, settled: Sequence[dict[str, Any]], attempt: int) -> Stages:
        """:attr:`parts` for a task: each model run as ``settled`` says, with less asked of the machine from the third
        ``attempt`` on."""
        for runner, known in zip(self.parts.restorers, settled, strict=True):
            runner.settle(known)
            runner.warnings.clear()
        ease(self.parts, attempt)
        return self.parts

    def do(self, task: Task, advance: Advance) -> dict[str, Any]:
        """Does a task."""
        return task.do(self, advance)


@attrs.frozen
class Whole:
    """A file that is done at once."""

    source: MediaInfo
    output: Path
    again: bool = False  # a worker died with it, perhaps when the output had just got its name

    def do(self, bench: Workbench, advance: Advance) -> dict[str, Any]:
        """What :func:`restore.inference.jobs.run_job` says of it."""
        job = jobs.Job(self.source, self.output)
        result = jobs.run_job(job, bench.stages, bench.setting.recipe, bench.setting.overwrite or self.again)
        advance(result["frames"])
        return {**result, "stamp": stamp(self.output)}


@attrs.frozen
class Look:
    """A first look at a video: modes are tried, and scenes are found."""

    source: Path

    def do(self, bench: Workbench, advance: Advance) -> dict[str, Any]:
        """``settled``, of each model; ``context``, what parts must see, or None where the models cannot be given parts,
        and ``why``, for people; ``cuts``, where scenes begin; where scenes are swept part by part ``swept``, the bytes
        that a frame takes on disk and the channels of what the model is given.

        Raises:
            RequestError: a file that the models would spoil.
        """
        if why := why_whole(bench.stages):
            return {"settled": [], "context": None, "cuts": [], "why": why}
        parts = bench.parts
        bench.cuts.clear()
        along = [r for r in parts.restorers if isinstance(r, TemporalRunner)]
        with VideoReader(self.source) as reader:
            info = reader.info
            parts.accept(info)
            size = batch_size(info.width, info.height, bench.setting.recipe.run.batch, parts.device.type)
            first = next(in_batches(iter(reader), max(size, TRIAL_FRAMES if along else 1)))
            parts(Picture.from_frames(first, parts.device))
        parts.reset()
        cuts: list[int] = []
        if along and along[0].temporal.scene_cuts == "auto":
            at_once = any(r.temporal.schedule == "causal" for r in along)
            cuts = find_cuts(self.source, 0 if at_once else FLASH, parts.seen)
        context = attrs.asdict(context_of(parts.restorers, bench.setting.recipe.run.segments.state))
        found = {"settled": [r.settled() for r in parts.restorers], "context": context, "cuts": cuts, "why": ""}
        if context["sweeps"]:
            runner = parts.restorers[0]
            assert isinstance(runner, ExactRunner)
            channels = runner.traits.planes
            found["swept"] = {"bytes": runner.disk(1, info.height, info.width), "channels": channels}
        return found


def find_cuts(source: Path, patience: int, seen: Seen | None) -> list[int]:
    """Numbers of the frames of a video that begin a scene; see :class:`CutFinder`."""
    finder = CutFinder(patience, seen)
    with VideoReader(source) as reader:
        for batch in in_batches(iter(reader), 8):
            finder.push(Picture.from_frames(batch).channels("y"))
    finder.finish()
    return sorted(finder.cuts)


@attrs.frozen
class Piece:
    """A part of a video, from its frames to its packets.

    Attributes:
        source, stamp: the video, and its size and time of change.
        output: final name of the whole; only its ending matters here.
        stretch: what is read.
        segment: what of it is answered.
        cuts: numbers of frames in it that begin a scene.
        settled: how each model is run.
        target: file for the packets.
        state_in, state_out: files of what ``causal`` carries; None: nothing comes in, nothing is wanted.
        answers: file of what the sweeps of ``exact`` said; None: the models are run.
        attempt: from 1; where two workers died with a part, the third takes smaller tiles and less precision.
    """

    source: Path
    stamp: Sequence[int]
    output: Path
    stretch: Stretch
    segment: Segment
    cuts: tuple[int, ...]
    settled: Sequence[dict[str, Any]]
    target: Path
    state_in: Path | None = None
    state_out: Path | None = None
    answers: Path | None = None
    attempt: int = 1

    def do(self, bench: Workbench, advance: Advance) -> dict[str, Any]:
        """Size, checksum and what else the journal keeps of the part.

        Raises:
            Changed, HungUp, OutOfMemory: see there.
            MediaError, RestoreError: as :meth:`restore.inference.video.VideoJob.run`.
        """
        unchanged(self.source, self.stamp)
        parts = bench.prepared(self.settled, self.attempt)
        start, cpu = time.perf_counter(), time.process_time()
        try:
            with self._answered(parts):
                told = Encoding(self, bench, advance).run()
        except OutOfMemory as error:
            if not less_precise(parts, str(error)):
                raise
            with self._answered(parts):
                told = Encoding(self, bench, advance).run()
        finally:
            parts.reset()
        unchanged(self.source, self.stamp)
        found = {"size": self.target.stat().st_size, "sha256": sha256_of(self.target)}
        if self.state_out is not None:
            found["state"] = sha256_of(self.state_out)
        spent = {"seconds": round(time.perf_counter() - start, 3), "cpu": round(time.process_time() - cpu, 3)}
        return {**found, **told, **spent, "warnings": [*told["warnings"], *parts.warnings]}

    @contextlib.contextmanager
    def _answered(self, parts: Stages) -> Iterator[None]:
        """The first model answers what it has said already."""
        runner = parts.restorers[0]
        if self.answers is None or not isinstance(runner, ExactRunner):
            yield
            return
        try:
            values = Values([self.answers], runner.device)
        except OSError as error:
            raise MediaError(
                f"{self.answers} cannot be read ({error.strerror}); the folder where `exact` keeps what waits must be "
                "seen by all workers"
            ) from error
        runner.known = lambda t: values.answer(t, runner)
        try:
            yield
        finally:
            runner.known = None
            values.close()


def why_whole(stages: Stages) -> str:
    """Why a part of a video cannot be given to these models by itself; empty where it can: every step is one model's,
    frame for frame."""
    known = (Restorer, WindowRunner, StreamRunner, ExactRunner, MeasuredRunner)
    if type(stages) is not Stages or not all(type(r) in known for r in stages.restorers):
        return "its models cannot be given parts"
    if stages.rate > 1:
        return "[operator] makes frames between frames"
    if stages.measured is not None and stages.measured.measurement.colours:
        return "[operator] adds colours that the file has not"
    return ""
