"""Degradations that are a linear operator and, if asked for, white noise on what it measures.

``Pair.operator`` is the operator that was applied, so that models which need it (unrolled ADMM) have it.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor

from restore.builtin.degradations.draw import check_range, draw
from restore.contracts import Pair, Place, Step, Window
from restore.errors import RequestError
from restore.operators import (
    BoxDownsample,
    Grey,
    Mask,
    Mixed,
    Operator,
    frame_interpolation,
    frame_prediction,
    gaussian_downsample,
)
from restore.operators.resampling import BlurBorder

Shape = tuple[int, int, int, int]
Sigma = float | tuple[float, float]
Own = TypeVar("Own", bound="LinearDegradation")


def device_of(generator: torch.Generator | None) -> torch.device:
    """Where to draw, so that a seed means the same on every device."""
    return generator.device if generator is not None else torch.device("cpu")


class LinearDegradation(ABC):
    """A linear operator with noise. A subclass gives :meth:`operator`.

    Args:
        sigma: standard deviation of the noise on the [0, 1] scale, or a range from which each sample draws its own. It
            is added to what is measured; where a mask hides a value nothing is measured, and there is no noise.

    Attributes:
        per_frame: frames are spoilt independently of each other.

    Raises:
        ValueError: a negative sigma, or a range whose ends are not in order.
    """

    per_frame = True
    # Nothing random: the operator of a shape is made once, with its factors.
    fixed = True
    # As a measurement of files, see restore.contracts.VideoMeasurement; `no_video` says why it is none.
    rate = 1
    scale = 1
    colours = False
    no_video = ""

    def __init__(self, sigma: Sigma = 0.0) -> None:
        check_range("sigma", sigma, 0)
        self.sigma = sigma
        self._made: tuple[Shape, Operator | Mixed] | None = None

    @abstractmethod
    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Operator | Mixed:
        """The operator for ``count`` clips of ``shape`` = (T, C, H, W), drawn from the generator where it is random.

        Raises:
            ValueError: the operator does not fit the shape.
        """

    def crop(self, clean: Tensor) -> Tensor:
        """The part of the clean clip that the operator takes, and the target: by default all of it."""
        return clean

    def settled(self: Own, generator: torch.Generator | None) -> Own:
        """The same with what is random per sample drawn once, for all frames of a video."""
        other = copy.copy(self)
        other.sigma, other._made = draw(self.sigma, 1, generator)[0], None
        return other

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``(B, T, C, H, W)`` to a pair: the measurement, the clip (cropped where sizes must fit), and the operator.

        Raises:
            ValueError: the operator does not fit the clip.
        """
        target = self.crop(clean)
        frames, channels, height, width = target.shape[1:]
        shape = frames, channels, height, width
        if self.fixed:
            if self._made is None or self._made[0] != shape:
                self._made = shape, self.operator(shape, target.shape[0], None)
            operator = self._made[1]
        else:
            operator = self.operator(shape, target.shape[0], step.generator)
        return Pair(self._noisy(operator(target), operator, step.generator), target, operator)

    def check_video(self, frames: int, height: int, width: int) -> None:
        """RequestError where this cannot have made a video of so many frames of ``height`` by ``width``."""
        name = type(self).__name__
        if self.no_video:
            raise RequestError(f"operator: {name} {self.no_video}, so no file is what it measured")
        if not self.fixed:
            raise RequestError(
                f"operator: {name} draws its operator at random, and a file does not say what was drawn; give all of "
                "its parameters (angle, seed), or name what is missing with core:mask"
            )

    def window(self, observed: Tensor, place: Place) -> Window:
        """Of an operator that keeps the shape: a window's own. See :class:`restore.contracts.VideoMeasurement`."""
        frames, channels, height, width = observed.shape[1:]
        operator = self.operator((frames, channels, height, width), 1, None)
        return Window(operator, observed)

    def kept(self, place: Place, frames: int) -> Tensor | None:
        """Nothing, by default."""
        return None

    def _noisy(self, observed: Tensor, operator: Operator | Mixed, generator: torch.Generator | None) -> Tensor:
        if self.sigma == 0:
            return observed
        count = len(operator.shapes) if isinstance(operator, Mixed) else observed.shape[0]
        sigmas = draw(self.sigma, count, generator)
        weight = torch.tensor(sigmas, dtype=observed.dtype, device=observed.device)
        if isinstance(operator, Mixed) and operator.ragged:
            weight = weight.repeat_interleave(torch.tensor([s.rows for s in operator.shapes], device=observed.device))
        else:
            weight = weight.view(-1, *[1] * (observed.ndim - 1))
        noise = torch.randn(observed.shape, generator=generator, dtype=observed.dtype, device=device_of(generator))
        if isinstance(operator, Mask):
            weight = weight * (operator.mask.to(observed) != 0)
        return observed + weight * noise.to(observed.device)


class BoxDownscale(LinearDegradation):
    """The mean of ``scale`` x ``scale`` boxes.

    Args:
        scale: at least 1.
        crop: whether the target loses the rows and columns at the bottom and right that fill no box; otherwise they
            stay, unseen by the measurement (VideoOneNet's problem SR).
        sigma: noise, see :class:`LinearDegradation`.

    Raises:
        ValueError: a scale below 1, or a negative sigma.
    """

    def __init__(self, scale: int, crop: bool = False, sigma: Sigma = 0.0) -> None:
        super().__init__(sigma)
        if scale < 1:
            raise ValueError(f"scale must be at least 1, got {scale}")
        self.scale, self.cropped = scale, crop

    def crop(self, clean: Tensor) -> Tensor:
        """To whole boxes, if asked for."""
        return whole(clean, self.scale) if self.cropped else clean

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Operator:
        """The boxes."""
        return BoxDownsample(shape, self.scale)

    def window(self, observed: Tensor, place: Place) -> Window:
        """Every pixel is a box."""
        return Window(self.operator(enlarged(observed, self.scale), 1, None), observed)


