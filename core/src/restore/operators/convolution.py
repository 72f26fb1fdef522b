"""Blurs of each frame, and blurs over time.

A circular blur is diagonal in the Fourier basis. A full convolution is a circular one on the grid of its output, of a
frame with a border of zeros. With P the crop to the frame, Q to the border, C the circular blur and
``G = (C^T C + rho I)^-1``, which the FFT gives,

    ``(A^T A + rho I)^-1 = P G P^T - P G Q^T (Q G Q^T)^-1 Q G P^T``

(block inversion), so that the exact data step costs two FFT pairs and one triangular factor as large as the border. A
valid convolution is the transpose of a full one.
"""

from __future__ import annotations

from functools import cached_property
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.operators.base import Operator
from restore.operators.circular import CircularBlur, check_kernel, full_precision
from restore.operators.diagonal import clip_sizes
from restore.operators.kernels import Boundary, toeplitz
from restore.operators.separable import Separable
from restore.operators.solvers import Rho, conjugate_gradients, each_value, implicit_solve, linear_map, spread
from restore.operators.structure import Side, Spectral, Structure

# Larger borders would need more memory for the factor than the frames: preconditioned conjugate gradients instead.
BORDER_LIMIT = 4224
# Factors for this many numbers in all are kept, and for four values of rho at least.
FACTOR_NUMBERS = 1 << 24
# Wider borders are padded before the convolution: inside of it they cost it its fast path on CPUs (ten times the time).
CONV_PADDING = 3
# More taps than this are convolved by FFT.
TAPS_LIMIT = 121
SEPARABLE_LIMIT = 2048


def _smooth(n: int) -> int:
    """The next size, ``n`` or more, without a prime factor above 13: others cost an FFT several times the time."""
    while True:
        rest = n
        for prime in (2, 3, 5, 7, 11, 13):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


class FullBlur(Operator):
    """The full convolution of every frame, zeros outside: ``(T, C, H, W)`` to ``(T, C, H + kh - 1, W + kw - 1)``.

    Args:
        shape: ``(T, C, H, W)``.
        kernel: ``(kh, kw)``, not all 0.

    Raises:
        ValueError: a kernel that is not a matrix of finite numbers, or is 0.
    """

    def __init__(self, shape: Sequence[int], kernel: Tensor) -> None:
        self.kernel = check_kernel(kernel)
        if not bool(self.kernel.any()):
            raise ValueError("a blur kernel must have a tap that is not 0")
        frames, channels, height, width = clip_sizes(shape)
        kh, kw = self.kernel.shape
        super().__init__((frames, channels, height, width), (frames, channels, height + kh - 1, width + kw - 1))
        self.grid = tuple(_smooth(n) for n in self.shape.output[2:])

    @cached_property
    def transfer(self) -> Tensor:
        """``rfft2`` of the kernel on the grid, which is as large as the output or a little larger."""
        spectrum: Tensor = torch.fft.rfft2(self.kernel, s=self.grid)
        return spectrum

    def _convolve(self, x: Tensor, name: str, weight: Tensor, padding: tuple[int, int]) -> Tensor:
        # All planes as channels of one image: as a batch of one-channel images the same is many times slower on CPUs.
        planes = x.flatten(0, 2).unsqueeze(0)
        kernel = self.parameter(name, weight, x).expand(planes.shape[1], 1, *weight.shape)
        if max(padding) > CONV_PADDING:
            planes, padding = F.pad(planes, (padding[1], padding[1], padding[0], padding[0])), (0, 0)
        out = F.conv2d(planes, kernel, padding=padding, groups=planes.shape[1])
        return out.view(*x.shape[:3], *out.shape[2:])

    def apply(self, x: Tensor) -> Tensor:
        """The convolution."""
        if self.kernel.numel() > TAPS_LIMIT:
            rows, columns = self.shape.output[2:]
            return self.circular(x, self.transfer, "transfer")[..., :rows, :columns]
        kh, kw = self.kernel.shape
        return self._convolve(x, "flipped", self.kernel.flip(0, 1), (kh - 1, kw - 1))

    def back(self, y: Tensor) -> Tensor:
        """The valid correlation."""
        if self.kernel.numel() > TAPS_LIMIT:
            return self.crop(self.circular(y, self.transfer.conj().resolve_conj(), "conjugate"))
        return self._convolve(y, "kernel", self.kernel, (0, 0))

    def crop(self, on_grid: Tensor) -> Tensor:
        """P: the frame out of the grid."""
        height, width = self.shape.input[2:]
        return on_grid[..., :height, :width]

    def circular(self, x: Tensor, transfer: Tensor, name: str) -> Tensor:
        """A circular convolution on the grid of a frame with zeros around it."""
        c = torch.fft.rfft2(full_precision(x), s=self.grid)
        out: Tensor = torch.fft.irfft2(c * self.parameter(name, transfer, c), s=self.grid)
        return out.to(x.dtype)

    def planes(self, frames: int, channels: int) -> Operator:
        """The same blur."""
        return FullBlur((frames, channels, *self.shape.input[2:]), self.kernel)

    def merged(self, inner: Operator) -> Operator | None:
        """Kernels convolve."""
        if not isinstance(inner, FullBlur):
            return None
        wide = FullBlur((1, 1, *inner.kernel.shape), self.kernel)
        return FullBlur(inner.shape.input, wide(inner.kernel[None, None, None])[0, 0, 0])

    def solver(self) -> Structure:
        """Per axis where the kernel is separable, else by the border."""
        u, s, vh = torch.linalg.svd(self.kernel)
        if max(self.shape.output[2:]) <= SEPARABLE_LIMIT and (s.numel() == 1 or s[1] <= 1e-14 * s[0]):
            height, width = self.shape.input[2:]
            axes = {2: toeplitz(height, u[:, 0] * s[0]), 3: toeplitz(width, vh[0])}
            product = Separable(self.shape.input, axes).structure
            if isinstance(product, Spectral):
                return product.times(self, 1.0)
        return Bordered(self)


