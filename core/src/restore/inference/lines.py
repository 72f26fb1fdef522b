"""One model, or the search for scenes, as a step that pictures pass through; some come out later than they went in."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import Iterator

import attrs
import torch

from restore.inference.restorer import Restorer
from restore.inference.scenes import FLASH, CutFinder, Seen
from restore.inference.store import Store
from restore.inference.temporal import TemporalRunner
from restore.media.color import Picture


class Line(ABC):
    """Pictures in, the same number out, in order.

    Attributes:
        scale: output pixels per input pixel.
        scratch: folder for what waits.
    """

    scale = 1
    scratch = Path(tempfile.gettempdir())

    @property
    def waits_on_disk(self) -> bool:
        """Whether pictures wait there."""
        return False

    @abstractmethod
    def push(self, picture: Picture) -> Iterator[Picture]:
        """The next N pictures; those that are then done."""

    def flush(self) -> Iterator[Picture]:
        """No more come: the rest."""
        yield from ()

    @abstractmethod
    def reset(self) -> None:
        """Forget everything; the next picture is number 0."""

    def count_from(self, first: int) -> None:
        """After :meth:`reset`: messages call the next picture number ``first``."""
        return

    def disk(self, frames: int, height: int, width: int) -> int:
        """Bytes on disk for a video of ``frames`` pictures of ``height`` by ``width``."""
        return 0


class FrameLine(Line):
    """A model of single frames."""

    def __init__(self, restorer: Restorer) -> None:
        self.restorer, self.scale, self._number = restorer, restorer.scale, 0

    def push(self, picture: Picture) -> Iterator[Picture]:
        """All of them, at once."""
        which = self.restorer.traits.channels
        before = picture.channels(which)
        after = self.restorer(before, self._number)
        self._number += len(picture)
        yield picture.with_channels(which, before, after, self.scale)

    def reset(self) -> None:
        """Count anew."""
        self._number = 0

    def count_from(self, first: int) -> None:
        """The next picture is number ``first``."""
        self._number = first


class SceneLine(Line):
    """Finds cuts, and holds back pictures of which it is not certain.

    Args:
        cuts: numbers of the pictures that begin a scene, for the models behind; filled before such a picture comes out.
        at_once: wait for nothing.
        seen: what of the pictures is there, see :class:`CutFinder`.
    """

    def __init__(self, cuts: set[int], at_once: bool, seen: Seen | None = None) -> None:
        self.cuts, self._patience, self._seen = cuts, 0 if at_once else FLASH, seen
        self.reset()

    def push(self, picture: Picture) -> Iterator[Picture]:
        """Those that are decided."""
        self._finder.push(picture.channels("y"))
        self._held.append(picture)
        yield from self._decided()

    def flush(self) -> Iterator[Picture]:
        """The rest."""
        self._finder.finish()
        yield from self._decided()

    def reset(self) -> None:
        """A new video."""
        self._finder = CutFinder(self._patience, self._seen)
        self._held: deque[Picture] = deque()
        self._out = 0
        self.cuts.clear()

    def _decided(self) -> Iterator[Picture]:
        self.cuts |= self._finder.cuts
        while self._held and self._out < self._finder.decided:
            picture = self._held.popleft()
            count = min(len(picture), self._finder.decided - self._out)
            if count < len(picture):
                self._held.appendleft(picture[count:])
            self._out += count
            yield picture[:count]


class TemporalLine(Line):
    """A model that looks along time, and the pictures that wait for its answers.

    Args:
        runner: of the model.
        cuts: numbers of the pictures that begin a scene.
    """

    def __init__(self, runner: TemporalRunner, cuts: set[int]) -> None:
        self.runner, self.scale, self._cuts = runner, runner.scale, cuts
        self._waiting: deque[Picture] = deque()
        self._store: Store | None = None
        self._bare: Picture | None = None
        self._in = self._out = 0
        self._group = 1

    @property
    def waits_on_disk(self) -> bool:
        """Where the model's answers come late."""
        return self.runner.waits_on_disk

    def push(self, picture: Picture) -> Iterator[Picture]:
        """Those whose answers are there."""
        self.runner.scratch = self.scratch
        self._group = max(self._group, len(picture))
        for k in range(len(picture)):
            if self._in in self._cuts:
                for answer in self.runner.cut():
                    yield from self._answered(answer)
            one = picture[k : k + 1]
            self._wait(one)
            self._in += 1
            for answer in self.runner.push(one.channels(self.runner.traits.channels)):
                yield from self._answered(answer)

    def flush(self) -> Iterator[Picture]:
        """The rest."""
        for answer in self.runner.cut():
            yield from self._answered(answer)

    def reset(self) -> None:
        """Forget what waits."""
        self.runner.reset()
        self._waiting.clear()
        if self._store is not None:
            self._store.close()
        self._store, self._bare, self._in, self._out, self._group = None, None, 0, 0, 1

    def count_from(self, first: int) -> None:
        """The next picture is number ``first``."""
        self.runner.answered = first

    def disk(self, frames: int, height: int, width: int) -> int:
        """What the model needs, and the pictures: at most four planes of full size."""
        return self.runner.disk(frames, height, width) + 16 * frames * height * width if self.waits_on_disk else 0

    def _wait(self, picture: Picture) -> None:
        if not self.waits_on_disk:
            self._waiting.append(picture)
            return
        if self._store is None:
            self._store = Store(self.scratch, self.runner.device)
        tensors = {str(k): part for k, part in enumerate(picture.parts)}
        if picture.alpha is not None:
            tensors["alpha"] = picture.alpha
        self._store.put(self._in, tensors)
        # The model has been told the QP; of the picture only what it shows is wanted again.
        self._bare = attrs.evolve(picture, parts=(), alpha=None, qp=None)

    def _next(self) -> Picture:
        self._out += 1
        if self._store is None:
            return self._waiting.popleft()
        assert self._bare is not None
        tensors = self._store.get(self._out - 1)
        self._store.drop(self._out - 1)
        alpha = tensors.pop("alpha", None)
        parts = tuple(tensors[name] for name in sorted(tensors))
        return attrs.evolve(self._bare, parts=parts, alpha=alpha)

    def _answered(self, answer: torch.Tensor) -> Iterator[Picture]:
        """The pictures of ``(n, C, scale*H, scale*W)``, in groups as they came."""
        which = self.runner.traits.channels
        for after in torch.split(answer, self._group):
            picture = Picture.joined([self._next() for _ in range(len(after))])
            yield picture.with_channels(which, picture.channels(which), after, self.scale)
