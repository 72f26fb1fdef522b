"""Optimizers: names, types, groups, and LAMB's arithmetic."""

from __future__ import annotations

import pytest
import torch
from restore.build import Builder
from restore.builtin.optimizers.lamb import Lamb
from restore.contracts import Step
from restore.document import parse
from restore.errors import RequestError
from restore.recipe import Use
from restore.training.optimizers import plan_optimizer, set_rates
from torch import nn


@pytest.fixture
def plan(registry):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 3))

    def make(toml: str):
        document = parse(toml, "o.toml")
        values = dict(document.data)
        use = Use(values.pop("use"), values, document.root)
        return plan_optimizer(use, list(model.named_parameters()), Builder(registry))

    make.model = model
    return make


def test_lamb_takes_the_step_of_ecos_code():
    # w = (3, 4): |w| = 5; g = (1, -2); b = (.9, .99): m = (.1, -.2), v = (.01, .04), u = m / sqrt(v) = (1, -1).
    w = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    w.grad = torch.tensor([1.0, -2.0], dtype=torch.float64)
    optimizer = Lamb([w], lr=0.1, eps=1e-12)
    optimizer.step()
    ratio = 5 / 2**0.5
    assert w.tolist() == pytest.approx([3 - 0.1 * ratio, 4 + 0.1 * ratio])
    w.grad = torch.tensor([0.0, 1.0], dtype=torch.float64)
    before, norm = w.detach().clone(), float(w.detach().norm())
    optimizer.step()
    m, v = (0.09, -0.18 + 0.1), (0.0099, 0.0396 + 0.01)
    u = torch.tensor([a / b**0.5 for a, b in zip(m, v, strict=True)], dtype=torch.float64)
    assert torch.allclose(w.detach(), before - 0.1 * norm / u.norm() * u)


@pytest.mark.parametrize(("weight", "ratio"), [([30.0, 40.0], 10 / 2**0.5), ([0.0, 0.0], 1.0)])
def test_lambs_ratio_is_limited_and_one_at_zero(weight, ratio):
    w = nn.Parameter(torch.tensor(weight))
    w.grad = torch.tensor([1.0, -1.0])
    Lamb([w], lr=1.0, eps=1e-12).step()
    assert w.tolist() == pytest.approx([weight[0] - ratio, weight[1] + ratio], rel=1e-5)


def test_bias_correction_is_adams():
    w = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = Lamb([w], lr=1.0, betas=(0.9, 0.999), bias_correction=True, max_weight_norm=1e9)
    for gradient in ([1.0, 2.0], [3.0, -1.0]):
        before = w.detach().clone()
        w.grad = torch.tensor(gradient)
        optimizer.step()
    m = (0.9 * 0.1 * torch.tensor([1.0, 2.0]) + 0.1 * torch.tensor([3.0, -1.0])) / (1 - 0.9**2)
    v = (0.999 * 0.001 * torch.tensor([1.0, 4.0]) + 0.001 * torch.tensor([9.0, 1.0])) / (1 - 0.999**2)
    u = m / v.sqrt()
    assert torch.allclose(w.detach(), before - before.norm() / u.norm() * u, rtol=1e-4)


def test_groups_have_rates_and_settings_of_their_own(plan):
    made = plan(
        'use = "adamw"\nlr = { use = "linear", start = 1.0, end = 0.0 }\nweight_decay = 0.1\n'
        'groups = [{ match = ["0.bias"], weight_decay = 0.0, lr = 7 }, { match = ["0"], lr_factor = 0.25 }]'
    )
    optimizer = made.make(list(plan.model.named_parameters()))
    set_rates(optimizer, made.rates(Step(5, 10)))
    seen = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    first, second = plan.model
    assert seen[id(first.bias)] == (7, 0.0)
    assert seen[id(first.weight)] == (0.125, 0.1)
    assert seen[id(second.weight)] == seen[id(second.bias)] == (0.5, 0.1)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('use = "adam"\nlr = 1\nbetas = 0.9', "o.toml:3: betas: needs a list"),
        ('use = "adam"\nlr = 1\nbetas = [0.9, "x"]', "betas[1]: 'x' is not a number"),
        ('use = "adam"\nlr = 1\namsgrad = 1', "amsgrad: needs true or false"),
        ('use = "adam"\nlr = 1\nbetas = [0.9, 1.5]', "adam: Invalid beta parameter"),
        ('use = "lamb"\nlr = 1\nbetas = [0.9, 1.5]', "lamb: betas must lie in [0, 1)"),
        ('use = "lamb"\nlr = 1\nepsilon = 1', "lamb has no parameter 'epsilon'; did you mean 'eps'"),
        ('use = "adam"\nlr = true', "lr: needs a number or a schedule"),
        ('use = "lbfgs"\nlr = 1', "lbfgs needs the loss several times"),
        ('use = "adam"\nlr = 1\ngroups = [{ match = ["2"] }]', "match = ['2'] matches no parameter"),
        ('use = "adam"\nlr = 1\ngroups = [{ lr = 2 }]', "groups[0]: needs a table with match"),
        ('use = "adam"\nlr = 1\ngroups = [{ match = ["0"], decay = 2 }]', "adam has no parameter 'decay'"),
    ],
)
def test_mistakes_are_named(plan, toml, said):
    with pytest.raises(RequestError) as error:
        plan(toml)
    assert said in str(error.value)


@pytest.mark.parametrize("name", ["sgd", "adamw", "nadam", "radam", "adagrad", "rmsprop", "adafactor", "asgd", "rprop"])
def test_torchs_optimizers_are_known_by_name(plan, name):
    optimizer = plan(f'use = "{name}"\nlr = 0.5').make(list(plan.model.named_parameters()))
    assert type(optimizer).__name__.lower() == name


def test_a_library_brings_more(plan):
    library = pytest.importorskip("pytorch_optimizer")
    made = plan('use = "lion"\nlr = 0.5\nbetas = [0.9, 0.98]')
    assert isinstance(made.make(list(plan.model.named_parameters())), library.Lion)
