"""Mutual neighborhood attention: motion estimation (MuNA-ME) and the prediction of a frame out of its neighbours
(MuNA-AGP), and the fusion of those predictions (CRDS, Sec. 3.4)."""

from __future__ import annotations

from typing import Literal

import torch
from restore.functional.flow import warp
from restore.networks.residual import kaiming, residual_chain
from restore.pruning import Gate, chain_gates
from torch import Tensor, nn

from restore_crds.attention import Backend, neighborhood_attention

Alignment = Literal["muna", "flow", "none"]
Bias = Literal["table", "none"]


def follow(features: Tensor, flow: Tensor) -> Tensor:
    """``features`` fetched along ``flow``; never in a short float, whose places would be off by a pixel.

    Args:
        features: ``(N, C, h, w)``.
        flow: ``(N, 2, h, w)`` in places.
    """
    with torch.autocast(features.device.type, enabled=False):
        kind = torch.promote_types(features.dtype, flow.dtype)
        return warp(features.to(kind), flow.to(kind)).to(features.dtype)


class MuNA(nn.Module):
    """Predicts a frame from each of its reference frames, by attention around where optical flow points.

    The reference is warped first and projected then, which is the same as the other way round (both are linear, and
    the weights of the interpolation add up to one), for half the work.

    Args:
        features: channels.
        window: K; a query sees K x K places of the reference.
        heads: of the attention.
        bias: ``table``, a learnt relative position bias; ``none``.
        alignment: ``muna``; ``flow``, the warped reference alone, projected; ``none``, the reference as it is,
            projected (Table 4).
        backend: of :func:`restore_crds.attention.neighborhood_attention`.

    Raises:
        ValueError: a number below 1, heads that do not divide the features, or an unknown choice.
    """

    def __init__(
        self, features: int, window: int, heads: int, bias: Bias, alignment: Alignment, backend: Backend = "auto"
    ) -> None:
        super().__init__()
        if heads < 1 or features % heads:
            raise ValueError(f"heads must divide the {features} features, got {heads}")
        for name, value, known in (
            ("bias", bias, ("table", "none")),
            ("alignment", alignment, ("muna", "flow", "none")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")
        self.window, self.heads, self.alignment, self.backend = window, heads, alignment, backend
        self.value = nn.Linear(features, features)
        self.bias: nn.Parameter | None = None
        if alignment == "muna":
            self.query, self.key = nn.Linear(features, features), nn.Linear(features, features)
            if bias == "table":
                self.bias = nn.Parameter(torch.zeros(heads, 2 * window - 1, 2 * window - 1))

    def forward(self, level: Tensor, references: list[tuple[Tensor, Tensor | None]], offsets: bool = False) -> Answer:
        """One prediction for each reference.

        Args:
            level: ``(N, C, h, w)``, the frames to predict.
            references: ``(N, C, h, w)`` each, and the flow to it, ``(N, 2, h, w)`` in places; None for no motion.
            offsets: also give ``Vector(A)`` of Eq. 20, ``(N, 2, h, w)`` each, x then y, in places.

        Returns:
            the predictions, ``(N, C, h, w)`` each, and the offsets, as many, or None.
        """
        predictions, vectors = [], []
        query = self._heads(self.query(level.permute(0, 2, 3, 1))) if self.alignment == "muna" else None
        for reference, flow in references:
            if flow is not None and self.alignment != "none":
                reference = follow(reference, flow)
            seen = reference.permute(0, 2, 3, 1)
            value = self.value(seen)
            vector = None
            if query is not None:
                out, vector = neighborhood_attention(
                    query,
                    self._heads(self.key(seen)),
                    self._heads(value),
                    self.window,
                    self.bias,
                    offsets,
                    self.backend,
                )
                value = out.flatten(3)
            elif offsets:
                vector = value.new_zeros(*value.shape[:3], 2)
            predictions.append(value.permute(0, 3, 1, 2))
            if vector is not None:
                vectors.append(vector.permute(0, 3, 1, 2))
        return predictions, vectors or None

    def _heads(self, t: Tensor) -> Tensor:
        return t.unflatten(-1, (self.heads, -1))


Answer = tuple[list[Tensor], "list[Tensor] | None"]


class Fusion(nn.Module):
    """The prediction fusion network: one frame out of its predictions.

    Args:
        features: channels.
        predictions: how many there are.
        blocks: residual blocks behind the first convolution.
    """

    def __init__(self, features: int, predictions: int, blocks: int) -> None:
        super().__init__()
        self.merge = nn.Sequential(nn.Conv2d(predictions * features, features, 3, padding=1), nn.LeakyReLU(0.1))
        kaiming(self.merge)
        self.body = residual_chain(features, blocks)
        self.reach = 1 + 2 * blocks

    def forward(self, predictions: list[Tensor]) -> Tensor:
        """``(N, C, h, w)`` each, to one of them."""
        return self.body(self.merge(torch.cat(predictions, dim=1)))  # type: ignore[no-any-return]

    def gates(self, path: str) -> tuple[Gate, ...]:
        """What can be pruned of it, at ``path``: its residual blocks."""
        return chain_gates(f"{path}.body", self.body)
