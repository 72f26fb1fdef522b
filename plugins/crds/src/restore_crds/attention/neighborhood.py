"""Neighborhood attention: every place attends to the K x K places around it."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from restore_crds.attention.blocks import block_attention
from restore_crds.attention.fused import fused_attention, unfit

Backend = Literal["auto", "torch", "natten"]


def neighborhood_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int,
    bias: Tensor | None = None,
    offsets: bool = False,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor | None]:
    """``softmax((Q_i K_j + B[j - i]) / sqrt(d)) V_j`` over the window of i (CRDS, Eqs. 19, 22; Hassani et al., 2023).

    The window is K x K places around i, moved inward at the borders: it starts at ``clamp(i - K // 2, 0, L - K)``.

    Args:
        q, k: ``(N, H, W, heads, depth)``, float.
        v: ``(N, H, W, heads, depth of values)``.
        window: K, from 1 to the smaller of H and W.
        bias: B, ``(heads, 2K - 1, 2K - 1)``, by y and then x of key less query, each plus K - 1; added before the
            division by the root of the depth, as the paper has it. None: none.
        offsets: also give the weighted mean of key less query, ``Vector(A)`` of Eq. 20.
        backend: ``torch``, ours, which does everything on any device; ``natten``, which does some things faster on
            CUDA; ``auto``, natten on CUDA wherever it can answer, else ours.

    Returns:
        ``(N, H, W, heads, depth of values)``, and ``(N, H, W, 2)``, x then y, in places, the mean over heads; None
        where offsets were not asked for.

    Raises:
        ValueError: shapes that do not fit, a window larger than the picture, or natten asked for what it cannot do.
    """
    _check(q, k, v, window, bias)
    if backend not in ("auto", "torch", "natten"):
        raise ValueError(f"backend must be auto, torch or natten, got {backend!r}")
    if backend != "torch":
        why_not = unfit(q, k, v, window, bias)
        if backend == "natten" and why_not:
            raise ValueError(why_not)
        if not why_not and (backend == "natten" or q.device.type == "cuda"):
            return fused_attention(q, k, v, window, offsets)
    return block_attention(q, k, v, window, bias, offsets)


def _check(q: Tensor, k: Tensor, v: Tensor, window: int, bias: Tensor | None) -> None:
    if q.dim() != 5 or q.shape != k.shape or q.shape[:4] != v.shape[:4]:
        raise ValueError(
            f"queries, keys and values must be (N, H, W, heads, depth), got {tuple(q.shape)}, {tuple(k.shape)} and "
            f"{tuple(v.shape)}"
        )
    height, width, heads = q.shape[1:4]
    if not 1 <= window <= min(height, width):
        raise ValueError(f"a window of {window} does not lie within {height} x {width} places")
    side = 2 * window - 1
    if bias is not None and bias.shape != (heads, side, side):
        raise ValueError(
            f"the bias for {heads} heads and a window of {window} is ({heads}, {side}, {side}), got {tuple(bias.shape)}"
        )
