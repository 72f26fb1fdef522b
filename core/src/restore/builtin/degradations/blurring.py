"""Blurs in space and time as degradations."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from restore.builtin.degradations.linear import LinearDegradation, Shape, Sigma, device_of
from restore.contracts import Place, Window
from restore.errors import RequestError
from restore.operators import Mixed, Operator, blur, temporal_blur
from restore.operators.kernels import Boundary, disk, motion_legacy, motion_line

OwnMotion = TypeVar("OwnMotion", bound="MotionBlur")


def _check_boundary(boundary: str) -> None:
    if boundary not in ("full", "valid", "circular"):
        raise ValueError(f"boundary must be 'full', 'valid' or 'circular', got {boundary!r}")


def check_kernel_fits(kernel: Tensor, height: int, width: int) -> None:
    """RequestError for a kernel that is larger than the frames."""
    rows, columns = kernel.shape
    if rows > height or columns > width:
        raise RequestError(f"operator: a blur kernel of {columns}x{rows} is larger than the frames of {width}x{height}")


def blurred_window(observed: Tensor, kernel: Tensor) -> Window:
    """A window of a blurred video, whatever the blur did at the edges of its frames: what it shows is the valid part of
    the convolution of a scene that reaches beyond it on all sides by what the kernel covers."""
    frames, channels, height, width = observed.shape[1:]
    rows, columns = kernel.shape
    operator = blur((frames, channels, height + rows - 1, width + columns - 1), kernel, "valid")
    # Tap k // 2 is the centre.
    return Window(operator, observed, (0, rows - 1 - rows // 2, columns - 1 - columns // 2))


class KernelBlur(LinearDegradation):
    """A blur of every frame with one kernel."""

    def __init__(self, kernel: Tensor, boundary: Boundary, sigma: Sigma) -> None:
        super().__init__(sigma)
        _check_boundary(boundary)
        self.kernel, self.boundary = kernel, boundary

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Operator:
        """The blur."""
        return blur(shape, self.kernel, self.boundary)

    def check_video(self, frames: int, height: int, width: int) -> None:
        """RequestError for a kernel that is larger than the frames."""
        check_kernel_fits(self.kernel, height, width)

    def window(self, observed: Tensor, place: Place) -> Window:
        """See :func:`blurred_window`."""
        return blurred_window(observed, self.kernel)


class DiskBlur(KernelBlur):
    """Out of focus: equal taps within a disk.

    Args:
        size: of the kernel.
        radius: in pixels; 4 and 2 give twelve taps (VideoOneNet's problem DD).
        boundary: ``full``, frames grow by the kernel less one; ``valid``, they shrink by as much;
            ``circular``, they wrap.
        sigma: noise, see :class:`LinearDegradation`.

    Raises:
        ValueError: a disk without taps, an unknown boundary, or a negative sigma.
    """

    def __init__(self, size: int = 4, radius: float = 2.0, boundary: Boundary = "full", sigma: Sigma = 0.0) -> None:
        super().__init__(disk(size, radius), boundary, sigma)


class FileBlur(KernelBlur):
    """A blur with the kernel of a file.

    Args:
        path: a ``.npy`` matrix, taken as it is, or an image, whose grey levels are divided by their sum.
        boundary: ``full``, ``valid`` or ``circular``, as for :class:`DiskBlur`.
        sigma: noise, see :class:`LinearDegradation`.

    Raises:
        RequestError: there is no such file, or it holds no kernel.
        ValueError: an unknown boundary, or a negative sigma.
    """

    def __init__(self, path: Path, boundary: Boundary = "full", sigma: Sigma = 0.0) -> None:
        super().__init__(_read_kernel(path), boundary, sigma)
        self.path = path


def _read_kernel(path: Path) -> Tensor:
    if path.suffix.lower() != ".npy":
        from restore.media.image import read_image

        levels = torch.from_numpy(read_image(path).pixels.astype(np.float64)).mean(-1)
        if not bool(levels.any()):
            raise RequestError(f"{path} is black: it holds no blur kernel")
        return levels / levels.sum()
    try:
        kernel = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise RequestError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} is no NumPy file of numbers: {error}") from error
    if kernel.ndim != 2 or kernel.dtype.kind not in "fiu" or not np.isfinite(kernel).all() or not kernel.any():
        raise RequestError(f"{path} must hold a matrix of finite numbers, not all 0, got {kernel.dtype}{kernel.shape}")
    return torch.from_numpy(kernel.astype(np.float64))


class MotionBlur(LinearDegradation):
    """Motion along a line, in a direction of its own for every sample.

    Args:
        length: odd number of taps; the kernel is as large.
        angle: degrees, counter-clockwise from the right; absent: drawn for every sample from [0, 360).
        legacy_3x3: the 3x3 kernel that VideoOneNet's published code builds in place of the paper's 7x7; ``length`` does
            not count then.
        boundary: ``full``, ``valid`` or ``circular``, as for :class:`DiskBlur`.
        sigma: noise, see :class:`LinearDegradation`.

    Raises:
        ValueError: an even length, an unknown boundary, or a negative sigma.
    """

    def __init__(
        self,
        length: int = 7,
        angle: float | None = None,
        legacy_3x3: bool = False,
        boundary: Boundary = "full",
        sigma: Sigma = 0.0,
    ) -> None:
        super().__init__(sigma)
        motion_line(length)
        _check_boundary(boundary)
        self.length, self.angle, self.legacy_3x3, self.boundary = length, angle, legacy_3x3, boundary
        self.fixed = angle is not None

    def settled(self: OwnMotion, generator: torch.Generator | None) -> OwnMotion:
        """The same with one direction for a whole video."""
        other = super().settled(generator)
        if other.angle is None:
            other.angle, other.fixed = self._angles(1, generator)[0], True
        return other

    def _angles(self, count: int, generator: torch.Generator | None) -> list[float]:
        unit = torch.rand(count, generator=generator, dtype=torch.float64, device=device_of(generator))
        return [360 * float(u) for u in unit.tolist()]

    def _kernel(self, angle: float) -> Tensor:
        return motion_legacy(angle) if self.legacy_3x3 else motion_line(self.length, angle)

    def _blur(self, shape: Shape, angle: float) -> Operator:
        return blur(shape, self._kernel(angle), self.boundary)

    def check_video(self, frames: int, height: int, width: int) -> None:
        """RequestError without an angle, or for a kernel that is larger than the frames."""
        super().check_video(frames, height, width)
        check_kernel_fits(self._kernel(self.angle or 0.0), height, width)

    def window(self, observed: Tensor, place: Place) -> Window:
        """See :func:`blurred_window`."""
        return blurred_window(observed, self._kernel(self.angle or 0.0))

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Operator | Mixed:
        """One blur, or one per sample."""
        if self.angle is not None:
            return self._blur(shape, self.angle)
        made = [self._blur(shape, angle) for angle in self._angles(count, generator)]
        return made[0] if count == 1 else Mixed(made)


class TemporalBlur(LinearDegradation):
    """A long exposure: every frame is a mean of neighbours in time.

    Args:
        frames: number of equal taps; four are VideoOneNet's problem TDD.
        weights: the taps themselves instead.
        boundary: ``full`` gives ``T + taps - 1`` frames, ``valid`` ``T - taps + 1``, ``circular`` T.
        sigma: noise, see :class:`LinearDegradation`.

    Raises:
        ValueError: fewer than one tap, an unknown boundary, or a negative sigma.
    """

    per_frame = False

    def __init__(
        self, frames: int = 4, weights: list[float] | None = None, boundary: Boundary = "full", sigma: Sigma = 0.0
    ) -> None:
        super().__init__(sigma)
        _check_boundary(boundary)
        if frames < 1 or (weights is not None and not any(weights)):
            raise ValueError(f"a blur in time needs at least one tap that is not 0, got {weights or frames}")
        taps = [1 / frames] * frames if weights is None else weights
        self.taps, self.boundary = torch.tensor(taps, dtype=torch.float64), boundary

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Operator:
        """One small matrix over time."""
        return temporal_blur(shape, self.taps, self.boundary)

    def window(self, observed: Tensor, place: Place) -> Window:
        """The valid part of a longer scene."""
        frames, channels, height, width = observed.shape[1:]
        reach = self.taps.numel() - 1
        operator = temporal_blur((frames + reach, channels, height, width), self.taps, "valid")
        return Window(operator, observed, (reach - self.taps.numel() // 2, 0, 0))
