"""What restoring gained over leaving things as they were: delta-PSNR and delta-SSIM of compressed-video enhancement.

The numbers of MFQE, LDV and CRDS: for each frame, the score of the restored minus the score of the observed frame, both
against the clean one; the mean over the frames of a video; the mean over videos.

A metric's contract is ``(restored, reference) -> number``, but a gain has a third party. These take the observed clip
as an optional last argument and say ``needs_observed = True``, as a model says ``needs_operator``: who measures looks
at that attribute and hands it over. Called without it they raise, so a forgotten argument cannot pass as a number.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Literal, Mapping

from torch import Tensor

from restore.builtin.metrics.basic import shave
from restore.functional.color import rgb_to_y
from restore.functional.quality import Padding, psnr, ssim
from restore.functional.resize import quantize

Planes = Literal["as given", "y"]
Rounding = Literal["8 bit", "none"]


class _Delta:
    """The common part: frame by frame, then the mean over each video, then over videos."""

    needs_observed = True

    def __init__(
        self, name: str, score: Callable[[Tensor, Tensor], float], planes: Planes, border: int, rounding: Rounding
    ) -> None:
        self._name, self._score, self._planes, self._border, self._rounding = name, score, planes, border, rounding
        self.protocol: Mapping[str, Any] = {
            "metric": f"delta_{name}", "against": "the observed clip", "planes": planes, "border": border,
            "rounding": rounding, "peak": 1.0, "mean": "over frames, then over videos",
            "skipped": "frames whose restored or observed version equals the clean one: PSNR is infinite",
        }  # fmt: skip

    def frames(self, restored: Tensor, reference: Tensor, observed: Tensor) -> list[list[float | None]]:
        """The gain of each frame of each video; None for a frame that is skipped.

        Raises:
            ValueError: the clips differ in shape, or ``planes = "y"`` meets something else than RGB or luma.
        """
        for name, clip in (("restored", restored), ("observed", observed)):
            if clip.shape != reference.shape:
                sizes = f"{tuple(clip.shape)} against {tuple(reference.shape)}"
                raise ValueError(f"delta_{self._name}: the {name} clip and the reference differ in shape: {sizes}")
        clips = [self._plane(clip) for clip in (restored, reference, observed)]
        return [[self._gain(*frame) for frame in zip(*video, strict=True)] for video in zip(*clips, strict=True)]

    def __call__(self, restored: Tensor, reference: Tensor, observed: Tensor | None = None) -> float:
        """The gain over the observed clip.

        Args:
            restored, reference, observed: ``(B, T, C, H, W)`` in [0, 1], of one size.

        Returns:
            the mean of the videos' means; NaN where every frame of every video is skipped.

        Raises:
            ValueError: no observed clip, or shapes differ.
        """
        if observed is None:
            raise ValueError(f"delta_{self._name} measures a gain: it needs the observed clip as a third argument")
        videos = [[g for g in gains if g is not None] for gains in self.frames(restored, reference, observed)]
        means = [sum(gains) / len(gains) for gains in videos if gains]
        return sum(means) / len(means) if means else math.nan

    def _plane(self, clip: Tensor) -> Tensor:
        clip = shave(clip, self._border)
        if self._planes == "y" and clip.shape[-3] != 1:
            if clip.shape[-3] != 3:
                raise ValueError(f"delta_{self._name} takes luma of RGB or of one plane, got {clip.shape[-3]} planes")
            clip = rgb_to_y(clip)
        return quantize(clip) if self._rounding == "8 bit" else clip

    def _gain(self, restored: Tensor, reference: Tensor, observed: Tensor) -> float | None:
        # Skipping is decided by PSNR for both metrics, so that they speak of the same frames.
        if not all(math.isfinite(psnr(x, reference)) for x in (restored, observed)):
            return None
        return self._score(restored, reference) - self._score(observed, reference)


class DeltaPSNR(_Delta):
    """PSNR gained over the observed clip, in dB; see the module for how it is averaged and called.

    Args:
        planes: ``as given``, over all planes of a frame at once (RGB: what LDV's numbers are); ``y``, studio-range
            BT.601 luma of RGB (what MFQE's numbers are).
        border: pixels shaved on every side.
        rounding: clips are rounded to ``8 bit`` first, or not (``none``).
    """

    def __init__(self, planes: Planes = "as given", border: int = 0, rounding: Rounding = "8 bit") -> None:
        super().__init__("psnr", psnr, planes, border, rounding)


class DeltaSSIM(_Delta):
    """SSIM gained over the observed clip; see the module for how it is averaged and called.

    Args:
        planes: ``as given``, the mean over a frame's planes; ``y``, studio-range BT.601 luma of RGB.
        border: pixels shaved on every side.
        rounding: clips are rounded to ``8 bit`` first, or not (``none``).
        padding: ``valid`` or ``replicate``, see :func:`restore.functional.quality.ssim`.
    """

    def __init__(
        self, planes: Planes = "as given", border: int = 0, rounding: Rounding = "8 bit", padding: Padding = "valid"
    ) -> None:
        super().__init__("ssim", lambda a, b: ssim(a, b, padding=padding), planes, border, rounding)
        self.protocol = {**self.protocol, "window": "11x11 Gaussian, sigma 1.5", "padding": padding}
