"""Neighborhood attention through natten's kernels, where natten is installed."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether natten can be imported."""
    return importlib.util.find_spec("natten") is not None


def unfit(q: Tensor, k: Tensor, v: Tensor, window: int, bias: Tensor | None) -> str:
    """Why natten cannot answer this call; empty where it can.

    natten 0.21 takes no bias, no window of one, and has no backward pass on the CPU.
    """
    if not available():
        return "natten is not installed (pip install natten)"
    if bias is not None:
        return "natten takes no relative position bias (bias = 'none' does without)"
    if window < 2:
        return f"natten takes no window below 2, got {window}"
    if q.dtype == torch.float64:
        return "natten does not compute in float64"
    if q.device.type == "cpu" and torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v)):
        return "natten has no backward pass on the CPU"
    return ""


def fused_attention(q: Tensor, k: Tensor, v: Tensor, window: int, offsets: bool) -> tuple[Tensor, Tensor | None]:
    """See :func:`restore_crds.attention.neighborhood_attention`; what is :func:`unfit` is refused there.

    The weighted mean offsets come from a second call with the coordinates as values, as natten does not give its
    weights away. Those are rounded as any number of their size: float32 keeps 1e-6 of the picture's side.
    """
    natten: Any = importlib.import_module("natten")
    out = natten.na2d(q, k, v, kernel_size=window)
    if not offsets:
        return out, None
    _, height, width, _, depth = q.shape
    y, x = torch.meshgrid(
        torch.arange(height, device=q.device, dtype=torch.float32),
        torch.arange(width, device=q.device, dtype=torch.float32),
        indexing="ij",
    )
    own = torch.stack([x, y], dim=-1)
    places = F.pad(own, (0, depth - 2))[None, :, :, None].expand(q.shape).contiguous()
    seen = natten.na2d(q.float(), k.float(), places, kernel_size=window)[..., :2].mean(dim=3)
    return out, seen - own
