"""Pictures for models: the one place where stored samples become floats and come back.

A :class:`Picture` is a batch of N pictures of one kind, whatever they come from:

    picture = Picture.from_frames(frames)             # or Picture.from_image(image)
    before = picture.channels("y")                    # (N, 1, H, W), or "rgb": (N, 3, H, W)
    after = model(before)                             # (N, C, sH, sW)
    result = picture.with_channels("y", before, after, scale=s)
    planes = result.to_planes(layout, color)          # or result.to_image(image)

``"y"`` is studio-range luma in [16, 235]/255 whatever the source's range; ``"rgb"`` is full range [0, 1]. Nothing is
clamped on the way in, so super-whites survive. At scale 1 the model's *change* is added to the stored picture, so that
a model that changes nothing gives back every sample bit for bit. Keep pictures in float32: bf16 and fp16 cannot hold
the codes; cast what goes to the model instead.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from restore.contracts import Channels
from restore.functional.color import (
    LUMA_WEIGHTS,
    full_to_studio,
    rgb_to_y,
    rgb_to_ycbcr,
    studio_to_full,
    ycbcr_to_rgb,
)
from restore.functional.quantizer import join_qp
from restore.functional.resize import resize
from restore.media.chroma import Subsampling, downsample_chroma, resize_chroma, upsample_chroma
from restore.media.frame import ColorInfo, Kind, PixelLayout, Plane, VideoFrame
from restore.media.image import ImageFile

_NO_TIME = Fraction(1)
_IMAGE_COLOR = ColorInfo(matrix="rgb", range="full", siting="center")


def _to_tensor(planes: Sequence[Plane], device: torch.device | str) -> Tensor:
    """Equal planes of N pictures to float32 ``(N, 1, H, W)`` holding the codes; moved in their stored size."""
    stack = np.stack(planes)
    if stack.dtype == np.uint8:
        return torch.from_numpy(stack).to(device).float().unsqueeze(1)
    # torch does little with uint16: it travels as int16 and is put right on the device.
    codes = torch.from_numpy(np.ascontiguousarray(stack).view(np.int16)).to(device).to(torch.int32)
    return (codes & 0xFFFF).float().unsqueeze(1)


def _to_arrays(codes: Tensor, bit_depth: int) -> list[Plane]:
    whole = torch.floor(codes[:, 0] + 0.5).clamp(0, (1 << bit_depth) - 1)
    if bit_depth == 8:
        return list(whole.to(torch.uint8).cpu().numpy())
    wrapped = whole.to(torch.int32)
    wrapped = (wrapped - (wrapped > 0x7FFF).to(torch.int32) * 0x10000).to(torch.int16)
    return list(wrapped.cpu().numpy().view(np.uint16))


def luma_to_float(codes: Tensor, bit_depth: int, limited: bool) -> Tensor:
    """Luma codes, any shape, to studio-range luma: nominal codes, or all codes if full, to [16, 235]/255."""
    if limited:
        return codes / (255 << (bit_depth - 8))
    return full_to_studio(codes / ((1 << bit_depth) - 1))


def luma_to_codes(y: Tensor, bit_depth: int, limited: bool) -> Tensor:
    """The inverse of :func:`luma_to_float`, neither rounded nor clamped."""
    return y * (255 << (bit_depth - 8)) if limited else studio_to_full(y) * ((1 << bit_depth) - 1)


def chroma_to_float(codes: Tensor, bit_depth: int, limited: bool) -> Tensor:
    """Chroma codes, any shape, to signed values, nominally [-0.5, 0.5]."""
    span = 224 << (bit_depth - 8) if limited else (1 << bit_depth) - 1
    return (codes - (1 << (bit_depth - 1))) / span


def chroma_to_codes(c: Tensor, bit_depth: int, limited: bool) -> Tensor:
    """The inverse of :func:`chroma_to_float`, neither rounded nor clamped."""
    return c * (224 << (bit_depth - 8) if limited else (1 << bit_depth) - 1) + (1 << (bit_depth - 1))


def yuv_to_rgb(y: Tensor, cb: Tensor, cr: Tensor, matrix: str) -> Tensor:
    """Studio-range luma and signed chroma, each ``(N, 1, H, W)``, to full-range RGB ``(N, 3, H, W)``, not clamped."""
    kr, kb = LUMA_WEIGHTS[matrix]
    luma = studio_to_full(y)
    red = luma + 2 * (1 - kr) * cr
    blue = luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return torch.cat([red, green, blue], dim=1)


def rgb_to_yuv(rgb: Tensor, matrix: str) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of :func:`yuv_to_rgb`: ``(N, 3, H, W)`` to studio-range luma and signed chroma at full size."""
    luma, cb, cr = _difference_to_yuv(rgb, matrix)
    return luma + 16 / 255, cb, cr


