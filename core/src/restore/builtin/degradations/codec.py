"""Video coding as a degradation: what the enhancement of compressed video undoes."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, Mapping, Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from restore.builtin.degradations.draw import check_range, draw, draw_whole
from restore.contracts import Pair, Step
from restore.media.coding import LAYOUT, MAX_QP, Coding, check_options, recode
from restore.media.color import Picture
from restore.media.frame import ColorInfo, Plane, VideoFrame


class Codec:
    """Codes and decodes clips with x264 or x265 in 8-bit 4:2:0.

    Args:
        codec: ``x264`` or ``x265``.
        qp: constant quantizer, 0 to 51, or a range (both ends count) from which each sample draws its own.
        crf: constant rate factor, 0 to 51, or a range; give this or ``qp``.
        preset: speed of the encoder, ``ultrafast`` to ``placebo``.
        ladder: QP per frame, for x265 with ``qp``. ``hm-ldp``: the low-delay-P pattern of the HM reference encoder
            (groups of eight; at QP 37 36, then 45, 44, 45, 44, 45, 44, 45, 38 repeating), with x265 told to do nothing
            else of its own; ``hm-ldp-gop4``: offsets 3, 2, 3, 1 of older HM; or a list of offsets against ``qp``,
            repeated from the second frame on (the first has QP - 1). Plain QP 37 is much milder than HM's.
        matrix: between RGB and what is coded.
        options: the encoder's own parameters, e.g. ``{ bframes = 0, keyint = 7 }``.

    Raises:
        ValueError: neither or both of qp and crf, one out of range, an unknown codec, preset or ladder.
    """

    per_frame = False

    def __init__(
        self,
        codec: Literal["x264", "x265"] = "x265",
        qp: int | tuple[int, int] | None = None,
        crf: float | tuple[float, float] | None = None,
        preset: str = "medium",
        ladder: Literal["hm-ldp", "hm-ldp-gop4"] | tuple[int, ...] | None = None,
        matrix: Literal["bt709", "bt601"] = "bt709",
        options: dict[str, str | int | float] | None = None,
    ) -> None:
        for name, value in (("qp", qp), ("crf", crf)):
            if value is not None:
                check_range(name, value, 0, MAX_QP)
        if matrix not in ("bt709", "bt601"):
            raise ValueError(f"matrix must be bt709 or bt601, got {matrix!r}")
        self.qp, self.crf, self.matrix = qp, crf, matrix
        given: Mapping[str, str] = {k: str(v) for k, v in (options or {}).items()}
        self._coding = Coding(
            codec, None if qp is None else int(_low(qp)), None if crf is None else _low(crf), preset, ladder, given
        )
        if given:
            check_options(self._coding)

    def codings(self, count: int, generator: torch.Generator | None) -> list[Coding]:
        """How each of ``count`` samples is coded."""
        if self.qp is not None:
            return [attrs.evolve(self._coding, qp=q) for q in draw_whole(self.qp, count, generator)]
        assert self.crf is not None
        return [attrs.evolve(self._coding, crf=c) for c in draw(self.crf, count, generator)]

    def settled(self, generator: torch.Generator | None) -> Codec:
        """The same with one QP or CRF drawn, for a whole video."""
        coding = self.codings(1, generator)[0]
        fixed = Codec.__new__(Codec)
        fixed.qp, fixed.crf, fixed.matrix, fixed._coding = coding.qp, coding.crf, self.matrix, coding
        return fixed

    @torch.no_grad()
    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``(B, T, C, H, W)``, C = 3 (RGB) or 1, to a pair of that shape; the target is the clean clip, and
        ``qp`` what each frame's slices say.

        RGB is converted to limited-range YCbCr, chroma sited left; one channel is coded as luma as it stands, so both
        studio-range luma and full-range grey keep their levels. Values are clamped to [0, 1] before and after.

        Raises:
            ValueError: another number of channels.
        """
        if clean.shape[2] not in (1, 3):
            raise ValueError(f"codec takes clips of 1 or 3 channels, got {clean.shape[2]}")
        codings = self.codings(clean.shape[0], step.generator)
        coded = [self._recoded(clip, coding) for clip, coding in zip(clean, codings, strict=True)]
        qp = torch.tensor([qps for _, qps in coded], dtype=torch.float32, device=clean.device)
        return Pair(torch.stack([clip for clip, _ in coded]), clean, qp=qp)

    def _recoded(self, clip: Tensor, coding: Coding) -> tuple[Tensor, list[float]]:
        color = ColorInfo(matrix=self.matrix)
        frames, qps = recode(_planes(clip.detach().clamp(0, 1), color), coding)
        if clip.shape[1] == 1:
            luma = torch.from_numpy(np.stack([planes[0] for planes in frames]))
            return luma.unsqueeze(1).to(clip) / 255, qps
        made = Picture.from_frames([_frame(planes, color) for planes in frames], clip.device)
        return made.channels("rgb").clamp(0, 1).to(clip.dtype), qps


def _low(value: float | Sequence[float]) -> float:
    return value[0] if isinstance(value, Sequence) else value


def _planes(clip: Tensor, color: ColorInfo) -> list[tuple[Plane, ...]]:
    """``(T, C, H, W)`` in [0, 1] to the planes of T frames."""
    if clip.shape[1] == 3:
        return Picture("rgb", (clip.float(),), siting=color.siting).to_planes(LAYOUT, color)
    height, width = clip.shape[2:]
    luma = torch.floor(clip[:, 0] * 255 + 0.5).to(torch.uint8).cpu().numpy()
    grey = np.full(LAYOUT.shapes(height, width)[1], 128, np.uint8)
    return [(plane, grey, grey) for plane in luma]


def _frame(planes: tuple[Plane, ...], color: ColorInfo) -> VideoFrame:
    return VideoFrame(planes, 0, 0, Fraction(1), LAYOUT, color)
