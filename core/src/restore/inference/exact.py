"""Models with state along time over whole scenes, equal to the whole clip at once: the schedule ``exact``."""

from __future__ import annotations

from typing import Callable, Iterator

import torch
from torch import Tensor, nn

from restore.contracts import State, Sweep, Value
from restore.functional.sweeping import picture_of
from restore.inference import tiles
from restore.inference.memory import out_of_memory
from restore.inference.precision import Mode
from restore.inference.store import Store
from restore.inference.stream import SweepRunner
from restore.inference.temporal import TRIAL_FRAMES
from restore.recipe import Run

Get = Callable[[int], Value]


class NotFinite(Exception):
    """A value that is not finite, of a frame of the scene."""

    def __init__(self, frame: int) -> None:
        super().__init__(frame)
        self.frame = frame


class ExactRunner(SweepRunner):
    """One sweep after the other over all frames of a scene. What lies between two sweeps waits on disk, so that memory
    holds only the frames within reach of the one at hand."""

    def __init__(self, model: nn.Module, settings: Run, name: str = "model", work: int | None = None) -> None:
        super().__init__(model, settings, name, work)
        self._frames: Store | None = None
        self._count = 0
        # Answers that are there already, by the frame's number; see restore.inference.parts.
        self.known: Callable[[int], Tensor] | None = None

    @property
    def waits_on_disk(self) -> bool:
        """Unless all answers are known."""
        return self.known is None

    @property
    def schedule(self) -> str:
        """``exact``."""
        return "exact"

    def bytes_per_pixel(self, frames: Tensor) -> float:
        """For the frames within reach."""
        channels = int(frames.shape[-3])
        found, reach = self.appetite(channels), max(s.reach for s in self.sweeps)
        return found.activations + (2 * reach + 2) * found.values + found.carried + 8 * channels * 4 * self.scale**2

    def disk(self, frames: int, height: int, width: int) -> int:
        """The frames, the largest values between two sweeps, and the answers."""
        channels = self.traits.planes
        each = 4 * channels * (1 + self.scale**2) + self.appetite(channels).written
        return int(frames * height * width * each)

    def take(self, frame: Tensor) -> Iterator[Tensor]:
        """Keeps the frame: nothing can be answered before the scene ends, unless the answers are known."""
        if self.known is not None:
            yield self.cropped(self.known(self.answered), int(frame.shape[-2]), int(frame.shape[-1]))
            return
        if self._frames is None:
            self._frames = Store(self.scratch, self.device)
        self._frames.put(self._count, {"frame": frame})
        self._count += 1
        self.note(f"{self._count} read")
        yield from ()

    def finish(self) -> Iterator[Tensor]:
        """All answers, frame by frame. What failed in the middle begins anew behind the frames that were answered."""
        store, count, first = self._frames, self._count, self.answered
        if store is None:
            return
        trial = self.pad(torch.cat([store.get(t)["frame"] for t in range(min(TRIAL_FRAMES, count))]))
        height, width = store.get(0)["frame"].shape[-2:]
        mode, done = self.settle_mode(trial, TRIAL_FRAMES), 0
        while done < count:
            tile = self.tile_for(trial)
            try:
                for number, out in enumerate(self._scene(store, count, tile, mode)):
                    if number >= done:
                        done = number + 1
                        yield self.cropped(out, height, width)
                continue
            except NotFinite as bad:
                if mode.precision == "fp32":
                    raise self.never_finite([first + bad.frame]) from None
                self.redone([first + bad.frame])
                mode = Mode()
                continue
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            self.shrink(trial, tile)
        self.forget()

    def forget(self) -> None:
        """Remove what waits on disk."""
        if self._frames is not None:
            self._frames.close()
        self._frames, self._count = None, 0

    def _scene(self, store: Store, count: int, tile: int, mode: Mode) -> Iterator[Tensor]:
        """Answers ``(1, C, scale*H, scale*W)`` of padded frames, in order."""
        sample = self.pad(store.get(0)["frame"])
        planned = self.planned(sample, tile)
        size = int(sample.shape[-2]), int(sample.shape[-1])
        layout = self.layout(mode)

        def of(one: tiles.Tile) -> Get:
            def get(t: int) -> Value:
                frame = self.pad(store.get(t)["frame"])
                return {"frame": tiles.cut(frame, one).contiguous(memory_format=layout)}

            return get

        if len(planned) == 1:
            yield from self._swept(of(planned[0]), count, mode)
            return
        answers = [Store(self.scratch, self.device) for _ in planned]
        try:
            for one, answer in zip(planned, answers, strict=True):
                for t, out in enumerate(self._swept(of(one), count, mode)):
                    answer.put(t, {"frame": out})
            for t in range(count):
                parts = [(one, answer.get(t)["frame"]) for one, answer in zip(planned, answers, strict=True)]
                yield tiles.merge(parts, size, self.scale, self.fade)
        finally:
            for answer in answers:
                answer.close()

    def _swept(self, get: Get, count: int, mode: Mode) -> Iterator[Tensor]:
        """All sweeps over frames; what the last one answers, in order."""
        before: Store | None = None
        scene, passes = range(count), len(self.sweeps)

        def over(number: int) -> Iterator[tuple[int, Value, State | None]]:
            drop = (lambda k: None) if before is None else before.drop
            label = f"pass {number + 1} of {passes}"
            return self.one_pass(self.sweeps[number], get, scene, scene, mode, drop=drop, label=label)

        try:
            for number in range(passes - 1):
                after = Store(self.scratch, self.device)
                try:
                    for t, value, _ in over(number):
                        after.put(t, value)
                except BaseException:
                    after.close()
                    raise
                if before is not None:
                    before.close()
                before, get = after, after.get
            if self.sweeps[-1].direction != "backward":
                for _, value, _ in over(passes - 1):
                    yield picture_of(value)
                return
            with_answers = Store(self.scratch, self.device)
            try:
                for t, value, _ in over(passes - 1):
                    with_answers.put(t, {"frame": picture_of(value)})
                for t in range(count):
                    yield with_answers.get(t)["frame"]
            finally:
                with_answers.close()
        finally:
            if before is not None:
                before.close()

    def one_pass(
        self,
        sweep: Sweep,
        get: Get,
        answered: range,
        scene: range,
        mode: Mode,
        state: State | None = None,
        drop: Callable[[int], None] = lambda number: None,
        label: str = "pass",
    ) -> Iterator[tuple[int, Value, State | None]]:
        """One sweep over frames of a scene, in the sweep's direction.

        Args:
            sweep: what is run.
            get: gives the value of a frame of the scene by its number.
            answered: the frames that are answered.
            scene: all of its frames; beyond them there is nothing.
            mode: of the arithmetic.
            state: what the sweep carries from the frame before the first one that is answered.
            drop: told of frames that are needed no more.
            label: what :attr:`note` calls it.

        Yields:
            number, value, and the state behind it.

        Raises:
            NotFinite: a value is not finite.
        """
        reach = sweep.reach
        near: dict[int, Value] = {}
        for done, t in enumerate(reversed(answered) if sweep.direction == "backward" else answered, start=1):
            wanted = range(t - reach, t + reach + 1)
            for gone in [k for k in near if k not in wanted]:
                del near[gone]
                drop(gone)
            for k in wanted:
                if k in scene and k not in near:
                    near[k] = get(k)
            with mode.arithmetic(self.device), torch.inference_mode():
                value, after = sweep([near.get(k) for k in wanted], state)
            state = None if sweep.direction == "none" else after
            tensors = [x for x in value.values() if x.is_floating_point()]
            if not all(bool(torch.isfinite(x).all()) for x in tensors):
                raise NotFinite(t)
            self.note(f"{label}: {done} of {len(answered)}")
            yield t, value, state
