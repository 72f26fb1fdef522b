"""Compressive sensing of a whole clip, and of the differences between frames."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Hashable, Sequence

import torch
from torch import Tensor

from restore.operators.base import Operator
from restore.operators.diagonal import clip_sizes
from restore.operators.rows import GaussianRows, Kind, measurements, random_rows
from restore.operators.solvers import Rho, each_value, implicit_solve, linear_map, spread
from restore.operators.structure import Diagonal, Side, Structure

# Entries of a random matrix that is kept; beyond, rows are structured. 256 MiB in float32.
CLIP_LIMIT = 1 << 26
# The same for one frame's matrix, which is decomposed.
FRAME_LIMIT = 1 << 22


class CompressiveSensing(Operator):
    """``round(ratio * d)`` random measurements of the whole clip, ``(T, C, H, W)`` with d values to ``(m,)``.

    Gaussian rows, N(0, 1)/sqrt(m), while the matrix has at most 2^26 entries (VideoOneNet's problem CS: 1,229 rows for
    4x3x32x32), solved by a Cholesky factor of ``Phi Phi^T + rho I``; above, rows of a random-sign Hartley transform
    with ``A A^T = (d/m) I``, which cost an FFT and no matrix. ``plan`` says which it is.

    Args:
        shape: ``(T, C, H, W)``.
        ratio: measurements per value, in (0, 1].
        seed: of the rows.
        kind: ``gaussian`` or ``structured`` whatever the size; ``auto`` as above.

    Raises:
        ValueError: a ratio outside (0, 1] or an unknown kind.
    """

    def __init__(self, shape: Sequence[int], ratio: float = 0.1, seed: int = 0, kind: Kind = "auto") -> None:
        sizes = clip_sizes(shape)
        n = sizes[0] * sizes[1] * sizes[2] * sizes[3]
        self.rows = random_rows(measurements(n, ratio), n, seed, kind, CLIP_LIMIT)
        super().__init__(sizes, (self.rows.m,))

    @property
    def key(self) -> Hashable:
        """Its sizes, kind and seed."""
        return CompressiveSensing, self.shape, type(self.rows), self.rows.seed

    def apply(self, x: Tensor) -> Tensor:
        """``Phi vec(x)``."""
        return self.rows.apply(x.flatten(1))

    def back(self, y: Tensor) -> Tensor:
        """``Phi^T y`` as a clip."""
        return self.rows.back(y).view(-1, *self.shape.input)

    @cached_property
    def gram(self) -> Diagonal | None:
        """``d/m`` for structured rows."""
        return self.rows.gram

    def solver(self) -> Structure | None:
        """Cholesky for Gaussian rows."""
        return DenseRows(self, self.rows) if isinstance(self.rows, GaussianRows) else None


class DenseRows(Structure):
    """``Phi Phi^T + rho I`` by Cholesky; the factor of each of the last four rho is kept."""

    name = "cholesky"
    side: Side = "dual"

    def __init__(self, operator: Operator, rows: GaussianRows) -> None:
        super().__init__(operator)
        self.rows = rows
        self._grams: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self._factors: dict[tuple[float, torch.dtype, torch.device], Tensor] = {}

    def describe(self) -> str:
        """The size of the factor."""
        return f"dense {self.rows.m}x{self.rows.n} Gaussian rows, Cholesky factor of Phi Phi^T + rho I"

    def _factor(self, rho: float, like: Tensor) -> Tensor:
        where = like.dtype, like.device
        key = rho, *where
        if key not in self._factors:
            if where not in self._grams:
                phi = self.rows.like(like)
                self._grams[where] = phi @ phi.T
            gram = self._grams[where]
            if len(self._factors) >= 4:
                del self._factors[next(iter(self._factors))]
            eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
            self._factors[key] = torch.linalg.cholesky(gram + rho * eye)
        return self._factors[key]

    def _solve(self, r: Tensor, rho: float) -> Tensor:
        long = r if r.dtype in (torch.float32, torch.float64) else r.float()
        return torch.cholesky_solve(long.T, self._factor(rho, long)).T.to(r.dtype)

    def dual(self, r: Tensor, rho: Rho) -> Tensor:
        """Two triangular solves."""
        return implicit_solve(lambda b, weight: each_value(weight, b, self._solve), r, rho)

    def _inverse(self, r: Tensor) -> Tensor:
        return self._solve(r, 0.0)

    def pinv(self, y: Tensor) -> Tensor:
        """``Phi^T (Phi Phi^T)^-1 y``: random rows are independent."""
        return self.operator.back(linear_map(self._inverse, self._inverse, y))

    def pinv_t(self, x: Tensor) -> Tensor:
        """``(Phi Phi^T)^-1 Phi x``."""
        return linear_map(self._inverse, self._inverse, self.operator.apply(x))


class VideoSensing(Operator):
    """The first frame, and compressive measurements of what changes: ``y = [x_0, Phi (x_{t+1} - x_t)]``.

    One Phi of ``round(ratio * HW)`` rows for all times and channels (VideoOneNet's problem VCS). The measurement is
    flat, ``(C HW + (T-1) C m,)``: frame 0, then the differences in order of t and channel.

    Exact: with ``Phi Phi^T = U diag(l) U^T``, each singular vector leaves a T x T system,
    ``e_0 e_0^T + l_i D^T D + rho I`` with D the difference over time; off the row space the system is diagonal.
    Gaussian rows up to 2^22 entries of Phi (64x64 frames at 10 %); above, Hartley rows, whose l is one number.

    Args:
        shape: ``(T, C, H, W)``.
        ratio: rows of Phi per pixel, in (0, 1].
        seed: of the rows.
        kind: as for :class:`CompressiveSensing`.

    Raises:
        ValueError: a ratio outside (0, 1] or an unknown kind.
    """

    def __init__(self, shape: Sequence[int], ratio: float = 0.1, seed: int = 0, kind: Kind = "auto") -> None:
        frames, channels, height, width = clip_sizes(shape)
        n = height * width
        self.rows = random_rows(measurements(n, ratio), n, seed, kind, FRAME_LIMIT)
        self.first = channels * n
        super().__init__((frames, channels, height, width), (self.first + (frames - 1) * channels * self.rows.m,))

    @property
    def key(self) -> Hashable:
        """Its sizes, kind and seed."""
        return VideoSensing, self.shape, type(self.rows), self.rows.seed

    def apply(self, x: Tensor) -> Tensor:
        """The first frame and the measured differences."""
        changes = self.rows.apply((x[:, 1:] - x[:, :-1]).flatten(3))
        return torch.cat([x[:, 0].flatten(1), changes.flatten(1)], dim=1)

    def back(self, y: Tensor) -> Tensor:
        """``D^T Phi^T`` of the changes, and the first frame."""
        frames, channels, height, width = self.shape.input
        batch = y.shape[0]
        changes = y[:, self.first :].reshape(batch, frames - 1, channels, self.rows.m)
        wide = self.rows.back(changes).view(batch, frames - 1, channels, height, width)
        first = y[:, : self.first].reshape(batch, 1, channels, height, width)
        return torch.cat([first, wide], dim=1) - torch.cat([wide, torch.zeros_like(first)], dim=1)

    def solver(self) -> Structure:
        """T x T systems."""
        return TimeSystems(self)


class TimeSystems(Structure):
    """The solve of :class:`VideoSensing`."""

    name = "time systems"
    side: Side = "normal"
    operator: VideoSensing

    def describe(self) -> str:
        """How many systems."""
        frames, rows = self.operator.shape.input[0], self.operator.rows
        basis = f"singular vectors of {rows.m}x{rows.n} Gaussian rows" if rows.gram is None else "Hartley rows"
        return f"{frames}x{frames} systems over time, {basis}"

    @cached_property
    def _basis(self) -> tuple[Tensor, Tensor]:
        """``l`` and ``V^T`` (rows: right singular vectors) of Gaussian rows."""
        rows = self.operator.rows
        assert isinstance(rows, GaussianRows)
        _, s, vh = torch.linalg.svd(rows.matrix.double(), full_matrices=False)
        return s**2, vh

    @cached_property
    def _values(self) -> Tensor:
        gram = self.operator.rows.gram
        return self._basis[0] if gram is None else torch.tensor([gram], dtype=torch.float64)

    def _to(self, x: Tensor) -> Tensor:
        rows = self.operator.rows
        if rows.gram is None:
            coefficients: Tensor = x @ self.operator.parameter("v", self._basis[1], x).T
            return coefficients
        return rows.apply(x) / math.sqrt(rows.gram)

    def _from(self, q: Tensor) -> Tensor:
        rows = self.operator.rows
        if rows.gram is None:
            planes: Tensor = q @ self.operator.parameter("v", self._basis[1], q)
            return planes
        return rows.back(q) / math.sqrt(rows.gram)

    @cached_property
    def _systems(self) -> Tensor:
        """``(m or 1, T, T)``: the systems without rho."""
        frames = self.operator.shape.input[0]
        d = torch.eye(frames, dtype=torch.float64).diff(dim=0)
        first = torch.zeros(frames, frames, dtype=torch.float64)
        first[0, 0] = 1
        return first + self._values[:, None, None] * (d.T @ d)

    def _inverted(self, rho: Rho, like: Tensor) -> Tensor:
        """``(..., m or 1, T, T)``: the inverses, in float64 before they are rounded."""
        eye = torch.eye(self._systems.shape[-1], dtype=torch.float64, device=like.device)
        systems = self._systems.to(like.device)
        if isinstance(rho, Tensor):
            weight = rho.to(eye)
            systems = systems + (weight.view(-1, 1, 1, 1) if weight.ndim else weight) * eye
        else:
            systems = systems + rho * eye
        inverses: Tensor = torch.linalg.inv(systems)
        return inverses.to(like.dtype)

    def _divide(self, b: Tensor, inverses: Tensor, off: Tensor) -> Tensor:
        """On the row space by the inverted systems, off it by ``off`` (``(..., T, 1)``)."""
        sizes = b.shape
        planes = b.flatten(3).transpose(1, 2)
        q = self._to(planes)
        solved = torch.einsum("...mts,...csm->...ctm", inverses.expand(*inverses.shape[:-3], q.shape[-1], -1, -1), q)
        out = planes * off + self._from(solved - q * off)
        return out.transpose(1, 2).reshape(sizes)

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """One product with the basis there, one back."""
        weight = spread(rho, b[:, 0, 0, 0, 0])
        diagonal = torch.zeros(b.shape[1], dtype=b.dtype, device=b.device)
        diagonal[0] = 1
        if isinstance(weight, Tensor) and weight.ndim:
            weight = weight.view(-1, 1)
        off = 1 / (diagonal + weight)
        off = off[:, None, :, None] if off.ndim == 2 else off[:, None]
        return self._divide(b, self._inverted(rho, b), off)

    def _least(self, b: Tensor) -> Tensor:
        off = torch.zeros(b.shape[1], 1, dtype=b.dtype, device=b.device)
        off[0] = 1
        return self._divide(b, self._inverted(0.0, b), off)

    def pinv(self, y: Tensor) -> Tensor:
        """``(A^T A)^+ A^T y``: off the row space only the first frame is known."""
        return self._least(self.operator.back(y))

    def pinv_t(self, x: Tensor) -> Tensor:
        """``A (A^T A)^+ x``."""
        return self.operator.apply(self._least(x))
