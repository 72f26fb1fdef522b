"""Running the sweeps that a model along time is made of: one pass over frames, and all of them over a whole clip."""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from restore.contracts import State, Sweep, Value
from restore.errors import RestoreError

DIRECTIONS = ("forward", "backward", "none")


def sweep_over(
    sweep: Sweep,
    values: list[Value],
    *,
    before: Sequence[Value | None] = (),
    state: State | None = None,
    stop: int | None = None,
    keep: int | None = None,
    number: int = 0,
) -> tuple[list[Value], State | None]:
    """One sweep over consecutive frames of one scene.

    Args:
        sweep: what is run.
        values: of the frames, in order, at least one. Beyond the last of them there is nothing. The list is emptied on
            the way, so that what no frame needs any more is free at once.
        before: values of the frames just before the first; at most ``reach`` of them count.
        state: what a forward sweep carried over from the frame before the first.
        stop: so many frames, from the first on, are answered; left out, all. The others are only looked at.
        keep: after so many frames the state of a forward sweep is given back; left out, after the last.
        number: of the sweep, for errors.

    Returns:
        the values of the answered frames, and the state of a forward sweep (else None).

    Raises:
        RestoreError: a direction or an answer that the contract does not know.
    """
    if sweep.direction not in DIRECTIONS:
        raise RestoreError(f"sweep {number} has direction {sweep.direction!r}; there are {', '.join(DIRECTIONS)}")
    reach, count = sweep.reach, len(values) if stop is None else min(stop, len(values))
    nothing: list[Value | None] = [None] * reach
    line = [*(nothing + list(before))[len(before) :], *values, *nothing]
    values.clear()
    backward, forward = sweep.direction == "backward", sweep.direction == "forward"
    carried = state if forward else None
    kept = carried
    answers: list[Value | None] = [None] * count
    for t in range(count - 1, -1, -1) if backward else range(count):
        answer, after = sweep(line[t : t + 2 * reach + 1], carried if forward or backward else None)
        answers[t] = _checked(answer, number)
        carried = after
        line[t + 2 * reach if backward else t] = None
        if forward and t + 1 == (count if keep is None else min(keep, count)):
            kept = after
    return [a for a in answers if a is not None], kept


def _checked(answer: Value, number: int) -> Value:
    if not hasattr(answer, "items") or not all(isinstance(v, Tensor) for v in answer.values()):
        raise RestoreError(
            f"sweep {number} answered a {type(answer).__name__}; each call returns (value, state), and a value is a "
            "dict of tensors"
        )
    return answer


def picture_of(value: Value) -> Tensor:
    """The restored frame ``(B, C, H, W)`` in the last sweep's value; RestoreError where it is not there."""
    if "frame" not in value:
        raise RestoreError(f'the last sweep answers {{"frame": ...}}; this one answered {sorted(value)}')
    return value["frame"]


def run_sweeps(sweeps: Sequence[Sweep], clip: Tensor) -> Tensor:
    """All sweeps, one after the other, over all frames of a clip: what ``model(clip)`` equals.

    Args:
        sweeps: of a model whose traits say ``temporal = "stream"``.
        clip: ``(B, T, C, H, W)`` in [0, 1], T at least 1.

    Returns:
        ``(B, T, C, scale*H, scale*W)``.

    Raises:
        RestoreError: no sweeps, or one that breaks its contract.
    """
    if not sweeps:
        raise RestoreError('a model with temporal = "stream" has at least one sweep')
    values: list[Value] = [{"frame": clip[:, t]} for t in range(clip.shape[1])]
    for number, sweep in enumerate(sweeps):
        values, _ = sweep_over(sweep, values, number=number)
    return torch.stack([picture_of(v) for v in values], dim=1)


def run_ahead(sweeps: Sequence[Sweep]) -> int:
    """Frames of the future that sweeps without a backward one look at: the sum of their reaches."""
    return sum(sweep.reach for sweep in sweeps)
