"""The kit itself: every check catches a component that breaks its promise, says how to mend it, and lets a good one
pass."""

from __future__ import annotations

import random

import attrs
import pytest
import torch
from restore.contracts import Halo, Prediction
from restore.document import parse
from restore.testing import ConformanceError, NotApplicableError, Sample, checks
from torch import nn
from toy_components import Clips, Descent, Loss, Magnitude, Metric, Net, Spoil, Weighted, counting, short

KINDS = ("model", "degradation", "operator", "loss", "schedule", "optimizer", "dataset", "metric", "pruner", "recipe")
SAMPLE = Sample((2, 3, 3, 8, 10))


def look(name, make):
    """Run one check in each of its dtypes."""
    check = next(c for c in checks(name.partition(".")[0]) if c.full_name == name)
    for dtype in check.dtypes:
        check(make(), Sample(SAMPLE.shape, dtype, make=make))


def recipe(text):
    return parse(text, "toy.toml")


GOOD_RECIPE = """recipe = 1
[model]
use = "core:bicubic"
scale = 2
[degradation]
use = "core:chain"
steps = [{ use = "bicubic", scale = 2 }, { use = "jpeg", quality = 50 }]
[[losses]]
use = "l1"
weight = 0.5
[optimizer]
use = "adam"
lr = { use = "cosine", start = 1e-3 }
[data.train]
use = "images"
root = "nowhere"
[training]
iterations = 5
"""

WITH_WEIGHTS = GOOD_RECIPE.replace("scale = 2", 'scale = 2\nweights = "lost"', 1)

UNTRAINED_FROM_A_PATH = WITH_WEIGHTS.replace('"lost"', '"runs/first/final.safetensors"').partition("[training]")[0]

