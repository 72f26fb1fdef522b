"""What one worker does: looks at a video, restores a part of it, or a whole file."""

from __future__ import annotations

import contextlib
import time
from collections import deque
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
from restore.inference.scenes import FLASH, CutFinder
from restore.inference.stages import Stages
from restore.inference.stream import StreamRunner
from restore.inference.temporal import TRIAL_FRAMES, TemporalRunner
from restore.inference.video import Channel, Hung, Stopped, batch_size, in_batches, in_thread, until_broken
from restore.inference.windows import WindowRunner
from restore.longjobs.easing import ease, less_precise
from restore.longjobs.identity import stamp
from restore.longjobs.journal import sha256_of
from restore.longjobs.planning import Segment, context_of
from restore.longjobs.state import hand_on, take_up
from restore.media.color import Picture
from restore.media.encoders import OutputOptions, choose_codec, choose_layout
from restore.media.frame import VideoFrame
from restore.media.indexing import Stretch, StretchReader
from restore.media.joining import PieceWriter
from restore.media.probe import MediaInfo
from restore.media.reader import VideoReader
from restore.recipe import Recipe

Advance = Callable[[int], None]


class Changed(MediaError):
    """The source was changed while it was being restored."""


class HungUp(MediaError):
    """The decoder or the encoder gave nothing for too long."""


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
            cuts = _cuts(self.source, 0 if at_once else FLASH)
        context = attrs.asdict(context_of(parts.restorers, bench.setting.recipe.run.segments.state))
        found = {"settled": [r.settled() for r in parts.restorers], "context": context, "cuts": cuts, "why": ""}
        if context["sweeps"]:
            runner = parts.restorers[0]
            assert isinstance(runner, ExactRunner)
            channels = 1 if runner.traits.channels == "y" else 3
            found["swept"] = {"bytes": runner.disk(1, info.height, info.width), "channels": channels}
        return found


def _cuts(source: Path, patience: int) -> list[int]:
    finder = CutFinder(patience)
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
        parts = bench.parts
        for runner, known in zip(parts.restorers, self.settled, strict=True):
            runner.settle(known)
            runner.warnings.clear()
        ease(parts, self.attempt)
        start, cpu = time.perf_counter(), time.process_time()
        try:
            with self._answered(parts):
                told = _Encoding(self, bench, advance).run()
        except OutOfMemory as error:
            if not less_precise(parts, str(error)):
                raise
            with self._answered(parts):
                told = _Encoding(self, bench, advance).run()
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


def unchanged(source: Path, before: Sequence[int]) -> None:
    """Changed where a file is not what it was."""
    try:
        now = stamp(source)
    except OSError as error:
        raise Changed(f"{source} is gone: {error.strerror}; put it back and run the same again") from error
    if list(now) != list(before):
        raise Changed(f"{source} was changed while it was being restored; begin again with --restart")


