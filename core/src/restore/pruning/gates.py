"""Factors on channels: put in, read, set to zero, and folded into the weights.

They live in the layers they belong to, as parameters ``gate_in`` and ``gate_out``, so that all other weights keep
their names.
"""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence

import attrs
import torch
from torch import Tensor, nn

from restore.pruning.graph import Cut, Slot
from restore.pruning.layers import Side, channel_dim, scale_, width


@attrs.define
class _Scaling:
    """A hook that multiplies what a layer reads or gives; it can be copied together with its layer."""

    side: Side
    group: int

    def _times(self, module: nn.Module, x: Tensor) -> Tensor:
        factor: Tensor = getattr(module, f"gate_{self.side}").to(x.dtype)
        if self.group > 1:
            factor = factor.repeat_interleave(self.group)
        return x * factor.view(-1, *[1] * (-channel_dim(module) - 1))

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Any = None) -> Any:
        if self.side == "out":
            return self._times(module, output)
        return (self._times(module, inputs[0]), *inputs[1:])


def insert_gates(model: nn.Module, slots: Iterable[Slot]) -> None:
    """A factor of 1 for each channel (or group) of these slots, trained with all else; slots that have gates keep them.

    The model computes what it computed, ``gamma * (W x + b)`` on side ``out`` and ``W (gamma x) + b`` on side ``in``.
    """
    for slot in slots:
        module = model.get_submodule(slot.module)
        name = f"gate_{slot.side}"
        if hasattr(module, name):
            continue
        weight = module.weight
        assert isinstance(weight, Tensor)
        ones = torch.ones(width(module, slot.side) // slot.group, dtype=weight.dtype, device=weight.device)
        module.register_parameter(name, nn.Parameter(ones))
        scaling = _Scaling(slot.side, slot.group)
        if slot.side == "out":
            module.register_forward_hook(scaling)
        else:
            module.register_forward_pre_hook(scaling)


def gates_of(model: nn.Module) -> list[Slot]:
    """The slots that have gates."""
    found = []
    for path, module in model.named_modules():
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            if isinstance(hook, _Scaling):
                found.append(Slot(path, hook.side, hook.group))
    return found


def has_gates(model: nn.Module) -> bool:
    """Whether any layer has gates."""
    return bool(gates_of(model))


def is_gate(name: str) -> bool:
    """Whether a parameter's name is that of a gate."""
    return name.rpartition(".")[2] in ("gate_in", "gate_out")


def factor_of(model: nn.Module, slot: Slot) -> nn.Parameter:
    """The factors of a slot."""
    found = getattr(model.get_submodule(slot.module), f"gate_{slot.side}")
    assert isinstance(found, nn.Parameter)
    return found


@torch.no_grad()
def mask_gates(model: nn.Module, cuts: Sequence[Cut], kept: Mapping[str, Sequence[int]]) -> None:
    """Set the factors of all channels to 0 that are not kept, in place."""
    for cut in cuts:
        for slot in cut.factors:
            factor = factor_of(model, slot)
            keep = torch.zeros_like(factor)
            keep[list(kept[cut.name])] = 1
            factor.mul_(keep)


@torch.no_grad()
def merge_gates(model: nn.Module) -> nn.Module:
    """Fold all factors into the weights and take the gates out, in place; the model computes what it computed."""
    for module in model.modules():
        for hooks, side in ((module._forward_pre_hooks, "in"), (module._forward_hooks, "out")):
            for key, hook in list(hooks.items()):
                if not isinstance(hook, _Scaling):
                    continue
                factor = getattr(module, f"gate_{side}")
                scale_(module, hook.side, factor.repeat_interleave(hook.group))
                del hooks[key]
                delattr(module, f"gate_{side}")
    return model
