"""What is being trained, and where it stands: everything that a checkpoint holds."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Iterator

import attrs
import torch
from lightning_fabric import Fabric
from torch import nn

from restore import weights as weight_files
from restore.functional.seeding import seeded
from restore.pruning.gates import is_gate
from restore.recipe import EarlyStopping
from restore.teachers import place as place_teachers
from restore.training.activations import set_checkpointing
from restore.training.averaging import Average
from restore.training.parts import Parts, PhaseParts
from restore.training.state import (
    is_spread,
    load_model_state,
    load_optimizer_state,
    model_state,
    modules_of,
    optimizer_state,
    seed_all,
)
from restore.training.watching import Patience
from restore.weights import matches


@attrs.define
class Standing:
    """Where a run stands.

    Attributes:
        iteration: finished iterations of the run.
        phase: index of the phase at hand; one past the last when all is done.
        within: finished iterations of that phase.
        samples: clips that were used up.
        skipped: steps that were skipped.
        best: best validation so far, larger is better.
        previous_loss: of the last iteration.
        seconds: spent training.
    """

    iteration: int = 0
    phase: int = 0
    within: int = 0
    samples: int = 0
    skipped: int = 0
    best: float = -math.inf
    previous_loss: float = math.inf
    seconds: float = 0.0


class Session:
    """A model, its optimizer and its average on their devices, as the phase at hand wants them.

    Args:
        parts: of the recipe.
        fabric: devices and precision.
    """

    def __init__(self, parts: Parts, fabric: Fabric) -> None:
        self.parts, self.fabric = parts, fabric
        self.standing = Standing()
        self.average: Average | None = None
        self.model: Any = None
        self.optimizer: Any = None
        self.patience: Patience | None = None
        self._optimizer_began = -1
        self._resumed: dict[str, Any] | None = None
        self._free = {name for name, _ in parts.named}
        self._compacted = False
        self._place(parts.model)
        for module in self._modules():
            module.to(fabric.device)
        place_teachers(parts.teachers, fabric.device)

    def _place(self, model: nn.Module) -> None:
        if self.parts.settings.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model.to(self.fabric.device)

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return bool(self.fabric.global_rank == 0)

    @property
    def phase(self) -> PhaseParts:
        """The phase at hand, or the last one."""
        return self.parts.phases[min(self.standing.phase, len(self.parts.phases) - 1)]

    def _modules(self) -> Iterator[nn.Module]:
        """Losses and degradations that are modules."""
        phases = self.parts.phases
        return modules_of(*(t.loss for p in phases for t in p.losses), *(p.degradation for p in phases))

    def begin(self) -> None:
        """Everything as the phase at hand wants it: weights, what is frozen, average, optimizer, patience."""
        phase, resumed = self.phase, self._resumed
        plan, model = phase.plan, self.parts.model
        self._resumed = None
        fresh = self.standing.within == 0
        if fresh:
            self.standing.previous_loss = math.inf
            if plan.compacts and not self._compacted:
                self._compact()
                # What validated best until now is a larger network.
                self.standing.best = -math.inf
                model = self.parts.model
            if phase.start is not None and plan.start is not None:
                weight_files.load_into(model, phase.start, plan.start.exclude)
                self.average = None
        for name, parameter in model.named_parameters():
            closed = plan.pruning == "none" and is_gate(name)
            parameter.requires_grad_(name in self._free and not closed and not matches(name, plan.freeze))
        set_checkpointing(model, plan.checkpoint_activations)
        self._begin_average(plan.ema)
        if not is_spread(model):
            self.model = self.fabric.setup_module(model)
        self._begin_optimizer(phase, resumed)
        self._begin_patience(plan.early_stopping, None if fresh or resumed is None else resumed["patience"])
        self.train_mode()

    def _compact(self) -> None:
        """The pruner's compact model takes the place of the one it was attached to."""
        assert self.parts.pruner is not None
        model = self.parts.pruner.compact()
        named = tuple((n, p) for n, p in model.named_parameters() if n in self._free)
        self.parts = attrs.evolve(self.parts, model=model, named=named)
        self._compacted, self.average, self._optimizer_began = True, None, -1
        self._place(model)

    def _begin_average(self, decay: float) -> None:
        if not decay:
            self.average = None
        elif self.average is None:
            self.average = Average(self.parts.model, decay)
        else:
            self.average.decay = decay

    def _begin_optimizer(self, phase: PhaseParts, resumed: dict[str, Any] | None) -> None:
        began = phase.plan.optimizer_began
        if self._optimizer_began != began:
            model = self.parts.model
            free = [(n, p) for n, p in model.named_parameters() if n in self._free]
            self.optimizer = self.fabric.setup_optimizers(phase.optimizer.make(free))
            self._optimizer_began = began
            if resumed is not None and resumed["optimizer_began"] == began:
                load_optimizer_state(model, self.optimizer.optimizer, resumed["optimizer"])
        if resumed is not None:
            self.fabric.strategy.precision.load_state_dict(resumed["precision"])

    def _begin_patience(self, settings: EarlyStopping | None, state: dict[str, Any] | None) -> None:
        self.patience = None if settings is None else Patience(settings)
        if self.patience is not None and state is not None:
            self.patience.load_state_dict(state)

    def restore(self, weights: dict[str, Any]) -> None:
        """Go on from other weights of this model; an average begins anew with them."""
        load_model_state(self.parts.model, weights)
        if self.average is not None:
            self.average = Average(self.parts.model, self.average.decay)

    def train_mode(self) -> None:
        """Training mode, but for modules that are frozen whole: their running statistics stay too."""
        self.model.train()
        freeze = self.phase.plan.freeze
        for name, module in self.parts.model.named_modules() if freeze else ():
            if name and matches(name, freeze):
                module.eval()

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[Any]:
        """The model as it is measured: in evaluation mode, with the average's weights where there is one."""
        spread = self.model is not None and is_spread(self.parts.model)
        model = self.model if spread else self.parts.model
        model.eval()
        with self.averaged():
            # Degradations that draw without a generator draw the same in every validation.
            seed_all(self.parts.settings.seed, 5)
            yield model
        if self.model is not None:
            self.train_mode()

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model holds its average, if it has one."""
        with self.average.in_place() if self.average is not None else contextlib.nullcontext():
            yield

    def validation_generator(self) -> torch.Generator:
        """The same draws in every validation."""
        return seeded(self.parts.settings.seed, 5)

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on from. Where weights are spread over processes, all of them must ask."""
        model = self.parts.model
        return {
            "standing": attrs.asdict(self.standing),
            "model": model_state(model),
            "average": None if self.average is None else self.average.state_dict(),
            "modules": [m.state_dict() for m in self._modules()],
            "optimizer": None if self.optimizer is None else optimizer_state(model, self.optimizer.optimizer),
            "optimizer_began": self._optimizer_began,
            "precision": self.fabric.strategy.precision.state_dict(),
            "patience": None if self.patience is None else self.patience.state_dict(),
            "pruner": self._pruner_state(),
        }

    def _pruner_state(self) -> dict[str, Any] | None:
        pruner = self.parts.pruner
        return None if pruner is None else {"compacted": self._compacted, **pruner.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; the optimizer follows when the phase begins."""
        self.standing = Standing(**state["standing"])
        if self.parts.pruner is not None:
            pruner = dict(state["pruner"])
            compacted = pruner.pop("compacted")
            self.parts.pruner.load_state_dict(pruner)
            if compacted:
                self._compact()
        self.parts.model.load_state_dict(state["model"])
        for module, kept in zip(self._modules(), state["modules"], strict=True):
            module.load_state_dict(kept)
        if state["average"] is not None:
            self.average = Average(self.parts.model, self.phase.plan.ema)
            self.average.load_state_dict(state["average"])
        self._resumed = state
