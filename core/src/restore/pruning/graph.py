"""What of a model can be pruned exactly, as the model declares it.

Removing a channel is exact if all that it still gave once its factor is 0 is removed with it. So a declaration is a
promise: between a gate and its followers stand only operations that work on each channel by itself and map 0 to 0
(ReLU, LeakyReLU, pixel shuffle, a mean over pixels), and nothing else reads these channels.
"""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import Any, Iterator, Sequence, Sized

import attrs
from torch import nn

from restore.errors import RequestError
from restore.networks.skip import ResidualAdd
from restore.pruning.layers import Side, check_layer, width


@attrs.frozen
class Slot:
    """A range of the channels that a layer reads or gives.

    Attributes:
        module: path of the layer in the model.
        side: ``"in"``, what it reads; ``"out"``, what it gives.
        group: consecutive channels that belong together: r^2 before a pixel shuffle by r.
        offset: channels before the range, where several sources lie side by side.
    """

    module: str
    side: Side = "in"
    group: int = 1
    offset: int = 0

    @property
    def name(self) -> str:
        """``"body.0.conv1.in"``."""
        return f"{self.module}.{self.side}"


@attrs.frozen
class Cut:
    """Channels that live and die together, wherever they lie.

    Attributes:
        name: of the gate or stream.
        factors: where they are scaled.
        followers: slots beyond those that lose the same channels.
        gather: the layer that picks its channels from a wider input, or nothing.
        scatter: the module that puts them back to where they stood, or nothing.
    """

    name: str
    factors: tuple[Slot, ...]
    followers: tuple[Slot, ...] = ()
    gather: str = ""
    scatter: str = ""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All slots."""
        return self.factors + self.followers

    def size(self, model: nn.Module) -> int:
        """How many channels, each group counted once."""
        slot = self.factors[0]
        return width(model.get_submodule(slot.module), slot.side) // slot.group


@attrs.frozen
class Gate:
    """One factor for each channel (or group) that a layer reads or gives; channels whose factor is 0 can go.

    On side ``"out"`` the factor multiplies ``W x + b``; the followers, which read these channels, lose them too. If the
    layer ends a residual branch, ``scatter`` names the module at which its channels return to their places in the skip:
    a :class:`restore.networks.skip.ResidualAdd`, or the last module of the branch, which then gives zeros elsewhere. On
    side ``"in"`` the factor multiplies the input; the layer then picks the channels it keeps, and whoever gives them
    stays as it is.

    Attributes:
        module, side, group: as in :class:`Slot`.
        followers: slots that lose the same channels.
        scatter: see above.
    """

    module: str
    side: Side = "out"
    group: int = 1
    followers: tuple[Slot, ...] = ()
    scatter: str = ""

    @property
    def name(self) -> str:
        """``"body.0.conv1.out"``."""
        return f"{self.module}.{self.side}"

    def cut(self) -> Cut:
        """The channels it decides on."""
        gather = self.module if self.side == "in" else ""
        return Cut(self.name, (Slot(self.module, self.side, self.group),), self.followers, gather, self.scatter)


@attrs.frozen
class Stream:
    """The channels of a skip: all that write to it and all that read it, which aligned pruning narrows together.

    Attributes:
        name: for logs and files; unlike any gate's.
        writers: layers whose outputs are added up, each with factors of its own.
        readers: slots that read the sum, or work on a writer's channels one by one.
    """

    name: str
    writers: tuple[Slot, ...]
    readers: tuple[Slot, ...]

    def cut(self) -> Cut:
        """The channels it decides on."""
        return Cut(self.name, self.writers, self.readers)


@attrs.frozen
class PruneGraph:
    """What a model declares.

    Attributes:
        gates: with independent index sets; skips keep all their channels.
        streams: the skips of the model, for aligned pruning, where they can be narrowed. They take the place of the
            gates that gather from a skip or scatter to it.
        fixed: layers that stay as they are, for whoever reads the declaration; nothing may cut them.
    """

    gates: tuple[Gate, ...]
    streams: tuple[Stream, ...] = ()
    fixed: tuple[str, ...] = ()

    def cuts(self, aligned: bool = False) -> tuple[Cut, ...]:
        """All that can be decided on.

        Raises:
            RequestError: aligned pruning, and the model has skips but declares no streams.
        """
        cuts = tuple(gate.cut() for gate in self.gates)
        if not aligned:
            return cuts
        inner = [cut for cut in cuts if not cut.gather and not cut.scatter]
        if len(inner) < len(cuts) and not self.streams:
            raise RequestError(
                "this model declares no streams, so its skips cannot be narrowed: prune with aligned = false"
            )
        return (*(stream.cut() for stream in self.streams), *inner)


def residual_gates(block: str, *squeeze: tuple[str, str], add: str = "add") -> tuple[Gate, ...]:
    """The three gates of a residual block with ``conv1``, ``conv2`` and a ``ResidualAdd``: inputs of the first
    convolution, outputs of both, each with an index set of its own (SSL, Sec. 3.2).

    Args:
        block: path of the block.
        squeeze: of channel attentions after the second convolution, the layers that read and give its channels, below
            ``block``: ``("se.reduce", "se.expand")``.
        add: the ResidualAdd, below ``block``.
    """
    followers = [s for r, e in squeeze for s in (Slot(f"{block}.{r}"), Slot(f"{block}.{e}", "out"))]
    return (
        Gate(f"{block}.conv1", "in"),
        Gate(f"{block}.conv1", "out", followers=(Slot(f"{block}.conv2"),)),
        Gate(f"{block}.conv2", "out", followers=tuple(followers), scatter=f"{block}.{add}"),
    )


def chain_gates(path: str, chain: Sized) -> tuple[Gate, ...]:
    """The gates of residual blocks one after the other, such as :func:`restore.networks.residual.residual_chain` makes.

    Args:
        path: of the chain; its blocks are ``path.0``, ``path.1``, ...
        chain: the blocks.
    """
    return tuple(gate for index in range(len(chain)) for gate in residual_gates(f"{path}.{index}"))


def named_by(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern (``fnmatch``) names a gate, or what it lies in: ``"body.0"`` matches ``body.0.conv1.in``."""
    parts = name.split(".")
    above = [".".join(parts[: i + 1]) for i in range(len(parts))]
    return any(fnmatchcase(n, p) for n in above for p in patterns)


