"""Named protocols: everything that moves a PSNR, settled in one place and printed with every number."""

from __future__ import annotations

from typing import Any, Callable, Literal

import attrs
import torch
from torch import Tensor

from restore.contracts import Degradation, Pair, Step, Traits
from restore.errors import RequestError
from restore.evaluation.clip_protocols import CLIP_PROTOCOLS, ClipProtocol
from restore.functional.color import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from restore.functional.quality import Padding, psnr, ssim
from restore.functional.resize import quantize, resize
from restore.plugins import nearest

Restore = Callable[[Tensor], Tensor]


@attrs.frozen
class Protocol:
    """How super-resolution of still images is scored.

    Attributes:
        name: as recipes and tables call it.
        summary: which published tables it reproduces.
        resize_planes: ``y``, luma is taken first, rounded to 8 bit, and everything happens on it; ``rgb``, RGB is
            resized and rounded to 8 bit, luma is taken of the result.
        grey: ``as is``, a grey image is its own luma; ``through rgb``, it is repeated to RGB first.
        ssim_padding: ``valid`` or ``replicate``.
    """

    name: str
    summary: str
    resize_planes: Literal["y", "rgb"]
    grey: Literal["as is", "through rgb"]
    ssim_padding: Padding

    def describe(self, border: int) -> dict[str, Any]:
        """The protocol as printed with a table; ``border`` in pixels."""
        return {
            "name": self.name,
            "plane": "Y of BT.601, studio range (MATLAB rgb2ycbcr)",
            "grey_images": self.grey,
            "crop": "reference cropped to a multiple of the scale",
            "resized": f"{self.resize_planes} in float64, antialiased bicubic, mirrored borders",
            "rounding": "luma of reference and result rounded to 8 bit"
            + ("" if self.resize_planes == "y" else ", after the result was rounded to 8-bit RGB"),
            "border": border,
            "data_range": 255,
            "psnr": "10 log10(255^2 / mse) per image, then the mean over images",
            "ssim": f"11x11 Gaussian window, sigma 1.5, K1 0.01, K2 0.03, {self.ssim_padding} borders",
        }

    def pair(self, clean: Tensor, degradation: Degradation, traits: Traits) -> Pair:
        """What the model is given and what it is held against.

        Args:
            clean: ``(1, 1, C, H, W)`` float64 in [0, 1], C = 1 for a grey image.
            degradation: of the recipe.
            traits: of the model.

        Returns:
            a pair on the planes of this protocol (``y``: luma, ``rgb``: RGB), float64.
        """
        return degradation(self.reference(clean, traits), Step())

    def reference(self, clean: Tensor, traits: Traits) -> Tensor:
        """The planes of a clean ``(1, 1, C, H, W)`` image, cropped to a multiple of the model's scale."""
        height, width = (side // traits.scale * traits.scale for side in clean.shape[-2:])
        return self.planes(clean[..., :height, :width], traits)

    def planes(self, clip: Tensor, traits: Traits) -> Tensor:
        """The planes that this protocol hands to a model: luma rounded to 8 bit, or RGB; ``(1, 1, C, H, W)``."""
        grey = clip.shape[-3] == 1
        if self.resize_planes == "y" and traits.channels == "y":
            return quantize(clip if grey else rgb_to_y(clip))
        return clip.expand(-1, -1, 3, -1, -1) if grey else clip

    def luma(self, clip: Tensor, grey: bool) -> Tensor:
        """The plane that is scored, of a clip that :meth:`pair` made or of a model's answer to it, rounded to 8 bit."""
        clip = quantize(clip)
        if clip.shape[-3] == 1:
            return clip
        if grey and self.grey == "as is":
            return quantize(clip.mean(dim=-3, keepdim=True))
        # MATLAB's rgb2ycbcr of uint8 gives uint8: luma is rounded once more.
        return quantize(rgb_to_y(clip))

    def restore(self, observed: Tensor, model: Restore, traits: Traits) -> Tensor:
        """The model's answer on the planes of the protocol.

        A luma model under ``rgb`` restores the luma; chroma is resized bicubic, as its authors did.
        """
        if traits.channels == "y" and observed.shape[-3] == 3:
            ycbcr = rgb_to_ycbcr(observed)
            y = model(ycbcr[..., :1, :, :]).to(ycbcr)
            chroma = resize(ycbcr[..., 1:, :, :], size=(y.shape[-2], y.shape[-1]))
            return ycbcr_to_rgb(torch.cat([y, chroma], dim=-3))
        return model(observed).to(observed)

    def scored(self, restored: Tensor, target: Tensor, grey: bool, border: int) -> tuple[Tensor, Tensor]:
        """The planes that are held against each other: luma rounded to 8 bit, without the border."""
        height, width = target.shape[-2:]
        inside = (..., slice(border, height - border), slice(border, width - border))
        return self.luma(restored, grey)[inside], self.luma(target, grey)[inside]

    def score(self, restored: Tensor, target: Tensor, grey: bool, border: int) -> dict[str, float]:
        """PSNR in dB and SSIM of one image."""
        a, b = self.scored(restored, target, grey, border)
        return {"psnr": psnr(a, b), "ssim": ssim(a, b, padding=self.ssim_padding)}


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("sr-y", "the tables of SRCNN, VDSR, EDSR", "y", "as is", "valid"),
        Protocol("lapsrn", "the tables of LapSRN and SrSENet", "rgb", "through rgb", "replicate"),
    )
}


def protocol(name: str) -> Protocol | ClipProtocol:
    """The protocol of this name: of still images, or of clips.

    Raises:
        RequestError: there is none.
    """
    known: dict[str, Protocol | ClipProtocol] = {**PROTOCOLS, **CLIP_PROTOCOLS}
    if name not in known:
        hint = nearest(name, known) or f"; there are: {', '.join(known)}"
        raise RequestError(f"no protocol {name!r}{hint}")
    return known[name]
