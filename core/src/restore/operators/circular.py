"""Circular blurs: diagonal in the Fourier basis."""

from __future__ import annotations

from functools import cached_property
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.operators.base import Operator
from restore.operators.constants import RCOND, Constants
from restore.operators.diagonal import clip_sizes
from restore.operators.solvers import Rho, spread
from restore.operators.structure import Side, Structure


def check_kernel(kernel: Tensor) -> Tensor:
    """A blur kernel in float64.

    Raises:
        ValueError: not a matrix of finite numbers.
    """
    if kernel.ndim != 2 or kernel.numel() < 1 or not bool(torch.isfinite(kernel).all()):
        raise ValueError(f"a blur kernel is a matrix of finite numbers, got the shape {tuple(kernel.shape)}")
    return kernel.to(torch.float64)


def full_precision(x: Tensor) -> Tensor:
    """``x``, or float32 where it is shorter: the FFT knows no half precision."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


class Circulant(Operator):
    """A circular convolution of every frame, given by its transfer function.

    Args:
        shape: ``(T, C, H, W)``.
        transfer: complex ``(H, W//2 + 1)``, the ``rfft2`` of a real impulse response.
    """

    def __init__(self, shape: Sequence[int], transfer: Tensor) -> None:
        super().__init__(clip_sizes(shape), clip_sizes(shape))
        self.transfer = transfer.to(torch.complex128)

    def forward_spectrum(self, x: Tensor) -> Tensor:
        """``rfft2`` of the frames."""
        spectrum: Tensor = torch.fft.rfft2(full_precision(x))
        return spectrum

    def from_spectrum(self, spectrum: Tensor, like: Tensor) -> Tensor:
        """Frames of a spectrum, in the dtype of ``like``."""
        frames: Tensor = torch.fft.irfft2(spectrum, s=self.shape.input[2:])
        return frames.to(like.dtype)

    def apply(self, x: Tensor) -> Tensor:
        """Multiplies the spectrum."""
        c = self.forward_spectrum(x)
        return self.from_spectrum(c * self.parameter("transfer", self.transfer, c), x)

    def back(self, y: Tensor) -> Tensor:
        """Multiplies by the conjugate."""
        c = self.forward_spectrum(y)
        return self.from_spectrum(c * self.parameter("conjugate", self._conjugate, c), y)

    @cached_property
    def _conjugate(self) -> Tensor:
        return self.transfer.conj().resolve_conj()

    def merged(self, inner: Operator) -> Operator | None:
        """Transfer functions multiply."""
        return Circulant(self.shape.input, self.transfer * inner.transfer) if isinstance(inner, Circulant) else None

    def added(self, other: Operator) -> Operator | None:
        """Transfer functions add."""
        return Circulant(self.shape.input, self.transfer + other.transfer) if isinstance(other, Circulant) else None

    def multiplied(self, factor: float) -> Operator:
        """Its transfer function, multiplied."""
        return Circulant(self.shape.input, self.transfer * factor)

    def planes(self, frames: int, channels: int) -> Operator:
        """The same blur."""
        return Circulant((frames, channels, *self.shape.input[2:]), self.transfer)

    def solver(self) -> Structure:
        """A division in the Fourier basis."""
        return Fourier(self)

    @cached_property
    def T(self) -> Operator:
        """The conjugate transfer function."""
        return Circulant(self.shape.input, self._conjugate)


class CircularBlur(Circulant):
    """A blur of every frame whose edges wrap around: ``(T, C, H, W)`` to the same.

    Args:
        shape: ``(T, C, H, W)``.
        kernel: ``(kh, kw)``; tap ``(kh // 2, kw // 2)`` stays in place.

    Raises:
        ValueError: a kernel larger than the frame, or one that is not a matrix of finite numbers.
    """

    def __init__(self, shape: Sequence[int], kernel: Tensor) -> None:
        self.kernel = check_kernel(kernel)
        (kh, kw), (height, width) = self.kernel.shape, clip_sizes(shape)[2:]
        if kh > height or kw > width:
            raise ValueError(f"a circular blur needs a kernel no larger than the frame {height}x{width}, got {kh}x{kw}")
        wrapped = F.pad(self.kernel, (0, width - kw, 0, height - kh)).roll((-(kh // 2), -(kw // 2)), (0, 1))
        super().__init__(shape, torch.fft.rfft2(wrapped))


class Fourier(Structure):
    """``A = F^* diag(k) F``: ``z = F^* (conj(k) F y + rho F v)/(|k|^2 + rho)``, two transforms per step."""

    name = "fft"
    side: Side = "normal"
    operator: Circulant

    def describe(self) -> str:
        """The grid."""
        height, width = self.operator.shape.input[2:]
        return f"diagonal in the Fourier basis of {height}x{width} frames"

    def __init__(self, operator: Circulant) -> None:
        super().__init__(operator)
        self._constants = Constants()

    @cached_property
    def _power(self) -> Tensor:
        return self.operator.transfer.abs() ** 2

    @cached_property
    def _inverse(self) -> Tensor:
        k = self.operator.transfer
        kept = k.abs() > RCOND * k.abs().max()
        return torch.where(kept, 1 / torch.where(kept, k, torch.ones_like(k)), torch.zeros_like(k))

    def _denominator(self, c: Tensor, rho: Rho) -> Tensor:
        power: Tensor = self.operator.parameter("power", self._power, c.real)
        return power + spread(rho, c)

    def prepare(self, y: Tensor) -> Tensor:
        """The spectrum of ``y``."""
        return self.operator.forward_spectrum(y)

    def step(self, v: Tensor, prepared: Tensor, rho: Rho) -> Tensor:
        """One transform there, one back."""
        c = self.operator.forward_spectrum(v)
        if isinstance(rho, Tensor):
            conjugate = self.operator.parameter("conjugate", self.operator._conjugate, c)
            return self.operator.from_spectrum(
                (conjugate * prepared + spread(rho, c) * c) / self._denominator(c, rho), v
            )
        weight, k = rho, self.operator.transfer
        of_y, of_v = self._constants.get(
            rho, c, lambda: (k.conj().resolve_conj() / (self._power + weight), weight / (self._power + weight))
        )
        return self.operator.from_spectrum(prepared * of_y + c * of_v, v)

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """A division."""
        c = self.operator.forward_spectrum(b)
        return self.operator.from_spectrum(c / self._denominator(c, rho), b)

    def dual(self, r: Tensor, rho: Rho) -> Tensor:
        """The same: ``A A^T = A^T A``."""
        return self.normal(r, rho)

    def pinv(self, y: Tensor) -> Tensor:
        """``1/k`` where k is not 0."""
        c = self.operator.forward_spectrum(y)
        return self.operator.from_spectrum(c * self.operator.parameter("inverse", self._inverse, c), y)

    def pinv_t(self, x: Tensor) -> Tensor:
        """The conjugate."""
        c = self.operator.forward_spectrum(x)
        return self.operator.from_spectrum(c * self.operator.parameter("inverse", self._inverse, c).conj(), x)
