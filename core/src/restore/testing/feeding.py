"""What checks of models share: traits, clips that a model takes, and running it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from restore.contracts import Prediction, Traits
from restore.functional.quantizer import join_qp
from restore.functional.seeding import seeded
from restore.testing.conformance import NotApplicableError, fail
from restore.testing.sample import Sample, Sizes

BLACK, WHITE = 16 / 255, 235 / 255
# Of frames that came from a coded video: better and worse ones, and such that nothing is known of.
_QPS = (37.0, -1.0, 22.0, 45.0)


def declared(model: Any) -> Traits:
    """The model's traits, the model in evaluation mode."""
    if not isinstance(model, nn.Module) or not isinstance(getattr(model, "traits", None), Traits):
        fail(
            f"a {type(model).__name__} whose traits are a {type(getattr(model, 'traits', None)).__name__}",
            "subclass torch.nn.Module and set self.traits = restore.Traits(...) in __init__",
        )
    traits: Traits = model.traits
    model.eval()
    return traits


def ready(model: Any) -> Traits:
    """The same; NotApplicableError for a model that is given an operator too: the checks called ``inverse`` are its."""
    traits = declared(model)
    if traits.needs_operator:
        raise NotApplicableError("the model is given an operator beside the clip: the checks called inverse look at it")
    return traits


def fitted(traits: Traits, shape: Sizes) -> Sizes:
    """``(B, T, C, H, W)`` with the channels that the model takes, and sides rounded up to what it accepts."""
    batch, frames, _, height, width = shape
    multiple = traits.multiple_of
    sides = [-(-max(side, traits.minimum) // multiple) * multiple for side in (height, width)]
    return (batch, frames, traits.planes, *sides)


def clip_for(traits: Traits, sample: Sample, shape: Sizes | None = None, seed: int = 0) -> Tensor:
    """A clip that the model takes, in its range."""
    clip = sample.clip(seed, fitted(traits, sample.shape if shape is None else shape))
    if traits.channels == "rgb+qp":
        qps = clip.new_tensor([_QPS[t % len(_QPS)] for t in range(clip.shape[1])])
        return join_qp(clip[:, :, :3], qps.expand(clip.shape[:2]))
    return BLACK + (WHITE - BLACK) * clip if traits.channels == "y" else clip


def restored(answer: Any) -> Tensor:
    """The restored clip of whatever a model returned."""
    clip = answer.restored if isinstance(answer, Prediction) else answer
    if not isinstance(clip, Tensor):
        fail(f"forward returned a {type(answer).__name__}", "return a tensor, or restore.Prediction(restored=...)")
    assert isinstance(clip, Tensor)
    return clip


def run(model: nn.Module, clip: Tensor) -> Tensor:
    """The restored clip, without gradients."""
    with torch.no_grad():
        return restored(model(clip))


def stir(model: nn.Module, seed: int = 0) -> None:
    """Move every parameter a little: what starts at 0 or 1 is then like anything else."""
    generator = seeded(0x57112, seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                move = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(0.02 * move.to(parameter))
