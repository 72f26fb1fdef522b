"""The one place where two clips are blended."""

from __future__ import annotations

from torch import Tensor


def blend(clean: Tensor, other: Tensor, clean_weight: float | Tensor) -> Tensor:
    """``clean_weight * clean + (1 - clean_weight) * other``.

    Papers weigh opposite sides (ECO's alpha is the clean side's weight, CRDS's alpha_s the other's, Eqs. 14 and 8), so
    the parameter is called ``clean_weight`` wherever two sides are blended. Weights 0 and 1 give back the other or the
    clean side itself, to the bit, finite or not.

    Args:
        clean: any shape.
        other: of that shape.
        clean_weight: in [0, 1]; a tensor is broadcast, e.g. ``(B, 1, 1, 1, 1)`` for a weight per sample.

    Raises:
        ValueError: the shapes differ.
    """
    if clean.shape != other.shape:
        raise ValueError(f"only equal shapes can be blended, got {tuple(clean.shape)} and {tuple(other.shape)}")
    if not isinstance(clean_weight, Tensor):
        if clean_weight == 1:
            return clean
        if clean_weight == 0:
            return other
    return clean_weight * clean + (1 - clean_weight) * other
