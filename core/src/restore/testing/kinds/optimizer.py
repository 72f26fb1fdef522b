"""Checks of optimizers: they go downhill, obey the schedule of their learning rate, and go on after a break."""

from __future__ import annotations

import copy
from typing import Any, Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from restore.testing.conformance import check, fail
from restore.testing.sample import Sample, finite, largest

Make = Callable[[list[nn.Parameter]], Any]


def start(make: Make, sample: Sample, lr: float = 1e-2) -> tuple[nn.Parameter, Optimizer]:
    """A matrix to be brought to 0, and its optimizer."""
    weight = nn.Parameter(
        torch.ones(6, 5, device=sample.device) + 0.3 * sample.noise(torch.zeros(6, 5)).to(sample.device)
    )
    made = make([weight])
    if not isinstance(made, Optimizer):
        fail(f"a {type(made).__name__}", "subclass torch.optim.Optimizer")
    set_rate(made, lr)
    return weight, made


def set_rate(optimizer: Optimizer, lr: float) -> None:
    """What the schedule does before every step."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def step(weight: nn.Parameter, optimizer: Optimizer) -> Tensor:
    """One step on ``mean(weight^2)``; the value before it."""
    optimizer.zero_grad()
    value = weight.square().mean()
    torch.autograd.backward(value)
    optimizer.step()
    return value.detach()


@check("optimizer", "it goes downhill, with finite weights")
def downhill(make: Make, sample: Sample) -> None:
    """Two hundred steps on a parabola."""
    weight, optimizer = start(make, sample)
    first = float(step(weight, optimizer))
    for _ in range(200):
        last = float(step(weight, optimizer))
    if not finite(weight) or not last < first:
        fail(f"the loss went from {first:.4g} to {last:.4g}", "subtract the step: weight -= lr * ...")


@check("optimizer", "the learning rate is read from param_groups at every step: 0 moves nothing")
def learning_rate(make: Make, sample: Sample) -> None:
    """After some steps, so that moments are there."""
    weight, optimizer = start(make, sample)
    for _ in range(3):
        step(weight, optimizer)
    before = weight.detach().clone()
    set_rate(optimizer, 0.0)
    step(weight, optimizer)
    moved = largest(weight - before)
    if moved:
        fail(f"with lr = 0 weights moved by up to {moved:.3g}", 'use group["lr"] in step(), in weight decay too')


@check("optimizer", "with its state dict put into a new one, it goes on bit for bit")
def resume(make: Make, sample: Sample) -> None:
    """Three steps, a break, three more."""
    weight, optimizer = start(make, sample)
    for _ in range(3):
        step(weight, optimizer)
    other = nn.Parameter(weight.detach().clone())
    again = make([other])
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(3):
        step(weight, optimizer)
        step(other, again)
    difference = largest(weight - other)
    if difference:
        fail(f"the weights differ by up to {difference:.3g}", "keep counts and moments in self.state[parameter]")
