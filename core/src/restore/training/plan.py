"""The phases of a recipe, with everything resolved that one leaves to ``[training]`` or to the phase before it."""

from __future__ import annotations

import math
from typing import Any

import attrs

from restore.document import Place
from restore.recipe import EarlyStopping, Phase, Recipe, Start, Training, Use


@attrs.frozen
class PhasePlan:
    """One phase.

    Attributes:
        index: from 0.
        name: as the recipe says, or its number.
        place: for errors.
        iterations: optimizer steps.
        batch: clips a step, over all devices and parts.
        clock: iterations that the schedules have seen when it begins.
        clock_total: iterations that the schedules span.
        optimizer: the table of the optimizer in use.
        optimizer_began: index of the phase that this optimizer began in.
        lr: what the recipe says of the learning rate beside that table, and where; None: the table's own.
        losses: tables of the active losses.
        degradation: table; None: the training data brings both sides.
        pruning: ``none``, ``gates``, ``regularise`` or ``compact``.
        compacts: whether it begins with cutting.

    The others are those of :class:`restore.recipe.Training`.
    """

    index: int
    name: str
    place: Place
    iterations: int
    batch: int
    accumulate: int
    clip_norm: float
    clip_value: float
    skip_above: float
    ema: float
    freeze: tuple[str, ...]
    checkpoint_activations: tuple[str, ...]
    early_stopping: EarlyStopping | None
    start: Start | None
    optimizer: Use
    optimizer_began: int
    lr: tuple[Any, Place] | None
    losses: tuple[Use, ...]
    degradation: Use | None
    clock: int = 0
    clock_total: int = 1
    pruning: str = "none"
    compacts: bool = False


_PRUNING = ("none", "gates", "regularise", "compact")
_SHARED = ("batch", "accumulate", "clip_norm", "clip_value", "skip_above", "ema", "freeze", "checkpoint_activations")


def needed(use: Use | None, table: str, root: Place) -> Use:
    """The table itself.

    Raises:
        RequestError: the recipe has none.
    """
    if use is None:
        raise root.error(f"training needs a [{table}] table")
    return use


def plan_phases(recipe: Recipe, samples: int, devices: int, root: Place) -> tuple[PhasePlan, ...]:
    """All phases of a recipe; one without ``[[phases]]`` is one phase.

    Args:
        recipe: with ``[training]`` and ``[optimizer]``.
        samples: entries of the training data, for epochs.
        devices: that share a batch.
        root: of the document.

    Raises:
        RequestError: no length or two, no losses, or a batch that cannot be shared evenly.
    """
    settings = recipe.training
    assert settings is not None
    optimizer = needed(recipe.optimizer, "optimizer", root)
    began, lr = 0, None
    pruning = "none"
    plans: list[PhasePlan] = []
    resets: list[bool] = []
    for index, phase in enumerate(_phases(recipe, settings)):
        place = root.child("phases").child(index) if recipe.phases else root.child("training")
        if phase.optimizer is not None:
            optimizer, lr = phase.optimizer, None
        if phase.lr is not None:
            lr = (_written(phase.lr), place.child("lr"))
        pruning, before = _pruning(phase, pruning, recipe, place), pruning
        compacts = pruning == "compact" != before
        if phase.optimizer is not None or phase.reset_optimizer or compacts:
            began = index
        resets.append(phase.reset_schedules or phase.optimizer is not None or phase.lr is not None or index == 0)
        values = {n: getattr(settings, n) if getattr(phase, n) is None else getattr(phase, n) for n in _SHARED}
        _check_clipping(phase, values)
        plan = PhasePlan(
            index=index,
            name=phase.name or str(index + 1),
            place=place,
            iterations=_length(phase, samples, values["batch"]),
            **values,
            early_stopping=phase.early_stopping or settings.early_stopping,
            start=phase.start,
            optimizer=optimizer,
            optimizer_began=began,
            lr=lr,
            losses=recipe.losses if phase.losses is None else phase.losses,
            degradation=phase.degradation or recipe.degradation,
            pruning=pruning,
            compacts=compacts,
        )
        _check(plan, devices)
        plans.append(plan)
    return tuple(_with_clocks(plans, resets))


def _pruning(phase: Phase, before: str, recipe: Recipe, place: Place) -> str:
    """What the pruner does in a phase; it only ever goes forward."""
    if phase.pruning is None:
        return before
    if recipe.pruner is None:
        raise place.child("pruning").error("there is no [pruner] table")
    if _PRUNING.index(phase.pruning) < _PRUNING.index(before):
        raise place.child("pruning").error(f"{phase.pruning!r} cannot come after {before!r}")
    return phase.pruning


def _phases(recipe: Recipe, settings: Training) -> tuple[Phase, ...]:
    return recipe.phases or (Phase(iterations=settings.iterations, epochs=settings.epochs),)


def _written(lr: Use | float) -> Any:
    """A learning rate as the recipe's own value."""
    return {"use": lr.use, **lr.parameters} if isinstance(lr, Use) else lr


def _length(phase: Phase, samples: int, batch: int) -> int:
    if phase.iterations is not None:
        return phase.iterations
    assert phase.epochs is not None
    return max(1, math.ceil(phase.epochs * samples / batch))


def _check_clipping(phase: Phase, values: dict[str, Any]) -> None:
    """A phase that names one kind of clipping replaces the other kind of ``[training]``."""
    if phase.clip_norm and phase.clip_value is None:
        values["clip_value"] = 0.0
    if phase.clip_value and phase.clip_norm is None:
        values["clip_norm"] = 0.0


def _check(plan: PhasePlan, devices: int) -> None:
    if not plan.losses:
        raise plan.place.error("training needs at least one [[losses]] table")
    if plan.batch % (devices * plan.accumulate):
        raise plan.place.error(
            f"a batch of {plan.batch} clips cannot be shared evenly by {devices} device(s) in {plan.accumulate} part(s)"
        )


def _with_clocks(plans: list[PhasePlan], resets: list[bool]) -> list[PhasePlan]:
    """Phases that keep the schedules of the one before share a clock, which spans all of them."""
    timed: list[PhasePlan] = []
    for plan, reset in zip(plans, resets, strict=True):
        begin = 0 if reset else timed[-1].clock + timed[-1].iterations
        timed.append(attrs.evolve(plan, clock=begin))
    total = 0
    for index in range(len(timed) - 1, -1, -1):
        plan = timed[index]
        total = max(total, plan.clock + plan.iterations)
        timed[index] = attrs.evolve(plan, clock_total=total)
        if plan.clock == 0:
            total = 0
    return timed
