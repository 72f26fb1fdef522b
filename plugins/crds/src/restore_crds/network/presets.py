"""Sizes of CRDS and of its auto-encoder: as in the paper, for two processor cores, and for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from restore_crds.attention import Backend
from restore_crds.network.autoencoder import LatentAutoEncoder
from restore_crds.network.crds import CRDS
from restore_crds.network.flow import FlowMethod
from restore_crds.network.muna import Alignment, Bias

SMALL_AUTO_ENCODER: dict[str, Any] = {
    "features": 32, "encoder_blocks": 1, "decoder_blocks": 1, "upsampling": "one-step", "stride": 2,
}  # fmt: skip
SMALL: dict[str, Any] = SMALL_AUTO_ENCODER | {
    "fusion_blocks": 0, "propagation_blocks": 2, "flow_levels": 3, "flow_widths": (16, 32, 16, 8),
}  # fmt: skip
TINY_AUTO_ENCODER: dict[str, Any] = {"features": 16, "encoder_blocks": 1, "decoder_blocks": 1}
TINY: dict[str, Any] = TINY_AUTO_ENCODER | {
    "fusion_blocks": 1, "propagation_blocks": 1, "flow_levels": 2, "flow_widths": (8, 8),
}  # fmt: skip


def small(
    *,
    references: int = 1,
    window: int = 5,
    heads: int = 1,
    bias: Bias = "table",
    blocks: int = 2,
    alignment: Alignment = "muna",
    prediction: bool = True,
    with_qp: bool = True,
    assumed_qp: float | None = None,
    strength: bool = True,
    flow: FlowMethod = "lucas-kanade",
    flow_weights: Path | None = None,
    backend: Backend = "auto",
) -> CRDS:
    """:class:`CRDS` with 32 features at half the frames' size, two blocks, one head, windows of 5, shorter trunks, a
    decoder of one step, and flow by Lucas and Kanade's method (or a narrower SpyNet): 367,375 parameters.

    Args:
        references, window, heads, bias, blocks, alignment, prediction, with_qp, assumed_qp, strength, flow,
            flow_weights, backend: as CRDS has them; published flow weights do not fit the narrower SpyNet, those of
            this size do.
    """
    return CRDS(
        references=references, window=window, heads=heads, bias=bias, blocks=blocks, alignment=alignment,
        prediction=prediction, with_qp=with_qp, assumed_qp=assumed_qp, strength=strength, flow=flow,
        flow_weights=flow_weights, backend=backend, **SMALL,
    )  # fmt: skip


def tiny(
    *,
    references: int = 1,
    window: int = 3,
    heads: int = 1,
    bias: Bias = "table",
    blocks: int = 4,
    alignment: Alignment = "muna",
    prediction: bool = True,
    with_qp: bool = False,
    assumed_qp: float | None = None,
    strength: bool = False,
    backend: Backend = "auto",
) -> CRDS:
    """:class:`CRDS` with 16 features and one residual block everywhere.

    Args:
        references, window, heads, bias, blocks, alignment, prediction, with_qp, assumed_qp, strength, backend: as CRDS
            has them.
    """
    return CRDS(
        references=references, window=window, heads=heads, bias=bias, blocks=blocks, alignment=alignment,
        prediction=prediction, with_qp=with_qp, assumed_qp=assumed_qp, strength=strength, backend=backend, **TINY,
    )  # fmt: skip


def auto_encoder_small() -> LatentAutoEncoder:
    """The auto-encoder of :func:`small`."""
    return LatentAutoEncoder(**SMALL_AUTO_ENCODER)


def auto_encoder_tiny() -> LatentAutoEncoder:
    """The auto-encoder of :func:`tiny`."""
    return LatentAutoEncoder(**TINY_AUTO_ENCODER)
