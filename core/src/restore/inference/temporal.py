"""Models that look along time, fed frame by frame: what all schedules have in common, and which one runs a model."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from restore.contracts import VideoMeasurement
from restore.inference.precision import Mode
from restore.inference.restorer import Restorer
from restore.inference.running import Runner, not_finite
from restore.recipe import Run, Temporal

# Frames of the first ones on which modes are tried.
TRIAL_FRAMES = 4


class TemporalRunner(Runner):
    """A model along time. Frames go in with :meth:`push`, answers come out in the same order, some frames later;
    :meth:`cut` ends a scene and gives the rest. Arguments and errors are those of :class:`Runner`."""

    def __init__(self, model: nn.Module, settings: Run, name: str = "model", work: int | None = None) -> None:
        super().__init__(model, settings, name, work)
        self.temporal: Temporal = settings.temporal
        self.scratch = Path(tempfile.gettempdir())
        self.answered = 0  # frames since the beginning of the video
        self.note: Callable[[str], None] = lambda text: None  # told what is done where no answer comes for long
        self._chunks: dict[torch.Size, int] = {}

    @property
    def waits_on_disk(self) -> bool:
        """Whether pictures wait so long for their answers that they had better do it on disk."""
        return False

    @torch.inference_mode()
    def push(self, frames: Tensor) -> Iterator[Tensor]:
        """The next frames of the scene.

        Args:
            frames: ``(N, C, H, W)`` float32, the planes that the traits name.

        Yields:
            ``(n, C, scale*H, scale*W)`` float32 on the engine's device, finite: the next n answers.

        Raises:
            RestoreError: as for :class:`restore.inference.restorer.Restorer`.
        """
        for frame in torch.split(frames.to(self.device), 1):
            for answer in self.take(frame):
                self.answered += len(answer)
                yield answer

    @torch.inference_mode()
    def cut(self) -> Iterator[Tensor]:
        """The scene ends with the last frame pushed: answers of all frames that still wait."""
        for answer in self.finish():
            self.answered += len(answer)
            yield answer

    def reset(self) -> None:
        """Forget everything of a video, whatever still waits included."""
        self.answered = 0
        self.forget()

    @abstractmethod
    def take(self, frame: Tensor) -> Iterator[Tensor]:
        """One frame ``(1, C, H, W)`` of the scene; answers that are now there."""

    @abstractmethod
    def finish(self) -> Iterator[Tensor]:
        """The answers that are left, and a fresh beginning."""

    @abstractmethod
    def forget(self) -> None:
        """Drop all frames and states."""

    def settled(self) -> dict[str, Any]:
        """Lengths of chunks too."""
        return {**super().settled(), "chunks": [[*shape, chunk] for shape, chunk in self._chunks.items()]}

    def settle(self, known: Mapping[str, Any]) -> None:
        """Lengths of chunks too."""
        super().settle(known)
        self._chunks = {torch.Size(shape): chunk for *shape, chunk in known["chunks"]}

    def hand_on(self) -> dict[str, Tensor]:
        """All that the next answers depend on besides the frames from the next one on, by name; of window models under
        ``causal`` alone."""
        return {}

    def take_up(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that :meth:`hand_on` gave, as if the frames before had been pushed here."""

    @property
    @abstractmethod
    def schedule(self) -> str:
        """How it works along time, for people: ``"look_ahead 16, chunks of 32"``."""

    def disk(self, frames: int, height: int, width: int) -> int:
        """Bytes of disk that a video of so many frames takes for the time being."""
        return 0

    def attempt(self, frames: Tensor, run: Callable[[int, Mode], tuple[Tensor, list[Tensor]]]) -> None:
        """Runs ``run(tile, mode)`` until it fits in memory and all is finite; in float32 where a short type fails.

        Args:
            frames: padded, ``(N, C, H, W)``.
            run: gives the answers and other tensors that must be finite; keeps its own results.

        Raises:
            RestoreError: values that are not finite in float32 either.
        """
        mode = self.settle_mode(frames, TRIAL_FRAMES)
        out, others = self.in_memory(frames, lambda tile: run(tile, mode))
        bad = not_finite(out, self.answered)
        if not bad and all(bool(torch.isfinite(t).all()) for t in others if t.is_floating_point()):
            return
        if mode.precision != "fp32":
            bad = bad or list(range(self.answered, self.answered + len(out)))
            out, _ = self.in_memory(frames, lambda tile: run(tile, Mode()))
            if not not_finite(out, self.answered):
                self.redone(bad)
                return
            bad = not_finite(out, self.answered)
        if bad:
            raise self.never_finite(bad)

    def settle_chunk(self, frames: Tensor, sizes: tuple[int, ...], needs: Callable[[int], float]) -> int:
        """Frames of a chunk: what was asked for, else the first of ``sizes`` with which whole frames fit into memory,
        or the middle one, in tiles. ``needs(chunk)`` is in bytes per pixel. Settled once for each shape."""
        shape = frames.shape[-3:]
        if shape not in self._chunks:
            asked, tile = self.temporal.chunk, self.settings.tile
            if isinstance(asked, int):
                self._chunks[shape] = asked
            else:
                pixels = int(shape[-1]) * int(shape[-2])
                if isinstance(tile, int) and tile:
                    pixels = min(pixels, (tile + 2 * self.traits.halo.pixels) ** 2)
                fits = [size for size in sizes if pixels * needs(size) <= self.room()]
                self._chunks[shape] = fits[0] if fits else sizes[len(sizes) // 2]
        return self._chunks[shape]


def restorer_of(
    model: nn.Module,
    settings: Run,
    name: str = "model",
    work: int | None = None,
    measurement: VideoMeasurement | None = None,
) -> Restorer | TemporalRunner:
    """What runs a model: by its traits, and by ``[run.temporal]`` where it looks along time.

    Args:
        model, settings, name, work: see :class:`restore.inference.running.Runner`.
        measurement: what made the file, for a model that needs to know.

    Raises:
        RequestError: it needs its operator and there is none, the device is not there, or the schedule does not suit
            it.
    """
    from restore.inference.exact import ExactRunner
    from restore.inference.stream import StreamRunner
    from restore.inference.windows import WindowRunner

    if measurement is not None and getattr(model.traits, "needs_operator", False):
        from restore.inference.measured import MeasuredRunner

        return MeasuredRunner(model, settings, measurement, name, work)
    temporal = getattr(model.traits, "temporal", "frame")
    if temporal == "clip":
        return WindowRunner(model, settings, name, work)
    if temporal == "stream":
        kind = ExactRunner if settings.temporal.schedule == "exact" else StreamRunner
        return kind(model, settings, name, work)
    return Restorer(model, settings, name, work)
