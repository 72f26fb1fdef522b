"""The sweeps of a model over a stretch of a scene, with what one stretch hands on to the next."""

from __future__ import annotations

from typing import Callable, Mapping, Sequence

import attrs
import torch
from torch import Tensor

from restore.contracts import State, Sweep, Value
from restore.functional.sweeping import picture_of, sweep_over
from restore.inference.tiles import Span, Tile


@attrs.frozen
class Carry:
    """What goes from one chunk to the next, for every sweep.

    Attributes:
        states: of forward sweeps, after the last frame of the chunk; None elsewhere.
        before: values that the sweep was given for the last ``reach`` frames of the chunk.
    """

    states: tuple[State | None, ...]
    before: tuple[tuple[Value, ...], ...]

    def map(self, change: Callable[[Tensor], Tensor]) -> Carry:
        """The same with every tensor changed."""
        states = tuple(None if s is None else _mapped(s, change) for s in self.states)
        return Carry(states, tuple(tuple(_mapped(v, change) for v in values) for values in self.before))

    @property
    def tensors(self) -> list[Tensor]:
        """All of them."""
        found = [t for s in self.states if s is not None for t in s.values()]
        return found + [t for values in self.before for v in values for t in v.values()]


def _mapped(value: Value, change: Callable[[Tensor], Tensor]) -> Value:
    return {name: change(tensor) for name, tensor in value.items()}


def empty(sweeps: Sequence[Sweep]) -> Carry:
    """At the first frame of a scene."""
    return Carry((None,) * len(sweeps), ((),) * len(sweeps))


def named(carry: Carry) -> dict[str, Tensor]:
    """Every tensor of what is carried, by a name that says where it stands; :func:`from_named` reads it."""
    return {"/".join(map(str, key)): tensor for key, tensor in _slots(carry).items()}


def from_named(tensors: Mapping[str, Tensor], sweeps: int) -> Carry:
    """What was carried, from names and tensors, for a model of so many ``sweeps``."""
    states: list[dict[str, Tensor] | None] = [None] * sweeps
    before: list[dict[int, dict[str, Tensor]]] = [{} for _ in range(sweeps)]
    for key, tensor in tensors.items():
        kind, k, j, name = key.split("/", 3)
        if kind == "state":
            states[int(k)] = {**(states[int(k)] or {}), name: tensor}
        else:
            before[int(k)].setdefault(int(j), {})[name] = tensor
    return Carry(tuple(states), tuple(tuple(values[j] for j in sorted(values)) for values in before))


def extents(sweeps: Sequence[Sweep], look_ahead: int, causal: bool = False) -> list[int]:
    """How many frames beyond a chunk each sweep answers, and first of all how many it is given.

    A sweep answers as far as the one after it looks; a backward one begins at least ``look_ahead`` frames beyond the
    chunk, so that its state has grown when it gets there. With forward sweeps alone these are just the frames that
    reach the chunk, and the result is exact.

    Returns:
        one number more than there are sweeps: frames that must be there, then those of each sweep; the last is 0 unless
        the last sweep runs backward. All are 0 where ``causal``.
    """
    found = [0]
    for sweep in reversed(sweeps):
        here = max(found[0], look_ahead) if sweep.direction == "backward" else found[0]
        found[0] = here
        found.insert(0, here + sweep.reach)
    return [0] * len(found) if causal else found


def run_chunk(
    sweeps: Sequence[Sweep], frames: Tensor, count: int, carry: Carry, beyond: Sequence[int]
) -> tuple[Tensor, Carry]:
    """All sweeps over one chunk.

    Args:
        sweeps: of the model.
        frames: ``(N, C, H, W)``, the chunk and what is there beyond it, at most ``beyond[0]``; fewer only where the
            scene ends.
        count: frames of the chunk.
        carry: from the chunk before; of the first, :func:`empty`.
        beyond: from :func:`extents`.

    Returns:
        ``(count, C, scale*H, scale*W)``, and what goes on to the next chunk.
    """
    values: list[Value] = [{"frame": frame.unsqueeze(0)} for frame in frames]
    states: list[State | None] = []
    before: list[tuple[Value, ...]] = []
    for k, sweep in enumerate(sweeps):
        # Of a chunk shorter than the reach, what came before it still counts.
        seen = [*carry.before[k], *values[:count]]
        before.append(tuple(seen[len(seen) - min(sweep.reach, len(seen)) :]))
        del seen
        values, state = sweep_over(
            sweep,
            values,
            before=carry.before[k],
            state=carry.states[k],
            stop=count + beyond[k + 1],
            keep=count,
            number=k,
        )
        states.append(state)
    restored = torch.cat([picture_of(v) for v in values[:count]])
    return restored, Carry(tuple(states), tuple(before))