def _difference_to_yuv(rgb: Tensor, matrix: str) -> tuple[Tensor, Tensor, Tensor]:
    """The linear part of :func:`rgb_to_yuv`, for differences: zero gives exactly zero."""
    kr, kb = LUMA_WEIGHTS[matrix]
    red, green, blue = rgb[:, 0:1], rgb[:, 1:2], rgb[:, 2:3]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    return luma * (219 / 255), (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))


def planes_to_float(
    planes: Sequence[Sequence[Plane]], layout: PixelLayout, color: ColorInfo, device: str | torch.device = "cpu"
) -> tuple[Tensor, ...]:
    """Planes of N frames to float32 tensors ``(N, 1, h, w)``, one per plane, nothing clamped.

    YUV and gray: studio-range luma, then signed chroma. RGB: full-range R, G, B. Alpha comes last in [0, 1].
    """
    tensors = [_to_tensor(column, device) for column in zip(*planes, strict=True)]
    depth, limited = layout.bit_depth, color.range == "limited"
    top = (1 << depth) - 1
    alpha = [tensors.pop() / top] if layout.alpha else []
    if layout.kind == "rgb":
        out = [studio_to_full(luma_to_float(t, depth, True)) if limited else t / top for t in tensors]
    else:
        out = [luma_to_float(tensors[0], depth, limited)] + [chroma_to_float(t, depth, limited) for t in tensors[1:]]
    return tuple(out + alpha)


def float_to_planes(tensors: Sequence[Tensor], layout: PixelLayout, color: ColorInfo) -> list[tuple[Plane, ...]]:
    """The exact inverse of :func:`planes_to_float`: rounded, and clamped to all codes, not to the nominal range."""
    depth, limited = layout.bit_depth, color.range == "limited"
    top = (1 << depth) - 1
    work = [t.float() for t in tensors]
    alpha = [work.pop() * top] if layout.alpha else []
    if layout.kind == "rgb":
        codes = [luma_to_codes(full_to_studio(t), depth, True) if limited else t * top for t in work]
    else:
        codes = [luma_to_codes(work[0], depth, limited)] + [chroma_to_codes(t, depth, limited) for t in work[1:]]
    columns = [_to_arrays(t, depth) for t in codes + alpha]
    return [tuple(row) for row in zip(*columns, strict=True)]


