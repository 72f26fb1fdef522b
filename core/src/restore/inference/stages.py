"""Models in a row, on pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator, Sequence

import torch

from restore.errors import RequestError
from restore.inference.lines import FrameLine, Line, SceneLine, TemporalLine
from restore.inference.measured import MeasuredLine, MeasuredRunner, with_colours
from restore.inference.restorer import Restorer
from restore.inference.scenes import Seen
from restore.inference.store import pick_folder
from restore.inference.temporal import TemporalRunner
from restore.media.color import Picture
from restore.media.frame import PixelLayout
from restore.media.probe import MediaInfo, open_container, picture_stream
from restore.media.quantizers import tells_qps, with_qps


def refuse_interlaced(info: MediaInfo) -> None:
    """RequestError for a video whose frames are two fields."""
    if info.interlaced:
        raise RequestError(
            f"{info.path} is interlaced: its frames are two fields of different times. Deinterlace it first, "
            "for example with ffmpeg's bwdif filter"
        )


def count_frames(path: Path) -> int:
    """How many pictures a video holds, counted without decoding."""
    with open_container(path) as container:
        stream = picture_stream(container, path)
        return sum(1 for packet in container.demux(stream) if packet.size)


def _line(restorer: Restorer | TemporalRunner, cuts: set[int]) -> Line:
    if isinstance(restorer, MeasuredRunner):
        return MeasuredLine(restorer, cuts)
    return TemporalLine(restorer, cuts) if isinstance(restorer, TemporalRunner) else FrameLine(restorer)


class Stages:
    """The models of a recipe, one after the other.

    Pictures go in with :meth:`push` and come out in the same order; models that look along time hold some back, which
    :meth:`flush` gives at the end.

    Args:
        restorers: in order, at least one.
        cuts: numbers of the frames at which scenes begin, where that is known; it may be changed between two videos.
            Else they are found.

    Attributes:
        cuts: numbers of the frames at which scenes were found to begin, when all is flushed.
    """

    def __init__(self, restorers: Sequence[Restorer | TemporalRunner], cuts: set[int] | None = None) -> None:
        self.restorers = list(restorers)
        self.cuts: list[int] = []
        self._source: Path | None = None
        known, cuts = cuts is not None, set() if cuts is None else cuts
        self._lines: list[Line] = []
        along = [r for r in self.restorers if isinstance(r, TemporalRunner)]
        if along and along[0].temporal.scene_cuts == "auto" and not known:
            # A causal model cannot wait to see whether a cut was only a flash.
            at_once = any(r.temporal.schedule == "causal" for r in along)
            self._lines.append(SceneLine(cuts, at_once, self.seen))
        for r in self.restorers:
            self._lines.append(_line(r, cuts))

    @property
    def scale(self) -> int:
        """Output pixels per input pixel along each side, of all together."""
        scale = 1
        for restorer in self.restorers:
            scale *= restorer.scale
        return scale

    @property
    def measured(self) -> MeasuredRunner | None:
        """The model that is given the operator which made the file: the first one, or none."""
        first = self.restorers[0]
        return first if isinstance(first, MeasuredRunner) else None

    @property
    def seen(self) -> Seen | None:
        """What of a file's frames is the scene's; None: all."""
        return None if self.measured is None else self.measured.seen

    @property
    def rate(self) -> int:
        """Pictures that come out per picture that goes in."""
        return 1 if self.measured is None else self.measured.rate

    def layout_of(self, layout: PixelLayout) -> PixelLayout:
        """How results are laid out at best, of a file laid out so."""
        return with_colours(layout) if self.measured is not None and self.measured.measurement.colours else layout

    @property
    def device(self) -> torch.device:
        """Where pictures are wanted."""
        return self.restorers[0].device

    @property
    def late(self) -> bool:
        """Whether pictures may come out long after they went in."""
        return any(line.waits_on_disk for line in self._lines)

    def output_size(self, info: MediaInfo) -> tuple[int, int]:
        """Height and width in pixels of what becomes of a file."""
        return info.height * self.scale, info.width * self.scale

    @property
    def precision(self) -> str:
        """How the models were run."""
        return " + ".join(r.mode.name if r.mode is not None else "not run" for r in self.restorers)

    @property
    def schedule(self) -> str:
        """How those that look along time worked; empty where none does."""
        return " + ".join(r.schedule for r in self.restorers if isinstance(r, TemporalRunner))

    @property
    def warnings(self) -> list[str]:
        """What the models had to say."""
        return [text for r in self.restorers for text in r.warnings]

    def accept(self, info: MediaInfo) -> None:
        """Check a file against what the models were made for.

        Raises:
            RequestError: HDR or interlaced video that a model would spoil, or a file that the operator did not make.
        """
        refuse_interlaced(info)
        if self.measured is not None:
            frames = 1 if info.kind == "image" else count_frames(info.path)
            self.measured.measurement.check_video(frames, info.height, info.width)
        for restorer in self.restorers:
            if info.transfer not in restorer.traits.transfers:
                name = {"pq": "HDR (PQ)", "hlg": "HDR (HLG)"}[info.transfer]
                raise RequestError(
                    f"{info.path} is {name} video, and {restorer.name} was made for standard dynamic range: its result "
                    "would be wrong. Tone-map the video to SDR first"
                )

    def begin(self, info: MediaInfo, beside: Path) -> None:
        """Make ready for a video: nothing of an earlier one is left, and there is room on disk for what must wait.

        Args:
            info: of the video.
            beside: the folder of the output.

        Raises:
            RequestError: the disk is too small for the schedule ``exact``.
        """
        self.begin_part(info, None, 0, beside)

    def begin_part(self, info: MediaInfo, frames: int | None, first: int, beside: Path) -> None:
        """As :meth:`begin`, for ``frames`` of a video's pictures from number ``first`` on; None: for all."""
        self.reset()
        self.cuts, self._source = [], info.path if info.kind == "video" else None
        self._say_where_nobody_knows(info)
        for line in self._lines:
            line.count_from(first)
        if not self.late:
            return
        frames = frames or info.frames or count_frames(info.path)
        needed, height, width = 0, info.height, info.width
        for line in self._lines:
            needed += line.disk(frames, height, width)
            height, width = height * line.scale, width * line.scale
        asked = next(r.temporal.scratch for r in self.restorers if isinstance(r, TemporalRunner))
        chosen = None if asked is None else Path(asked).expanduser()
        what = f'{info.path}: schedule = "exact" for {frames} frames of {info.width}x{info.height}'
        folder = pick_folder(needed, chosen, beside, what)
        for line in self._lines:
            line.scratch = folder

    def _say_where_nobody_knows(self, info: MediaInfo) -> None:
        model = self.restorers[0]
        if info.kind == "video" and model.traits.channels == "rgb+qp" and not tells_qps(info.path):
            model.warn_once(
                f"{info.path.name} ({info.codec}) does not say how coarsely its frames were coded: {model.name} goes "
                "by the pictures alone"
            )

    def reset(self) -> None:
        """Forget whatever is held back."""
        self._source = None
        for line in self._lines:
            line.reset()

    def tell(self, note: Callable[[str], None]) -> None:
        """``note`` is told what is done while no picture comes out."""
        for restorer in self.restorers:
            if isinstance(restorer, TemporalRunner):
                restorer.note = note

    def push(self, picture: Picture, first: int = 0) -> Iterator[Picture]:
        """The next N pictures, ``first`` the number of the first of them in the video; those that are then done."""
        yield from self._through(0, self.informed(picture, self._source, first))

    def informed(self, picture: Picture, source: Path | None, first: int) -> Picture:
        """Pictures of a video from number ``first`` on, with their QPs where the first model is told them."""
        if source is None or self.restorers[0].traits.channels != "rgb+qp":
            return picture
        return with_qps(picture, source, first)

    def flush(self) -> Iterator[Picture]:
        """No more pictures: those that were held back."""
        for k, line in enumerate(self._lines):
            for picture in line.flush():
                yield from self._through(k + 1, picture)
        self.cuts = sorted({number for line in self._lines if isinstance(line, SceneLine) for number in line.cuts})

    def _through(self, k: int, picture: Picture) -> Iterator[Picture]:
        if k == len(self._lines):
            yield picture
            return
        for done in self._lines[k].push(picture):
            yield from self._through(k + 1, done)

    def __call__(self, picture: Picture) -> Picture:
        """Restore N pictures as one clip of their own."""
        self.reset()
        return Picture.joined([*self.push(picture), *self.flush()])
