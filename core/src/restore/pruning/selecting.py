"""Which channels go: scores and how they are compared."""

from __future__ import annotations

from typing import Literal, Mapping, Sequence

import torch
from torch import Tensor, nn

from restore.pruning.gates import factor_of
from restore.pruning.graph import Cut
from restore.pruning.layers import mean_magnitude

Scope = Literal["global", "local"]


def gamma_scores(model: nn.Module, cuts: Sequence[Cut]) -> dict[str, Tensor]:
    """|gamma| of every channel (or group), summed over a stream's writers; not normalised between layers (SSL, 4.3)."""
    return {
        cut.name: torch.stack([factor_of(model, slot).detach().abs().cpu() for slot in cut.factors]).sum(0)
        for cut in cuts
    }


def l1_scores(model: nn.Module, cuts: Sequence[Cut]) -> dict[str, Tensor]:
    """Mean |W| of every channel (or group), on the gate's own side of its layer; summed over a stream's writers."""
    return {
        cut.name: torch.stack(
            [mean_magnitude(model.get_submodule(s.module), s.side, s.group).cpu() for s in cut.factors]
        ).sum(0)
        for cut in cuts
    }


def select(
    scores: Mapping[str, Tensor],
    ratio: float,
    scope: Scope = "global",
    multiple: int = 1,
    before: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, tuple[int, ...]]:
    """The channels (or groups) to keep, of every gate at least one.

    Args:
        scores: of each gate's channels; low ones go.
        ratio: of what goes, in [0, 1): the ``int(N * ratio)`` lowest of all N, or of each gate's own.
        scope: ``"global"``, all channels of the model are compared; ``"local"``, those of each gate.
        multiple: each gate keeps a multiple of so many where it can, the nearest to what its scores say: the width of
            the processor's vectors, if speed counts.
        before: an earlier choice, which decides between equal scores.

    Returns:
        indices that stay, ascending.

    Raises:
        ValueError: a ratio outside [0, 1), or a multiple below 1.
    """
    if not 0 <= ratio < 1 or multiple < 1:
        raise ValueError(f"ratio must lie in [0, 1) and multiple be at least 1, got {ratio} and {multiple}")
    ranks = {name: _ranked(values, None if before is None else before[name]) for name, values in scores.items()}
    if scope == "local":
        gone = {name: int(len(order) * ratio) for name, order in ranks.items()}
    else:
        gone = _globally(scores, ranks, ratio)
    kept = {}
    for name, order in ranks.items():
        stay = _rounded(len(order) - gone[name], len(order), multiple)
        kept[name] = tuple(sorted(order[len(order) - stay :].tolist()))
    return kept


def _ranked(values: Tensor, before: Sequence[int] | None) -> Tensor:
    """Indices from the lowest score to the highest; of equal ones those that went before come first."""
    order = torch.arange(len(values))
    if before is not None:
        stayed = torch.zeros(len(values))
        stayed[list(before)] = 1
        order = stayed.argsort(stable=True)
    return order[values[order].argsort(stable=True)]


def _globally(scores: Mapping[str, Tensor], ranks: Mapping[str, Tensor], ratio: float) -> dict[str, int]:
    """How many of each gate are among the lowest of all, though never the last one of a gate."""
    names = list(scores)
    owner = torch.cat([torch.full((len(ranks[n]),), i) for i, n in enumerate(names)])
    values = torch.cat([scores[n][ranks[n]].double() for n in names])
    lowest = values.argsort(stable=True)[: int(len(values) * ratio)]
    counts = torch.bincount(owner[lowest], minlength=len(names)).tolist()
    return {n: min(count, len(ranks[n]) - 1) for n, count in zip(names, counts, strict=True)}


def _rounded(stay: int, size: int, multiple: int) -> int:
    stay = max(1, stay)
    if multiple == 1 or multiple > size:
        return stay
    return min(size, max(multiple, multiple * round(stay / multiple)))
