"""A part of a video from its frames to its packets."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence

import attrs

from restore.errors import MediaError
from restore.inference.temporal import TemporalRunner
from restore.inference.video import Channel, Hung, Stopped, batch_size, decode_into, in_thread, until_broken
from restore.longjobs.identity import stamp
from restore.longjobs.state import hand_on, take_up
from restore.media.color import Picture
from restore.media.encoders import choose_codec, choose_layout
from restore.media.frame import VideoFrame
from restore.media.indexing import StretchReader
from restore.media.joining import PieceWriter

if TYPE_CHECKING:
    from restore.longjobs.work import Piece, Workbench

Advance = Callable[[int], None]


class Changed(MediaError):
    """The source was changed while it was being restored."""


class HungUp(MediaError):
    """The decoder or the encoder gave nothing for too long."""


def unchanged(source: Path, before: Sequence[int]) -> None:
    """Changed where a file is not what it was."""
    try:
        now = stamp(source)
    except OSError as error:
        raise Changed(f"{source} is gone: {error.strerror}; put it back and run the same again") from error
    if list(now) != list(before):
        raise Changed(f"{source} was changed while it was being restored; begin again with --restart")


class Encoding:
    """One part on its way through decoder, models and encoder, which work at the same time.

    Args:
        task: the part.
        bench: models and settings.
        advance: told of every frame that is finished.
    """

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
        """What the journal keeps of how it was done.

        Raises:
            HungUp: see there.
            MediaError, RestoreError: as :meth:`restore.inference.video.VideoJob.run`.
        """
        self._begin()
        decoded, restored = Channel(limit=self.limit), Channel()
        threads = [in_thread("decode", lambda: decode_into(self.reader, self.batch, decoded)),
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
