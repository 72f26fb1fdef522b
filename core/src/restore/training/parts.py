"""Everything that a training recipe names, built and checked before the first iteration."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import nn

from restore import weights as weight_files
from restore.build import Builder, is_number
from restore.contracts import Dataset, Degradation, Loss, Pruner, Schedule, Traits
from restore.document import Document, Place
from restore.evaluation.clip_protocols import ClipProtocol
from restore.evaluation.protocols import Protocol, protocol
from restore.modelling import build_model, with_teachers
from restore.pruning.gates import is_gate
from restore.recipe import Recipe, Start, Training, Use
from restore.training.optimizers import Named, OptimizerPlan, learning_rate, plan_optimizer, trainable
from restore.training.plan import PhasePlan, needed, plan_phases
from restore.weights import Weights, matches


@attrs.frozen
class Term:
    """A loss with its weight.

    Attributes:
        name: for logs; unlike any other of its phase.
        weight: number or schedule.
        loss: the loss itself.
    """

    name: str
    weight: Schedule
    loss: Loss


@attrs.frozen
class PhaseParts:
    """A phase and what it works with; ``degradation`` is None where the data brings both sides, ``start`` are weights
    to load when it begins."""

    plan: PhasePlan
    losses: tuple[Term, ...]
    degradation: Degradation | None
    optimizer: OptimizerPlan
    start: Weights | None


@attrs.frozen
class Parts:
    """What a training recipe is made of.

    Attributes:
        model, traits: the network, with its weights, and what it says of itself.
        phases: at least one.
        named: the parameters that may be trained at all, by name.
        train, validation: clean clips, or pairs.
        protocol: of validation.
        settings: ``[training]``.
        component: the model's full name.
        teachers: frozen models that degradations and losses hold.
        pruner: attached to the model.
    """

    model: nn.Module
    traits: Traits
    phases: tuple[PhaseParts, ...]
    named: Named
    train: Dataset
    validation: Dataset | None
    protocol: Protocol | ClipProtocol
    settings: Training
    component: str
    teachers: tuple[Any, ...] = ()
    pruner: Pruner | None = None

    @property
    def iterations(self) -> int:
        """Of all phases, if none ends early."""
        return sum(phase.plan.iterations for phase in self.phases)


def build_parts(recipe: Recipe, document: Document, builder: Builder, devices: int = 1) -> Parts:
    """Everything a training recipe names, of every phase.

    Args:
        recipe: checked.
        document: what it came from, for errors.
        builder: makes components; teachers too.
        devices: that will share a batch.

    Raises:
        RequestError: something is missing, unknown or mistyped, with file, line and key; whichever phase it is in.
    """
    root = document.root
    if recipe.training is None:
        raise root.error("training needs a [training] table")
    builder = with_teachers(builder)
    settings = recipe.training
    torch.manual_seed(settings.seed)
    model, component = build_model(needed(recipe.model, "model", root), builder, keep_gates=recipe.pruner is not None)
    if settings.start is not None:
        start = _start(settings.start, model, root.child("training").child("start"), builder)
        weight_files.load_into(model, start, settings.start.exclude)
    pruner = _pruner(recipe, model, root, builder)
    named = trainable(model)
    needed(recipe.optimizer, "optimizer", root)
    train_use = needed(recipe.data.train, "data.train", root)
    with root.child("evaluation").child("protocol").locate():
        measured_by = protocol(recipe.evaluation.protocol)
    makers = _Makers(builder, model, named, {})
    train = builder.build("dataset", train_use)
    if recipe.degradation is None and not hasattr(train, "sample_pair"):
        raise root.error("training needs a [degradation] table, or data that brings both sides such as `paired`")
    phases = tuple(makers.phase(plan) for plan in plan_phases(recipe, len(train), devices, root))
    validation = recipe.data.validation
    _check_validation(recipe, phases)
    _check_pruning(pruner, phases, root)
    _check_strategy(recipe, phases)
    traits = model.traits
    assert isinstance(traits, Traits)
    return Parts(
        model=model,
        traits=traits,
        phases=phases,
        named=named,
        train=train,
        validation=None if validation is None else builder.build("dataset", validation),
        protocol=measured_by,
        settings=settings,
        component=component,
        teachers=tuple(builder.teachers.values()),
        pruner=pruner,
    )


def _pruner(recipe: Recipe, model: nn.Module, root: Place, builder: Builder) -> Pruner | None:
    """The recipe's pruner, attached: gates are parameters like any from the beginning."""
    if recipe.pruner is None:
        return None
    pruner: Pruner = builder.build("pruner", recipe.pruner)
    with root.child("pruner").locate():
        pruner.attach(model)
    return pruner


def _check_pruning(pruner: Pruner | None, phases: tuple[PhaseParts, ...], root: Place) -> None:
    if pruner is None:
        return
    plans = [phase.plan for phase in phases]
    if all(plan.pruning == "none" for plan in plans):
        raise root.child("pruner").error('say when: [[phases]] with pruning = "gates", "regularise" or "compact"')
    for plan in plans:
        if plan.start is not None:
            raise plan.place.child("start").error("with a [pruner], name weights in [model] or [training.start]")
    done = sum(plan.iterations for plan in plans if plan.pruning == "regularise")
    wanted = getattr(pruner, "needed_iterations", 0)
    cutting = next((plan for plan in plans if plan.compacts), None)
    if cutting is not None and done < wanted:
        raise cutting.place.child("pruning").error(
            f'the penalty takes {wanted} iterations to rise, the phases before with pruning = "regularise" have '
            f"{done}: make them longer, or let it rise faster"
        )


