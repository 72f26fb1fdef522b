"""Prune graphs of models that declare none, derived from what torch.export sees them compute.

A channel is given up only where every path from the layer that gives it to the layers that read it is known to work on
each channel by itself and to map 0 to 0. Whatever else is met leaves the layer as it is.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import Any, Iterator

import torch
from torch import Tensor, fx, nn

from restore.contracts import Traits
from restore.errors import RequestError
from restore.pruning.following import CONVOLUTIONS, Follower, Unsafe, is_sum
from restore.pruning.graph import Gate, PruneGraph, Slot
from restore.pruning.layers import check_layer, width

_FEWEST = 8  # channels; fewer are pictures or planes, which nobody wants cut


class _Plain(nn.Module):
    """A model as tensors in, tensor out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, C, H, W)``."""
        answer = self.model(clip)
        restored: Tensor = getattr(answer, "restored", answer)
        return restored


def traced_graph(model: Any) -> PruneGraph:
    """What of a model can be pruned exactly, from its own forward, traced at two sizes that must agree.

    Inner convolutions lose outputs together with whoever reads them, side by side in a concatenation or behind a pixel
    shuffle too. A convolution whose output is added to a skip gives zeros where it was cut, and one that reads a sum
    picks what it keeps, so that skips stay as they are (SSL's residual sparsity connection).

    Raises:
        RequestError: the model cannot be traced, is given operators or carries state, or nothing in it can be cut.
    """
    traits, kind = getattr(model, "traits", None), type(model).__name__
    if not isinstance(traits, Traits) or traits.needs_operator or traits.temporal == "stream":
        raise RequestError(
            f"{kind} cannot be pruned: it declares no prune_graph(), and is not called with a clip alone, so that none "
            "can be derived (restore.pruning.PruneGraph says what one holds)"
        )
    sizes = [(side, side + 2 * traits.multiple_of) for side in _sides(traits)]
    try:
        first, second = (_derive(model, _trace(model, traits, size)) for size in sizes)
    except Exception as error:  # torch.export raises whatever the model's code makes it meet
        raise RequestError(
            f"{kind} cannot be pruned: it declares no prune_graph(), and torch.export cannot trace it: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"
        ) from error
    gates = tuple(gate for gate in first if gate in second)
    if not gates:
        raise RequestError(
            f"{kind} cannot be pruned: it declares no prune_graph(), and of no layer in it is it certain that channels "
            "can go (restore.pruning.PruneGraph says what a declaration holds)"
        )
    return PruneGraph(gates)


def _sides(traits: Traits) -> tuple[int, int]:
    least = -(-max(24, traits.minimum) // traits.multiple_of) * traits.multiple_of
    return least, least + 3 * traits.multiple_of


def _trace(model: nn.Module, traits: Traits, size: tuple[int, int]) -> fx.Graph:
    parameter = next(model.parameters(), torch.zeros(()))
    frames = 2 * traits.halo.frames + 1 if traits.temporal == "clip" else 1
    clip = torch.zeros(2, frames, traits.planes, *size).to(parameter)
    form, training = _Plain(model), model.training
    quiet = io.StringIO()
    level = logging.root.manager.disable
    try:
        form.eval()
        logging.disable(logging.WARNING)
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stderr(quiet):
            warnings.simplefilter("ignore")
            program = torch.export.export(form, (clip,), strict=False)
    finally:
        logging.disable(level)
        model.train(training)
    graph: fx.Graph = program.graph
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for node in graph.nodes:
        node.meta["of"] = names.get(node.name, "").removeprefix("model.") if node.op == "placeholder" else ""
    return graph


def _derive(model: nn.Module, graph: fx.Graph) -> list[Gate]:
    calls = dict(_convolutions(model, graph))
    follower = Follower(model, calls)
    gates, read = [], set()
    for node, path in calls.items():
        if width(model.get_submodule(path), "out") < _FEWEST:
            continue
        try:
            gate = follower.gate(node, path)
            read |= {slot.module for slot in gate.followers}
        except Unsafe as met:
            if not met.added or isinstance(model.get_submodule(path), nn.Linear):
                continue
            gate = Gate(path, scatter=path)
        gates.append(gate)
    for node, path in calls.items():
        if path not in read and width(model.get_submodule(path), "in") >= _FEWEST and _reads_sum(node):
            gates.append(Gate(path, "in"))
    return _distinct(gates)


def _convolutions(model: nn.Module, graph: fx.Graph) -> Iterator[tuple[fx.Node, str]]:
    """Calls of layers that belong to the model, are called once, and are pruned nowhere but here."""
    for node in graph.nodes:
        if node.op != "call_function" or node.target not in CONVOLUTIONS:
            continue
        weight = node.args[1]
        name = weight.meta.get("of", "")
        path, _, last = name.rpartition(".")
        if last != "weight" or len(weight.users) > 1:
            continue
        module = model.get_submodule(path)
        plain = not nn.utils.parametrize.is_parametrized(module) and not hasattr(module, "gate_out")
        if plain and not check_layer(module, "out") and isinstance(module, CONVOLUTIONS[node.target]):
            yield node, path


def _reads_sum(node: fx.Node) -> bool:
    """Whether what a layer reads is a skip: a sum, or a sum behind one activation."""
    source = node.args[0]
    for _ in range(2):
        if not isinstance(source, fx.Node) or source.op != "call_function":
            return False
        if is_sum(source):
            return True
        source = source.args[0] if source.args else None
    return False


def _distinct(gates: list[Gate]) -> list[Gate]:
    """Without gates that decide on what an earlier one decides on."""
    taken: set[tuple[str, str, int]] = set()
    found = []
    for gate in gates:
        slots = {(s.module, s.side, s.offset) for s in (Slot(gate.module, gate.side), *gate.followers)}
        if not slots & taken:
            taken |= slots
            found.append(gate)
    return found