def prune_graph_of(model: Any) -> PruneGraph:
    """What the model declares, checked against it; where it declares nothing, what its own forward shows
    (:func:`restore.pruning.tracing.traced_graph`).

    Raises:
        RequestError: the model says why it cannot be pruned, or declares nothing and nothing can be derived; or the
            declaration does not fit it.
    """
    declare = getattr(model, "prune_graph", None)
    kind = type(model).__name__
    graph = _derived(model) if declare is None else declare()
    if not isinstance(graph, PruneGraph):
        raise RequestError(f"{kind}.prune_graph() gives a {type(graph).__name__} instead of a PruneGraph")
    for aligned in (False, True) if graph.streams else (False,):
        for problem in _problems(model, graph, graph.cuts(aligned)):
            raise RequestError(f"the prune graph of {kind} does not fit it: {problem}")
    return graph


def _derived(model: Any) -> PruneGraph:
    # Gates and cuts change what there is to trace, so a model, and its copies, keep what was found before.
    if not isinstance(getattr(model, "traced_prune_graph", None), PruneGraph):
        from restore.pruning.tracing import traced_graph  # it builds on this module

        model.traced_prune_graph = traced_graph(model)
    graph: PruneGraph = model.traced_prune_graph
    return graph


def _problems(model: nn.Module, graph: PruneGraph, cuts: tuple[Cut, ...]) -> Iterator[str]:
    modules = dict(model.named_modules(remove_duplicate=False))
    parameters = Counter(id(p) for m in model.modules() for p in m._parameters.values() if p is not None)
    taken: set[tuple[int, Side, int]] = set()
    for name, count in Counter(cut.name for cut in cuts).items():
        if count > 1:
            yield f"two gates are named {name}"
    for cut in cuts:
        if cut.scatter and cut.scatter not in modules:
            yield f"{cut.name} scatters at {cut.scatter}, which is not there"
        for slot in cut.slots:
            if slot.module not in modules:
                yield f"there is no module {slot.module!r}"
                return
            module = modules[slot.module]
            problem = check_layer(module, slot.side)
            if problem:
                yield f"{slot.name}: {problem}"
                return
            if any(parameters[id(p)] > 1 for p in module._parameters.values() if p is not None):
                yield f"{slot.module} shares its weights with another layer"
            if slot.module in graph.fixed and (slot in cut.factors or slot.side == "out"):
                yield f"{slot.module} is both fixed and cut"
            if (id(module), slot.side, slot.offset) in taken:
                yield f"two gates decide on {slot.name}"
            taken.add((id(module), slot.side, slot.offset))
        yield from _size_problems(model, cut)


def _size_problems(model: nn.Module, cut: Cut) -> Iterator[str]:
    size = cut.size(model)
    for slot in cut.slots:
        own = width(model.get_submodule(slot.module), slot.side)
        need = slot.offset + size * slot.group
        if (slot in cut.factors and own != need) or own < need:
            yield f"{cut.name} decides on {size} channels, {slot.name} has {own} (group {slot.group})"


def scatter_is_add(module: nn.Module) -> bool:
    """Whether the module that a gate scatters at takes the index set itself."""
    return isinstance(module, ResidualAdd)
