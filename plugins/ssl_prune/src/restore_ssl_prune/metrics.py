"""How Vimeo-90K is scored by the literature."""

from __future__ import annotations

from typing import Any, Literal, Mapping

from restore.functional.color import rgb_to_y
from restore.functional.quality import psnr, ssim
from restore.functional.resize import quantize
from torch import Tensor

_MIDDLE = {7: (3,), 14: (3, 10)}


class MiddleFrame:
    """Vimeo-90K's protocol (Xue et al., 2019; BasicVSR; SSL): of a septuplet only the middle frame counts, and of one
    that ran forth and back the mean of both answers to it. ``core:vimeo90k`` makes such clips.

    Args:
        measure: ``psnr`` in dB, or ``ssim``.
        plane: ``y``, BT.601 luma in studio range, as the tables have it, or ``rgb``.

    Raises:
        ValueError: another measure or plane.
    """

    def __init__(self, measure: Literal["psnr", "ssim"] = "psnr", plane: Literal["y", "rgb"] = "y") -> None:
        if measure not in ("psnr", "ssim") or plane not in ("y", "rgb"):
            raise ValueError(f"measure is psnr or ssim and plane y or rgb, got {measure!r} and {plane!r}")
        self.measure, self.plane = measure, plane
        self.protocol: Mapping[str, Any] = {
            "metric": measure,
            "frame": "the middle one of 7; of 14 (mirrored) the mean of frames 4 and 11",
            "plane": "Y of BT.601, studio range" if plane == "y" else "RGB",
            "rounding": "the mean to 8 bit",
            "border": 0,
        }

    def __call__(self, restored: Tensor, reference: Tensor) -> float:
        """The measure between two ``(B, T, C, H, W)`` clips in [0, 1], T 7 or 14.

        Raises:
            ValueError: another number of frames, or shapes that differ.
        """
        if restored.shape != reference.shape or restored.shape[1] not in _MIDDLE:
            raise ValueError(
                f"septuplets have 7 frames, or 14 mirrored ones; got {tuple(restored.shape)} and "
                f"{tuple(reference.shape)}"
            )
        middle = list(_MIDDLE[restored.shape[1]])
        ours, theirs = (quantize(clip[:, middle].mean(1)) for clip in (restored, reference))
        if self.plane == "y" and ours.shape[-3] == 3:
            ours, theirs = rgb_to_y(ours), rgb_to_y(theirs)
        return psnr(ours, theirs) if self.measure == "psnr" else ssim(ours, theirs)