# check: a component that breaks it: what is seen, and what mends it
BROKEN = [
    ("model.traits", lambda: nn.Conv2d(3, 3, 1), "Conv2d", "self.traits = restore.Traits"),
    ("model.traits", lambda: Net(scale=0), "traits.scale is 0", "at least 1"),
    ("model.traits", lambda: Net(temporal="frame", halo=Halo(1, 2)), "halo.frames is 2", "temporal = 'clip'"),
    ("model.shape", lambda: Net(scale=2), "not (2, 3, 3, 16, 20)", "Traits.scale"),
    ("model.smallest", lambda: Net("pool"), "RuntimeError", "Traits.minimum"),
    ("model.finite_output", lambda: Net("nan"), "all 0: ", "epsilon"),
    ("model.deterministic", lambda: Net("calls"), "two calls differ by up to 0.001", "no state"),
    ("model.deterministic", lambda: Net("in place"), "changed its input", "x = x + 1"),
    ("model.batch", lambda: Net("batch"), "other samples of a batch", "batch axis"),
    ("model.frames", lambda: Net("time"), "frames more than 0", "Traits.halo.frames"),
    ("model.sweeps", lambda: Net(temporal="stream"), "`sweeps` is None", "restore.contracts.Sweep"),
    ("model.halo", lambda: Net(halo=Halo(pixels=0)), "pixels more than 0", "raise Traits.halo"),
    ("model.halo", lambda: Net("mean"), "with gradient", "global_context = True"),
    ("model.halo", lambda: Net("far"), "below an output pixel reach it by", "raise Traits.halo"),
    ("model.state_dict", lambda: Net("buffer"), "outputs differ", "persistent=True"),
    ("model.gradients", lambda: Net("unused"), "spare.weight", "forward does not use"),
    ("model.gradients", lambda: Net("detached"), "conv.bias", "detach()"),
    ("model.precision", lambda: Net("rounding"), "percent", "float32"),
    ("degradation.shapes", lambda: Spoil("flat"), "(6, 3, 8, 10)", "keep all axes"),
    ("degradation.value_range", lambda: Spoil("bytes"), "the target reaches", "divide by 255"),
    ("degradation.deterministic", lambda: Spoil("global"), "same seed differ", "step.generator"),
    ("degradation.deterministic", lambda: Spoil("python"), "same seed differ", "step.generator"),
    ("degradation.random", lambda: Spoil("constant"), "nine seeds give the same", "use what is drawn"),
    ("degradation.input_kept", lambda: Spoil("in place"), "values of the clean", "clone()"),
    ("degradation.dtype", lambda: Spoil("double"), "torch.float64", ".to(clean)"),
    ("degradation.batch", lambda: Spoil("batch mean"), "last sample", "dim="),
    ("degradation.per_frame", lambda: Spoil("time"), "last frame", "per_frame = False"),
    ("degradation.settled", lambda: Spoil("settled"), "differ|changed the degradation", "copy"),
    ("degradation.plain", lambda: Spoil("plain"), "not the clean clip", "innermost"),
    ("operator.plan", lambda: Weighted("plan"), "plan() says None", "name the solve"),
    ("operator.linear", lambda: Weighted("clamp"), "differ by", "no clamp"),
    ("operator.adjoint", lambda: Weighted("sign"), "the sign is flipped", "exact transpose"),
    ("operator.adjoint", lambda: Weighted("roll"), "relative", "exact transpose"),
    ("operator.prox", lambda: Weighted("twice rho"), "it would be for 2 rho", "A* y + rho v"),
    ("operator.prox", lambda: Weighted("rho item"), "one per sample", "A* y + rho v"),
    ("operator.pinv", lambda: Weighted("regularised"), "A A+ A = A: off by", "least norm"),
    ("operator.pinv", lambda: Weighted("least norm"), "A+ A A+ = A+: off by", "least norm"),
    ("operator.dense", lambda: Weighted("batch"), "A x of sample 0", "nothing may mix samples"),
    ("operator.gradients", lambda: Weighted("detach"), "A x by x", ".detach()"),
    ("operator.gradients", lambda: Weighted("rho item"), "prox by rho", ".item()"),
    ("operator.dtype", lambda: Weighted("double"), "prox of float32", "weight.to(x)"),
    ("loss.scalar", lambda: Loss(lambda d: d.abs()), "shape (2, 3, 3, 8, 10)", ".mean()"),
    ("loss.scalar", lambda: Loss(lambda d: float(d.abs().mean())), "a float", "without .item()"),
    ("loss.scalar", lambda: Loss(lambda d: d.double().abs().mean()), "torch.float64", "dtype"),
    ("loss.gradient", lambda: Loss(lambda d: d.detach().abs().mean()), "no gradient", "no detach()"),
    (
        "loss.equality",
        lambda: Loss(lambda d: d.square().mean().sqrt()),
        "gradient is not finite",
        "sqrt(d*d + eps*eps)",
    ),
    ("loss.pure", lambda: Loss(lambda d: d.square().mean() + torch.rand(())), "two calls", "step.generator"),
    ("loss.precision", lambda: short, "where float32 gives", "prediction.float()"),
    ("schedule.whole_run", lambda: lambda step: 1 / (step.total - 1), "ZeroDivisionError", "raised this"),
    ("schedule.whole_run", lambda: lambda step: torch.tensor(0.1), "a Tensor", "float(value)"),
    ("schedule.boundaries", lambda: lambda step: 1 / (step.iteration - step.total), "ZeroDivisionError", "raised"),
    ("schedule.pure", lambda: counting, "asked again in another order", "keep no state"),
    ("optimizer.downhill", lambda: lambda p: Descent(p, "uphill"), "the loss went", "weight -= lr"),
    ("optimizer.learning_rate", lambda: lambda p: Descent(p, "decay"), "lr = 0 weights moved", 'group["lr"]'),
    ("optimizer.resume", lambda: lambda p: Descent(p, "moments"), "weights differ", "self.state"),
    ("dataset.entries", lambda: Clips("empty"), "no entries", "RequestError"),
    ("dataset.entries", lambda: Clips("bytes"), "to 2", "divide by 255"),
    ("dataset.entries", lambda: Clips("uint8"), "torch.uint8", ".float() / 255"),
    ("dataset.entries", lambda: Clips("image"), "(3, 16, 20)", "image.unsqueeze(0)"),
    ("dataset.entries", lambda: Clips("channels last"), "(3, 16, 20, 3)", "channels go second"),
    ("dataset.entries", lambda: Clips("normal"), "from -0.4", "no mean or variance"),
    ("dataset.entries", lambda: Clips("pair"), "a tuple", "the clean clip alone"),
    ("dataset.entries", lambda: Clips("name"), "name(0) is 0", "return text"),
    ("dataset.end", lambda: Clips("endless"), "dataset[2] of 2", "IndexError"),
    ("dataset.repeatable", lambda: Clips("random"), "read twice differs", "sample(index, generator)"),
    ("dataset.sampling", lambda: Clips("global"), "same seed differs", "generator=generator"),
    ("dataset.sampling", lambda: Clips("fixed"), "eight seeds", "use what is drawn"),
    ("dataset.pairs", lambda: Clips("odd factor"), "observed is (3, 3, 5, 3)", "whole factor"),
    ("dataset.pairs", lambda: Clips("other target"), "not what sample() gives", "sample_pair(...).target"),
    ("dataset.workers", lambda: Clips("open file"), "cannot pickle", "__getstate__"),
    ("metric.protocol", lambda: Metric(protocol=None), "protocol is None", "self.protocol = {"),
    ("metric.protocol", lambda: Metric(protocol={"metric": torch.ones(1)}), "JSON", "text, numbers"),
    ("metric.number", lambda: Metric("tensor"), "a Tensor", "float(value)"),
    ("metric.order", lambda: Metric("bounded"), "does not go one way", "restored with reference"),
    ("metric.order", lambda: Metric("low"), "equality is not the best", "restored with reference"),
    ("metric.order", lambda: Metric("ratio"), "equal clips give NaN", "math.inf"),
    ("metric.batch", lambda: Metric("first"), "together", "mean over all"),
    ("metric.shapes", lambda: Metric("broadcast"), "one frame", "raise ValueError"),
    ("metric.inputs_kept", lambda: Metric("in place"), "the reference clip", "no in-place"),
    ("metric.observed", lambda: Metric(needs_observed=True), "without it", "raise ValueError"),
    ("pruner.training", lambda: Magnitude("vector"), "penalty at iteration 0", "scalar tensor"),
    ("pruner.training", lambda: Magnitude("nan"), "penalty at iteration 0", "scalar tensor"),
    ("pruner.compact", lambda: Magnitude("order"), "outputs differ", "same channels"),
    ("pruner.state", lambda: Magnitude("readings"), "readings() gives", "finite numbers"),
    ("pruner.state", lambda: Magnitude("state"), "other shapes", "in the state"),
    ("recipe.parses", lambda: recipe("recipe = 1\n[modell]\n"), "toy.toml:2", "correct the line"),
    ("recipe.components", lambda: recipe(GOOD_RECIPE.replace('"l1"', '"l3"')), "no loss 'l3'", "restore describe"),
    (
        "recipe.components",
        lambda: recipe(GOOD_RECIPE.replace("quality", "qualty")),
        "no parameter 'qualty'",
        "describe",
    ),
    ("recipe.components", lambda: recipe(GOOD_RECIPE.replace('"adam"', '"adamm"')), "no optimizer 'adamm'", "describe"),
    ("recipe.components", lambda: recipe(GOOD_RECIPE.replace(", start = 1e-3", "")), "needs 'start'", "describe"),
    ("recipe.weights_there", lambda: recipe(WITH_WEIGHTS), "no weights named 'lost'", "Component(weights="),
    ("recipe.weights_there", lambda: recipe(UNTRAINED_FROM_A_PATH), "is a path", "nobody else has that file"),
]


