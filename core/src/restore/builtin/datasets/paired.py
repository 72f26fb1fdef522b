"""Clean clips whose damaged versions are at hand too."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import attrs
import torch
from torch import Tensor

from restore.builtin.datasets.cutting import Clips, Shape, Window, check_window, read_qps
from restore.contracts import Dataset, Pair
from restore.errors import RequestError


@runtime_checkable
class Cuttable(Protocol):
    """A dataset whose entries can be cut where one says: ``images``, ``frames``, ``videos``, ``hdf5``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tensor: ...

    def name(self, index: int) -> str:
        """What tells an entry from the others."""
        ...

    def shape(self, index: int) -> Shape:
        """Frames, height and width."""
        ...

    def read(self, index: int, window: Window) -> Tensor:
        """The window's pixels, ``(T, C, h, w)`` float32 in [0, 1], not turned."""
        ...


@attrs.frozen
class _Observed:
    """The other side of pairs."""

    pairs: Paired

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Tensor:
        return self.pairs.pair(index).observed

    def qps(self, index: int) -> Tensor | None:
        """Of each frame, ``(T,)``; None where nobody knows."""
        return self.pairs.pair(index).qp


class Paired(Clips):
    """Two datasets of the same clips, one clean and one as it was observed. By itself it is the clean one, as every
    dataset is; whoever knows of pairs takes ``pair(i)``, ``sample_pair(i, generator)``, or, for evaluation, the other
    side in the same order::

        evaluate(model, data, None, protocol, observed=data.observed)

    ``clean`` and ``observed`` are tables of their own, e.g. ``{ use = "frames", root = "REDS/train_sharp" }``;
    ``length`` and ``patch`` stand beside them, since both sides are cut at the same place.

    Args:
        clean: the target.
        observed: has an entry of the same name for each clean one; may be smaller by a whole factor, the same for all.
        length: frames of an entry; left out, all.
        patch: side of square patches of the clean side, in pixels; a multiple of the factor.
        augment: random flips, quarter turns and time reversal, of both sides alike.
        ending: what the observed names have at their ends, e.g. ``"x2"`` where ``0001x2`` belongs to ``0001``.
        with_qp: pairs say what their observed frames were coded with, where that side is videos whose files tell.

    Raises:
        RequestError: a name is missing on the observed side, or sizes or numbers of frames do not fit.
        ValueError: a side that cannot be cut, or is cut already.
    """

    def __init__(
        self,
        clean: Dataset,
        observed: Dataset,
        length: int | None = None,
        patch: int | None = None,
        augment: bool = True,
        ending: str = "",
        with_qp: bool = True,
    ) -> None:
        check_window(length, patch)
        self.with_qp = with_qp
        self.clean, other = _whole(clean, "clean"), _whole(observed, "observed")
        names = [self.clean.name(i) for i in range(len(self.clean))]
        there = {other.name(i): i for i in range(len(other))}
        missing = [n for n in names if n + ending not in there]
        if missing:
            hint = f"; it has {next(iter(there))!r}, say what its names end in with `ending`" if not ending else ""
            raise RequestError(f"the observed side has no {missing[0] + ending!r} ({len(missing)} missing){hint}")
        self._other, self._order = other, tuple(there[n + ending] for n in names)
        shapes = [self.clean.shape(i) for i in range(len(names))]
        small = [other.shape(i) for i in self._order]
        self.factor = max(1, shapes[0][1] // small[0][1])
        for name, large, little in zip(names, shapes, small, strict=True):
            if large != (little[0], self.factor * little[1], self.factor * little[2]):
                sides = " and ".join(f"{t} frames of {w}x{h}" for t, h, w in (large, little))
                raise RequestError(
                    f"{name}: the clean and the observed side have {sides}; needed are equally many frames and "
                    f"{self.factor} times the width and height, as for {names[0]}"
                )
        if patch is not None and patch % self.factor:
            raise ValueError(
                f"patch must be a multiple of {self.factor}, as the clean side is larger by it, got {patch}"
            )
        super().__init__("in the pairs", names, shapes, length, patch, augment)

    @property
    def observed(self) -> Dataset:
        """The observed side's whole frames, in the order of this dataset."""
        return _Observed(self)

    def pair(self, index: int) -> Pair:
        """Whole frames of both sides, ``(T, C, H, W)`` each."""
        clip, start = self._segment(index)
        frames = self.shapes[clip][0] if self.length is None else self.length
        return self._pair(clip, Window.whole(self._small(clip), start, frames))

    def sample_pair(self, index: int, generator: torch.Generator) -> Pair:
        """A random window of both sides: observed ``(T, C, h, w)``, target ``(T, C, factor*h, factor*w)``."""
        clip, _ = self._shares.locate(index)
        patch = None if self.patch is None else self.patch // self.factor
        return self._pair(clip, Window.draw(self._small(clip), self.length, patch, self.augment, generator))

    def sample(self, index: int, generator: torch.Generator) -> Tensor:
        """The target of ``sample_pair``."""
        return self.sample_pair(index, generator).target

    def _small(self, clip: int) -> Shape:
        frames, height, width = self.shapes[clip]
        return frames, height // self.factor, width // self.factor

    def _pair(self, clip: int, window: Window) -> Pair:
        observed = self._other.read(self._order[clip], window)
        grown = {k: getattr(window, k) * self.factor for k in ("top", "left", "height", "width")}
        clean = self.clean.read(clip, attrs.evolve(window, **grown))
        qp = read_qps(self._other, self._order[clip], window) if self.with_qp else None
        if qp is not None and window.reverse:
            qp = qp.flip(0)
        return Pair(window.turn(observed), window.turn(clean), qp=qp)

    def _read(self, clip: int, window: Window) -> Tensor:
        return self.clean.read(clip, window)


def _whole(side: Dataset, name: str) -> Cuttable:
    if not isinstance(side, Cuttable):
        raise ValueError(f"{name}: {type(side).__name__} cannot be cut; images, frames, videos and hdf5 can")
    if getattr(side, "patch", None) is not None or getattr(side, "length", None) is not None:
        raise ValueError(f"{name}: give length and patch to paired itself, both sides are cut at the same place")
    return side
