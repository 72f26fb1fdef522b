"""What goes into a model and what comes out, in the planes and the precision that losses expect."""

from __future__ import annotations

import contextlib
from typing import Iterator, Sequence

import torch
from torch import Tensor

from restore.contracts import Pair, Prediction, Traits
from restore.errors import RequestError
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


def check_pair(pair: Pair, traits: Traits) -> None:
    """Whether a model of these traits can be trained on a pair.

    Raises:
        RequestError: sizes or frames that do not belong together, or that the model does not take.
    """
    if traits.needs_operator:
        return  # what an operator measures has any shape
    low, high = tuple(pair.observed.shape), tuple(pair.target.shape)
    if len(low) != 5:
        raise RequestError(
            f"what is observed is no clip, but {low[-1]} numbers: only models that are given the linear operator can "
            "undo this degradation"
        )
    if (low[1], low[3] * traits.scale, low[4] * traits.scale) != (high[1], *high[3:]):
        raise RequestError(
            f"the model enlarges by {traits.scale}, but of {high[1]} clean frames of {high[4]}x{high[3]} the "
            f"degradation makes {low[1]} of {low[4]}x{low[3]}"
        )
    if any(side % traits.multiple_of or side < traits.minimum for side in low[3:]):
        raise RequestError(
            f"the model takes sides in multiples of {traits.multiple_of}, at least {traits.minimum}, and is given "
            f"{low[4]}x{low[3]}: choose data.train.patch so that what the degradation leaves of it suits"
        )


def check_prediction(prediction: Prediction, pair: Pair) -> None:
    """RequestError unless a model's answer has the shape of the target, without which losses mean nothing."""
    made, wanted = tuple(prediction.restored.shape), tuple(pair.target.shape)
    if made != wanted:
        raise RequestError(f"the model makes {made} of {tuple(pair.observed.shape)}, the target is {wanted}")


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """What a component raises over its first batch becomes an error that says which; memory is another affair.

    Raises:
        RequestError: whatever it could not take.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RequestError(f"{what}: {lines[0]}") from error