@attrs.frozen(eq=False)
class Picture:
    """N pictures as floats.

    Attributes:
        kind: ``yuv``, ``gray`` or ``rgb``.
        parts: ``yuv``: studio-range luma ``(N, 1, H, W)`` and signed Cb, Cr ``(N, 1, h, w)``; ``gray``: studio-range
            luma; ``rgb``: one full-range tensor ``(N, 3, H, W)``.
        alpha: ``(N, 1, H, W)`` in [0, 1], or None.
        subsampling: of chroma, log2 ``(vertical, horizontal)``.
        siting: where chroma samples lie.
        matrix: a key of ``LUMA_WEIGHTS`` for ``yuv``.
        qp: of each picture, ``(N,)``, 0 to 51 on the scale of H.264 and HEVC, below 0 where nobody knows; or None.
    """

    kind: Kind
    parts: tuple[Tensor, ...]
    alpha: Tensor | None = None
    subsampling: Subsampling = (0, 0)
    siting: str = "left"
    matrix: str = "bt709"
    qp: Tensor | None = None

    @classmethod
    def from_frames(
        cls, frames: Sequence[VideoFrame], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Picture:
        """Frames of one size, layout and colour, in order."""
        layout, color = frames[0].layout, frames[0].color
        tensors = [t.to(dtype) for t in planes_to_float([f.planes for f in frames], layout, color, device)]
        alpha = tensors.pop() if layout.alpha else None
        parts = (torch.cat(tensors, dim=1),) if layout.kind == "rgb" else tuple(tensors)
        return cls(layout.kind, parts, alpha, layout.subsampling, color.siting, color.matrix)

    @classmethod
    def from_image(
        cls, image: ImageFile, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Picture:
        """One image: N = 1, ``gray`` or ``rgb``."""
        layout = PixelLayout(image.kind, image.bit_depth, alpha=image.alpha is not None)
        planes = [image.pixels[..., k] for k in range(image.pixels.shape[2])]
        planes += [image.alpha] if image.alpha is not None else []
        frame = VideoFrame(tuple(planes), 0, 0, _NO_TIME, layout, _IMAGE_COLOR)
        return cls.from_frames([frame], device, dtype)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.parts[0].shape[-2:]
        return int(height), int(width)

    def __len__(self) -> int:
        return int(self.parts[0].shape[0])

    def __getitem__(self, which: slice) -> Picture:
        """Some of the N pictures."""
        alpha = None if self.alpha is None else self.alpha[which]
        qp = None if self.qp is None else self.qp[which]
        return attrs.evolve(self, parts=tuple(p[which] for p in self.parts), alpha=alpha, qp=qp)

    @classmethod
    def joined(cls, pictures: Sequence[Picture]) -> Picture:
        """Pictures of one size, kind and colour, at least one, in order, as one batch."""
        first = pictures[0]
        if len(pictures) == 1:
            return first
        parts = tuple(torch.cat(column) for column in zip(*(p.parts for p in pictures), strict=True))
        alpha = None if first.alpha is None else torch.cat([p.alpha for p in pictures if p.alpha is not None])
        qp = None if first.qp is None else torch.cat([p.qp for p in pictures if p.qp is not None])
        return attrs.evolve(first, parts=parts, alpha=alpha, qp=qp)

    def channels(self, which: Channels) -> Tensor:
        """``"y"``: studio-range luma ``(N, 1, H, W)``; ``"rgb"``: full-range RGB ``(N, 3, H, W)``; ``"rgb+qp"``: with
        QP / 51 as a fourth. Not clamped.

        The luma of YUV is the stored plane, in the file's own matrix; of RGB it is MATLAB's BT.601 luma.
        """
        if which == "rgb+qp":
            return join_qp(self.channels("rgb"), self.qp)
        if which == "y":
            return rgb_to_y(self.parts[0]) if self.kind == "rgb" else self.parts[0]
        if self.kind == "rgb":
            return self.parts[0]
        if self.kind == "gray":
            return studio_to_full(self.parts[0]).repeat(1, 3, 1, 1)
        y, cb, cr = self.parts
        up = [upsample_chroma(c, self.size, self.subsampling, self.siting) for c in (cb, cr)]
        return yuv_to_rgb(y, up[0], up[1], self.matrix)

    def with_channels(self, which: Channels, before: Tensor, after: Tensor, scale: float = 1) -> Picture:
        """The picture with what a model made of it.

        Args:
            which: the channels that ``before`` and ``after`` are.
            before: what :meth:`channels` gave and the model saw, ``(N, C, H, W)``.
            after: the model's output, ``(N, C, sH, sW)``; RGB for ``rgb+qp``.
            scale: output pixels per input pixel. At 1 the difference ``after - before`` is added; otherwise luma or RGB
                is replaced, and chroma and alpha that the model did not make are resized bicubically.

        Returns:
            A picture of the same kind, subsampling and siting, of ``after``'s size.
        """
        if which == "rgb+qp":
            which, before = "rgb", before[:, :3]
        after, before = after.to(self.parts[0]), before.to(self.parts[0])
        height, width = int(after.shape[-2]), int(after.shape[-1])
        if scale == 1:
            parts = self._changed(which, after - before)
        elif which == "y":
            parts = self._with_luma(after, scale)
        else:
            parts = self._with_rgb(after)
        alpha = self.alpha
        if alpha is not None and scale != 1:
            alpha = resize(alpha, scale, (height, width)).clamp(0, 1)
        # What a model made of it was not coded so.
        return attrs.evolve(self, parts=parts, alpha=alpha, qp=None)

    def _changed(self, which: Channels, change: Tensor) -> tuple[Tensor, ...]:
        if self.kind == "rgb":
            # Luma moved, chroma kept: in YCbCr that is one equal step of R, G and B.
            return (self.parts[0] + (change if which == "rgb" else change * (255 / 219)),)
        if which == "y":
            return (self.parts[0] + change, *self.parts[1:])
        if self.kind == "gray":
            return (self.parts[0] + change.mean(dim=1, keepdim=True) * (219 / 255),)
        y, cb, cr = _difference_to_yuv(change, self.matrix)
        down = [downsample_chroma(c, self.subsampling, self.siting) for c in (cb, cr)]
        return self.parts[0] + y, self.parts[1] + down[0], self.parts[2] + down[1]

    def _with_luma(self, luma: Tensor, scale: float) -> tuple[Tensor, ...]:
        height, width = int(luma.shape[-2]), int(luma.shape[-1])
        if self.kind == "rgb":
            chroma = resize(rgb_to_ycbcr(self.parts[0])[:, 1:], scale, (height, width))
            return (ycbcr_to_rgb(torch.cat([luma, chroma], dim=1)),)
        sub = self.subsampling
        return luma, *(resize_chroma(c, (height, width), sub, sub, self.siting, scale=scale) for c in self.parts[1:])

    def _with_rgb(self, rgb: Tensor) -> tuple[Tensor, ...]:
        if self.kind == "rgb":
            return (rgb,)
        if self.kind == "gray":
            return (full_to_studio(rgb.mean(dim=1, keepdim=True)),)
        y, cb, cr = rgb_to_yuv(rgb, self.matrix)
        return y, *(downsample_chroma(c, self.subsampling, self.siting) for c in (cb, cr))

    def as_layout(self, layout: PixelLayout, matrix: str | None = None) -> Picture:
        """The same pictures in another kind, subsampling and alpha; ``matrix`` is for RGB that becomes YUV."""
        picture = self
        if layout.kind == "yuv":
            if self.kind == "gray":
                zero = torch.zeros_like(self.parts[0])
                picture = attrs.evolve(self, kind="yuv", parts=(self.parts[0], zero, zero), subsampling=(0, 0))
            elif self.kind == "rgb":
                used = matrix if matrix in LUMA_WEIGHTS else "bt709"
                picture = Picture("yuv", rgb_to_yuv(self.parts[0], used), self.alpha, (0, 0), self.siting, used)
            sub = picture.subsampling
            if sub != layout.subsampling:
                moved = [resize_chroma(c, self.size, sub, layout.subsampling, self.siting) for c in picture.parts[1:]]
                picture = attrs.evolve(picture, parts=(picture.parts[0], *moved), subsampling=layout.subsampling)
        elif layout.kind != self.kind:
            part = self.channels("rgb") if layout.kind == "rgb" else self._gray()
            picture = attrs.evolve(self, kind=layout.kind, parts=(part,), subsampling=(0, 0))
        alpha = self.alpha if self.alpha is not None else torch.ones_like(self.parts[0][:, :1])
        return attrs.evolve(picture, alpha=alpha if layout.alpha else None)

    def _gray(self) -> Tensor:
        return rgb_to_y(self.parts[0]) if self.kind == "rgb" else self.parts[0]

    def to_planes(self, layout: PixelLayout, color: ColorInfo) -> list[tuple[Plane, ...]]:
        """N tuples of planes in ``layout`` and ``color``'s range; another kind is converted by ``color.matrix``."""
        picture = self.as_layout(layout, color.matrix)
        rgb = picture.kind == "rgb"
        tensors = list(torch.split(picture.parts[0], 1, dim=1)) if rgb else list(picture.parts)
        return float_to_planes(tensors + ([] if picture.alpha is None else [picture.alpha]), layout, color)

    def to_image(self, like: ImageFile) -> ImageFile:
        """The first picture as an image with ``like``'s depth, kind, profile and words."""
        layout = PixelLayout(like.kind, like.bit_depth, alpha=self.alpha is not None)
        planes = self[:1].to_planes(layout, _IMAGE_COLOR)[0]
        count = 3 if like.kind == "rgb" else 1
        alpha = planes[count] if layout.alpha else None
        return attrs.evolve(like, pixels=np.stack(planes[:count], axis=-1), alpha=alpha)
