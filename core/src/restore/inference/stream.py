"""Models with state along time, chunk by chunk: the schedules ``look_ahead`` and ``causal``."""

from __future__ import annotations

from typing import Iterator, Mapping, Sequence

import attrs
import torch
from torch import Tensor, nn

from restore.contracts import Sweep, Value
from restore.errors import RestoreError
from restore.functional.sweeping import run_sweeps, sweep_over
from restore.inference import tiles
from restore.inference.memory import size_of
from restore.inference.precision import Mode
from restore.inference.sweeps import Carry, empty, extents, from_named, named, restitch, run_chunk
from restore.inference.temporal import TemporalRunner
from restore.recipe import Run

_CHUNKS = (32, 16, 8)


@attrs.frozen
class Appetite:
    """Bytes per input pixel that a model's sweeps take.

    Attributes:
        activations: while a sweep works on one frame.
        values: of one frame between two sweeps; the largest sum over neighbouring sweeps.
        carried: states, and values of the frames within reach.
        written: of one frame on disk between two sweeps, where nothing is shared; the largest.
    """

    activations: float
    values: float
    carried: float
    written: float


class SweepRunner(TemporalRunner):
    """What runs sweeps. Arguments and errors are those of :class:`TemporalRunner`.

    Raises:
        RestoreError: the model says ``temporal = "stream"`` and has no ``sweeps``.
    """

    def __init__(self, model: nn.Module, settings: Run, name: str = "model", work: int | None = None) -> None:
        super().__init__(model, settings, name, work)
        sweeps = getattr(model, "sweeps", None)
        if not sweeps or not all(callable(s) and hasattr(s, "direction") and hasattr(s, "reach") for s in sweeps):
            raise RestoreError(
                f'{name} says temporal = "stream"; then it has a property `sweeps`, a tuple of restore.contracts.Sweep'
            )
        self._appetite: Appetite | None = None
        if settings.compile:
            self.warn_once(f"{name}: run.compile does nothing for models that carry state along time")

    @property
    def sweeps(self) -> Sequence[Sweep]:
        """Of the model, as its weights are now."""
        sweeps: Sequence[Sweep] = self.model.sweeps  # type: ignore[assignment]
        return sweeps

    @property
    def fade(self) -> int:
        """Seams are always blended: state carries what a tile does not see from frame to frame."""
        return max(4, self.traits.halo.pixels // 2)

    def planned(self, frames: Tensor, tile: int) -> list[tiles.Tile]:
        """Tiles of padded frames."""
        size = int(frames.shape[-2]), int(frames.shape[-1])
        found = tiles.plan(*size, tile, self.traits.halo.pixels + self.fade, self.traits.multiple_of)
        if len(found) > 1:
            self.warn_once(
                f"{self.name} carries state along time, so tiles of {tile} pixels only come near its whole-frame "
                "result; their seams are blended"
            )
        return found

    def try_out(self, frames: Tensor, mode: Mode) -> Tensor:
        """All sweeps over ``(N, C, H, W)`` at once."""
        clip = frames.contiguous(memory_format=self.layout(mode)).unsqueeze(0)
        with mode.arithmetic(self.device), torch.inference_mode():
            return run_sweeps(self.sweeps, clip).squeeze(0)

    def appetite(self, channels: int) -> Appetite:
        """Measured once, on a small black clip."""
        if self._appetite is None:
            reach = max(s.reach for s in self.sweeps)
            piece = self.measuring_piece(reach + 2, channels)
            pixels = int(piece.shape[-1] * piece.shape[-2])
            sizes: list[int] = []
            carried: list[Tensor] = []

            def run() -> None:
                values: list[Value] = [{"frame": frame.unsqueeze(0)} for frame in piece]
                for number, sweep in enumerate(self.sweeps):
                    given = list(values)
                    values, state = sweep_over(sweep, values, number=number)
                    sizes.append(size_of([*given[0].values(), *values[0].values()]))
                    written.append(sum(v.numel() * v.element_size() for v in values[0].values()))
                    carried.extend(t for value in given[: sweep.reach] for t in value.values())
                    carried.extend((state or {}).values())

            written: list[int] = [size_of([piece[:1]])]
            activations = self.activations(piece, run)
            self._appetite = Appetite(
                activations, max(sizes) / pixels, size_of(carried) / pixels, max(written[:-1]) / pixels
            )
        return self._appetite


class StreamRunner(SweepRunner):
    """Sweeps chunk by chunk, in memory that does not grow with the video.

    ``look_ahead``: forward state goes on exactly, and so do the values of neighbours; backward sweeps begin
    ``look_ahead`` frames beyond the chunk with no state. A scene no longer than chunk and look-ahead together, and any
    scene where no sweep runs backward, is exact. ``causal``: frame by frame, with nothing of the future.
    """

    def __init__(self, model: nn.Module, settings: Run, name: str = "model", work: int | None = None) -> None:
        super().__init__(model, settings, name, work)
        self.causal = self.temporal.schedule == "causal"
        self._beyond = extents(self.sweeps, self.temporal.look_ahead, self.causal)
        self._window: list[Tensor] = []
        self._carries: tuple[list[tiles.Tile], list[Carry]] | None = None
        self._chunk = 0

    @property
    def ahead(self) -> int:
        """Frames beyond a chunk that must be there."""
        return self._beyond[0]

    @property
    def only_forward(self) -> bool:
        """Whether nothing comes backward, so that a part of a scene needs no more than what is carried to it."""
        return all(sweep.direction != "backward" for sweep in self.sweeps)

    @property
    def schedule(self) -> str:
        """``causal``, or ``look_ahead`` with its numbers, or why it is exact."""
        if self.causal:
            return "causal"
        if self.only_forward:
            return f"exact with {self.ahead} frames ahead"
        chunks = f", chunks of {self._chunk}" if self._chunk else ""
        return f"look_ahead {self.temporal.look_ahead}{chunks}"

    def bytes_per_pixel(self, frames: Tensor) -> float:
        """For a chunk and what lies beyond it."""
        return self._needs(int(frames.shape[-3]), self._chunk)

    def _needs(self, channels: int, chunk: int) -> float:
        found, ahead = self.appetite(channels), self.ahead
        answers = 3 * chunk * channels * 4 * self.scale**2
        return found.activations + (chunk + ahead) * found.values + 2 * found.carried + answers

    def take(self, frame: Tensor) -> Iterator[Tensor]:
        """Answers a chunk as soon as it and what lies beyond it are there."""
        if not self._window:
            channels = int(frame.shape[1])
            chosen = 1 if self.causal else self.settle_chunk(frame, _CHUNKS, lambda n: self._needs(channels, n))
            self._chunk = chosen
        self._window.append(frame)
        if len(self._window) >= self._chunk + self.ahead:
            yield self._advance(self._chunk)

    def finish(self) -> Iterator[Tensor]:
        """What is left fits into one chunk, as nothing lies beyond it."""
        if self._window:
            yield self._advance(len(self._window))
        self.forget()

    def forget(self) -> None:
        """No frames, no state."""
        self._window.clear()
        self._carries = None

    def hand_on(self) -> dict[str, Tensor]:
        """The state of every tile behind the last frame answered, and the tiles."""
        if self._carries is None:
            return {}
        planned, carries = self._carries
        where = torch.tensor([[*sum(tile.region, ()), *sum(tile.core, ())] for tile in planned])
        state = {"tiles": where}
        for number, carry in enumerate(carries):
            state |= {f"{number}/{name}": tensor for name, tensor in named(carry).items()}
        return state

    def take_up(self, state: Mapping[str, Tensor]) -> None:
        """Goes on behind the frame that the state is of."""
        self.forget()
        if not state:
            return
        planned, carries = [], []
        for number, row in enumerate(state["tiles"].tolist()):
            a, b, c, d, e, f, g, h = row
            planned.append(tiles.Tile(((a, b), (c, d)), ((e, f), (g, h))))
            own = {n.partition("/")[2]: t for n, t in state.items() if n.startswith(f"{number}/")}
            carry = from_named(own, len(self.sweeps))
            # Those of many tiles wait where there is room, see _run.
            carries.append(carry if len(state["tiles"]) > 1 else carry.map(lambda t: t.to(self.device)))
        self._carries = (planned, carries)

    def _advance(self, count: int) -> Tensor:
        frames = torch.cat(self._window)
        height, width = int(frames.shape[-2]), int(frames.shape[-1])
        padded = self.pad(frames)
        results: list[tuple[Tensor, list[tiles.Tile], list[Carry]]] = []

        def run(tile: int, mode: Mode) -> tuple[Tensor, list[Tensor]]:
            results.clear()
            results.append(self._run(padded, count, tile, mode))
            out, _, carries = results[0]
            return out, [t for carry in carries for t in carry.tensors]

        self.attempt(padded, run)
        out, planned, carries = results[0]
        self._carries = (planned, carries)
        del self._window[:count]
        return self.cropped(out, height, width)

    def _run(self, frames: Tensor, count: int, tile: int, mode: Mode) -> tuple[Tensor, list[tiles.Tile], list[Carry]]:
        planned = self.planned(frames, tile)
        size = int(frames.shape[-2]), int(frames.shape[-1])
        before = self._carried(planned, size)
        after: list[Carry] = []
        # Of many tiles only one is worked on: the others' state need not lie on the device.
        away = len(planned) > 1 and self.device.type != "cpu"

        def answers() -> Iterator[tuple[tiles.Tile, Tensor]]:
            layout = self.layout(mode)
            for number, one in enumerate(planned):
                piece = tiles.cut(frames, one).contiguous(memory_format=layout)
                carry = before[number].map(lambda t: t.to(self.device)) if away else before[number]
                with mode.arithmetic(self.device):
                    out, carry = run_chunk(self.sweeps, piece, count, carry, self._beyond)
                after.append(carry.map((lambda t: t.cpu()) if away else _by_itself))
                yield one, out

        out = tiles.merge(answers(), size, self.scale, self.fade if len(planned) > 1 else 0)
        return out, planned, after

    def _carried(self, planned: list[tiles.Tile], size: tuple[int, int]) -> list[Carry]:
        if self._carries is None:
            return [empty(self.sweeps)] * len(planned)
        old, carries = self._carries
        return restitch(carries, old, planned, size)


def _by_itself(tensor: Tensor) -> Tensor:
    """Without the memory of the window that it is a part of."""
    return tensor.clone() if tensor.untyped_storage().nbytes() > 2 * tensor.nbytes else tensor
