"""What goes into a model and what comes out, in the planes and the precision that losses expect."""

from __future__ import annotations

from typing import Iterator, Sequence

import torch
from torch import Tensor

from restore.contracts import Prediction, Traits
from restore.functional.color import rgb_to_y


def to_channels(clean: Tensor, traits: Traits) -> Tensor:
    """Clean RGB clips ``(B, T, 3, H, W)`` as the planes that a model of these traits works on."""
    return rgb_to_y(clean) if traits.channels == "y" and clean.shape[-3] == 3 else clean


def _full(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


class _Wide(Sequence[Tensor]):
    """Tensors in float32, each taken from the model when it is read: some models make them no sooner."""

    def __init__(self, clips: Sequence[Tensor]) -> None:
        self._clips = clips

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index):  # type: ignore[no-untyped-def] # a number gives a tensor, a slice a tuple of them
        if isinstance(index, slice):
            return tuple(_full(clip) for clip in self._clips[index])
        return _full(self._clips[index])

    def __iter__(self) -> Iterator[Tensor]:
        return (_full(clip) for clip in self._clips)


def full_precision(answer: Tensor | Prediction) -> Prediction:
    """A model's answer as a :class:`Prediction` in float32, whatever precision it was computed in. Intermediates that
    no loss reads are not computed where the model makes them on demand."""
    if not isinstance(answer, Prediction):
        return Prediction(_full(answer))
    features = {k: _full(v) for k, v in answer.features.items()}
    made = answer.intermediates
    inner = tuple(_full(v) for v in made) if isinstance(made, tuple) else _Wide(made)
    return Prediction(_full(answer.restored), inner, features)
