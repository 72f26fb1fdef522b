"""One video through the models: decoding, restoring and encoding overlap, and memory does not grow with its length."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Protocol

import attrs
import torch

from restore.errors import MediaError, RestoreError
from restore.inference.following import Follower
from restore.media.color import Picture
from restore.media.encoders import OutputOptions, choose_codec, choose_layout
from restore.media.frame import PixelLayout, VideoFrame
from restore.media.probe import MediaInfo
from restore.media.reader import VideoReader
from restore.media.writer import VideoWriter
from restore.progress import Progress, say

_QUEUE = 4  # batches between two threads
_END = object()


class Stopped(Exception):
    """The other side has given up; leave quietly."""


class Hung(Exception):
    """Nothing came for longer than a channel's limit."""


class Channel:
    """A bounded queue between two threads that carries errors and can be shut from either side.

    Args:
        size: items that may wait.
        limit: seconds that the receiver waits for the next item before :class:`Hung` is raised; None: for ever.
    """

    def __init__(self, size: int = _QUEUE, limit: float | None = None) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._shut = threading.Event()
        self._limit = limit

    def put(self, item: Any, limit: float | None = None) -> None:
        """Wait for room; raises :class:`Stopped` when the other side has shut the channel, :class:`Hung` where there
        is none for ``limit`` seconds."""
        until = None if limit is None else time.monotonic() + limit
        while not self._shut.is_set():
            if until is not None and time.monotonic() > until:
                raise Hung
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue
        raise Stopped

    def end(self, error: BaseException | None = None) -> None:
        """No more items; ``error`` is raised at the receiver after all items before it."""
        with contextlib.suppress(Stopped):
            self.put((_END, error))

    def shut(self) -> None:
        """The receiver wants nothing more."""
        self._shut.set()

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                item = self._queue.get(timeout=self._limit)
            except queue.Empty:
                raise Hung from None
            if isinstance(item, tuple) and item and item[0] is _END:
                if item[1] is not None:
                    raise item[1]
                return
            yield item


def decode_into(frames: Iterable[VideoFrame], size: int, out: Channel) -> None:
    """What a decoding thread does: puts ``frames`` into a channel, ``size`` at a time, until they end or it is shut; an
    error reaches whoever reads the channel."""
    try:
        for batch in in_batches(iter(frames), size):
            out.put(batch)
    except Stopped:
        return
    except BaseException as error:
        out.end(error)
        return
    out.end()


def in_thread(name: str, work: Callable[[], None]) -> threading.Thread:
    """Runs ``work`` beside this thread."""
    thread = threading.Thread(target=work, name=f"restore-{name}", daemon=True)
    thread.start()
    return thread