def enlarged(observed: Tensor, scale: int) -> Shape:
    """(T, C, H, W) of the clean clip of which ``(1, T, C, h, w)`` has a ``scale``-th of the height and width."""
    frames, channels, height, width = observed.shape[1:]
    return frames, channels, scale * height, scale * width


def whole(clean: Tensor, scale: int) -> Tensor:
    """Clips cropped at the bottom and right to multiples of ``scale``.

    Raises:
        ValueError: a side below ``scale``.
    """
    height, width = clean.shape[-2:]
    if min(height, width) < scale:
        raise ValueError(f"frames of {width}x{height} are smaller than one pixel at scale {scale}")
    return clean[..., : height // scale * scale, : width // scale * scale]


class GaussianDownscale(LinearDegradation):
    """BD: Gaussian blur, then every ``scale``-th pixel; the target is cropped to a multiple of the scale.

    Args:
        scale: at least 1.
        blur: standard deviation of the Gaussian in clean pixels; the video super-resolution benchmarks have 1.6.
        size: odd number of taps along each axis.
        border: what lies outside the frame.
        sigma: noise, see :class:`LinearDegradation`.

    Raises:
        ValueError: a scale below 1, a blur not above 0, an even size, or a negative sigma.
    """

    def __init__(
        self, scale: int, blur: float = 1.6, size: int = 13, border: BlurBorder = "reflect", sigma: Sigma = 0.0
    ) -> None:
        super().__init__(sigma)
        if scale < 1:
            raise ValueError(f"scale must be at least 1, got {scale}")
        gaussian_downsample((1, 1, scale, scale), scale, blur, size, border)
        self.scale, self.blur, self.size, self.border = scale, blur, size, border

    def crop(self, clean: Tensor) -> Tensor:
        """To a multiple of the scale."""
        return whole(clean, self.scale)

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Operator:
        """Blur and stride, as a matrix per axis."""
        return gaussian_downsample(shape, self.scale, self.blur, self.size, self.border)

    def window(self, observed: Tensor, place: Place) -> Window:
        """Every pixel is a blurred one. What lies beyond a tile is taken for what lies beyond a frame."""
        return Window(self.operator(enlarged(observed, self.scale), 1, None), observed)


class FrameInterpolation(LinearDegradation):
    """Only every ``rate``-th frame is seen: ``T // rate`` frames.

    Args:
        rate: at least 1.
        to_the_end: all such frames up to the last one, also where less than ``rate`` are left: of nine at rate 2 the
            frames 0, 2, 4, 6 and 8, without which 0 to 6.
        sigma: noise, see :class:`LinearDegradation`.

    Raises:
        ValueError: a rate below 1, or a negative sigma.
    """

    per_frame = False

    def __init__(self, rate: int, sigma: Sigma = 0.0, to_the_end: bool = False) -> None:
        super().__init__(sigma)
        if rate < 1:
            raise ValueError(f"rate must be at least 1, got {rate}")
        self.rate, self.to_the_end = rate, to_the_end

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Operator:
        """The selection."""
        return frame_interpolation(shape, self.rate, self.to_the_end)

    def check_video(self, frames: int, height: int, width: int) -> None:
        """RequestError for a single frame."""
        if frames < 2:
            raise RequestError("operator: frames are made between frames; this is a single one")

    def window(self, observed: Tensor, place: Place) -> Window:
        """The frames of the file, and those between them; none behind the last."""
        frames, channels, height, width = observed.shape[1:]
        shape = (frames - 1) * self.rate + 1, channels, height, width
        return Window(frame_interpolation(shape, self.rate, to_the_end=True), observed)


class FramePrediction(LinearDegradation):
    """Only the first ``T - floor(T * missing)`` frames are seen.

    Args:
        missing: part of the frames that is to be predicted, in [0, 1).
        sigma: noise, see :class:`LinearDegradation`.

    Raises:
        ValueError: a part outside [0, 1), or a negative sigma.
    """

    per_frame = False

    def __init__(self, missing: float, sigma: Sigma = 0.0) -> None:
        super().__init__(sigma)
        frame_prediction((1, 1, 1, 1), missing)
        self.missing = missing

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Operator:
        """The selection."""
        return frame_prediction(shape, self.missing)

    no_video = "leaves out frames at the end"


class Greyscale(LinearDegradation):
    """Only a weighted sum of the channels is seen: what colourisation undoes.

    Args:
        weights: one per channel; absent: the luma of BT.601, (0.299, 0.587, 0.114).
        sigma: noise, see :class:`LinearDegradation`.
    """

    def __init__(self, weights: list[float] | None = None, sigma: Sigma = 0.0) -> None:
        super().__init__(sigma)
        self.weights = weights

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Operator:
        """The sum over channels."""
        return Grey(shape, self.weights)

    colours = True

    def window(self, observed: Tensor, place: Place) -> Window:
        """The sum over the channels of what the file shows, which are equal if it is grey."""
        frames, channels, height, width = observed.shape[1:]
        operator = Grey((frames, channels, height, width), self.weights)
        return Window(operator, operator(observed))


def check_keep(keep: float) -> None:
    """ValueError unless ``keep`` is a chance in (0, 1]."""
    if not 0 < keep <= 1:
        raise ValueError(f"keep must lie in (0, 1], got {keep}")


def batched(mask: Tensor) -> Tensor:
    """``(B, T, C, H, W)`` masks; a single one without its batch axis, so that it fits any batch."""
    return mask[0] if mask.shape[0] == 1 else mask
