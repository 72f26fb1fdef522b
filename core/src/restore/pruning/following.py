"""Where the channels of a layer go in a traced graph, as long as each stays by itself and a zero stays a zero."""

from __future__ import annotations

import math
import operator
from fractions import Fraction
from typing import Any, Callable, Mapping

import attrs
import torch
from torch import fx, nn

from restore.pruning.graph import Gate, Slot
from restore.pruning.layers import check_layer, width

_aten = torch.ops.aten


def _known(*names: str) -> set[Any]:
    """All overloads of these operations, in place or not, that this torch has."""
    found = set()
    for name in names:
        for one in (name, name + "_"):
            packet = getattr(_aten, one, None)
            if packet is not None:
                found |= {getattr(packet, overload) for overload in packet.overloads()}
    return found


CONVOLUTIONS: Mapping[Any, tuple[type[nn.Module], ...]] = {
    _aten.conv1d.default: (nn.Conv1d,),
    _aten.conv2d.default: (nn.Conv2d,),
    _aten.conv2d.padding: (nn.Conv2d,),
    _aten.conv3d.default: (nn.Conv3d,),
    _aten.conv_transpose2d.input: (nn.ConvTranspose2d,),
    _aten.conv_transpose3d.input: (nn.ConvTranspose3d,),
    _aten.convolution.default: (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d),
}
_ADDITIONS = _known("add", "sub")
# Of each channel by itself, 0 for 0, and the channels stay on their axis.
_KEEPING = _known(
    "relu", "leaky_relu", "relu6", "gelu", "silu", "mish", "hardswish", "elu", "celu", "tanh", "dropout", "clone",
    "contiguous", "detach", "alias", "neg", "abs", "_to_copy", "to", "upsample_nearest2d", "upsample_bilinear2d",
    "upsample_bicubic2d", "_upsample_nearest_exact2d", "upsample_nearest3d", "upsample_trilinear3d", "avg_pool2d",
    "avg_pool3d", "max_pool2d", "max_pool3d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "reflection_pad2d",
    "replication_pad2d", "reflection_pad3d", "replication_pad3d",
)  # fmt: skip
_HARD_TANH = _known("hardtanh")
_BOUNDED = _known("clamp") | _HARD_TANH
_MEANS = _known("mean", "amax")
_SCALING = _known("mul", "div")
_PADDING = _known("constant_pad_nd", "pad")
_SHAPING = _known("view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "_unsafe_view")
_SHUFFLES, _UNSHUFFLES = _known("pixel_shuffle"), _known("pixel_unshuffle")
_CATS = _known("cat", "concat")


class Unsafe(Exception):
    """The channels cannot be followed.

    Attributes:
        added: all that becomes of them is that they are added to something: a residual branch ends there.
    """

    def __init__(self, added: bool = False) -> None:
        super().__init__()
        self.added = added


@attrs.frozen
class _Where:
    """How the channels lie in a value.

    Attributes:
        axis: theirs.
        offset: channels of others before them.
        each: how many channels one of the layer's own has become: 1/r^2 behind a pixel shuffle.
    """

    axis: int
    offset: int = 0
    each: Fraction = Fraction(1)


class Follower:
    """Follows the outputs of layers.

    Args:
        model: its modules.
        calls: the layers that may be cut, by the nodes that call them.
    """

    def __init__(self, model: nn.Module, calls: Mapping[fx.Node, str]) -> None:
        self.model, self.calls = model, calls

    def gate(self, node: fx.Node, path: str) -> Gate:
        """The gate on what a layer gives.

        Raises:
            Unsafe: its channels reach something that is not known to keep them apart, or the outside.
        """
        axis = node.meta["val"].ndim - 1 - _space(node)
        norm = self._norm(node)
        start, owner = (node, path) if norm is None else norm
        readers = self._readers(start, _Where(axis))
        if not readers:
            raise Unsafe
        group = math.lcm(*(where.each.denominator for _, where in readers))
        if width(self.model.get_submodule(path), "out") % group or (norm is not None and group > 1):
            raise Unsafe
        slots = [] if norm is None else [Slot(path, "out")]
        for slot, where in readers:
            size = group * where.each
            slots.append(Slot(slot.module, slot.side, int(size), where.offset))
        return Gate(owner, group=group, followers=tuple(dict.fromkeys(slots)))

    def _norm(self, node: fx.Node) -> tuple[fx.Node, str] | None:
        """An affine batch norm that alone reads a layer, whose factors then stand behind it."""
        users = list(node.users)
        if len(users) != 1 or users[0].target is not _aten.batch_norm.default or users[0].args[0] is not node:
            return None
        path = self._module(users[0].args[1])
        if path is None or check_layer(self.model.get_submodule(path), "out"):
            raise Unsafe
        return users[0], path

    def _module(self, weight: Any) -> str | None:
        """The module a weight belongs to, if nothing else reads it."""
        if not isinstance(weight, fx.Node) or len(weight.users) > 1:
            return None
        path, _, last = weight.meta.get("of", "").rpartition(".")
        return path if last == "weight" else None

    def _readers(self, node: fx.Node, where: _Where) -> list[tuple[Slot, _Where]]:
        """All that reads the channels, and how they lie there."""
        found, lost = [], []
        for user in node.users:
            try:
                found += self._through(user, node, where)
            except Unsafe as met:
                lost.append(met)
        if lost:
            raise Unsafe(added=not found and all(met.added for met in lost))
        return found

    def _through(self, user: fx.Node, source: fx.Node, where: _Where) -> list[tuple[Slot, _Where]]:
        if user in self.calls and user.args[0] is source and source not in user.args[1:]:
            if where.axis != source.meta["val"].ndim - 1 - _space(user):
                raise Unsafe
            return [(Slot(self.calls[user], "in"), where)]
        if user.op != "call_function":
            raise Unsafe
        if is_sum(user):
            raise Unsafe(added=True)
        extra: list[tuple[Slot, _Where]] = []
        if user.target is _aten.prelu.default:
            extra = self._prelu(user, where)
        else:
            moved = _moved(user, source, where)
            if moved is None:
                raise Unsafe
            where = moved
        return extra + self._readers(user, where)

    def _prelu(self, user: fx.Node, where: _Where) -> list[tuple[Slot, _Where]]:
        path = self._module(user.args[1])
        if path is None or where.axis != 1 or not isinstance(self.model.get_submodule(path), nn.PReLU):
            raise Unsafe
        whole = width(self.model.get_submodule(path), "out")
        return [] if whole == 1 else [(Slot(path, "out"), where)]


def is_sum(node: fx.Node) -> bool:
    """Whether a node adds up two things that were computed: a skip and its branch."""
    parts = node.args[:2]
    return node.target in _ADDITIONS and all(isinstance(p, fx.Node) and p.op == "call_function" for p in parts)


def _space(node: fx.Node) -> int:
    """Spatial axes of a convolution."""
    return int(node.args[1].meta["val"].ndim) - 2  # type: ignore[union-attr]


def _moved(user: fx.Node, source: fx.Node, where: _Where) -> _Where | None:
    """How the channels lie behind an operation; None where it is not known to keep them apart and zeros zero."""
    kinds: list[tuple[set[Any], Callable[[fx.Node, fx.Node, _Where], _Where | None]]] = [
        (_SHAPING, _reshaped),
        (_SHUFFLES, _shuffled),
        (_UNSHUFFLES, _unshuffled),
        (_CATS, _beside),
        (_PADDING, _padded),
        (_BOUNDED, _bounded),
        (_SCALING, _scaled),
        (_MEANS, _averaged),
    ]
    if user.target is operator.getitem and source.target in _KEEPING:
        return where
    if user.target in _KEEPING:
        return where if _same_axis(user, source, where) else None
    for targets, move in kinds:
        if user.target in targets:
            return move(user, source, where)
    return None


def _shape(node: fx.Node) -> tuple[int, ...]:
    value = node.meta["val"]
    return tuple(value[0].shape if isinstance(value, (tuple, list)) else value.shape)


def _same_axis(user: fx.Node, source: fx.Node, where: _Where) -> bool:
    before, after = _shape(source), _shape(user)
    # Spatial operations take the last two or three axes; the channels lie before them.
    return len(before) == len(after) and before[: where.axis + 1] == after[: where.axis + 1]


def _reshaped(user: fx.Node, source: fx.Node, where: _Where) -> _Where | None:
    before, after = _shape(source), _shape(user)
    left, size = math.prod(before[: where.axis]), before[where.axis]
    for axis, wide in enumerate(after):
        if wide == size and math.prod(after[:axis]) == left:
            return attrs.evolve(where, axis=axis)
    return None


def _shuffled(user: fx.Node, source: fx.Node, where: _Where) -> _Where | None:
    area = int(user.args[1]) ** 2  # type: ignore[arg-type]
    if where.axis != len(_shape(source)) - 3 or where.offset % area:
        return None
    return attrs.evolve(where, offset=where.offset // area, each=where.each / area)


def _unshuffled(user: fx.Node, source: fx.Node, where: _Where) -> _Where | None:
    area = int(user.args[1]) ** 2  # type: ignore[arg-type]
    if where.axis != len(_shape(source)) - 3:
        return None
    return attrs.evolve(where, offset=where.offset * area, each=where.each * area)


def _beside(user: fx.Node, source: fx.Node, where: _Where) -> _Where | None:
    parts = list(user.args[0])  # type: ignore[arg-type]
    axis = user.args[1] if len(user.args) > 1 else user.kwargs.get("dim", 0)
    if parts.count(source) != 1 or axis % len(_shape(source)) != where.axis:  # type: ignore[operator]
        return None
    before = sum(_shape(part)[where.axis] for part in parts[: parts.index(source)])
    return attrs.evolve(where, offset=where.offset + before)


def _padded(user: fx.Node, source: fx.Node, where: _Where) -> _Where | None:
    reach = len(user.args[1]) // 2  # type: ignore[arg-type]
    value = [a for a in (*user.args[2:], user.kwargs.get("value")) if isinstance(a, (int, float))]
    far = len(_shape(source)) - 1 - where.axis
    return where if reach <= far and not any(value) else None


def _bounded(user: fx.Node, source: fx.Node, where: _Where) -> _Where | None:
    """Between two numbers of which one is not above and one not below 0."""
    given = dict(zip(("min", "max"), user.args[1:], strict=False)) | {k[:3]: v for k, v in user.kwargs.items()}
    usual = 1 if user.target in _HARD_TANH else math.inf
    least, most = (usual_ if v is None else v for v, usual_ in ((given.get("min"), -usual), (given.get("max"), usual)))
    fits = isinstance(least, (int, float)) and isinstance(most, (int, float)) and least <= 0 <= most
    return where if fits else None


def _scaled(user: fx.Node, source: fx.Node, where: _Where) -> _Where | None:
    """By a number."""
    return where if user.args[0] is source and isinstance(user.args[1], (int, float)) and user.args[1] else None


def _averaged(user: fx.Node, source: fx.Node, where: _Where) -> _Where | None:
    """Over axes behind the channels."""
    axes = user.args[1] if len(user.args) > 1 else None
    count = len(_shape(source))
    if isinstance(axes, int):
        axes = [axes]
    if not axes or any(int(a) % count <= where.axis for a in axes):  # type: ignore[union-attr, arg-type]
        return None
    return where
