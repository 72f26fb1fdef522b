"""Checks of models that are given the linear operator beside what it measured: any operator, one for each sample."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restore import weights
from restore.contracts import Prediction, Traits
from restore.errors import RestoreError
from restore.operators import BoxDownsample, FrameSelection, Grey, Identity, Mask, Mixed, Operator, blur
from restore.operators.kernels import disk
from restore.testing.conformance import NotApplicableError, check, fail
from restore.testing.kinds.model import fitted, restored, stir
from restore.testing.sample import Sample, Sizes, finite, largest


def ready(model: Any) -> Traits:
    """The model's traits, the model in evaluation mode; NotApplicableError for one that is given clips alone."""
    traits = getattr(model, "traits", None)
    if not isinstance(model, nn.Module) or not isinstance(traits, Traits):
        raise NotApplicableError("not a model with traits; model.traits says more")
    if not traits.needs_operator:
        raise NotApplicableError("the model needs no operator")
    model.eval()
    return traits


def some_operators(shape: Sizes, sample: Sample) -> dict[str, Operator]:
    """Operators on clips ``(T, C, H, W)`` that lose values, frames, colour, detail, or nothing; what they measure is as
    large as a clip, smaller, and larger."""
    frames, channels, height, width = shape
    mask = torch.rand(shape, generator=sample.generator(3)) > 0.4
    made: dict[str, Operator] = {
        "mask": Mask(shape, mask),
        "full blur": blur(shape, disk(4, 2.0), "full"),
        "frames": FrameSelection(shape, range(0, frames, 2)),
        "identity": Identity(shape),
    }
    if min(height, width) >= 2:
        made["box mean"] = BoxDownsample(shape, 2)
    if channels == 3:
        made["grey"] = Grey(shape)
    return made


def measured(traits: Traits, sample: Sample) -> tuple[dict[str, Operator], Tensor]:
    """The operators, and a clip for each of them, ``(count, T, C, H, W)``."""
    shape = fitted(traits, sample.shape)[1:]
    operators = some_operators(shape, sample)
    return operators, sample.clip(0, (len(operators), *shape))


def run(model: nn.Module, observed: Tensor, operator: Any) -> Tensor:
    """The restored clips, without gradients."""
    with torch.no_grad():
        return restored(model(observed, operator))


@check(
    "inverse",
    "model(observed, operator) gives finite clips of the operator's domain, in the dtype observed",
    shapes=True,
)
def domain(model: Any, sample: Sample) -> None:
    """Whatever shape the measurement has; of a black clip too."""
    operators, clips = measured(ready(model), sample)
    for (name, operator), clip in zip(operators.items(), torch.split(clips, 1), strict=True):
        for case, clean in (("a moving picture", clip), ("all 0", torch.zeros_like(clip))):
            out = run(model, operator(clean), operator)
            if out.shape != clean.shape or out.dtype != clean.dtype:
                fail(
                    f"{name}: {tuple(clean.shape)}, {clean.dtype}, came back as {tuple(out.shape)}, {out.dtype}",
                    "operator.adjoint(observed) has the size wanted, whatever the measurement's is",
                )
            if not finite(out):
                fail(f"{name}, {case}: values are not finite", "add an epsilon where forward divides or takes a root")


@check("inverse", "a batch with an operator for each sample gives what the samples give one by one, to 1e-4")
def mixed(model: Any, sample: Sample) -> None:
    """Through ``restore.operators.Mixed``, whose measurement is flat where the samples' differ in size."""
    operators, clips = measured(ready(model), sample)
    together = Mixed(list(operators.values()))
    every = run(model, together(clips), together)
    for (name, operator), clip, out in zip(
        operators.items(), torch.split(clips, 1), torch.split(every, 1), strict=True
    ):
        alone = run(model, operator(clip), operator)
        difference, size = largest(alone - out), max(largest(alone), 1e-3)
        if not difference <= 1e-4 * size:
            fail(
                f"{name}: in a batch with others it differs by up to {difference:.3g} (its values reach {size:.3g})",
                "ask the operator (adjoint, pinv, prox, data_step) rather than the measurement's shape, and take no "
                "statistics over the batch",
            )


