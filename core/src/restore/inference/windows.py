"""Models that answer a window of frames at once: overlapping windows, of which the middle counts."""

from __future__ import annotations

from typing import Iterator, Mapping

import torch
from torch import Tensor, nn

from restore.errors import RequestError
from restore.inference import tiles
from restore.inference.precision import Mode
from restore.inference.temporal import TemporalRunner
from restore.recipe import Run

_CHUNKS = (32, 16, 8, 4, 2, 1)
_OVERLAP = 4


class WindowRunner(TemporalRunner):
    """Windows of a chunk and ``halo.frames`` to both sides, cut off where the scene begins and ends.

    With a halo that covers what reaches an answer this equals the whole scene at once. Where the model looks at all of
    its window (``global_context``), the answers of neighbouring windows are blended over ``overlap`` frames to both
    sides of a seam. ``causal``: frame by frame, with ``halo.frames`` of the past and nothing of the future.

    Raises:
        RequestError: a chunk that is shorter than two overlaps.
    """

    def __init__(self, model: nn.Module, settings: Run, name: str = "model", work: int | None = None) -> None:
        super().__init__(model, settings, name, work)
        self.causal, asked = self.temporal.schedule == "causal", self.temporal.overlap
        chosen = (_OVERLAP if self.traits.global_context else 0) if asked == "auto" else int(asked)
        self.overlap = 0 if self.causal else chosen
        if isinstance(self.temporal.chunk, int) and not self.causal and self.temporal.chunk < 2 * self.overlap:
            raise RequestError(
                f"run.temporal.chunk = {self.temporal.chunk} is too short for overlaps of {self.overlap} frames at "
                f"both ends of it; at least {2 * self.overlap} are needed"
            )
        self._bytes = 0.0
        self._chunk = 0
        self.forget()

    @property
    def past(self) -> int:
        """Frames before a chunk that its window holds."""
        return self.traits.halo.frames + self.overlap

    @property
    def ahead(self) -> int:
        """Frames behind a chunk that its window holds."""
        return 0 if self.causal else self.past

    @property
    def schedule(self) -> str:
        """``windows of 32 + 2*3 frames``, or ``causal``."""
        if self.causal:
            return "causal"
        return f"windows of {self._chunk or self.temporal.chunk} + 2*{self.past} frames"

    def try_out(self, frames: Tensor, mode: Mode) -> Tensor:
        """``(N, C, H, W)`` as one clip."""
        return self.forward(frames, mode)

    def bytes_per_pixel(self, frames: Tensor) -> float:
        """For a whole window."""
        return self._needs(int(frames.shape[-3]), self._chunk)

    def _needs(self, channels: int, chunk: int) -> float:
        if not self._bytes:
            length = min(2 * self.traits.halo.frames + 1, 9)
            piece = self.measuring_piece(length, channels)
            self._bytes = self.activations(piece, lambda: self.model(piece.unsqueeze(0))) / length
        return (chunk + self.past + self.ahead) * (self._bytes + 3 * channels * 4 * self.scale**2)

    def take(self, frame: Tensor) -> Iterator[Tensor]:
        """Answers a chunk as soon as its window is whole."""
        if not self._held and self._next == 0:
            channels = int(frame.shape[1])
            sizes = tuple(s for s in _CHUNKS if s >= 2 * self.overlap) or (2 * self.overlap,)
            self._chunk = 1 if self.causal else self.settle_chunk(frame, sizes, lambda n: self._needs(channels, n))
        self._held.append(frame)
        if self._first + len(self._held) >= self._next + self._chunk + self.ahead:
            yield self._advance(self._next + self._chunk, ended=False)

    def finish(self) -> Iterator[Tensor]:
        """What is left fits into one window."""
        count = self._first + len(self._held)
        if self._next < count:
            yield self._advance(count, ended=True)
        elif len(self._tail):
            yield self._tail
        self.forget()

    def forget(self) -> None:
        """No frames, no answers that wait to be blended."""
        self._held: list[Tensor] = []  # frames of the scene from number _first on
        self._first = self._next = 0  # _next: where the next chunk begins
        self._tail: Tensor = torch.empty(0)

    def hand_on(self) -> dict[str, Tensor]:
        """The frames that the next window holds of the past."""
        return {"held": torch.cat(self._held)} if self._held else {}

    def take_up(self, state: Mapping[str, Tensor]) -> None:
        """Goes on behind these frames."""
        self.forget()
        if state:
            self._held = list(torch.split(state["held"].to(self.device), 1))
            self._next, self._chunk = len(self._held), 1

    def _advance(self, stop: int, ended: bool) -> Tensor:
        """The chunk up to ``stop``: all answers that are now certain."""
        start, last = self._next, self._first + len(self._held)
        low, high = max(self._first, start - self.past), min(last, stop + self.ahead)
        frames = torch.cat(self._held[low - self._first : high - self._first])
        height, width = int(frames.shape[-2]), int(frames.shape[-1])
        # Answers that count: the chunk, and what is blended to both sides of it.
        first, end = max(0, start - self.overlap), min(last, stop + self.overlap)
        padded = self.pad(frames)
        results: list[Tensor] = []

        def run(tile: int, mode: Mode) -> tuple[Tensor, list[Tensor]]:
            results[:] = [self._tiled(padded, slice(first - low, end - low), tile, mode)]
            return results[0], []

        self.attempt(padded, run)
        out = self._blended(self.cropped(results[0], height, width))
        certain = len(out) if ended else stop - self.overlap - first
        self._tail, self._next = out[certain:].clone(), stop
        keep = max(self._first, stop - self.past)
        del self._held[: keep - self._first]
        self._first = keep
        return out[:certain]

    def _blended(self, out: Tensor) -> Tensor:
        """With the last answers of the window before, which are those of the same frames as the first ones here."""
        count = len(self._tail)
        if count == 0:
            return out
        weight = ((torch.arange(count, device=out.device) + 0.5) / (2 * self.overlap)).view(-1, 1, 1, 1)
        return torch.cat([(1 - weight) * self._tail + weight * out[:count], out[count:]])

    def _tiled(self, frames: Tensor, kept: slice, tile: int, mode: Mode) -> Tensor:
        size = int(frames.shape[-2]), int(frames.shape[-1])
        planned = tiles.plan(*size, tile, self.traits.halo.pixels + self.fade, self.traits.multiple_of)
        if self.fade and len(planned) > 1:
            self.warn_once(
                f"{self.name} looks at the whole frame at once, so tiles of {tile} pixels only come near its "
                "whole-frame result; their seams are blended"
            )
        fade = self.fade if len(planned) > 1 else 0
        return tiles.apply(lambda piece: self.forward(piece, mode)[kept], frames, planned, self.scale, fade)
