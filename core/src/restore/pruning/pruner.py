"""Pruners made of gates: what all of them share, and the one that closes gates by a rising penalty."""

from __future__ import annotations

import math
from typing import Any, Literal, Mapping, Sequence

import torch
from torch import Tensor, nn

from restore.contracts import Step
from restore.errors import RequestError
from restore.pruning.compaction import compact, masked, pruned_of
from restore.pruning.gates import factor_of, insert_gates, mask_gates
from restore.pruning.graph import Cut, named_by, prune_graph_of
from restore.pruning.selecting import Scope, gamma_scores, l1_scores, select

Criterion = Literal["auto", "gamma", "l1"]


class GatePruner:
    """Closes the gates that a model declares and cuts out what they shut off. It keeps :class:`restore.Pruner`; by
    itself it chooses once and penalises nothing.

    Args:
        ratio: of the channels that go, in [0, 1); 0 leaves the model as it is.
        criterion: ``"gamma"``, the factors' magnitude; ``"l1"``, mean |W| of what they scale; ``"auto"``, ``gamma``
            where factors were trained, else ``l1``.
        scope: ``"global"``, all channels of the model are compared; ``"local"``, those of each gate.
        aligned: narrow skips: all that write to one and read it share an index set.
        exclude: patterns (``fnmatch``) of gates to leave alone, such as ``"*.conv2.out"`` or ``"upconv*"``.
        multiple: round what each gate keeps to multiples of this, for speed.
        shuffle_groups: prune what a pixel shuffle makes of groups of channels too.

    Raises:
        ValueError: a ratio outside [0, 1), or a multiple below 1.
    """

    needed_iterations = 0
    """Iterations that it must be trained with for all that it does to be done."""

    def __init__(
        self,
        ratio: float = 0.5,
        *,
        criterion: Criterion = "auto",
        scope: Scope = "global",
        aligned: bool = False,
        exclude: tuple[str, ...] = (),
        multiple: int = 1,
        shuffle_groups: bool = True,
    ) -> None:
        select({"check": torch.zeros(1)}, ratio, multiple=multiple)
        self.ratio, self.criterion, self.scope = ratio, criterion, scope
        self.aligned, self.exclude, self.multiple = aligned, exclude, multiple
        self.shuffle_groups = shuffle_groups
        self.model: Any = None
        self.cuts: tuple[Cut, ...] = ()
        self.kept: dict[str, tuple[int, ...]] | None = None
        self.final = False
        self.iteration = 0

    def attach(self, model: Any) -> None:
        """Insert gates where there are none.

        Raises:
            RequestError: the model cannot be pruned exactly, or was pruned before; a pattern matches no gate.
        """
        if pruned_of(model) is not None:
            raise RequestError("this network was pruned before; prune the whole one")
        every = prune_graph_of(model).cuts(self.aligned)
        for pattern in self.exclude:
            if not any(named_by(cut.name, [pattern]) for cut in every):
                names = ", ".join(cut.name for cut in every[:4])
                raise RequestError(f"exclude pattern {pattern!r} matches no gate; they are called {names}, ...")
        self.model = model
        wanted = (cut for cut in every if self.shuffle_groups or cut.factors[0].group == 1)
        self.cuts = tuple(cut for cut in wanted if not named_by(cut.name, self.exclude))
        if not self.cuts:
            raise RequestError("all gates are excluded: nothing is left to prune")
        insert_gates(model, [slot for cut in self.cuts for slot in cut.factors])

    def _factors(self) -> list[Tensor]:
        return [factor_of(self.model, slot) for cut in self.cuts for slot in cut.factors]

    def _choose(self) -> None:
        """Choose what stays; again, where it was chosen before, by the factors as they have become since."""
        criterion = self.criterion
        if criterion == "auto":
            trained = any(bool((f.detach() != 1).any()) for f in self._factors())
            criterion = "gamma" if trained else "l1"
        if self.iteration:
            criterion = "gamma"
        scores = (gamma_scores if criterion == "gamma" else l1_scores)(self.model, self.cuts)
        self.kept = select(scores, self.ratio, self.scope, self.multiple, self.kept)

    def _removed(self) -> Tensor:
        """For all factors in a row: whether they belong to what goes."""
        assert self.kept is not None
        rows = []
        for cut in self.cuts:
            row = torch.ones(cut.size(self.model), dtype=torch.bool)
            row[list(self.kept[cut.name])] = False
            rows += [row] * len(cut.factors)
        return torch.cat(rows)

    def penalty(self, step: Step) -> Tensor:
        """Nothing: 0."""
        return self._factors()[0].new_zeros(())

    def update(self, step: Step) -> None:
        """Nothing is to be done after a step."""

    def compact(self) -> Any:
        """The compact model. From here on the attached one is the masked one: its closed gates are 0."""
        if not self.final:
            self._choose()
            self.final = True
        assert self.kept is not None
        mask_gates(self.model, self.cuts, self.kept)
        return compact(self.model, self.kept, self.aligned)

    def readings(self) -> dict[str, float]:
        """For the log: mean |gamma| of what stays and of what goes (supplement, Fig. 1)."""
        if self.kept is None:
            return {}
        factors = torch.cat([f.detach().abs().cpu() for f in self._factors()])
        gone = self._removed()
        found = {"gamma_kept": float(factors[~gone].mean())}
        return found | ({"gamma_pruned": float(factors[gone].mean())} if bool(gone.any()) else {})

    def state_dict(self) -> dict[str, Any]:
        """What it has chosen and how far it is; factors are the model's."""
        kept = None if self.kept is None else {k: list(v) for k, v in self.kept.items()}
        return {"kept": kept, "final": self.final, "iteration": self.iteration}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`, attached to a model."""
        kept = state["kept"]
        self.kept = None if kept is None else {k: tuple(v) for k, v in kept.items()}
        self.final, self.iteration = state["final"], state["iteration"]
        self._reset()

    def _reset(self) -> None:
        """The choice is another one than before."""


class RampPruner(GatePruner):
    """Closes gates step by step: ``alpha/2 * sum gamma^2`` over those that are to go is added to the loss, and alpha
    rises by ``increment`` every so many iterations up to ``ceiling`` (SSL, Eq. 1 and Alg. 1; Wang et al., ICLR 2021).

    What is to go is chosen when the penalty is first asked for, and again by |gamma| before it is cut out. alpha is
    counted from the first penalty, whatever the clock of the schedules says, and stays at ``ceiling`` once there.

    Args:
        ratio, criterion, scope, aligned, exclude, multiple, shuffle_groups: as in :class:`GatePruner`.
        increment: of alpha (paper: Delta).
        every: iterations between two increments, the first comes at once (paper: T1).
        ceiling: of alpha (paper: tau).

    Raises:
        ValueError: as :class:`GatePruner`; an increment or ceiling that is not above 0; ``every`` below 1.
    """

    def __init__(
        self,
        ratio: float = 0.5,
        *,
        criterion: Criterion = "auto",
        scope: Scope = "global",
        aligned: bool = False,
        exclude: tuple[str, ...] = (),
        multiple: int = 1,
        shuffle_groups: bool = True,
        increment: float = 1e-4,
        every: int = 5,
        ceiling: float = 0.1,
    ) -> None:
        super().__init__(
            ratio,
            criterion=criterion,
            scope=scope,
            aligned=aligned,
            exclude=exclude,
            multiple=multiple,
            shuffle_groups=shuffle_groups,
        )
        if increment <= 0 or ceiling <= 0 or every < 1:
            raise ValueError(
                "increment and ceiling must be above 0 and every at least 1, "
                f"got increment = {increment}, ceiling = {ceiling}, every = {every}"
            )
        self.increment, self.every, self.ceiling = increment, every, ceiling
        self._gone: Tensor | None = None

    @property
    def needed_iterations(self) -> int:  # type: ignore[override]
        """Length of the ramp: every level of alpha, the last one too, lasts ``every`` iterations."""
        # A thousand times 1e-4 must count as 0.1, whatever their quotient is rounded to.
        return self.every * max(1, math.ceil(self.ceiling / self.increment * (1 - 1e-9)))

    def alpha(self) -> float:
        """Strength of the penalty in the coming iteration."""
        return min(self.ceiling, self.increment * (self.iteration // self.every + 1))

    def penalty(self, step: Step) -> Tensor:
        """``alpha/2 * sum gamma^2`` over the gates that are to go."""
        factors = torch.cat(self._factors())
        if self.kept is None:
            self._choose()
        if self._gone is None or self._gone.device != factors.device:
            self._gone = self._removed().to(factors.device, factors.dtype)
        return self.alpha() / 2 * (factors * self._gone).square().sum()

    def update(self, step: Step) -> None:
        """Count the iteration."""
        self.iteration += 1

    def readings(self) -> dict[str, float]:
        """alpha besides."""
        return {"alpha": self.alpha(), **super().readings()}

    def _reset(self) -> None:
        self._gone = None


def check_exact(model: nn.Module, kept: Mapping[str, Sequence[int]], clip: Tensor, aligned: bool = False) -> float:
    """The largest difference between the masked and the compact model on a clip, relative to the output's reach: how
    far a declaration keeps its promise.

    Args:
        model: without gates.
        kept, aligned: as in :func:`restore.pruning.compact`.
        clip: ``(B, T, C, H, W)``.
    """

    def answer(network: nn.Module) -> Tensor:
        found = network.eval()(clip)
        restored = getattr(found, "restored", found)
        assert isinstance(restored, Tensor)
        return restored

    with torch.no_grad():
        wide, small = answer(masked(model, kept, aligned)), answer(compact(model, kept, aligned))
    return float((wide - small).abs().max() / wide.abs().max().clamp(min=1e-12))