def _check_validation(recipe: Recipe, phases: tuple[PhaseParts, ...]) -> None:
    if recipe.data.validation is None:
        for phase in phases:
            if phase.plan.early_stopping is not None:
                raise phase.plan.place.error("early_stopping needs a [data.validation] table")


def _start(start: Start, model: nn.Module, place: Place, builder: Builder) -> Weights:
    """The weights of a ``start`` table, renamed, after a check that they fit."""
    with place.child("weights").locate():
        found = weight_files.read(weight_files.find(start.weights, builder.registry))
    with place.child("rename").locate():
        found = weight_files.renamed(found, start.rename)
    with place.locate():
        weight_files.load_into(model, found, start.exclude, dry=True)
    return found


@attrs.frozen
class _Makers:
    """Builds what phases need; what two phases share is one object."""

    builder: Builder
    model: nn.Module
    named: Named
    made: dict[Any, Any]

    def phase(self, plan: PhasePlan) -> PhaseParts:
        self._check_patterns(plan)
        optimizer = self._optimizer(plan)
        if plan.lr is not None:
            optimizer = attrs.evolve(optimizer, lr=learning_rate(*plan.lr, self.builder))
        start = None
        if plan.start is not None:
            start = _start(plan.start, self.model, plan.place.child("start"), self.builder)
        losses = tuple(self._once(use, lambda use=use: self._term(use)) for use in plan.losses)
        return PhaseParts(plan, _distinct(losses), self._degradation(plan), optimizer, start)

    def _once(self, use: Use, make: Any) -> Any:
        # A table is known by where it stands: phases that leave it to the recipe find the same one.
        key = use.place.key
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def _optimizer(self, plan: PhasePlan) -> OptimizerPlan:
        # Gates are gone once the model is compact: groups must do without them.
        left = [(n, p) for n, p in self.named if plan.pruning != "compact" or not is_gate(n)]
        key = (plan.optimizer.place.key, plan.pruning == "compact")
        if key not in self.made:
            self.made[key] = plan_optimizer(plan.optimizer, left, self.builder)
        return self.made[key]  # type: ignore[no-any-return]

    def _degradation(self, plan: PhasePlan) -> Degradation | None:
        use = plan.degradation
        if use is None:
            return None
        return self._once(use, lambda: self.builder.build("degradation", use))  # type: ignore[no-any-return]

    def _term(self, use: Use) -> Term:
        parameters = dict(use.parameters)
        weight, place = parameters.pop("weight", 1.0), use.place.child("weight")
        if not is_number(weight) and not isinstance(weight, dict):
            raise place.error(f"needs a number or a schedule, got {weight!r}")
        schedule = self.builder.special(weight, Schedule, place)
        return Term(use.use, schedule, self.builder.build("loss", Use(use.use, parameters, use.place)))

    def _check_patterns(self, plan: PhasePlan) -> None:
        names = [n for n, _ in self.model.named_parameters()]
        modules = [n for n, _ in self.model.named_modules() if n]
        for key, patterns, known in (("freeze", plan.freeze, names), ("checkpoint_activations", None, modules)):
            for pattern in getattr(plan, key) if patterns is None else patterns:
                if not any(matches(n, [pattern]) for n in known):
                    what = "parameter" if key == "freeze" else "module"
                    shown = ", ".join(sorted({n.partition(".")[0] for n in known}))
                    raise plan.place.child(key).error(f"{pattern!r} matches no {what} of the model; it has {shown}")
        if not self.named:
            raise plan.place.error("the model has no parameters to train")
        if all(matches(n, plan.freeze) for n, _ in self.named):
            raise plan.place.child("freeze").error("nothing is left to train")


def _distinct(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Two losses of one kind get numbers, so that logs tell them apart."""
    named = []
    for index, term in enumerate(terms):
        short = term.name.partition(":")[2] or term.name
        before = sum((t.name.partition(":")[2] or t.name) == short for t in terms[:index])
        named.append(attrs.evolve(term, name=short if not before else f"{short}-{before + 1}"))
    return tuple(named)


def _check_strategy(recipe: Recipe, phases: tuple[PhaseParts, ...]) -> None:
    """Weights that are spread over devices cannot be exchanged or frozen midway."""
    assert recipe.training is not None
    if recipe.training.strategy != "fsdp":
        return
    if recipe.pruner is not None:
        raise phases[0].plan.place.error('with strategy = "fsdp" nothing can be pruned; use "ddp"')
    for phase in phases:
        plan = phase.plan
        if plan.ema:
            raise plan.place.error('ema cannot be had with strategy = "fsdp"; use "ddp"')
        if plan.freeze != phases[0].plan.freeze:
            raise plan.place.error('with strategy = "fsdp" all phases must freeze the same; use "ddp"')
        if plan.start is not None and plan.index > 0:
            raise plan.place.error('with strategy = "fsdp" only the first phase may load weights; use "ddp"')
