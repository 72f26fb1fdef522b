"""JPEG, frame by frame, through Pillow's libjpeg."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restore.builtin.degradations.draw import check_range, draw_whole
from restore.contracts import Pair, Step
from restore.functional.resize import quantize

Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]
_PILLOW = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


class JPEG:
    """Codes and decodes every frame as JPEG.

    Args:
        quality: libjpeg's, 1 to 100, or a range (both ends count) from which each sample draws one for its frames.
        subsampling: of chroma; grey clips have none.

    Attributes:
        per_frame: frames are spoilt independently of each other.

    Raises:
        ValueError: a quality outside 1 to 100, a range whose ends are not in order, an unknown subsampling.
    """

    per_frame = True

    def __init__(self, quality: int | tuple[int, int], subsampling: Subsampling = "4:2:0") -> None:
        check_range("quality", quality, 1, 100)
        if subsampling not in _PILLOW:
            raise ValueError(f"subsampling must be one of {', '.join(_PILLOW)}, got {subsampling!r}")
        self.quality, self.subsampling = quality, subsampling

    def settled(self, generator: torch.Generator | None) -> JPEG:
        """The same with one quality drawn, for all frames of a video."""
        return JPEG(draw_whole(self.quality, 1, generator)[0], self.subsampling)

    @torch.no_grad()
    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``(B, T, C, H, W)``, C = 1 or 3, to a pair of that shape; the target is the clean clip.

        Values are clamped to [0, 1] and rounded to 8 bits first, as any JPEG writer does.

        Raises:
            ValueError: another number of channels, or a side above JPEG's 65,500 pixels.
        """
        if clean.shape[2] not in (1, 3):
            raise ValueError(f"JPEG takes clips of 1 or 3 channels, got {clean.shape[2]}")
        if max(clean.shape[3:]) > 65_500:
            raise ValueError(f"JPEG takes sides of at most 65500 pixels, got {clean.shape[4]}x{clean.shape[3]}")
        qualities = draw_whole(self.quality, clean.shape[0], step.generator)
        levels = (quantize(clean, 255) * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).cpu().numpy()
        coded = [[self._code(frame, q) for frame in clip] for clip, q in zip(levels, qualities, strict=True)]
        observed = torch.from_numpy(np.array(coded)).permute(0, 1, 4, 2, 3).to(clean) / 255
        return Pair(observed.contiguous(), clean)

    def _code(self, pixels: np.ndarray[Any, Any], quality: int) -> np.ndarray[Any, Any]:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, subsampling=_PILLOW[self.subsampling])
        decoded = np.asarray(Image.open(buffer))
        return decoded[..., None] if decoded.ndim == 2 else decoded
