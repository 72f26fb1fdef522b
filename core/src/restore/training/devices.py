"""Devices, processes and precision, as Lightning Fabric has them."""

from __future__ import annotations

import os
from typing import Any, Iterator

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import nn

from restore.errors import RequestError
from restore.recipe import Training


def under_torchrun() -> bool:
    """Whether torchrun (or another launcher of its kind) started this process and others beside it."""
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def make_fabric(settings: Training, devices: int | None = None) -> Fabric:
    """Fabric for these settings. Under torchrun, what it started counts; else ``launch()`` starts further processes.

    Args:
        settings: ``[training]``.
        devices: instead of the recipe's; 0 takes all.

    Raises:
        RequestError: there are not so many devices, or the strategy needs others.
    """
    count = settings.devices if devices is None else devices
    nodes = 1
    if under_torchrun():
        count = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // count
    many = count > 1 or nodes > 1
    strategy: Any = settings.strategy
    if strategy == "fsdp":
        strategy = ModelParallelStrategy(_shard, data_parallel_size=count * nodes, tensor_parallel_size=1)
    elif strategy == "auto" and many:
        strategy = "ddp"
    try:
        return Fabric(
            accelerator=settings.accelerator,
            devices="auto" if count == 0 else count,
            num_nodes=nodes,
            strategy=strategy,
            precision=settings.precision,
        )
    except (RuntimeError, ValueError, TypeError) as error:
        message = str(error).strip().splitlines()[0]
        raise RequestError(f"training on {count} device(s) with strategy {settings.strategy}: {message}") from None


def _shard(model: nn.Module, mesh: Any) -> nn.Module:
    """Spread the weights: every block of its own, so that only one at a time is whole, then what is left."""
    from torch.distributed.fsdp import fully_shard

    for unit in _units(model):
        fully_shard(unit, mesh=mesh["data_parallel"])
    fully_shard(model, mesh=mesh["data_parallel"])
    return model


def _units(model: nn.Module) -> Iterator[nn.Module]:
    """The model's children that hold weights; of lists and tables of modules, their entries."""
    for child in model.children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from _units(child)
        elif next(child.parameters(), None) is not None:
            yield child


def close() -> None:
    """Leave the group of processes, if there is one; without it they complain when they end."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
