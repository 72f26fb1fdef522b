"""Where the windows of neighborhood attention lie, along one axis, for queries taken together in blocks.

The window of query i is ``start .. start + K - 1`` with ``start = clamp(i - K // 2, 0, L - K)``: always K keys, shifted
inward at the borders (Hassani et al., Neighborhood Attention Transformer, CVPR 2023, Sec. 3). A block of b neighbouring
queries needs no more than b + K - 1 keys in a row, and where those lie inside the axis nothing is padded.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import attrs
import torch
from torch import Tensor


@attrs.frozen(eq=False, slots=False)
class Axis:
    """Blocks of queries and their spans of keys along one axis.

    Attributes:
        length: of the axis, L.
        window: keys of a query, K.
        block: queries of a block; the last block may reach beyond the axis.
        count: blocks.
        span: keys of a block.
        starts: of each block's span.
        kinds: of each block, an index into the rows below; blocks of a kind lie alike within their spans.
        shifts: of each kind, the span's start less the block's.
        seen: ``(kinds, block, span)`` bool, which keys a query's window holds.
        relative: ``(kinds, block, span, 2K - 1)`` float, one-hot: key less query, plus K - 1; zero where not seen.
    """

    length: int
    window: int
    block: int
    count: int
    span: int
    starts: tuple[int, ...]
    kinds: tuple[int, ...]
    shifts: tuple[int, ...]
    seen: Tensor
    relative: Tensor

    @property
    def padding(self) -> int:
        """Places by which the last block reaches beyond the axis."""
        return self.count * self.block - self.length

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """Blocks ``[first, last)`` whose spans lie one block apart."""
        edges = [i for i in range(1, self.count) if self.starts[i] - self.starts[i - 1] != self.block]
        return list(zip([0, *edges], [*edges, self.count], strict=True))


@lru_cache(maxsize=64)
def axis(length: int, window: int, block: int, device: torch.device, dtype: torch.dtype) -> Axis:
    """The geometry for an axis of ``length`` places.

    Args:
        length: at least ``window``.
        window: K, at least 1.
        block: queries wanted in a block; they are spread evenly, so that there may be fewer.
        device, dtype: of the tensors.
    """
    count = -(-length // block)
    block = -(-length // count)
    span = min(block + window - 1, length)
    starts = [min(max(i * block - window // 2, 0), length - span) for i in range(count)]
    patterns: dict[bytes, int] = {}
    kinds, shifts, seen, relative = [], [], [], []
    for i, start in enumerate(starts):
        # What lies beyond the axis is a copy of its last query, so that no row is without keys.
        query = (torch.arange(block) + i * block).clamp(max=length - 1)
        key = torch.arange(span) + start
        first = (query - window // 2).clamp(0, length - window)[:, None]
        inside = (key >= first) & (key < first + window)
        place = torch.where(inside, key - query[:, None] + window - 1, -1)
        kind = patterns.setdefault(place.numpy().tobytes(), len(patterns))
        if kind == len(seen):
            seen.append(inside)
            relative.append(place[..., None] == torch.arange(2 * window - 1))
            shifts.append(start - i * block)
        kinds.append(kind)
    return Axis(
        length, window, block, count, span, tuple(starts), tuple(kinds), tuple(shifts),
        torch.stack(seen).to(device), torch.stack(relative).to(device, dtype),
    )  # fmt: skip
