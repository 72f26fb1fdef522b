"""Compressive sensing of a whole clip, and of the differences between frames."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Hashable, Sequence

import torch
from torch import Tensor

from restore.operators.base import Operator
from restore.operators.constants import Constants, Diagonal
from restore.operators.diagonal import clip_sizes
from restore.operators.rows import GaussianRows, Kind, measurements, random_rows
from restore.operators.solvers import Rho, each_value, implicit_solve, linear_map
from restore.operators.structure import Side, Structure

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
    """``(Phi Phi^T + rho I)^-1`` by Cholesky in float64; the inverse of each of the last four rho is kept.

    It is well conditioned (4 at 10 % of measurements), and one product with it takes half the time of two triangular
    solves.
    """

    name = "cholesky"
    side: Side = "dual"

    def __init__(self, operator: Operator, rows: GaussianRows) -> None:
        super().__init__(operator)
        self.rows = rows
        self._grams: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self._constants = Constants()

    def describe(self) -> str:
        """The size of the factor."""
        return f"dense {self.rows.m}x{self.rows.n} Gaussian rows, Cholesky factor of Phi Phi^T + rho I"

    def _inverted(self, rho: float, like: Tensor) -> tuple[Tensor]:
        where = like.dtype, like.device
        if where not in self._grams:
            phi = self.rows.like(like)
            self._grams[where] = phi @ phi.T
        gram = self._grams[where].to(torch.float64, copy=True)
        gram.diagonal().add_(rho)
        return (torch.cholesky_inverse(torch.linalg.cholesky(gram)),)

    def _solve(self, r: Tensor, rho: float) -> Tensor:
        long = r if r.dtype in (torch.float32, torch.float64) else r.float()
        inverse = self._constants.get(rho, long, lambda: self._inverted(rho, long))[0]
        return (long @ inverse).to(r.dtype)

    def dual(self, r: Tensor, rho: Rho) -> Tensor:
        """One product."""
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

    def __init__(self, operator: VideoSensing) -> None:
        super().__init__(operator)
        self._constants = Constants()

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

    def _solved(self, rho: Rho, like: Tensor) -> tuple[Tensor, Tensor]:
        """What multiplies the row space, ``(..., m or 1, T, T)``, and all else, ``(..., T, 1, 1)``, in float64.

        The row space's inverses come less the rest's, which is added everywhere.
        """
        systems = self._systems.to(like.device)
        eye = torch.eye(systems.shape[-1], dtype=torch.float64, device=like.device)
        corner = eye[0]
        if isinstance(rho, Tensor):
            weight = rho.to(eye)
            weight = weight.view(-1, 1, 1, 1) if weight.ndim else weight
            rest = 1 / (corner + (weight.view(-1, 1) if weight.ndim else weight))
        else:
            weight = torch.tensor(rho, dtype=torch.float64, device=like.device)
            rest = 1 / (corner + weight) if rho else corner
        inverses = torch.linalg.inv(systems + weight * eye)
        apart = torch.diag_embed(rest)
        return inverses - (apart[:, None] if apart.ndim == 3 else apart), rest[..., None, None]

    def _divide(self, b: Tensor, rho: Rho) -> Tensor:
        """``(A^T A + rho I)^-1 b``; at 0 the pseudo-inverse."""
        if isinstance(rho, Tensor):
            inverses, rest = (t.to(b.dtype) for t in self._solved(rho, b))
        else:
            weight = rho
            inverses, rest = self._constants.get(rho, b, lambda: self._solved(weight, b))
        planes = b.flatten(3)
        q = self._to(planes)
        if inverses.shape[-3] == 1:
            on = (inverses.squeeze(-3) @ q.flatten(2)).view(q.shape)
        else:
            on = torch.einsum("...mts,...scm->...tcm", inverses, q)
        return (planes * rest + self._from(on)).view(b.shape)

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """One product with the basis there, one back."""
        return self._divide(b, rho)

    def _least(self, b: Tensor) -> Tensor:
        return self._divide(b, 0.0)

    def pinv(self, y: Tensor) -> Tensor:
        """``(A^T A)^+ A^T y``: off the row space only the first frame is known."""
        return self._least(self.operator.back(y))

    def pinv_t(self, x: Tensor) -> Tensor:
        """``A (A^T A)^+ x``."""
        return self.operator.apply(self._least(x))
