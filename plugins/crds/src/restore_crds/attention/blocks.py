"""Neighborhood attention in torch: blocks of queries against the span of keys that their windows share.

A block of 4 x 4 queries with windows of 7 x 7 shares 10 x 10 keys. Those are fetched once a block, a mask leaves each
query its own window, and all is matrix products; no key is copied for every query. The work goes piece by piece
through pieces that fit the processor's cache, in the backward pass too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Iterator

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from restore_crds.attention.geometry import Axis, axis

# Queries of a block along each axis, and floats in the scores of a piece.
BLOCK = 4
PIECE = {"cpu": 1 << 18, "cuda": 1 << 26}


@attrs.frozen(eq=False)
class Plan:
    """All that depends on sizes alone.

    Attributes:
        y, x: the axes.
        index: ``(rows of blocks, keys of such a row)``: where the keys of every block lie in the flat picture.
        corner: ``(kinds of y, kinds of x, queries, keys)`` float, 0 where a query sees a key and -inf where not.
        places: ``(keys, 2)`` x and y of a key in its span.
        shift: ``(rows, columns, queries, 2)`` x and y of the span's corner, seen from a query.
    """

    y: Axis
    x: Axis
    index: Tensor
    corner: Tensor
    places: Tensor
    shift: Tensor


@lru_cache(maxsize=32)
def plan(height: int, width: int, window: int, block: int, device: torch.device, dtype: torch.dtype) -> Plan:
    """The plan for pictures of ``height`` times ``width``."""
    with torch.inference_mode(False), torch.no_grad():  # what is kept must serve training too
        return _plan(height, width, window, block, device, dtype)


def _plan(height: int, width: int, window: int, block: int, device: torch.device, dtype: torch.dtype) -> Plan:
    y, x = axis(height, window, block, device, dtype), axis(width, window, block, device, dtype)
    rows = torch.tensor(y.starts)[:, None] + torch.arange(y.span)
    columns = torch.tensor(x.starts)[:, None] + torch.arange(x.span)
    index = rows[:, None, :, None] * width + columns[None, :, None, :]
    seen = y.seen[:, None, :, None, :, None] & x.seen[None, :, None, :, None, :]
    corner = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, float("-inf"))
    corner = corner.reshape(*corner.shape[:2], y.block * x.block, y.span * x.span)
    places = torch.stack(torch.meshgrid(torch.arange(y.span), torch.arange(x.span), indexing="ij")[::-1], -1)
    ys = torch.tensor([y.shifts[k] for k in y.kinds])[:, None] - torch.arange(y.block)
    xs = torch.tensor([x.shifts[k] for k in x.kinds])[:, None] - torch.arange(x.block)
    shift = torch.stack(
        torch.broadcast_tensors(xs[None, :, None, :], ys[:, None, :, None]), dim=-1
    )  # rows, columns, block, block, 2
    return Plan(
        y, x, index.flatten(1).to(device), corner, places.reshape(-1, 2).to(device, dtype),
        shift.reshape(y.count, x.count, -1, 2).to(device, dtype),
    )  # fmt: skip


def block_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int, bias: Tensor | None, offsets: bool, block: int = BLOCK
) -> tuple[Tensor, Tensor | None]:
    """See :func:`restore_crds.attention.neighborhood_attention`; shapes are checked there."""
    _, height, width, _, depth = q.shape
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    sizes = plan(height, width, window, block, q.device, wide)
    mask = sizes.corner[:, :, None]
    if bias is not None:
        table = bias.to(wide) / depth**0.5
        # The bias of a kind of block: each axis picks its row or column of the table.
        spread = torch.einsum("apki,hij,bqlj->abhpqkl", sizes.y.relative, table, sizes.x.relative)
        mask = mask + spread.reshape(*spread.shape[:3], *mask.shape[-2:])
    with torch.autocast(q.device.type, enabled=False):
        keep = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v, mask))
        out, mean = _Attention.apply(q, k, v, mask, sizes, offsets, keep)
    return out, mean if offsets else None


@attrs.frozen
class _Piece:
    """Rows of blocks ``rows`` of the pictures ``pictures``, all rows of one kind in y, all heads of a picture."""

    kind: int
    rows: slice
    pictures: slice


class _Blocks:
    """Fetches blocks of queries and spans of keys, and puts answers and gradients back.

    Pictures are ``(N * heads, H, W, C)``: every head is a picture of its own.
    """

    def __init__(self, sizes: Plan, pictures: int, heads: int) -> None:
        self.sizes, self.pictures, self.heads = sizes, pictures, heads

    def pieces(self) -> Iterator[_Piece]:
        """What is worked through at once: as much as stays in the cache."""
        kinds = self.sizes.y.kinds
        room = PIECE.get(self.sizes.index.device.type, PIECE["cuda"])
        row = self.heads * self.sizes.x.count * self.sizes.corner.shape[-1] * self.sizes.corner.shape[-2]
        step = min(max(1, room // row), self.pictures)
        first = 0
        while first < len(kinds):
            last = first + 1
            while last < len(kinds) and kinds[last] == kinds[first] and (last - first + 1) * step * row <= room:
                last += 1
            for start in range(0, self.pictures, step):
                stop = min(start + step, self.pictures)
                yield _Piece(kinds[first], slice(first, last), slice(start * self.heads, stop * self.heads))
            first = last

    def split(self, t: Tensor, pad: bool = False) -> Tensor:
        """``(N, H, W, heads, C)`` to pictures, grown to whole blocks if asked."""
        t = t.permute(0, 3, 1, 2, 4).flatten(0, 1)
        y, x = self.sizes.y.padding, self.sizes.x.padding
        return F.pad(t, (0, 0, 0, x, 0, y)) if pad and (x or y) else t.contiguous()

    def join(self, t: Tensor) -> Tensor:
        """The reverse of :meth:`split`."""
        t = t[:, : self.sizes.y.length, : self.sizes.x.length]
        return t.unflatten(0, (self.pictures, self.heads)).permute(0, 2, 3, 1, 4)

    def queries(self, t: Tensor, piece: _Piece) -> Tensor:
        """``(B, block * block, C)`` out of padded pictures; B is pictures x rows x columns."""
        part = self._view(t, piece).transpose(2, 3)
        return part.reshape(-1, self.sizes.y.block * self.sizes.x.block, t.shape[-1])

    def put(self, t: Tensor, piece: _Piece, blocks: Tensor) -> None:
        """The reverse of :meth:`queries`: ``blocks`` into padded pictures."""
        part = self._view(t, piece).transpose(2, 3)
        part.copy_(blocks.view(part.shape))

    def _view(self, t: Tensor, piece: _Piece) -> Tensor:
        """``(pictures, rows, block, columns, block, C)``"""
        y, x = self.sizes.y, self.sizes.x
        part = t[piece.pictures, piece.rows.start * y.block : piece.rows.stop * y.block]
        return part.view(part.shape[0], -1, y.block, x.count, x.block, t.shape[-1])

    def keys(self, t: Tensor, piece: _Piece) -> Tensor:
        """``(B, span * span, C)`` out of pictures."""
        index = self.sizes.index[piece.rows].flatten()
        part = t[piece.pictures].flatten(1, 2).index_select(1, index)
        return part.view(-1, self.sizes.y.span * self.sizes.x.span, t.shape[-1])

    def add(self, t: Tensor, piece: _Piece, spans: Tensor) -> None:
        """Adds ``(B, span * span, C)`` onto pictures where :meth:`keys` took it."""
        y, x = self.sizes.y, self.sizes.x
        part = t[piece.pictures]
        rows = range(piece.rows.start, piece.rows.stop)
        shaped = spans.view(part.shape[0], len(rows), x.count, y.span, x.span, part.shape[-1])
        strips = shaped.new_zeros(part.shape[0], len(rows), y.span, part.shape[2], part.shape[-1])
        _lay(strips.permute(0, 1, 2, 4, 3), shaped.permute(0, 1, 3, 5, 2, 4), x, range(x.count))
        _lay(part.permute(0, 2, 3, 1), strips.permute(0, 3, 4, 1, 2), y, rows)

    def scores(self, piece: _Piece, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """``(B, L, S)``: products of queries and keys, plus the mask of a row, ``(heads or 1, columns, L, S)``."""
        if queries.dtype != mask.dtype:
            scores = torch.bmm(queries, keys.mT).to(mask.dtype)
            self._shape(scores, piece).add_(mask[:, None])
            return scores
        scores = mask.new_empty(queries.shape[0], *mask.shape[-2:])
        self._shape(scores, piece).copy_(mask[:, None])
        return scores.baddbmm_(queries, keys.mT)

    def total(self, piece: _Piece, d_scores: Tensor) -> Tensor:
        """``(heads, columns, L, S)``: the gradient of a row's mask, from ``(B, L, S)``."""
        return self._shape(d_scores, piece).sum((0, 2))

    def offsets(self, share: Tensor, piece: _Piece) -> Tensor:
        """``(B, L, 2)``: weighted means of key less query, x and y, from weights ``(B, L, S)``."""
        mean = (share @ self.sizes.places).unflatten(0, (-1, piece.rows.stop - piece.rows.start, self.sizes.x.count))
        return (mean + self.sizes.shift[piece.rows]).flatten(0, 2)

    def _shape(self, scores: Tensor, piece: _Piece) -> Tensor:
        """``(N, heads, rows, columns, L, S)``"""
        rows = piece.rows.stop - piece.rows.start
        return scores.view(-1, self.heads, rows, self.sizes.x.count, *scores.shape[1:])


