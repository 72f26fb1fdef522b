"""What a network costs: parameters, multiplications, time."""

from __future__ import annotations

import time
from typing import Any, Sequence

import attrs
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@attrs.frozen
class Cost:
    """Of one call.

    Attributes:
        parameters: all of them.
        macs: multiply-accumulate operations of convolutions, linear layers, matrix products and attention.
        seconds: the fastest of the calls that were timed; None: none was.
    """

    parameters: int
    macs: int
    seconds: float | None = None


def _clip(model: Any, shape: Sequence[int]) -> torch.Tensor:
    parameter = next(model.parameters(), torch.zeros(()))
    made = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(0))
    return made.to(parameter.device, parameter.dtype)


@torch.no_grad()
def macs(model: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-accumulate operations of ``model(clip)`` for a clip of this shape ``(B, T, C, H, W)``, counted by
    torch's own ``FlopCounterMode``: two floating-point operations each."""
    training = model.training
    with FlopCounterMode(display=False) as counter:
        model.eval()(_clip(model, shape))
    model.train(training)
    return int(counter.get_total_flops()) // 2


@torch.inference_mode()
def seconds(models: Sequence[nn.Module], shape: Sequence[int], repeats: int = 3) -> list[float]:
    """The fastest of ``repeats`` calls of each model, taken in turn after one that is not timed: what slows the machine
    down then slows all of them."""
    fastest = [float("inf")] * len(models)
    states = [m.training for m in models]
    for number in range(repeats + 1):
        for i, model in enumerate(models):
            clip = _clip(model.eval(), shape)
            begin = time.perf_counter()
            model(clip)
            if clip.device.type == "cuda":
                torch.cuda.synchronize(clip.device)
            if number:
                fastest[i] = min(fastest[i], time.perf_counter() - begin)
    for model, training in zip(models, states, strict=True):
        model.train(training)
    return fastest


def cost(model: nn.Module, shape: Sequence[int], repeats: int = 0) -> Cost:
    """What ``model(clip)`` costs for a clip of this shape ``(B, T, C, H, W)``; with ``repeats``, also timed."""
    taken = seconds([model], shape, repeats)[0] if repeats else None
    return Cost(sum(p.numel() for p in model.parameters()), macs(model, shape), taken)
