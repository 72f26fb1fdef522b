"""Whole states of models and optimizers, also where their weights are spread over devices."""

from __future__ import annotations

import random
from typing import Any, Iterator

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from restore.functional.seeding import seeded

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_FROM_WHOLE = StateDictOptions(full_state_dict=True)


def is_spread(model: nn.Module) -> bool:
    """Whether every device holds only a part of the weights."""
    return any(isinstance(p, DTensor) for p in model.parameters())


def model_state(model: nn.Module) -> dict[str, Any]:
    """All weights and buffers by name. Where they are spread, every process must ask."""
    return get_model_state_dict(model, options=_WHOLE) if is_spread(model) else model.state_dict()


def load_model_state(model: nn.Module, state: dict[str, Any]) -> None:
    """The opposite of :func:`model_state`."""
    if is_spread(model):
        set_model_state_dict(model, state, options=_FROM_WHOLE)
    else:
        model.load_state_dict(state)


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's whole state. Where weights are spread, every process must ask."""
    if is_spread(model):
        return dict(get_optimizer_state_dict(model, optimizer, options=_WHOLE))
    return optimizer.state_dict()


def load_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """The opposite of :func:`optimizer_state`."""
    if is_spread(model):
        set_optimizer_state_dict(model, optimizer, state, options=_FROM_WHOLE)
    else:
        optimizer.load_state_dict(state)


def seed_all(*numbers: int) -> None:
    """Let all generators of this process, torch's on every device, Python's and numpy's, depend on these numbers and on
    nothing that was drawn before."""
    seed = seeded(*numbers).initial_seed()
    torch.manual_seed(seed)
    random.seed(seed)
    import numpy as np

    np.random.seed(seed & 0xFFFFFFFF)


def modules_of(*things: Any) -> Iterator[nn.Module]:
    """Those that are modules, each once: losses and degradations may have a state of their own."""
    seen: set[int] = set()
    for thing in things:
        if isinstance(thing, nn.Module) and id(thing) not in seen:
            seen.add(id(thing))
            yield thing
