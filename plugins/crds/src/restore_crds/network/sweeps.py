"""CRDS taken apart along time, so that an engine can work through a video of any length (see restore.Sweep)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Mapping, Sequence

import attrs
import torch
from restore import Sweep
from torch import Tensor

from restore_crds.network.autoencoder import check_sides
from restore_crds.network.denoising import DenoisingBlock, References

if TYPE_CHECKING:
    from restore_crds.network.crds import CRDS

Direction = Literal["forward", "backward", "none"]
Value = Mapping[str, Tensor]
State = Mapping[str, Tensor]


def make_sweeps(model: CRDS) -> tuple[Sweep, ...]:
    """Encoding and flows; every block backward and forward; decoding."""
    sweeps: list[Sweep] = [_Begin(model, reach=max(model.motions))]
    for block in model.steps:
        sweeps += [_Backward(model, block, reach=model.references), _Forward(block)]
    return (*sweeps, _End(model))


@attrs.define
class _Begin:
    """A frame's first level, and the flows from it to its neighbours."""

    model: CRDS
    reach: int
    direction: Direction = "none"

    def __call__(self, frames: Sequence[Value | None], state: State | None) -> tuple[Value, State | None]:
        here = self.model.complete(_given(frames[self.reach])["frame"])
        check_sides(here, self.model.stride, self.model.traits.minimum)
        value = {"frame": here, "first": (first := self.model.begin(here)), "level": first}
        there = {m: other["frame"] for m in self.model.motions if (other := frames[self.reach + m]) is not None}
        if there:
            flows = self.model.estimate_flow(torch.cat([here] * len(there)), torch.cat(list(there.values())))
            value |= {f"flow/{m}": flow for m, flow in zip(there, flows.chunk(len(there)), strict=True)}
        still = first.new_zeros(len(first), 2, *first.shape[-2:])
        return {f"flow/{m}": still for m in self.model.motions} | value, None


@attrs.define
class _Backward:
    """A block's prediction and residual, and the state that comes from the frames behind."""

    model: CRDS
    block: DenoisingBlock
    reach: int
    direction: Direction = "backward"

    def __call__(self, frames: Sequence[Value | None], state: State | None) -> tuple[Value, State | None]:
        here = _given(frames[self.reach])
        references: References = []
        for m, other in zip(range(-self.reach, self.reach + 1), frames, strict=True):
            references.append(((here if other is None else other)["level"], here[f"flow/{m}"] if m else None))
        prediction = self.block.predict(here["level"], references)
        residual = here["level"] - prediction
        trunk = self.block.propagation.backward_trunk
        behind = trunk(residual, None if state is None else state["state"], here["flow/1"])
        kept = {name: tensor for name, tensor in here.items() if name != "level"}
        return kept | {"prediction": prediction, "residual": residual, "behind": behind}, {"state": behind}


@attrs.define
class _Forward:
    """The state that comes from the frames before, and the block's next level."""

    block: DenoisingBlock
    reach: int = 0
    direction: Direction = "forward"

    def __call__(self, frames: Sequence[Value | None], state: State | None) -> tuple[Value, State | None]:
        here = _given(frames[0])
        propagation = self.block.propagation
        before = propagation.forward_trunk(here["residual"], None if state is None else state["state"], here["flow/-1"])
        level = propagation.combine(here["residual"], here["behind"], before) + here["prediction"]
        kept = {name: t for name, t in here.items() if name not in ("residual", "prediction", "behind")}
        return kept | {"level": level}, {"state": before}


@attrs.define
class _End:
    """The restored frame."""

    model: CRDS
    reach: int = 0
    direction: Direction = "none"

    def __call__(self, frames: Sequence[Value | None], state: State | None) -> tuple[Value, State | None]:
        here = _given(frames[0])
        frame = here["frame"]
        return {"frame": frame[:, :3] + self.model.correct(frame, here["first"], here["level"])}, None


def _given(value: Value | None) -> Value:
    """The frame at hand, which is always there."""
    if value is None:
        raise ValueError("a sweep was called without the frame at hand")
    return value