def _lay(onto: Tensor, spans: Tensor, along: Axis, blocks: range) -> None:
    """Adds the spans ``(..., blocks, span)`` onto ``(..., length)``: all of a run at once, a block's breadth at a time,
    so that nothing overlaps within one addition."""
    for low, high in along.runs:
        first, last = max(low, blocks.start), min(high, blocks.stop)
        if first >= last:
            continue
        some = spans[..., first - blocks.start : last - blocks.start, :]
        for offset in range(0, along.span, along.block):
            wide = min(along.block, along.span - offset)
            start = along.starts[first] + offset
            stop = start + (last - first - 1) * along.block + wide
            target = onto[..., start:stop].unfold(-1, wide, along.block)
            target += some[..., offset : offset + wide]


def _columns(mask: Tensor, sizes: Plan) -> Tensor:
    """The mask for a row of blocks, ``(kinds of y, heads or 1, columns, queries, keys)``."""
    return mask[:, list(sizes.x.kinds)].transpose(1, 2).contiguous()


def _by_kind(columns: Tensor, sizes: Plan, mask: Tensor) -> Tensor:
    """The reverse of :func:`_columns` for gradients: blocks of a kind added up."""
    kinds = torch.tensor(sizes.x.kinds, device=columns.device)
    return torch.zeros_like(mask).index_add_(1, kinds, columns.transpose(1, 2))


