"""Checks of losses: a finite scalar with a finite gradient, wherever the prediction lies."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor

from restore.contracts import Pair, Prediction
from restore.testing.conformance import check, fail
from restore.testing.feeding import clip_for, declared
from restore.testing.sample import Sample, finite, largest


def inputs(sample: Sample, sigma: float) -> tuple[Prediction, Pair]:
    """A prediction that is the target with noise, its two earlier versions noisier, and the pair. All float. Where the
    example brings a model, all that the model says of a clip, and a target that lies beside it."""
    if sample.model is not None:
        return _predicted(sample, sigma)
    target = sample.clip()
    noises = [sample.noise(target, seed) for seed in (1, 2, 3)]
    clips = [(target + (1 + k) * sigma * noise).detach().requires_grad_() for k, noise in enumerate(noises)]
    observed = target + 0.1 * sample.noise(target, seed=4)
    return Prediction(clips[0], tuple(reversed(clips[1:]))), Pair(observed, target)


def _predicted(sample: Sample, sigma: float) -> tuple[Prediction, Pair]:
    assert sample.model is not None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = sample.model().to(device=sample.device, dtype=sample.torch_dtype)
    clip = clip_for(declared(model), sample)
    # Hidden states are often given in training alone.
    answer = model.train()(clip)
    said = answer if isinstance(answer, Prediction) else Prediction(answer)

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().clone().requires_grad_()

    target = said.restored.detach() - sigma * sample.noise(said.restored.detach())
    features = {name: leaf(tensor) for name, tensor in said.features.items()}
    return Prediction(leaf(said.restored), tuple(map(leaf, said.intermediates)), features), Pair(clip, target)


def value(loss: Any, prediction: Prediction, pair: Pair, sample: Sample) -> Tensor:
    """The loss, known to be a scalar tensor."""
    made = loss(prediction, pair, sample.step())
    if not isinstance(made, Tensor):
        fail(f"it returned a {type(made).__name__}", "return the tensor itself, without .item() or float()")
    assert isinstance(made, Tensor)
    if made.ndim:
        fail(f"it returned a tensor of shape {tuple(made.shape)}", "reduce it to a scalar: .mean() or .sum()")
    return made


def _derived(loss: Any, sigma: float, sample: Sample, where: str) -> Tensor:
    prediction, pair = inputs(sample, sigma)
    made = value(loss, prediction, pair, sample)
    if not finite(made):
        fail(f"{where} it is {float(made.detach())}", "add an epsilon where it divides or takes a logarithm")
    if not made.requires_grad:
        fail(f"{where} it has no gradient", "no detach(), no_grad(), .item() or rounding between prediction and loss")
    clips = [prediction.restored, *prediction.intermediates, *prediction.features.values()]
    found = [g for g in torch.autograd.grad(made, clips, allow_unused=True) if g is not None]
    if not all(finite(g) for g in found):
        fail(
            f"{where} its gradient is not finite",
            "a root or norm at 0 has no gradient: put an epsilon inside it, sqrt(d*d + eps*eps)",
        )
    return torch.stack([g.abs().max() for g in found]).max() if found else torch.zeros(())


@check("loss", "a scalar tensor, finite and of the prediction's dtype", dtypes=("float32", "float64"))
def scalar(loss: Any, sample: Sample) -> None:
    """Reduced to one number."""
    made = value(loss, *inputs(sample, 0.1), sample)
    if made.dtype != sample.torch_dtype or not finite(made):
        fail(
            f"a prediction in {sample.torch_dtype} gave {float(made.detach())} in {made.dtype}",
            "make constants in the prediction's dtype",
        )


@check("loss", "differentiable in the prediction: the gradient is finite, and not 0 away from the target")
def gradient(loss: Any, sample: Sample) -> None:
    """Near the target and far from it."""
    for sigma in (1e-3, 0.3):
        if float(_derived(loss, sigma, sample, f"{sigma:g} away from the target")) == 0:
            fail(
                f"{sigma:g} away from the target its gradient is 0",
                "no detach() or rounding between prediction and loss",
            )


@check("loss", "where the prediction equals the target, value and gradient are finite")
def equality(loss: Any, sample: Sample) -> None:
    """Roots and logarithms at 0."""
    _derived(loss, 0.0, sample, "at the target")


@check("loss", "the same inputs and seed give the same value, and are left as they were")
def pure(loss: Any, sample: Sample) -> None:
    """No state, nothing in place."""
    prediction, pair = inputs(sample, 0.1)
    before = [prediction.restored.detach().clone(), pair.target.clone(), pair.observed.clone()]
    first, again = (float(value(loss, prediction, pair, sample).detach()) for _ in range(2))
    if not abs(first - again) <= 1e-6 * abs(first):
        fail(f"two calls gave {first:.9g} and {again:.9g}", "keep no state; draw from step.generator alone")
    now = [prediction.restored.detach(), pair.target, pair.observed]
    for name, old, new in zip(("prediction", "target", "observed"), before, now, strict=True):
        if largest(old - new):
            fail(f"it changed the {name}", "no in-place operations on its inputs")


@check("loss", "under autocast and with predictions in a short float it stays finite", dtypes=("bfloat16",))
def precision(loss: Any, sample: Sample) -> None:
    """As training in mixed precision hands it over: a short prediction, a float32 target."""
    prediction, pair = inputs(attrs.evolve(sample, dtype="float32"), 0.1)
    wide = float(value(loss, prediction, pair, sample).detach())
    short = Prediction(
        prediction.restored.to(sample.torch_dtype),
        tuple(i.to(sample.torch_dtype) for i in prediction.intermediates),
        {name: tensor.to(sample.torch_dtype) for name, tensor in prediction.features.items()},
    )
    with torch.autocast(torch.device(sample.device).type, dtype=sample.torch_dtype):
        made = float(value(loss, short, pair, sample).detach())
    if not abs(made - wide) <= 0.05 * abs(wide) + 1e-6:
        fail(
            f"{made:.6g} where float32 gives {wide:.6g}", "compute differences and sums in float32: prediction.float()"
        )
