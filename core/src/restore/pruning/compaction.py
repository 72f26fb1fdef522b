"""Cutting out what gates have closed, and building a compact network again from its index sets alone."""

from __future__ import annotations

import copy
import json
from typing import Any, Mapping, Sequence

import attrs
import torch
from torch import Tensor, nn

from restore.errors import RequestError
from restore.networks.skip import gather_channels
from restore.pruning.gates import gates_of, has_gates, insert_gates, mask_gates, merge_gates
from restore.pruning.graph import Cut, Slot, prune_graph_of, scatter_is_add
from restore.pruning.layers import channel_dim, keep_, width

Kept = Mapping[str, Sequence[int]]
METADATA = "pruning"


@attrs.frozen
class Pruned:
    """What was cut out of a model: all that is needed to cut a new one alike.

    Attributes:
        kept: for each gate or stream, indices of the channels (or groups) that stay, ascending; what is not named stays
            whole.
        aligned: whether skips were narrowed.
    """

    kept: dict[str, tuple[int, ...]]
    aligned: bool = False


def pruned_of(model: Any) -> Pruned | None:
    """What was cut out of this model, if anything."""
    found = getattr(model, "pruned", None)
    return found if isinstance(found, Pruned) else None


def metadata_of(model: nn.Module) -> dict[str, Any]:
    """What a weights file says of a pruned or gated model, under ``pruning``; empty for any other."""
    pruned = pruned_of(model)
    if pruned is not None:
        return {METADATA: {"aligned": pruned.aligned, "kept": {k: list(v) for k, v in pruned.kept.items()}}}
    if has_gates(model):
        return {METADATA: {"gates": [[s.module, s.side, s.group] for s in gates_of(model)]}}
    return {}


def prepare(model: nn.Module, metadata: Mapping[str, str]) -> None:
    """Give a dense model the shape that a weights file was saved in: compact, or with gates. In place; its weights are
    to be loaded afterwards.

    Args:
        model: as its component builds it, or prepared already.
        metadata: of the file.

    Raises:
        RequestError: the index sets are not this model's, or it was pruned in another way.
    """
    if METADATA not in metadata:
        return
    said = json.loads(metadata[METADATA])
    if "gates" in said:
        insert_gates(model, [Slot(*entry) for entry in said["gates"]])
        return
    wanted = Pruned({k: tuple(v) for k, v in said["kept"].items()}, said["aligned"])
    there = pruned_of(model)
    if there is not None:
        if there != wanted:
            raise RequestError("these weights are of a network that was pruned in another way")
        return
    cut_out(model, wanted)


@torch.no_grad()
def compact(model: nn.Module, kept: Kept, aligned: bool = False) -> nn.Module:
    """A smaller model whose outputs equal those of ``model`` with all factors at 0 that are not kept. Its weights hold
    the factors, its attribute ``pruned`` says what was cut; ``model`` stays as it is.

    Args:
        model: with gates or without.
        kept: for each gate or stream, indices of the channels (or groups) that stay; what is not named stays whole.
        aligned: as in :meth:`restore.pruning.PruneGraph.cuts`.

    Raises:
        RequestError: the model cannot be pruned, or the index sets do not fit it.
    """
    small = copy.deepcopy(model)
    merge_gates(small)
    cut_out(small, Pruned({k: tuple(sorted(v)) for k, v in kept.items()}, aligned))
    return small


def cut_out(model: nn.Module, pruned: Pruned) -> None:
    """Cut a model without gates, in place.

    Raises:
        RequestError: it was cut before, cannot be pruned, or the index sets do not fit it.
    """
    if pruned_of(model) is not None:
        raise RequestError("this network was pruned before; prune the whole one")
    cuts = {cut.name: cut for cut in prune_graph_of(model).cuts(pruned.aligned)}
    for name, kept in pruned.kept.items():
        if name not in cuts:
            raise RequestError(f"the index sets name {name!r}, which {type(model).__name__} does not declare")
        size = cuts[name].size(model)
        if not kept or list(kept) != sorted(set(kept)) or kept[0] < 0 or kept[-1] >= size:
            raise RequestError(f"the index set of {name} does not lie within its {size} channels, or is empty")
    sizes = {name: cut.size(model) for name, cut in cuts.items()}
    chosen = [cut for cut in cuts.values() if len(pruned.kept.get(cut.name, ())) not in (0, sizes[cut.name])]
    _narrow(model, chosen, pruned.kept, sizes)
    for cut in chosen:
        index = torch.tensor(pruned.kept[cut.name], device=next(model.parameters()).device)
        index = _in_groups(index, cut.factors[0].group)
        if cut.gather:
            _gather_at(model.get_submodule(cut.gather), index)
        if cut.scatter:
            _scatter_at(model.get_submodule(cut.scatter), index, sizes[cut.name] * cut.factors[0].group)
    model.pruned = pruned  # type: ignore[assignment]


def _in_groups(kept: Tensor, group: int) -> Tensor:
    """The channels of groups of consecutive ones."""
    return (kept[:, None] * group + torch.arange(group, device=kept.device)).flatten()


def _narrow(model: nn.Module, cuts: Sequence[Cut], kept: Kept, sizes: Mapping[str, int]) -> None:
    """Leave out, once for each side of each layer, what any cut takes from it."""
    stay: dict[tuple[str, Any], Tensor] = {}
    for cut in cuts:
        gone = torch.tensor(sorted(set(range(sizes[cut.name])) - set(kept[cut.name])), dtype=torch.int64)
        for slot in cut.slots:
            whole = torch.ones(width(model.get_submodule(slot.module), slot.side), dtype=torch.bool)
            mask = stay.setdefault((slot.module, slot.side), whole)
            mask[slot.offset + _in_groups(gone, slot.group)] = False
    for (module, side), mask in stay.items():
        keep_(model.get_submodule(module), side, mask.nonzero().flatten())


class _Gather:
    """A hook: the layer reads some channels of a wider input."""

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        kept, x = module.kept_in, inputs[0]
        assert isinstance(kept, Tensor)
        return (gather_channels(x, kept, channel_dim(module) % x.ndim), *inputs[1:])


@attrs.define
class _Scatter:
    """A hook: what the module gives, among zeros where channels were removed."""

    width: int

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        kept = module.kept_out
        assert isinstance(kept, Tensor)
        wide = output.new_zeros(output.shape[0], self.width, *output.shape[2:])
        return wide.index_add(1, kept, output)


def _gather_at(module: nn.Module, kept: Tensor) -> None:
    module.register_buffer("kept_in", kept, persistent=False)
    module.register_forward_pre_hook(_Gather())


def _scatter_at(module: nn.Module, kept: Tensor, full: int) -> None:
    if scatter_is_add(module):
        module.kept = kept
        return
    module.register_buffer("kept_out", kept, persistent=False)
    module.register_forward_hook(_Scatter(full))


def masked(model: nn.Module, kept: Kept, aligned: bool = False) -> nn.Module:
    """A copy with gates of which those that are not kept are 0: what a compact model must equal."""
    cuts = [cut for cut in prune_graph_of(model).cuts(aligned) if cut.name in kept]
    whole = copy.deepcopy(model)
    insert_gates(whole, [slot for cut in cuts for slot in cut.factors])
    mask_gates(whole, cuts, kept)
    return whole
