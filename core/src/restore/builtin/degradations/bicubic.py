"""Down-scaling as the field's super-resolution tables do it."""

from __future__ import annotations

from torch import Tensor

from restore.contracts import Pair, Step
from restore.functional.resize import Border, Rounding, resize


class Bicubic:
    """MATLAB-compatible bicubic down-scaling with antialiasing.

    Args:
        scale: clean pixels per observed pixel along each side, at least 1.
        border: ``mirror``, current MATLAB; ``replicate``, older releases.
        rounding: ``none``; ``each-pass``, what MATLAB does to 8-bit images; ``end``, one rounding to 8 bits.

    Raises:
        ValueError: a scale below 1.
    """

    def __init__(self, scale: int, border: Border = "mirror", rounding: Rounding = "none") -> None:
        if scale < 1:
            raise ValueError(f"scale must be at least 1, got {scale}")
        self.scale, self.border, self.rounding = scale, border, rounding

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``(B, T, C, H, W)`` to a pair whose target is the clean clip cropped to a multiple of the scale, and whose
        observed side is ``(B, T, C, H//scale, W//scale)``.

        Raises:
            ValueError: the clip is smaller than one observed pixel.
        """
        height, width = (side // self.scale * self.scale for side in clean.shape[-2:])
        target = clean[..., :height, :width]
        observed = resize(target, 1 / self.scale, border=self.border, rounding=self.rounding)
        return Pair(observed, target)