@check("inverse", "what it makes of a measurement depends on the operator")
def uses_operator(model: Any, sample: Sample) -> None:
    """The same numbers, measured by two masks."""
    operators, clips = measured(ready(model), sample)
    one = operators["mask"]
    assert isinstance(one, Mask)
    other = Mask(one.shape.input, ~one.mask)
    y = clips[:1]
    if largest(run(model, y, one) - run(model, y, other)) == 0:
        fail("two masks give the same answer", "use the operator in forward, or leave out Traits.needs_operator")


@check("inverse", "in evaluation mode two calls give the same, and the measurement is left as it was")
def deterministic(model: Any, sample: Sample) -> None:
    """No dropout, no noise, no state from one call to the next, nothing in place."""
    operators, clips = measured(ready(model), sample)
    operator = operators["mask"]
    y = operator(clips[:1])
    before = y.clone()
    first = run(model, y, operator)
    if not torch.equal(y, before):
        fail("forward changed the measurement", "no in-place operation on it")
    difference = largest(first - run(model, y, operator))
    if difference > (1e-5 * largest(first) if sample.device != "cpu" else 0):
        fail(f"two calls differ by up to {difference:.3g}", "keep no state between calls, and draw nothing")


@check("inverse", "in float64 it computes what it computes in float32, more exactly", dtypes=("float64",))
def dtype(model: Any, sample: Sample) -> None:
    """Weights and measurement alike: comparisons and proofs need it."""
    operators, clips = measured(ready(model), sample)
    operator = operators["mask"]
    y = operator(clips[:1])
    narrow = run(model, y.float(), operator)
    wide = run(copy.deepcopy(model).double(), y, operator)
    if wide.dtype != torch.float64 or not finite(wide):
        fail(f"a measurement in {y.dtype} became {wide.dtype}", "make constants in its dtype: observed.new_tensor(...)")
    difference, size = largest(wide - narrow), largest(wide)
    if not difference <= 1e-3 * max(1.0, size):
        fail(
            f"the two differ by up to {difference:.3g} (values reach {size:.3g})",
            "look for an .int(), a .half() or a constant that loses digits",
        )


@check("inverse", "a gradient reaches every trainable parameter, finite and somewhere not 0; of a black clip too")
def gradients(model: Any, sample: Sample) -> None:
    """From a mixed batch, in training mode."""
    traits = ready(model)
    model = copy.deepcopy(model)
    stir(model)
    model.train()
    waiting = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not waiting:
        raise NotApplicableError("the model has nothing to train")
    operators, clips = measured(traits, sample)
    clips = torch.cat([clips[:-1], torch.zeros_like(clips[-1:])])
    together = Mixed(list(operators.values()))
    answer = model(together(clips), together)
    outputs = [answer.restored, *answer.intermediates] if isinstance(answer, Prediction) else [answer]
    torch.autograd.backward([(o * sample.noise(o, 5)).sum() for o in outputs if o.requires_grad])
    for name, parameter in waiting.items():
        if parameter.grad is None or largest(parameter.grad) == 0:
            fail(f"none reaches {name}", "remove layers that forward does not use, or a detach() on the way")
        assert parameter.grad is not None
        if not finite(parameter.grad):
            fail(f"the gradient of {name} is not finite", "a root, norm or division at 0: add an epsilon inside it")


@check("inverse", "weights written to a file and read into a new model give bit for bit the same output")
def state_dict(model: Any, sample: Sample) -> None:
    """Through safetensors, as `restore train` writes them."""
    traits = ready(model)
    if not model.state_dict():
        raise NotApplicableError("the model has no parameters and no buffers")
    model = copy.deepcopy(model)
    stir(model)
    fresh = sample.make() if sample.make is not None else copy.deepcopy(model)
    fresh.to(sample.device).eval()
    stir(fresh, seed=1)
    operators, clips = measured(traits, sample)
    operator = operators["mask"]
    y = operator(clips[:1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        try:
            weights.save(path, model.state_dict(), {})
            weights.load_into(fresh, weights.read(path))
        except RestoreError as error:
            fail(str(error), "a model built twice from the same parameters must have the same names and shapes")
    difference = largest(run(model, y, operator) - run(fresh, y, operator))
    if difference:
        fail(
            f"the outputs differ by up to {difference:.3g}",
            "keep everything that forward uses in parameters or buffers",
        )
