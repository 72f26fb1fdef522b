"""Down-scaling as the field's super-resolution tables do it."""

from __future__ import annotations

from torch import Tensor

from restore.contracts import Pair, Step
from restore.functional.resize import Border, Rounding, resize
from restore.operators import Operator, bicubic_downsample


class Bicubic:
    """MATLAB-compatible bicubic down-scaling with antialiasing.

    Args:
        scale: clean pixels per observed pixel along each side, at least 1.
        border: ``mirror``, current MATLAB; ``replicate``, older releases.
        rounding: ``none``; ``each-pass``, what MATLAB does to 8-bit images; ``end``, one rounding to 8 bits.

    Attributes:
        per_frame: frames are spoilt independently of each other.

    Raises:
        ValueError: a scale below 1.
    """

    per_frame = True

    def __init__(self, scale: int, border: Border = "mirror", rounding: Rounding = "none") -> None:
        if scale < 1:
            raise ValueError(f"scale must be at least 1, got {scale}")
        self.scale, self.border, self.rounding = scale, border, rounding
        self._made: Operator | None = None

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``(B, T, C, H, W)`` to a pair whose target is the clean clip cropped to a multiple of the scale, and whose
        observed side is ``(B, T, C, H//scale, W//scale)``. Without rounding the pair has its operator.

        Raises:
            ValueError: the clip is smaller than one observed pixel.
        """
        height, width = (side // self.scale * self.scale for side in clean.shape[-2:])
        target = clean[..., :height, :width]
        observed = resize(target, 1 / self.scale, border=self.border, rounding=self.rounding)
        return Pair(observed, target, self._operator(tuple(target.shape[1:])) if self.rounding == "none" else None)

    def _operator(self, shape: tuple[int, ...]) -> Operator:
        """The matrices for clips of this shape; the last ones are kept."""
        if self._made is None or self._made.shape.input != shape:
            self._made = bicubic_downsample(shape, self.scale, self.border)
        return self._made
