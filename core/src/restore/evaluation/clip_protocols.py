"""Named protocols of clips: which planes are scored, and whether the gain over what was observed counts."""

from __future__ import annotations

import math
from typing import Any, Literal

import attrs
from torch import Tensor

from restore.contracts import Traits
from restore.errors import RequestError
from restore.functional.color import rgb_to_y
from restore.functional.quality import psnr, ssim
from restore.functional.resize import quantize


@attrs.frozen
class ClipProtocol:
    """How the restoration of clips is scored.

    Attributes:
        name: as recipes and tables call it.
        summary: which published tables it reproduces.
        plane: ``model``, the planes that the model works on; ``y``, studio-range BT.601 luma; ``rgb``, all three planes
            of a frame at once.
        gains: also what restoring gained over leaving things as they were, frame by frame: delta-PSNR and delta-SSIM,
            and the time a frame takes.
    """

    name: str
    summary: str
    plane: Literal["model", "y", "rgb"] = "model"
    gains: bool = False

    def describe(self, traits: Traits) -> dict[str, Any]:
        """The protocol as printed with a table."""
        luma = self.plane == "y" or (self.plane == "model" and traits.channels == "y")
        told = {
            "name": self.name,
            "plane": "Y of BT.601, studio range" if luma else "RGB",
            "crop": "clean clip cropped to a multiple of the scale",
            "rounding": "both sides rounded to 8 bit",
            "border": 0,
            "data_range": 255,
            "psnr": "10 log10(255^2 / mse) per frame, mean over frames, then over videos; equal frames are left out",
            "ssim": "11x11 Gaussian window, sigma 1.5, valid window, per frame; the mean over frames, then over videos",
        }
        if self.gains:
            told["delta"] = (
                "the restored frame's score minus the observed frame's, the mean over frames, then over videos; frames "
                "that equal the clean ones, restored or observed, are left out"
            )
            told["ms_per_frame"] = "wall time of the model alone, whole clips, divided by their frames"
        return told

    def check(self, traits: Traits) -> None:
        """RequestError unless a model of these traits can be scored so."""
        if self.plane == "rgb" and traits.channels == "y":
            raise RequestError(f"protocol {self.name} scores RGB, the model restores luma alone; take mfqe or clips")
        if self.gains and traits.needs_operator:
            raise RequestError(
                f"protocol {self.name} scores gains over observed frames, the model is given measurements"
            )
        if self.gains and traits.scale != 1:
            raise RequestError(
                f"protocol {self.name} scores gains over observed frames, the model enlarges by {traits.scale}; "
                "take clips"
            )

    def planes(self, clip: Tensor) -> Tensor:
        """What is scored of a clip ``(1, T, C, H, W)``, rounded to 8 bit, float64."""
        clip = clip.double()
        return quantize(rgb_to_y(clip) if self.plane == "y" and clip.shape[-3] == 3 else clip)

    def frame(self, restored: Tensor, target: Tensor, observed: Tensor) -> dict[str, float | None]:
        """The scores of one frame ``(C, H, W)`` of :meth:`planes`; None where it does not count.

        Raises:
            ValueError: it is too small for SSIM.
        """
        after = psnr(restored, target)
        scores: dict[str, float | None] = {
            "psnr": after if math.isfinite(after) else None,
            "ssim": ssim(restored, target),
        }
        if self.gains:
            before = psnr(observed, target)
            counts = math.isfinite(before) and math.isfinite(after)
            scores["delta_psnr"] = after - before if counts else None
            scores["delta_ssim"] = ssim(restored, target) - ssim(observed, target) if counts else None
        return scores


CLIPS = ClipProtocol("clips", "clips, in the planes that the model works on")
CLIP_PROTOCOLS = {
    p.name: p
    for p in (
        CLIPS,
        ClipProtocol("mfqe", "gains on luma, as on MFQE 2.0", "y", True),
        ClipProtocol("ldv", "gains on RGB, as in the NTIRE challenges on LDV", "rgb", True),
    )
}
