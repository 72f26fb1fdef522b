"""Cutting a frame into tiles that carry their context, and putting the answers together."""

from __future__ import annotations

from typing import Callable, Iterable

import attrs
import torch
from torch import Tensor

Span = tuple[int, int]


@attrs.frozen
class Tile:
    """One tile along both axes, in input pixels.

    Attributes:
        region: ``(top, bottom), (left, right)`` of what the model sees, halo included.
        core: the part of the output that this tile is responsible for.
    """

    region: tuple[Span, Span]
    core: tuple[Span, Span]


def _spans(length: int, tile: int, halo: int, multiple: int) -> list[tuple[Span, Span]]:
    count = -(-length // tile)
    # Even shares: the last tile is not a sliver, which would cost nearly as much as a whole one.
    share = -(-length // (count * multiple)) * multiple
    halo = -(-halo // multiple) * multiple
    cores = [(start, min(start + share, length)) for start in range(0, length, share)]
    return [((max(0, a - halo), min(length, b + halo)), (a, b)) for a, b in cores]


def plan(height: int, width: int, tile: int, halo: int, multiple: int = 1) -> list[Tile]:
    """Tiles that cover a frame.

    Args:
        height, width: of the frame, multiples of ``multiple``.
        tile: largest side of a core; 0: one tile, the whole frame.
        halo: context on every side, clipped at the frame's edges and rounded up to ``multiple``.
        multiple: every region starts and ends at a multiple of this.

    Returns:
        tiles whose cores cover the frame once.
    """
    if tile <= 0 or (tile >= height and tile >= width):
        whole = ((0, height), (0, width))
        return [Tile(whole, whole)]
    tile = max(multiple, tile // multiple * multiple)
    rows, columns = _spans(height, tile, halo, multiple), _spans(width, tile, halo, multiple)
    return [Tile((r, c), (core_r, core_c)) for r, core_r in rows for c, core_c in columns]


def _ramp(region: Span, core: Span, length: int, fade: int, scale: int) -> Tensor:
    """Blend weights of one tile along one axis: one inside, falling to zero over ``2*fade`` at the edges."""
    position = torch.arange(region[0] * scale, region[1] * scale, dtype=torch.float32) + 0.5
    weight = torch.ones_like(position)
    if core[0] > 0:
        weight = weight * ((position - (core[0] - fade) * scale) / (2 * fade * scale)).clamp(0, 1)
    if core[1] < length:
        weight = weight * (((core[1] + fade) * scale - position) / (2 * fade * scale)).clamp(0, 1)
    return weight


def apply(model: Callable[[Tensor], Tensor], frames: Tensor, tiles: list[Tile], scale: int, fade: int = 0) -> Tensor:
    """Run a model tile by tile.

    Args:
        model: ``(N, C, h, w)`` to ``(N, C, scale*h, scale*w)``.
        frames: ``(N, C, H, W)``.
        tiles: from :func:`plan` for H and W.
        scale: of the model.
        fade: 0: each core is taken as it is, which is exact where the halo covers the receptive field. Above:
            neighbouring answers are blended over ``fade`` pixels on both sides of a seam, where the context is global.

    Returns:
        ``(N, C, scale*H, scale*W)`` in the model's output type.
    """
    if len(tiles) == 1:
        return model(frames)
    size = int(frames.shape[-2]), int(frames.shape[-1])
    return merge(((tile, model(cut(frames, tile))) for tile in tiles), size, scale, fade)


def cut(frames: Tensor, tile: Tile) -> Tensor:
    """What a tile sees of ``(..., H, W)``."""
    (top, bottom), (left, right) = tile.region
    return frames[..., top:bottom, left:right]


def merge(answers: Iterable[tuple[Tile, Tensor]], size: tuple[int, int], scale: int, fade: int = 0) -> Tensor:
    """Puts the answers of tiles together.

    Args:
        answers: every tile with ``(N, C, scale*h, scale*w)``, the answer for its region.
        size: H and W of the frame, in input pixels.
        scale: output pixels per input pixel.
        fade: as in :func:`apply`.

    Returns:
        ``(N, C, scale*H, scale*W)`` in the answers' type.
    """
    height, width = size
    out: Tensor | None = None
    total: Tensor | None = None
    for tile, answer in answers:
        if tile.region == tile.core == ((0, height), (0, width)):
            return answer
        if out is None:
            out = answer.new_zeros(*answer.shape[:-2], height * scale, width * scale)
            total = torch.zeros(1, 1, height * scale, width * scale, device=out.device) if fade else None
        (top, bottom), (left, right) = tile.region
        (a, b), (c, d) = tile.core
        if total is None:
            inner = answer[..., (a - top) * scale : (b - top) * scale, (c - left) * scale : (d - left) * scale]
            out[..., a * scale : b * scale, c * scale : d * scale] = inner
        else:
            rows = _ramp((top, bottom), (a, b), height, fade, scale)
            columns = _ramp((left, right), (c, d), width, fade, scale)
            weight = (rows[:, None] * columns[None, :]).to(out.device)
            where = (..., slice(top * scale, bottom * scale), slice(left * scale, right * scale))
            out[where] += (answer * weight).to(out.dtype)
            total[where] += weight
    assert out is not None
    return out if total is None else out / total
