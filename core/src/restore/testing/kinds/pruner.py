"""Checks of pruners: what comes out is smaller, and computes what the masked model computed."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from restore.contracts import Halo, Step, Traits
from restore.pruning.graph import Gate, PruneGraph, Slot
from restore.testing.conformance import NotApplicableError, check, fail
from restore.testing.kinds.model import clip_for, ready, restored, run
from restore.testing.sample import Sample, finite, largest

STEPS = 20


class SmallNet(nn.Module):
    """Three convolutions with batch norms and a skip: what a pruner of channels can work on. ``(B, T, 3, H, W)``."""

    def __init__(self, features: int = 12) -> None:
        super().__init__()
        self.traits = Traits(halo=Halo(pixels=3))
        self.head = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Conv2d(features, features, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(features), nn.BatchNorm2d(features)
        self.tail = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, 3, H, W)`` to the same shape."""
        frames = clip.flatten(0, 1)
        x = torch.relu(self.norm1(self.head(frames)))
        x = torch.relu(self.norm2(self.body(x)))
        out: Tensor = frames + self.tail(x)
        return out.view(clip.shape)

    def prune_graph(self) -> PruneGraph:
        """The outputs of both batch norms: what they give for a channel that is gone goes with it."""
        after_head, after_body = (Slot("head", "out"), Slot("body")), (Slot("body", "out"), Slot("tail"))
        return PruneGraph((Gate("norm1", followers=after_head), Gate("norm2", followers=after_body)), fixed=("tail",))


def count(model: nn.Module) -> int:
    """How many parameters a model has."""
    return sum(p.numel() for p in model.parameters())


def _attached(pruner: Any, sample: Sample) -> tuple[nn.Module, Tensor, int]:
    """A model that the pruner is attached to, a clip for it, and its size before."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallNet() if sample.model is None else sample.model()
    model = model.to(sample.device)
    size = count(model)
    pruner.attach(model)
    clip = clip_for(ready(model), Sample(sample.shape, "float32", sample.device))
    return model, clip, size


def _trained(pruner: Any, sample: Sample) -> tuple[nn.Module, Tensor, int]:
    """The same after some steps of training."""
    model, clip, size = _attached(pruner, sample)
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for iteration in range(STEPS):
        step = Step(iteration, STEPS, sample.generator(iteration))
        answer = restored(model(clip))
        loss = (answer - 0.9 * answer.detach()).square().mean() + _penalty(pruner, step)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        pruner.update(step)
    return model.eval(), clip, size


def _penalty(pruner: Any, step: Step) -> Tensor:
    found = pruner.penalty(step)
    if not isinstance(found, Tensor) or found.ndim or not finite(found):
        fail(
            f"penalty at iteration {step.iteration} is {found!r}",
            "return a finite scalar tensor; one that penalises nothing returns torch.zeros(())",
        )
    assert isinstance(found, Tensor)
    return found


@check("pruner", "attach, penalty and update work over a whole run; the penalty is a finite scalar tensor")
def training(pruner: Any, sample: Sample) -> None:
    """Twenty steps, and the model still computes finite values."""
    model, clip, _ = _trained(pruner, sample)
    if not finite(run(model, clip)):
        fail("after 20 steps the model's output is not finite", "let the schedule of the penalty start lower")


@check("pruner", "compact() gives a model whose outputs equal the masked one's, and that is no larger")
def compact(pruner: Any, sample: Sample) -> None:
    """Equal up to the rounding of sums in another order."""
    model, clip, size = _trained(pruner, sample)
    small = pruner.compact()
    masked = run(model, clip)
    if not isinstance(small, nn.Module) or not isinstance(getattr(small, "traits", None), Traits):
        fail(f"compact() returned a {type(small).__name__}", "return a model with the traits of the one it came from")
    out = run(small.eval(), clip)
    if out.shape != masked.shape:
        fail(f"{tuple(masked.shape)} became {tuple(out.shape)}", "leave the number of output channels alone")
    difference, reach = largest(out - masked), largest(masked)
    if not difference <= 1e-5 * max(1.0, reach):
        fail(
            f"the outputs differ by up to {difference:.3g} (they reach {reach:.3g})",
            "carry over what a removed channel still gave (its bias, its batch norm's shift) to the next layer, and "
            "remove the same channels on both sides of a skip",
        )
    if count(small) > size:
        fail(f"{size} parameters became {count(small)}", "leave masks and scores out of the compact model")
    if count(small) == size:
        raise NotApplicableError(
            f"outputs are equal, but nothing was removed in {STEPS} steps: give parameters that prune"
        )


@check("pruner", "readings are finite numbers, and its state goes on where it stood, also past compact()")
def state(pruner: Any, sample: Sample) -> None:
    """What `--resume` needs: a fresh pruner on a fresh model, given the state, cuts to the same shapes."""
    if sample.make is None:
        raise NotApplicableError("a second pruner of the same parameters is needed")
    model, _, _ = _trained(pruner, sample)
    readings = dict(pruner.readings())
    if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in readings.values()):
        fail(f"readings() gives {readings}", "give finite numbers by name")
    step = Step(STEPS, STEPS, sample.generator(STEPS))
    other = sample.make()
    fresh, _, _ = _attached(other, sample)
    fresh.load_state_dict(model.state_dict())
    other.load_state_dict(pruner.state_dict())
    before, after = float(_penalty(pruner, step).detach()), float(_penalty(other, step).detach())
    if abs(before - after) > 1e-6 * max(1.0, abs(before)):
        fail(f"the penalty is {before:.6g}, after state_dict and load_state_dict {after:.6g}", "keep what decides it")
    shapes = {n: p.shape for n, p in pruner.compact().state_dict().items()}
    last = sample.make()
    _attached(last, sample)
    last.load_state_dict(pruner.state_dict())
    again = {n: p.shape for n, p in last.compact().state_dict().items()}
    if again != shapes:
        fail("after the state of a compacted pruner, compact() gives other shapes", "keep the choice in the state")
