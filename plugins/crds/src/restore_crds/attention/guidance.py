"""Attention that looks where optical flow points (CRDS, Sec. 3.4): warped first, or by a window at every place."""

from __future__ import annotations

import torch
from restore.functional.flow import warp
from torch import Tensor

from restore_crds.attention.neighborhood import Backend, neighborhood_attention


def guided_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    flow: Tensor,
    window: int,
    bias: Tensor | None = None,
    offsets: bool = False,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor | None]:
    """Keys and values are warped by the flow, bilinearly, and attended to around the query's own place.

    Where the flow is the same all over a window, and away from the borders, this is :func:`shifted_window_attention`.

    Args:
        q, k, v, window, bias, offsets, backend: as :func:`neighborhood_attention` takes them; k and v belong to the
            reference frame.
        flow: ``(N, 2, H, W)``, x then y, in places, from the query's frame to the reference.

    Returns:
        As :func:`neighborhood_attention`; the offsets are without the flow.
    """
    both = torch.cat([k.flatten(3), v.flatten(3)], dim=-1).permute(0, 3, 1, 2)
    keys, values = warp(both, flow).permute(0, 2, 3, 1).split([k[0, 0, 0].numel(), v[0, 0, 0].numel()], dim=-1)
    return neighborhood_attention(q, keys.reshape(k.shape), values.reshape(v.shape), window, bias, offsets, backend)


def shifted_window_attention(
    q: Tensor, k: Tensor, v: Tensor, flow: Tensor, window: int, bias: Tensor | None = None, offsets: bool = False
) -> tuple[Tensor, Tensor | None]:
    """The definition: every query has a window of its own, fetched bilinearly at ``i + flow(i) + offset``.

    It keeps K x K copies of keys and values: a reference for small pictures. Arguments and result are those of
    :func:`guided_attention`.
    """
    count, height, width, _, depth = q.shape
    rows, columns = (_window_offsets(length, window, flow) for length in (height, width))
    scores, values, steps = [], [], []
    for row in range(window):
        for column in range(window):
            step = torch.stack(
                [columns[None, :, column].expand(height, width), rows[:, row, None].expand(height, width)]
            ).expand(count, -1, -1, -1)
            key, value = (
                warp(t.flatten(3).permute(0, 3, 1, 2), flow + step).permute(0, 2, 3, 1).reshape(t.shape) for t in (k, v)
            )
            score = (q * key).sum(-1)
            if bias is not None:
                y, x = (step[0, axis].long() + window - 1 for axis in (1, 0))
                score = score + bias[:, y, x].permute(1, 2, 0)
            scores.append(score)
            values.append(value)
            steps.append(step.permute(0, 2, 3, 1))
    share = torch.softmax(torch.stack(scores) / depth**0.5, dim=0)
    out = (share[..., None] * torch.stack(values)).sum(0)
    mean = (share.mean(-1)[..., None] * torch.stack(steps)).sum(0)
    return out, mean if offsets else None


def _window_offsets(length: int, window: int, like: Tensor) -> Tensor:
    """``(length, window)``: key less query along an axis, clamped at its ends."""
    places = torch.arange(length, dtype=like.dtype, device=like.device)
    start = (places - window // 2).clamp(0, length - window)
    return start[:, None] + torch.arange(window, dtype=like.dtype, device=like.device) - places[:, None]
