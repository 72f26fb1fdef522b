"""One sweep over a part of a scene, from file to file: how the schedule ``exact`` goes on where it was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Sequence

import attrs
import torch
from torch import Tensor

from restore.contracts import State, Value
from restore.functional.sweeping import picture_of
from restore.inference import tiles
from restore.inference.exact import ExactRunner, Get, NotFinite
from restore.inference.memory import out_of_memory
from restore.inference.precision import Mode
from restore.inference.store import Spill, SpillWriter, Store
from restore.inference.sweeps import Carry, restitch


@attrs.frozen
class SweptPart:
    """Which sweep goes over which frames; frames by their number in the video.

    Attributes:
        sweep: its number, from 0.
        answered: frames that are answered.
        scene: all frames of the scene.
        size: height and width of a frame.
        channels: of a frame that the first sweep is given.
    """

    sweep: int
    answered: range
    scene: range
    size: tuple[int, int]
    channels: int

    def seen(self, reach: int) -> range:
        """Frames that a sweep with a reach looks at."""
        first, stop = self.answered.start, self.answered.stop
        return range(max(self.scene.start, first - reach), min(self.scene.stop, stop + reach))


class Values:
    """What a sweep said of frames, in the files of neighbouring parts.

    Args:
        paths: of the files.
        device: where tensors are given back.
    """

    def __init__(self, paths: Sequence[Path], device: torch.device | str) -> None:
        self._spills = [Spill(path, device) for path in paths]

    def get(self, t: int, planned: Sequence[tiles.Tile], number: int, size: tuple[int, int]) -> Value:
        """Of a frame, in one of the tiles ``planned`` for padded frames of ``size``."""
        for spill in self._spills:
            first, stop = spill.about["frames"]
            if first <= t < stop:
                old = _tiles(spill.about["tiles"])
                if old == list(planned):
                    return spill.get(f"{number}.{t}")
                # Memory ran out between the two sweeps, and tiles became smaller.
                whole = [Carry((spill.get(f"{k}.{t}"),), ((),)) for k in range(len(old))]
                return restitch(whole, old, planned, size)[number].states[0] or {}
        raise KeyError(t)

    def answer(self, t: int, runner: ExactRunner) -> Tensor:
        """The last sweep's answer ``(1, C, scale*H, scale*W)`` of a padded frame."""
        for spill in self._spills:
            first, stop = spill.about["frames"]
            if first <= t < stop:
                planned, size = _tiles(spill.about["tiles"]), spill.about["size"]
                found = [(one, spill.get(f"{k}.{t}")["frame"]) for k, one in enumerate(planned)]
                if len(found) == 1:
                    return found[0][1]
                return tiles.merge(found, (size[0], size[1]), runner.scale, runner.fade)
        raise KeyError(t)

    def close(self) -> None:
        """No more is read."""
        for spill in self._spills:
            spill.close()


def sweep_part(
    runner: ExactRunner,
    part: SweptPart,
    frames: Store | None,
    values: Values | None,
    target: Path,
    before: Mapping[str, Tensor] | None,
) -> tuple[str, dict[str, Tensor]]:
    """One sweep over a part.

    Args:
        runner: of the model; how it is run has been settled.
        part: what is done.
        frames: those seen, ``{"frame": (1, C, H, W)}`` by number; None behind the first sweep.
        values: of the sweep before; None for the first sweep.
        target: file that becomes :class:`Values`.
        before: the state that the sweep comes with, as it was given back for the part beside this one.

    Returns:
        SHA-256 of the file, and the state behind the part.

    Raises:
        OSError: the disk is full, or does not work.
        RestoreError: values that are not finite in float32 either, or too little memory for small tiles.
    """
    padded = runner.pad(torch.zeros(1, 1, *part.size))
    size = int(padded.shape[-2]), int(padded.shape[-1])
    sample = torch.empty(1, part.channels, *size, device="meta")
    mode = runner.mode or Mode()
    while True:
        tile = runner.tile_for(sample)
        planned = runner.planned(sample, tile)
        attempt = _Attempt(runner, part, frames, values, planned, size, mode)
        writer = SpillWriter(target)
        try:
            states = attempt.run(writer, before)
            about = {"frames": [part.answered.start, part.answered.stop], "tiles": _rows(planned), "size": size}
            return writer.commit(about), states
        except NotFinite as bad:
            writer.abort()
            if mode.precision == "fp32":
                raise runner.never_finite([bad.frame]) from None
            runner.redone([bad.frame])
            mode = Mode()
            continue
        except RuntimeError as error:
            writer.abort()
            if not out_of_memory(error):
                raise
        except BaseException:
            writer.abort()
            raise
        runner.shrink(sample, tile)


@attrs.frozen
class _Attempt:
    """One try, with tiles and a mode."""

    runner: ExactRunner
    part: SweptPart
    frames: Store | None
    values: Values | None
    planned: list[tiles.Tile]
    size: tuple[int, int]
    mode: Mode

    def run(self, writer: SpillWriter, before: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """Writes values, by tile and frame; the states behind, by tile and name, and the tiles."""
        runner, part = self.runner, self.part
        sweep, last = runner.sweeps[part.sweep], part.sweep == len(runner.sweeps) - 1
        states = self._states(before)
        after: dict[str, Tensor] = {}
        label = f"pass {part.sweep + 1} of {len(runner.sweeps)}, frames {part.answered.start}-{part.answered.stop - 1}"
        for number, one in enumerate(self.planned):
            get, state = self._getter(one, number), states[number]
            swept = runner.one_pass(sweep, get, part.answered, part.scene, self.mode, state, label=label)
            for t, value, state in swept:  # noqa: B007
                writer.put(f"{number}.{t}", {"frame": picture_of(value)} if last else value)
            after |= {f"{number}/{name}": tensor for name, tensor in (state or {}).items()}
        return {**after, "tiles": torch.tensor(_rows(self.planned))}

    def _states(self, before: Mapping[str, Tensor] | None) -> list[State | None]:
        if before is None:
            return [None] * len(self.planned)
        old = _tiles(before["tiles"].tolist())
        found: list[State | None] = []
        for number in range(len(old)):
            own = {k.partition("/")[2]: t for k, t in before.items() if k.startswith(f"{number}/")}
            found.append({k: t.to(self.runner.device) for k, t in own.items()} or None)
        if old == self.planned:
            return found
        carries = [Carry((state,), ((),)) for state in found]
        return [carry.states[0] for carry in restitch(carries, old, self.planned, self.size)]

    def _getter(self, one: tiles.Tile, number: int) -> Get:
        if self.frames is not None:
            frames, layout = self.frames, self.runner.layout(self.mode)

            def first(t: int) -> Value:
                frame = self.runner.pad(frames.get(t)["frame"])
                return {"frame": tiles.cut(frame, one).contiguous(memory_format=layout)}

            return first
        assert self.values is not None
        values = self.values
        return lambda t: values.get(t, self.planned, number, self.size)


def _rows(planned: Sequence[tiles.Tile]) -> list[list[int]]:
    return [[*sum(tile.region, ()), *sum(tile.core, ())] for tile in planned]


def _tiles(rows: Sequence[Sequence[int]]) -> list[tiles.Tile]:
    return [tiles.Tile(((a, b), (c, d)), ((e, f), (g, h))) for a, b, c, d, e, f, g, h in rows]
