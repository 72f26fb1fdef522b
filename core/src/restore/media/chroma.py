"""Where chroma samples lie, and resizing them from one place to another."""

from __future__ import annotations

from torch import Tensor

from restore.functional.resize import taps

Subsampling = tuple[int, int]


def phase(siting: str, subsampling: Subsampling) -> tuple[float, float]:
    """The position of chroma sample (0, 0) in luma samples, ``(vertical, horizontal)``.

    Chroma sample ``(i, j)`` lies at luma row ``phase[0] + 2**v i`` and column ``phase[1] + 2**h j``: for 4:2:0 ``left``
    is (0.5, 0), ``center`` (0.5, 0.5), ``topleft`` (0, 0).
    """
    rows, columns = (1 << s for s in subsampling)
    vertical = 0.0 if siting.startswith("top") else rows - 1.0 if siting.startswith("bottom") else (rows - 1) / 2
    return vertical, (0.0 if siting.endswith("left") else (columns - 1) / 2)


def chroma_size(luma: tuple[int, int], subsampling: Subsampling) -> tuple[int, int]:
    """``(rows, columns)`` of the chroma plane of a luma plane, rounded up."""
    return -(-luma[0] >> subsampling[0]), -(-luma[1] >> subsampling[1])


def _along(x: Tensor, dim: int, n_out: int, scale: float, offset: float) -> Tensor:
    if scale == 1 and offset == 0 and n_out == x.shape[dim]:
        return x
    index, weight = taps(x.shape[dim], n_out, scale, offset)
    index, weight = index.to(x.device), weight.to(x)
    shape = [1] * x.ndim
    shape[dim] = -1
    out = x.index_select(dim, index[:, 0]) * weight[:, 0].view(shape)
    for k in range(1, index.shape[1]):
        out = out + x.index_select(dim, index[:, k]) * weight[:, k].view(shape)
    return out


def resize_chroma(
    c: Tensor,
    out_luma: tuple[int, int],
    subsampling: Subsampling,
    out_subsampling: Subsampling,
    siting: str = "left",
    *,
    scale: float = 1.0,
) -> Tensor:
    """Bicubic resampling of a chroma plane onto the chroma grid of an output picture.

    Luma pixel centres map as ``(x + 0.5) scale - 0.5``; chroma samples lie where ``siting`` puts them on both sides. A
    plane that already lies right is returned as it is.

    Args:
        c: ``(..., h, w)`` floating point, any range, of a picture with ``subsampling``.
        out_luma: ``(H', W')`` of the output's luma.
        subsampling, out_subsampling: log2 ``(vertical, horizontal)`` before and after.
        siting: of input and output alike.
        scale: output luma pixels per input luma pixel.

    Returns:
        ``(..., h', w')``, not clamped.
    """
    before, after = phase(siting, subsampling), phase(siting, out_subsampling)
    sizes = chroma_size(out_luma, out_subsampling)
    for axis, dim in ((0, c.ndim - 2), (1, c.ndim - 1)):
        step_in, step_out = 1 << subsampling[axis], 1 << out_subsampling[axis]
        factor = scale * step_in / step_out
        # Sample j of the output lies here on the input's chroma grid for j = 0; taps() starts at 0.5/factor - 0.5.
        first = ((after[axis] + 0.5) / scale - 0.5 - before[axis]) / step_in
        offset = first - (0.5 / factor - 0.5)
        c = _along(c, dim, sizes[axis], factor, 0.0 if abs(offset) < 1e-12 else offset)
    return c


def upsample_chroma(c: Tensor, luma_size: tuple[int, int], subsampling: Subsampling, siting: str = "left") -> Tensor:
    """Chroma ``(..., h, w)`` at every luma sample, ``(..., H, W)``."""
    return resize_chroma(c, luma_size, subsampling, (0, 0), siting)


def downsample_chroma(c: Tensor, subsampling: Subsampling, siting: str = "left") -> Tensor:
    """Full-size chroma ``(..., H, W)`` at the places of subsampled chroma ``(..., h, w)``, antialiased."""
    height, width = c.shape[-2:]
    return resize_chroma(c, (height, width), (0, 0), subsampling, siting)
