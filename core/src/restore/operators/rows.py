"""Random measurement vectors: dense Gaussian ones, and structured ones for signals too long for a matrix."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from restore.operators.constants import lasting

Kind = Literal["auto", "gaussian", "structured"]


def draw(seed: int) -> torch.Generator:
    """A generator on the CPU: the same numbers for every device."""
    return torch.Generator().manual_seed(seed)


class GaussianRows:
    """``m`` rows of ``n`` independent N(0, 1)/sqrt(m) entries, float32 (other dtypes get the same numbers).

    Only the seed is kept in a pickle.
    """

    gram: float | None = None

    def __init__(self, m: int, n: int, seed: int) -> None:
        self.m, self.n, self.seed = m, n, seed
        self._cast: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    @cached_property
    def matrix(self) -> Tensor:
        """``(m, n)``."""
        normal: Tensor = torch.randn(self.m, self.n, generator=draw(self.seed))
        return normal / math.sqrt(self.m)

    def like(self, x: Tensor) -> Tensor:
        """The matrix in the dtype and on the device of ``x``."""
        key = x.dtype, x.device
        if key not in self._cast:
            self._cast[key] = lasting(self.matrix, x)
        return self._cast[key]

    def apply(self, x: Tensor) -> Tensor:
        """``(..., n)`` to ``(..., m)``."""
        return x @ self.like(x).T

    def back(self, y: Tensor) -> Tensor:
        """``(..., m)`` to ``(..., n)``, the transpose."""
        return y @ self.like(y)

    def __getstate__(self) -> dict[str, object]:
        return {"m": self.m, "n": self.n, "seed": self.seed, "_cast": {}}


class HartleyRows:
    """``sqrt(n/m)`` times m random rows of the orthonormal Hartley transform after random signs: ``R R^T = (n/m) I``.

    Costs one FFT and keeps n signs and m indices, where a matrix would have n m entries; its rows have the norm that
    Gaussian ones have on average (subsampled randomised transforms: Do, Gan, Nguyen and Tran, IEEE TSP 2012).
    """

    def __init__(self, m: int, n: int, seed: int) -> None:
        self.m, self.n, self.seed = m, n, seed
        self.gram: float | None = n / m
        self._drawn: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Signs ``(n,)`` and rows ``(m,)``, drawn on the CPU and kept where they are used."""
        if device not in self._drawn:
            # Ordinary tensors even under inference_mode: a backward may need them later.
            with torch.inference_mode(False):
                generator = draw(self.seed)
                signs = torch.randint(0, 2, (self.n,), generator=generator, dtype=torch.int8) * 2 - 1
                index = torch.randperm(self.n, generator=generator)[: self.m].sort().values
                self._drawn[device] = signs.to(device), index.to(device)
        return self._drawn[device]

    def _transform(self, x: Tensor) -> Tensor:
        """The orthonormal Hartley transform of the last axis; it is symmetric and its own inverse."""
        long = x if x.dtype in (torch.float32, torch.float64) else x.float()
        f = torch.fft.rfft(long, norm="ortho")
        real, imaginary = f.real, f.imag
        mirrored = (real + imaginary)[..., 1 : (self.n + 1) // 2].flip(-1)
        return torch.cat([real - imaginary, mirrored], dim=-1).to(x.dtype)

    def apply(self, x: Tensor) -> Tensor:
        """``(..., n)`` to ``(..., m)``."""
        signs, index = self._on(x.device)
        return self._transform(x * signs)[..., index] * math.sqrt(self.n / self.m)

    def back(self, y: Tensor) -> Tensor:
        """``(..., m)`` to ``(..., n)``, the transpose."""
        signs, index = self._on(y.device)
        spread = y.new_zeros(*y.shape[:-1], self.n).index_copy(-1, index, y)
        return self._transform(spread) * signs * math.sqrt(self.n / self.m)

    def __getstate__(self) -> dict[str, object]:
        return {"m": self.m, "n": self.n, "seed": self.seed, "gram": self.gram, "_drawn": {}}


def measurements(n: int, ratio: float) -> int:
    """``round(ratio * n)``, at least 1.

    Raises:
        ValueError: a ratio outside (0, 1].
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"the ratio of measurements must lie in (0, 1], got {ratio}")
    return max(1, round(ratio * n))


def random_rows(m: int, n: int, seed: int, kind: Kind, limit: int) -> GaussianRows | HartleyRows:
    """Rows of a kind; ``auto`` takes Gaussian ones up to ``limit`` entries and structured ones above.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in ("auto", "gaussian", "structured"):
        raise ValueError(f"the kind of rows must be 'auto', 'gaussian' or 'structured', got {kind!r}")
    gaussian = kind == "gaussian" or (kind == "auto" and m * n <= limit)
    return GaussianRows(m, n, seed) if gaussian else HartleyRows(m, n, seed)