def restitch(carries: Sequence[Carry], old: Sequence[Tile], new: Sequence[Tile], size: tuple[int, int]) -> list[Carry]:
    """What was carried for one division into tiles, for another.

    Pictures and features, whose sides are the region's times one and the same ratio, are put together from the tiles'
    cores and cut anew. Anything else is taken from the old tile that holds the middle of the new one.

    Args:
        carries: of the old tiles.
        old, new: both divisions.
        size: height and width of the frame.
    """
    if list(old) == list(new):
        return list(carries)
    owners = [_owner(tile, old) for tile in new]
    made = [carries[k].map(lambda t: t) for k in owners]
    slots = [_slots(c) for c in carries]
    targets = [_slots(c) for c in made]
    for key in slots[0]:
        parts = [s[key] for s in slots]
        whole = _joined(parts, old, size)
        for tile, target in zip(new, targets, strict=True):
            if whole is not None and (piece := _piece(whole, tile.region, size)) is not None:
                target[key] = piece
    return [_filled(c, t) for c, t in zip(made, targets, strict=True)]


_Key = tuple[str, int, int, str]


def _slots(carry: Carry) -> dict[_Key, Tensor]:
    found: dict[_Key, Tensor] = {}
    for k, state in enumerate(carry.states):
        found |= {("state", k, 0, name): t for name, t in (state or {}).items()}
    for k, values in enumerate(carry.before):
        for j, value in enumerate(values):
            found |= {("before", k, j, name): t for name, t in value.items()}
    return found


def _filled(carry: Carry, slots: dict[_Key, Tensor]) -> Carry:
    states = tuple(
        None if s is None else {name: slots["state", k, 0, name] for name in s} for k, s in enumerate(carry.states)
    )
    before = tuple(
        tuple({name: slots["before", k, j, name] for name in value} for j, value in enumerate(values))
        for k, values in enumerate(carry.before)
    )
    return Carry(states, before)


def _owner(tile: Tile, tiles: Sequence[Tile]) -> int:
    middle = [(a + b) // 2 for a, b in tile.core]
    for k, other in enumerate(tiles):
        if all(a <= m < b for m, (a, b) in zip(middle, other.core, strict=True)):
            return k
    return 0


def _scaled(span: Span, offset: int, length: int, whole: int) -> tuple[int, int] | None:
    """A span of pixels as a span of a tensor that has ``length`` where the frame has ``whole``; None: not whole."""
    first, last = (span[0] - offset) * length, (span[1] - offset) * length
    return None if first % whole or last % whole else (first // whole, last // whole)


def _piece(tensor: Tensor, region: tuple[Span, Span], size: tuple[int, int]) -> Tensor | None:
    rows = _scaled(region[0], 0, int(tensor.shape[-2]), size[0])
    columns = _scaled(region[1], 0, int(tensor.shape[-1]), size[1])
    return None if rows is None or columns is None else tensor[..., slice(*rows), slice(*columns)]


def _joined(parts: Sequence[Tensor], tiles: Sequence[Tile], size: tuple[int, int]) -> Tensor | None:
    """The cores of a spatial tensor's tiles as one; None where it is not spatial."""
    if parts[0].ndim < 4:
        return None
    (top, bottom), (left, right) = tiles[0].region
    high, wide = int(parts[0].shape[-2]), int(parts[0].shape[-1])
    if high * (right - left) != wide * (bottom - top) or (size[0] * high) % (bottom - top):
        return None
    sides = size[0] * high // (bottom - top), size[1] * wide // (right - left)
    out = parts[0].new_zeros(*parts[0].shape[:-2], *sides)
    for part, tile in zip(parts, tiles, strict=True):
        for axis, (region, length) in enumerate(zip(tile.region, part.shape[-2:], strict=True)):
            if int(length) * size[axis] != sides[axis] * (region[1] - region[0]):
                return None
        source = [
            _scaled(c, r[0], int(n), r[1] - r[0])
            for c, r, n in zip(tile.core, tile.region, part.shape[-2:], strict=True)
        ]
        target = [_scaled(c, 0, sides[axis], size[axis]) for axis, c in enumerate(tile.core)]
        if None in source or None in target:
            return None
        (a, b), (c, d) = source  # type: ignore[misc]
        (e, f), (g, h) = target  # type: ignore[misc]
        out[..., e:f, g:h] = part[..., a:b, c:d]
    return out
