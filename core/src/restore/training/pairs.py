"""What goes into a model and what comes out, in the planes and the precision that losses expect."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.contracts import Prediction, Traits
from restore.functional.color import rgb_to_y


def to_channels(clean: Tensor, traits: Traits) -> Tensor:
    """Clean RGB clips ``(B, T, 3, H, W)`` as the planes that a model of these traits works on."""
    return rgb_to_y(clean) if traits.channels == "y" and clean.shape[-3] == 3 else clean


def _full(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def full_precision(answer: Tensor | Prediction) -> Prediction:
    """A model's answer as a :class:`Prediction` in float32, whatever precision it was computed in."""
    if not isinstance(answer, Prediction):
        return Prediction(_full(answer))
    features = {k: _full(v) for k, v in answer.features.items()}
    return Prediction(_full(answer.restored), tuple(_full(v) for v in answer.intermediates), features)