def test_a_recipe_that_trains_may_begin_with_what_an_earlier_run_left():
    look("recipe.weights_there", lambda: recipe(WITH_WEIGHTS.replace('"lost"', '"runs/first/final.safetensors"')))


@pytest.mark.parametrize(("name", "make", "seen", "mend"), BROKEN, ids=[f"{b[0]}-{i}" for i, b in enumerate(BROKEN)])
def test_a_broken_component_is_caught_and_told_how_to_mend(name, make, seen, mend):
    torch.manual_seed(0)
    random.seed(0)
    with pytest.raises(ConformanceError) as caught:
        look(name, make)
    error = caught.value
    assert error.check == name
    assert any(part in error.seen for part in seen.split("|"))
    assert mend in error.mend
    assert error.promised
    for part in (error.check, error.promised, error.seen, error.mend):
        assert part in str(error)


GOOD = {
    "model": [Net, lambda: Net(temporal="clip", halo=Halo(1, 1))],
    "degradation": [Spoil],
    "operator": [Weighted],
    "loss": [lambda: Loss(lambda d: (d.square() + 1e-6).sqrt().mean())],
    "schedule": [lambda: lambda step: 1e-3 * (1 - step.progress)],
    "optimizer": [lambda: Descent],
    "dataset": [Clips],
    "metric": [Metric],
    "pruner": [Magnitude],
    "recipe": [lambda: recipe(GOOD_RECIPE)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_component_passes_every_check(kind):
    """So that what the broken ones are caught for is what was broken in them."""
    for make in GOOD[kind]:
        looked = 0
        for check in checks(kind):
            for dtype in check.dtypes * (not check.thorough):
                try:
                    check(make(), Sample(SAMPLE.shape, dtype, make=make))
                    looked += 1
                except NotApplicableError as reason:
                    assert str(reason)  # noqa: PT017
        assert looked >= len(checks(kind)) / 3


@pytest.mark.parametrize("kind", KINDS)
def test_every_check_has_a_component_that_breaks_it(kind):
    """Or it might be one that cannot fail."""
    mine = {c.full_name for c in checks(kind) if c.kind == kind}
    assert mine <= {b[0] for b in BROKEN}


class Speaking(Net):
    """Says more than its answer, in training."""

    def forward(self, clip):
        out = super().forward(clip)
        return Prediction(out, features={"hidden": 2 * out}) if self.training else out


def hidden(prediction, pair, step):
    return (prediction.features["hidden"] / 2 - pair.target).square().mean()


def test_losses_that_read_features_are_given_a_models_predictions():
    with_model = attrs.evolve(SAMPLE, model=Speaking)
    for check in checks("loss"):
        for dtype in check.dtypes:
            check(hidden, attrs.evolve(with_model, dtype=dtype))
            with pytest.raises(ConformanceError, match="KeyError: 'hidden'"):
                check(hidden, attrs.evolve(SAMPLE, dtype=dtype))
    (gradient,) = [c for c in checks("loss") if c.name == "gradient"]
    with pytest.raises(ConformanceError, match="no gradient"):
        gradient(lambda p, pair, step: hidden(p, pair, step).detach(), with_model)