class _Encoding:
    """One part on its way through decoder, models and encoder, which work at the same time."""

    def __init__(self, task: Piece, bench: Workbench, advance: Advance) -> None:
        self.task, self.bench, self.advance, self.stages = task, bench, advance, bench.parts
        self.limit = bench.setting.recipe.run.segments.time_limit
        self.reader = StretchReader(task.source, task.stretch)
        try:
            info, options = self.reader.info, bench.setting.options
            height, width = self.stages.output_size(info)
            codec = choose_codec(task.output, info.layout, options, width)
            layout = choose_layout(info.layout, width, height, codec, options.pixel_format)
            self.batch = batch_size(info.width, info.height, bench.setting.recipe.run.batch, self.stages.device.type)
            self.writer = PieceWriter(task.target, task.output, self.reader, width, height, layout, options=options)
        except BaseException:
            self.reader.close()
            raise
        self.sent = 0
        self._error: BaseException | None = None

    def run(self) -> dict[str, Any]:
        """Does it."""
        self._begin()
        decoded, restored = Channel(limit=self.limit), Channel()
        threads = [in_thread("decode", lambda: self._decode(decoded)),
                   in_thread("encode", lambda: self._encode(restored))]  # fmt: skip
        try:
            self._restore(decoded, restored)
            self._hand_on()
            restored.end()
            self._wait(threads[1])
            if self._error is not None:
                raise self._error
            self.writer.commit()
        except BaseException as error:
            decoded.shut()
            restored.end()
            for one in threads:
                one.join(5)
            self.writer.abort()
            if isinstance(error, Hung):
                raise self._hung("decoder") from None
            raise
        finally:
            self.reader.close()
        return {
            "width": self.writer.width,
            "height": self.writer.height,
            "codec": self.writer.codec,
            "precision": self.stages.precision,
            "schedule": self.stages.schedule,
            "warnings": self.writer.warnings,
            "decoded": self.reader.decoded,
        }

    def _begin(self) -> None:
        first = self.task.stretch.first
        # The models count from the first frame they see; messages say the video's own numbers.
        self.bench.cuts.clear()
        self.bench.cuts.update(k - first for k in self.task.cuts)
        self.stages.begin_part(self.reader.info, len(self.task.stretch.pts), first, self.task.target.parent)
        if self.task.state_in is not None:
            take_up(self.stages, self.task.state_in)

    def _hung(self, what: str) -> HungUp:
        at = self.task.stretch.first + self.sent
        return HungUp(
            f"{self.task.source}: the {what} gave nothing for {self.limit:g} s near frame {at}; "
            "run.segments.time_limit is how long is waited"
        )

    def _wait(self, thread: Any) -> None:
        thread.join(self.limit)
        if thread.is_alive():
            raise self._hung("encoder")

    def _decode(self, out: Channel) -> None:
        try:
            for batch in in_batches(iter(self.reader), self.batch):
                out.put(batch)
        except Stopped:
            return
        except BaseException as error:
            out.end(error)
            return
        out.end()

    def _encode(self, frames: Channel) -> None:
        try:
            for frame in frames:
                self.writer.write(frame)
        except BaseException as error:
            self._error = error
            frames.shut()

    def _restore(self, decoded: Channel, restored: Channel) -> None:
        segment = self.task.segment
        waiting: deque[VideoFrame] = deque()
        broken: list[MediaError] = []
        for batch in until_broken(decoded, broken):
            waiting.extend(attrs.evolve(frame, planes=()) for frame in batch)
            picture = Picture.from_frames(batch, self.stages.device)
            self._send(self.stages.push(picture, batch[0].index), waiting, restored)
        if broken:
            raise broken[0]
        if self.sent < segment.frames:
            self._send(self.stages.flush(), waiting, restored)
        if self.sent != segment.frames:
            raise MediaError(
                f"{self.task.source}: {segment.frames} frames were to come and {self.sent} came; please report this bug"
            )

    def _send(self, pictures: Iterator[Picture], waiting: deque[VideoFrame], restored: Channel) -> None:
        writer, segment = self.writer, self.task.segment
        for picture in pictures:
            for k in range(len(picture)):
                frame = waiting.popleft()
                if not segment.first <= frame.index < segment.stop:
                    continue
                for planes in picture[k : k + 1].to_planes(writer.layout, writer.color):
                    made = attrs.evolve(frame, planes=planes, layout=writer.layout, color=writer.color)
                    try:
                        restored.put(made, self.limit)
                    except Stopped:
                        raise self._error or MediaError("the encoder stopped") from None
                    except Hung:
                        raise self._hung("encoder") from None
                    self.sent += 1
                    self.advance(1)

    def _hand_on(self) -> None:
        if self.task.state_out is None:
            return
        for runner in self.stages.restorers:
            # A state is that behind the last frame answered, so this must be the part's last one.
            if isinstance(runner, TemporalRunner) and runner.answered != self.task.segment.stop:
                raise MediaError(
                    f"{self.task.source}: the state is not of the part's last frame; please report this bug"
                )
        hand_on(self.stages, self.task.state_out)


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