class Bordered(Structure):
    """The exact solve of a full convolution through a circular one and a factor as large as the border."""

    side: Side = "normal"
    operator: FullBlur

    def __init__(self, operator: FullBlur) -> None:
        super().__init__(operator)
        self._factors: dict[float, tuple[Tensor, Tensor]] = {}
        (height, width), (rows, columns) = operator.shape.input[2:], operator.grid
        self.size = rows * columns - height * width
        self.exact = self.size <= BORDER_LIMIT
        self.name = "bordered fft" if self.exact else "preconditioned conjugate gradients"

    def describe(self) -> str:
        """The size of the border and what it means."""
        rows, columns = self.operator.grid
        if self.exact:
            return f"Fourier basis of {rows}x{columns} and a Cholesky factor of its border, {self.size}x{self.size}"
        return f"a border of {self.size} pixels is too large to factor: conjugate gradients, circulant preconditioner"

    @cached_property
    def _power(self) -> Tensor:
        return self.operator.transfer.abs() ** 2

    @cached_property
    def _border(self) -> tuple[Tensor, Tensor]:
        (height, width), (rows, columns) = self.operator.shape.input[2:], self.operator.grid
        outside = torch.ones(rows, columns, dtype=torch.bool)
        outside[:height, :width] = False
        r, c = outside.nonzero(as_tuple=True)
        return r, c

    def _factor(self, rho: float) -> tuple[Tensor, Tensor]:
        """The spectrum of G and the Cholesky factor of ``Q G Q^T``, float64; the last few rho are kept."""
        if rho not in self._factors:
            rows, columns = self.operator.grid
            spectrum = 1 / (self._power + rho)
            kernel = torch.fft.irfft2(spectrum.to(torch.complex128), s=self.operator.grid).flatten()
            r, c = self._border
            shifts = ((r[:, None] - r) % rows).mul_(columns).add_((c[:, None] - c) % columns)
            if len(self._factors) >= max(4, FACTOR_NUMBERS // max(1, self.size) ** 2):
                self._drop(next(iter(self._factors)))
            self._factors[rho] = spectrum, torch.linalg.cholesky(kernel[shifts])
        return self._factors[rho]

    def _drop(self, rho: float) -> None:
        del self._factors[rho]
        for key in [k for k in self.operator._cast if k[0] in (f"spectrum {rho}", f"factor {rho}")]:
            del self.operator._cast[key]

    def _inverse_circular(self, x: Tensor, rho: float, spectrum: Tensor) -> Tensor:
        c = torch.fft.rfft2(x, s=self.operator.grid)
        inverse = self.operator.parameter(f"spectrum {rho}", spectrum, c.real)
        out: Tensor = torch.fft.irfft2(c * inverse, s=self.operator.grid)
        return out

    def _solve_exact(self, b: Tensor, rho: float) -> Tensor:
        a = self.operator
        spectrum, factor = self._factor(rho)
        u = self._inverse_circular(full_precision(b), rho, spectrum)
        if self.size:
            r, c = (i.to(b.device) for i in self._border)
            lower = a.parameter(f"factor {rho}", factor, u)
            on_border = u[..., r, c]
            w = torch.cholesky_solve(on_border.reshape(-1, self.size).T, lower).T.reshape(on_border.shape)
            correction = torch.zeros_like(u)
            correction[..., r, c] = w
            u = u - self._inverse_circular(correction, rho, spectrum)
        return a.crop(u).to(b.dtype)

    def _solve_iterated(self, b: Tensor, rho: Rho) -> Tensor:
        a = self.operator

        def precondition(x: Tensor) -> Tensor:
            c = torch.fft.rfft2(full_precision(x), s=a.grid)
            power = a.parameter("power", self._power, c.real)
            return a.crop(torch.fft.irfft2(c / (power + spread(rho, c)), s=a.grid)).to(x.dtype)

        def system(p: Tensor) -> Tensor:
            return a.back(a.apply(p)) + spread(rho, p) * p

        return conjugate_gradients(system, b, precondition=precondition, what=f"data step of {a!r}").x

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """Exact where the border is small, else iterated; differentiated implicitly either way."""

        def solve(rhs: Tensor, weight: Rho) -> Tensor:
            if self.exact:
                return each_value(weight, rhs, self._solve_exact)
            return self._solve_iterated(rhs, weight.detach() if isinstance(weight, Tensor) else weight)

        return implicit_solve(solve, b, rho)

    def _least(self, b: Tensor) -> Tensor:
        """``(A^T A)^-1 b`` in float64: conjugate gradients whose preconditioner is the data step at a tiny rho."""
        a = self.operator
        tiny = 1e-9 * float(self._power.max())

        def precondition(x: Tensor) -> Tensor:
            return self._solve_exact(x, tiny) if self.exact else self._circulant(x)

        what = f"pseudo-inverse of {a!r}"
        solved = conjugate_gradients(
            lambda p: a.back(a.apply(p)), b, precondition=precondition, max_iter=4000, what=what
        )
        return solved.x

    def _circulant(self, x: Tensor) -> Tensor:
        a = self.operator
        c = torch.fft.rfft2(x, s=a.grid)
        power = a.parameter("power", self._power, c.real)
        return a.crop(torch.fft.irfft2(c / (power + 1e-5 * self._power.max().to(power)), s=a.grid))

    # In float64 from the measurement on: A^T A squares a condition that rounding would otherwise be multiplied by.

    def _pinv(self, y: Tensor) -> Tensor:
        return self._least(self.operator.back(y.double())).to(y.dtype)

    def _pinv_t(self, x: Tensor) -> Tensor:
        return self.operator.apply(self._least(x.double())).to(x.dtype)

    def pinv(self, y: Tensor) -> Tensor:
        """``(A^T A)^-1 A^T y``: a full convolution loses nothing."""
        return linear_map(self._pinv, self._pinv_t, y)

    def pinv_t(self, x: Tensor) -> Tensor:
        """``A (A^T A)^-1 x``."""
        return linear_map(self._pinv_t, self._pinv, x)


def blur(shape: Sequence[int], kernel: Tensor, boundary: Boundary = "full") -> Operator:
    """A blur of every frame of ``(T, C, H, W)``.

    Args:
        shape: ``(T, C, H, W)``.
        kernel: ``(kh, kw)``.
        boundary: ``full``, the frame grows by ``kh - 1`` and ``kw - 1`` (zeros outside); ``valid``, it shrinks by
            as much; ``circular``, it wraps around.

    Raises:
        ValueError: a kernel that does not fit, or an unknown boundary.
    """
    kernel = check_kernel(kernel)
    frames, channels, height, width = clip_sizes(shape)
    if boundary == "circular":
        return CircularBlur(shape, kernel)
    if boundary == "full":
        return FullBlur(shape, kernel)
    if boundary != "valid":
        raise ValueError(f"the boundary must be 'full', 'valid' or 'circular', got {boundary!r}")
    kh, kw = kernel.shape
    if kh > height or kw > width:
        raise ValueError(f"a valid blur needs a kernel no larger than the frame {height}x{width}, got {kh}x{kw}")
    # What a valid convolution with k does is what the adjoint of the full one with k turned by 180 degrees does.
    return FullBlur((frames, channels, height - kh + 1, width - kw + 1), kernel.flip(0, 1)).T


def temporal_blur(shape: Sequence[int], taps: Tensor, boundary: Boundary = "full") -> Separable:
    """A blur over time, one small matrix on the time axis: disk (equal taps), motion, or any taps.

    Args:
        shape: ``(T, C, H, W)``.
        taps: ``(k,)``; four of 1/4 are VideoOneNet's problem TDD.
        boundary: ``full`` gives ``T + k - 1`` frames, ``valid`` ``T - k + 1``, ``circular`` T.

    Raises:
        ValueError: taps that do not fit.
    """
    return Separable(shape, {0: toeplitz(clip_sizes(shape)[0], taps, boundary)})