class _Attention(torch.autograd.Function):
    """The answer for all blocks, and its gradients with respect to queries, keys, values and mask.

    The mask is ``(kinds of y, kinds of x, heads or 1, queries, keys)``, added to the scores over the root of the depth.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, sizes: Plan, offsets: bool, keep: bool
    ) -> tuple[Tensor, Tensor]:
        blocks = _Blocks(sizes, q.shape[0], q.shape[3])
        queries, keys, values = blocks.split(q * q.shape[-1] ** -0.5, pad=True), blocks.split(k), blocks.split(v)
        out = values.new_empty(*queries.shape[:3], values.shape[-1])
        mean = mask.new_zeros(*queries.shape[:3], 2) if offsets else mask.new_zeros(0)
        columns, kept = _columns(mask, sizes), []
        for piece in blocks.pieces():
            share = blocks.scores(piece, blocks.queries(queries, piece), blocks.keys(keys, piece), columns[piece.kind])
            share = torch.softmax(share, dim=-1)
            blocks.put(out, piece, torch.bmm(share.to(v.dtype), blocks.keys(values, piece)))
            if offsets:
                blocks.put(mean, piece, blocks.offsets(share, piece))
            if keep:
                kept.append(share)
        ctx.save_for_backward(q, k, v, mask, *kept)
        ctx.sizes, ctx.offsets = sizes, offsets
        return blocks.join(out), blocks.join(mean).mean(3) if offsets else mean

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_mean: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, mask, *kept = ctx.saved_tensors
        heads, scale = q.shape[3], q.shape[-1] ** -0.5
        blocks = _Blocks(ctx.sizes, q.shape[0], heads)
        queries, keys, values = blocks.split(q * scale, pad=True), blocks.split(k), blocks.split(v)
        onward = blocks.split(grad.to(v.dtype), pad=True)
        onward_mean = None
        if ctx.offsets:
            onward_mean = blocks.split((grad_mean / heads)[:, :, :, None].expand(-1, -1, -1, heads, -1), pad=True)
        d_queries, d_keys, d_values = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
        d_columns = torch.zeros_like(_columns(mask, ctx.sizes)) if ctx.needs_input_grad[3] else None
        for piece, share in zip(blocks.pieces(), kept, strict=True):
            one, some, out = blocks.queries(queries, piece), blocks.keys(keys, piece), blocks.queries(onward, piece)
            blocks.add(d_values, piece, torch.bmm(share.to(v.dtype).mT, out))
            slope = torch.bmm(out, blocks.keys(values, piece).mT).to(share.dtype)
            if onward_mean is not None:
                slope += blocks.queries(onward_mean, piece) @ ctx.sizes.places.T
            d_scores = torch._softmax_backward_data(slope, share, -1, share.dtype)
            if d_columns is not None:
                d_columns[piece.kind] += blocks.total(piece, d_scores)
            d_scores = d_scores.to(q.dtype)
            blocks.put(d_queries, piece, torch.bmm(d_scores, some))
            blocks.add(d_keys, piece, torch.bmm(d_scores.mT, one))
        d_mask = None if d_columns is None else _by_kind(d_columns, ctx.sizes, mask)
        return blocks.join(d_queries.mul_(scale)), blocks.join(d_keys), blocks.join(d_values), d_mask, None, None, None
