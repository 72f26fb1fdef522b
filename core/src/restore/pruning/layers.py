"""The channels of torch's layers: where they lie in weights and data, scaling them and leaving some out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Side = Literal["in", "out"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_WEIGHTED = (*_CONVOLUTIONS, *_TRANSPOSED, nn.Linear)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_MIXING = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def check_layer(module: nn.Module, side: Side) -> str:
    """Why this side of a layer cannot be pruned exactly; empty where it can."""
    kind = type(module).__name__
    if isinstance(module, _MIXING):
        return f"{kind} gives something for a channel of zeros, or mixes channels; removing some is not exact"
    if isinstance(module, _NORMS):
        return "" if side == "out" and module.affine else f"of a {kind} only the output of an affine one can be pruned"
    if isinstance(module, nn.PReLU):
        return "" if side == "out" else "a PReLU follows by its output"
    if not isinstance(module, _WEIGHTED):
        return f"{kind} is no layer whose channels can be removed"
    if getattr(module, "groups", 1) != 1:
        return f"this {kind} has {module.groups} groups; only whole convolutions are pruned"
    return ""


def channel_dim(module: nn.Module) -> int:
    """Where the channels lie in the data of a layer, counted from the end."""
    if isinstance(module, nn.Linear):
        return -1
    return -1 - (module.weight.ndim - 2) if isinstance(module, _WEIGHTED) else -3


def _weight_dim(module: nn.Module, side: Side) -> int:
    if isinstance(module, (*_NORMS, nn.PReLU)):
        return 0
    first = "in" if isinstance(module, _TRANSPOSED) else "out"
    return 0 if side == first else 1


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight


def width(module: nn.Module, side: Side) -> int:
    """Channels that a layer reads or gives."""
    return _weight(module).shape[_weight_dim(module, side)]


@torch.no_grad()
def scale_(module: nn.Module, side: Side, factor: Tensor) -> None:
    """Multiply the channels of one side: on side ``out`` the bias too. ``factor``: one number for each channel."""
    weight, dim = _weight(module), _weight_dim(module, side)
    shape = [-1 if d == dim else 1 for d in range(weight.ndim)]
    weight.mul_(factor.to(weight).view(shape))
    bias = getattr(module, "bias", None)
    if side == "out" and isinstance(bias, Tensor):
        bias.mul_(factor.to(bias))


def mean_magnitude(module: nn.Module, side: Side, group: int = 1) -> Tensor:
    """Mean |W| of each channel, or of each group of consecutive ones."""
    weight, dim = _weight(module).detach().abs(), _weight_dim(module, side)
    return weight.transpose(0, dim).flatten(1).mean(dim=1).view(-1, group).mean(dim=1) if weight.ndim > 1 else weight


_COUNTS = {
    "in": ("in_channels", "in_features"),
    "out": ("out_channels", "out_features", "num_features", "num_parameters"),
}


@torch.no_grad()
def keep_(module: nn.Module, side: Side, kept: Tensor) -> None:
    """Leave only some channels of a layer, in place. ``kept``: int64 indices."""
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return
    _slice(module, "weight", _weight_dim(module, side), kept)
    if side == "out" and not isinstance(module, nn.PReLU):
        for name in ("bias", "running_mean", "running_var"):
            _slice(module, name, 0, kept)
    for name in _COUNTS[side]:
        if hasattr(module, name):
            setattr(module, name, len(kept))


def _slice(module: nn.Module, name: str, dim: int, kept: Tensor) -> None:
    old = getattr(module, name, None)
    if not isinstance(old, Tensor):
        return
    new = old.detach().index_select(dim, kept.to(old.device))
    if old.ndim == 4 and not old.is_contiguous() and old.is_contiguous(memory_format=torch.channels_last):
        new = new.contiguous(memory_format=torch.channels_last)
    if isinstance(old, nn.Parameter):
        new = nn.Parameter(new, requires_grad=old.requires_grad)
    setattr(module, name, new)