def batch_size(width: int, height: int, asked: int | str, device: str) -> int:
    """Frames at once: what was asked, or at most 16 that together hold few enough pixels.

    That is half a megapixel on a GPU, which wants to be filled, and 32,768 pixels on a CPU, whose cache wants to be
    spared: SrSENet at 240x136 took 0.54 s a frame one by one, 0.88 s in batches of eight.
    """
    if isinstance(asked, int):
        return max(1, asked)
    return max(1, min(16, (2**15 if device == "cpu" else 2**19) // (width * height)))


def in_batches(frames: Iterator[VideoFrame], size: int) -> Iterator[list[VideoFrame]]:
    """Frames in groups of ``size``; the last has what is left, also where reading ends with an error."""
    batch: list[VideoFrame] = []
    try:
        for frame in frames:
            batch.append(frame)
            if len(batch) == size:
                yield batch
                batch = []
    except MediaError:
        # The file breaks here; what was decoded before still goes through.
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def until_broken(batches: Iterable[list[VideoFrame]], broken: list[MediaError]) -> Iterator[list[VideoFrame]]:
    """All that could be decoded; the error that ended it goes into ``broken``, as what came before still counts."""
    try:
        yield from batches
    except MediaError as error:
        broken.append(error)


@attrs.frozen
class VideoResult:
    """What became of a video: its size, its frames, and what could not be kept."""

    width: int
    height: int
    frames: int
    codec: str
    warnings: list[str]


class Work(Protocol):
    """What is done to the pictures of a video: :class:`restore.inference.stages.Stages`, or a degradation."""

    @property
    def device(self) -> torch.device:
        """Where pictures are wanted."""
        ...

    @property
    def late(self) -> bool:
        """Whether pictures may come out long after they went in."""
        ...

    def accept(self, info: MediaInfo) -> None:
        """RequestError for a file that the work would spoil."""
        ...

    @property
    def rate(self) -> int:
        """Pictures that come out for each one that goes in, at equal distances up to the next."""
        ...

    def layout_of(self, layout: PixelLayout) -> PixelLayout:
        """How results of a file laid out so are laid out at best."""
        ...

    def output_size(self, info: MediaInfo) -> tuple[int, int]:
        """Height and width in pixels of what becomes of a file."""
        ...

    def begin(self, info: MediaInfo, beside: Path) -> None:
        """A video comes, its result goes into the folder ``beside``; RequestError where there is no room for it."""
        ...

    def push(self, picture: Picture, first: int = 0) -> Iterator[Picture]:
        """The next N pictures, ``first`` the number of the first of them. Pictures come out in the same order, now or
        later."""
        ...

    def flush(self) -> Iterator[Picture]:
        """No more come: the pictures that were held back. In all as many come out as went in."""
        ...

    def reset(self) -> None:
        """Forget what is held back."""
        ...

    def tell(self, note: Callable[[str], None]) -> None:
        """``note`` is told what is done while no picture comes out."""
        ...


def times(frame: VideoFrame, rate: int) -> list[VideoFrame]:
    """Without planes, ``rate`` frames at equal distances from this one to where the next one begins."""
    bare = attrs.evolve(frame, planes=())
    if rate == 1:
        return [bare]
    moments = [None if frame.pts is None else frame.pts * rate + k * frame.duration for k in range(rate)]
    return [attrs.evolve(bare, pts=pts, time_base=frame.time_base / rate) for pts in moments]


class VideoJob:
    """Turns one video into one file, all its streams kept.

    Args:
        source: the video.
        output: final name; its suffix is the container.
        stages: the work: models, or a degradation.
        options: codec and quality.
        batch: frames at once, or ``auto``.
        overwrite: an existing output may be replaced.

    Raises:
        RequestError: the input is no video, is refused by the models, or the output cannot be written as asked.
    """

    def __init__(
        self,
        source: Path,
        output: Path,
        stages: Work,
        options: OutputOptions,
        batch: int | str = "auto",
        overwrite: bool = False,
    ) -> None:
        self.stages = stages
        self.reader = VideoReader(source)
        try:
            info = self.reader.info
            stages.accept(info)
            stages.begin(info, output.absolute().parent)
            height, width = stages.output_size(info)
            best = stages.layout_of(info.layout)
            codec = choose_codec(output, best, options, width)
            layout = choose_layout(best, width, height, codec, options.pixel_format)
            self.batch = batch_size(info.width, info.height, batch, stages.device.type)
            self.writer = VideoWriter(
                output, self.reader, width, height, layout, options=options, overwrite=overwrite, rate=stages.rate
            )
        except BaseException:
            self.reader.close()
            raise
        self._follower: Follower | None = None
        if stages.late:
            self._follower = Follower(source, self.reader.stream.index, self.writer.copy)
        else:
            self.reader.on_packet = self.writer.copy

    def run(self, label: str) -> VideoResult:
        """Do it. Raises :class:`MediaError` where the input breaks, after what came before was kept and named."""
        decoded, restored = Channel(), Channel()
        threads = [
            in_thread("decode", lambda: decode_into(self.reader, self.batch, decoded)),
            in_thread("encode", lambda: self._encode(restored)),
        ]
        self._encoding_error: BaseException | None = None
        try:
            known = self.reader.info.frames
            total = None if known is None else known * self.stages.rate
            with Progress(label, total, "frames") as bar:
                self.stages.tell(lambda text: bar.advance(0, note=text))
                self._restore(decoded, restored, bar)
            restored.end()
            threads[1].join()
            if self._encoding_error is not None:
                raise self._encoding_error
            if self.writer.frames_written != self.reader.frames_read * self.stages.rate:
                read, written = self.reader.frames_read, self.writer.frames_written
                raise MediaError(
                    f"{self.reader.path}: {read} frames were read and {written} written; please report this bug"
                )
            if self._follower is not None:
                self._follower.up_to(None)
            self.writer.commit()
        except BaseException as error:
            decoded.shut()
            restored.end()
            for thread in threads:
                thread.join()
            raise self._kept(error) from error
        finally:
            self.reader.close()
            if self._follower is not None:
                self._follower.close()
            self.stages.reset()
        return VideoResult(
            self.writer.width, self.writer.height, self.writer.frames_written, self.writer.codec, self.writer.warnings
        )

    def _restore(self, decoded: Channel, restored: Channel, bar: Progress) -> None:
        # Frames whose pictures the work holds back: their times, without planes.
        waiting: deque[VideoFrame] = deque()
        broken: list[MediaError] = []
        for batch in until_broken(decoded, broken):
            for frame in batch:
                waiting.extend(times(frame, self.stages.rate))
            picture = Picture.from_frames(batch, self.stages.device)
            self._send(self.stages.push(picture, batch[0].index), waiting, restored, bar)
        self._send(self.stages.flush(), waiting, restored, bar)
        if broken:
            raise broken[0]

    def _send(self, pictures: Iterator[Picture], waiting: deque[VideoFrame], restored: Channel, bar: Progress) -> None:
        for picture in pictures:
            for planes in picture.to_planes(self.writer.layout, self.writer.color):
                frame = waiting.popleft()
                try:
                    restored.put(attrs.evolve(frame, planes=planes, layout=self.writer.layout, color=self.writer.color))
                except Stopped:
                    raise self._encoding_error or MediaError("the encoder stopped") from None
            bar.advance(len(picture))

    def _encode(self, frames: Channel) -> None:
        try:
            for frame in frames:
                if self._follower is not None and frame.pts is not None:
                    self._follower.up_to(float(frame.pts * frame.time_base))
                self.writer.write(frame)
        except BaseException as error:
            self._encoding_error = error
            frames.shut()

    def _kept(self, error: BaseException) -> BaseException:
        """The same error, saying where the part that was finished lies."""
        try:
            part = self.writer.abort(keep=True)
        except Exception:
            return error
        if part is None:
            return error
        where = f"What was finished until then ({self.writer.frames_written} frames) is in {part}"
        if isinstance(error, RestoreError):
            return type(error)(f"{error}\n{where}")
        say(where)
        return error
