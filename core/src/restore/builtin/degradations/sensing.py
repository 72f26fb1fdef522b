"""Compressive sensing as degradations: sums over many pixels or frames, from a seed."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal, TypeVar

import torch

from restore.builtin.degradations.linear import LinearDegradation, Shape, Sigma, check_keep, device_of
from restore.operators import CompressiveSensing, Mixed, Operator, Snapshot, VideoSensing
from restore.operators.diagonal import clip_sizes
from restore.operators.rows import Kind

OwnDrawn = TypeVar("OwnDrawn", bound="Drawn")


class Drawn(LinearDegradation):
    """A degradation whose operator has a seed: one for all clips, or one drawn for every sample."""

    per_frame = False
    no_video = "measures sums over many pixels or frames"

    def __init__(self, seed: int, every: Literal["run", "sample"], sigma: Sigma) -> None:
        super().__init__(sigma)
        if every not in ("run", "sample"):
            raise ValueError(f"every must be 'run' or 'sample', got {every!r}")
        self.seed, self.fixed = seed, every == "run"

    def settled(self: OwnDrawn, generator: torch.Generator | None) -> OwnDrawn:
        """The same with one seed for a whole video."""
        other = super().settled(generator)
        if not self.fixed:
            other.seed, other.fixed = self._seeds(1, generator)[0], True
        return other

    def _seeds(self, count: int, generator: torch.Generator | None) -> list[int]:
        drawn = torch.randint(0, 2**31, (count,), generator=generator, device=device_of(generator))
        return [int(s) for s in drawn.tolist()]

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Operator | Mixed:
        """One for all, or one per sample."""
        if self.fixed:
            return self.seeded(shape, self.seed)
        made = [self.seeded(shape, seed) for seed in self._seeds(count, generator)]
        return made[0] if count == 1 else Mixed(made)

    @abstractmethod
    def seeded(self, shape: Shape, seed: int) -> Operator:
        """The operator of a seed."""


class ClipSensing(Drawn):
    """Compressive sensing: ``round(ratio * d)`` random sums over the d values of a clip. The result is no clip.

    Args:
        ratio: in (0, 1].
        kind: ``gaussian`` rows, ``structured`` ones (random signs and an orthonormal transform), or ``auto``: Gaussian
            up to 2^26 entries of the matrix.
        seed: of the rows.
        every: ``run``, the same rows for all clips; ``sample``, every sample draws its own.
        sigma: noise, see :class:`LinearDegradation`.

    Raises:
        ValueError: a ratio outside (0, 1], an unknown kind, or a negative sigma.
    """

    def __init__(
        self,
        ratio: float = 0.1,
        kind: Kind = "auto",
        seed: int = 0,
        every: Literal["run", "sample"] = "run",
        sigma: Sigma = 0.0,
    ) -> None:
        super().__init__(seed, every, sigma)
        CompressiveSensing((1, 1, 1, 1), ratio, kind=kind)
        self.ratio, self.kind = ratio, kind

    def seeded(self, shape: Shape, seed: int) -> Operator:
        """The rows of a seed."""
        return CompressiveSensing(shape, self.ratio, seed, self.kind)


class ChangeSensing(ClipSensing):
    """Video compressive sensing: the first frame, and ``round(ratio * HW)`` random sums of each frame's change.

    Parameters are those of :class:`ClipSensing`; ``auto`` means Gaussian rows up to 2^22 entries of a frame's matrix.
    """

    def seeded(self, shape: Shape, seed: int) -> Operator:
        """The rows of a seed."""
        return VideoSensing(shape, self.ratio, seed, self.kind)


class SnapshotSensing(Drawn):
    """Snapshot compressive video: all frames, each behind its own random binary code, summed into one.

    Args:
        keep: chance of a pixel of a code to be open, in (0, 1].
        seed: of the codes.
        every: ``run``, the same codes for all clips; ``sample``, every sample draws its own.
        sigma: noise, see :class:`LinearDegradation`.

    Raises:
        ValueError: a chance outside (0, 1], or a negative sigma.
    """

    def __init__(
        self, keep: float = 0.5, seed: int = 0, every: Literal["run", "sample"] = "run", sigma: Sigma = 0.0
    ) -> None:
        super().__init__(seed, every, sigma)
        check_keep(keep)
        self.keep = keep

    def seeded(self, shape: Shape, seed: int) -> Operator:
        """The codes of a seed."""
        frames, _, height, width = clip_sizes(shape)
        open_ = torch.rand(frames, 1, height, width, generator=torch.Generator().manual_seed(seed)) < self.keep
        return Snapshot(shape, open_)
