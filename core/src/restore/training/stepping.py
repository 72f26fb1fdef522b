"""One optimizer step."""

from __future__ import annotations

import contextlib
import math
from typing import Callable, Sequence

import torch
from torch import Tensor

from restore.contracts import Pair, Prediction, Step
from restore.errors import RestoreError
from restore.functional.seeding import seeded
from restore.modelling import answer
from restore.training.data import Sample, Samples
from restore.training.optimizers import set_rates
from restore.training.pairs import check_pair, check_prediction, explained, full_precision, to_channels
from restore.training.session import Session
from restore.training.state import seed_all
from restore.training.watching import LossReader, Reading


class Stepper:
    """Takes a session forward by one optimizer step after the other.

    Args:
        session: what is trained.
        last_good: says where the last good state lies, for errors.
    """

    def __init__(self, session: Session, last_good: Callable[[], str]) -> None:
        self.session, self.last_good = session, last_good
        self.shown = ""
        self._reader = LossReader(session.fabric.device)
        self._known: set[tuple[str, torch.Size, torch.Size]] = set()

    def step(self, batch: Sequence[Sample]) -> dict[str, float]:
        """One step on this device's share of a batch, in parts.

        Returns:
            what the log says of the iteration; empty where nothing is logged.

        Raises:
            RestoreError: the loss or the gradients are not finite.
        """
        session, plan = self.session, self.session.phase.plan
        fabric, seed = session.fabric, session.parts.settings.seed
        # What draws from torch's own generators (dropout) follows from the seed and the iteration too, on every device:
        # a resumed run need not have drawn what came before.
        seed_all(seed, 4, session.standing.iteration, fabric.global_rank)
        rates = session.phase.optimizer.rates(self._step())
        set_rates(session.optimizer, rates)
        values: Tensor | None = None
        for part, clips in enumerate(batch):
            inner = part < len(batch) - 1 and fabric.world_size > 1
            with fabric.no_backward_sync(session.model, enabled=inner):
                total, terms = self._losses(clips, self._step(part))
                fabric.backward(total / len(batch) if len(batch) > 1 else total)
            values = terms if values is None else values + terms
        assert values is not None, "the data ended early"
        if len(batch) > 1:
            values = values / len(batch)
        if fabric.world_size > 1:
            values = _reduced(fabric.all_reduce(values, reduce_op="mean"))
        standing = session.standing
        logged = (standing.iteration + 1) % session.parts.settings.log_every == 0
        logged |= standing.within + 1 == plan.iterations
        readings = self._read(values, logged)
        standing.iteration, standing.within = standing.iteration + 1, standing.within + 1
        standing.samples += plan.batch
        return self._named(readings[-1].values, rates) if logged else {}

    def _step(self, part: int = 0) -> Step:
        session, plan = self.session, self.session.phase.plan
        rank, iteration = session.fabric.global_rank, session.standing.iteration
        more = (rank, part) if rank or part else ()
        generator = seeded(session.parts.settings.seed, 3, iteration, *more)
        return Step(plan.clock + session.standing.within, plan.clock_total, generator)

    def _losses(self, clips: Sample, step: Step) -> tuple[Tensor, Tensor]:
        """The weighted sum of the active losses; and it and each of them, without gradients."""
        session = self.session
        pair = self._pair(session.fabric.to_device(clips), step)
        # The first pair of its shape in each phase is looked at closely.
        kind = session.phase.plan.name, pair.observed.shape, pair.target.shape
        new = kind not in self._known
        prediction = self._predicted(pair, new)
        terms = []
        for term in session.phase.losses:
            weight = term.weight(step)
            with explained(f"the loss {term.name} cannot be computed") if new else contextlib.nullcontext():
                # A loss of no weight is not computed: 0 times infinity is not 0.
                terms.append(weight * term.loss(prediction, pair, step) if weight else pair.target.new_zeros(()))
        self._known.add(kind)
        if session.phase.plan.pruning == "regularise":
            assert session.parts.pruner is not None
            terms.append(session.parts.pruner.penalty(step))
        total = terms[0] if len(terms) == 1 else torch.stack(terms).sum()
        return total, torch.stack([total.detach(), *(t.detach() for t in terms)])

    def _predicted(self, pair: Pair, new: bool) -> Prediction:
        """The model's answer."""
        session = self.session
        if not new:
            return full_precision(answer(session.model, pair.observed, pair.operator, pair.qp))
        check_pair(pair, session.parts.traits)
        with explained(f"{session.parts.component} cannot take the observed {tuple(pair.observed.shape)}"):
            prediction = full_precision(answer(session.model, pair.observed, pair.operator, pair.qp))
        check_prediction(prediction, pair)
        return prediction

    def _pair(self, clips: Sample, step: Step) -> Pair:
        degradation, traits = self.session.phase.degradation, self.session.parts.traits
        if isinstance(clips, Tensor):
            assert degradation is not None
            with explained("the degradation cannot take the clips") if not self._known else contextlib.nullcontext():
                return degradation(to_channels(clips, traits), step)
        observed, target, qp = clips
        return Pair(to_channels(observed, traits), to_channels(target, traits), qp=qp)

    def _read(self, values: Tensor, logged: bool) -> list[Reading]:
        """Check what can be read of the losses, and take the step unless the loss jumped."""
        session, standing = self.session, self.session.standing
        limit = session.phase.plan.skip_above
        readings = self._reader.read(standing.iteration, standing.samples, values, now=logged or limit > 0)
        self._check(readings)
        if limit and readings[-1].values[0] > limit * standing.previous_loss:
            standing.skipped += 1
        else:
            self._clip()
            session.optimizer.step()
            if session.phase.plan.pruning == "regularise" and session.parts.pruner is not None:
                session.parts.pruner.update(self._step())
            if session.average is not None:
                session.average.update()
        session.optimizer.zero_grad()
        if readings:
            standing.previous_loss = readings[-1].values[0]
        return readings

    def _clip(self) -> None:
        session, plan = self.session, self.session.phase.plan
        if plan.clip_value:
            session.fabric.clip_gradients(session.model, session.optimizer, clip_val=plan.clip_value)
        if not plan.clip_norm:
            return
        norm = session.fabric.clip_gradients(
            session.model, session.optimizer, max_norm=plan.clip_norm, error_if_nonfinite=False
        )
        # With float16 the scaler itself skips steps whose gradients overflow; on a GPU asking would stop its queue.
        careful = not self._reader.late and session.parts.settings.precision != "16-mixed"
        if careful and norm is not None and not bool(torch.isfinite(norm)):
            raise self.diverged("the gradients are not finite", session.standing.iteration, session.standing.samples)

    def _named(self, values: list[float], rates: list[float]) -> dict[str, float]:
        """What the log says of an iteration."""
        phase = self.session.phase
        named, names = {"loss": values[0]}, [t.name for t in phase.losses]
        names += ["penalty"] * (phase.plan.pruning == "regularise")
        if len(names) > 1:
            named |= dict(zip(names, values[1:], strict=True))
        named["lr"] = rates[-1]
        named |= {f"lr/{i + 1}": rate for i, rate in enumerate(rates[:-1])}
        if phase.plan.skip_above:
            named["skipped"] = self.session.standing.skipped
        pruner = self.session.parts.pruner
        if pruner is not None and phase.plan.pruning in ("gates", "regularise"):
            named |= {f"pruning/{k}": v for k, v in pruner.readings().items()}
        return named

    def _check(self, readings: list[Reading]) -> None:
        for reading in readings:
            self.shown = f"loss {reading.values[0]:.5f}"
            if not all(map(math.isfinite, reading.values)):
                what = f"the loss became {reading.values[0]}"
                raise self.diverged(what, reading.iteration, reading.first)

    def flush(self) -> None:
        """Check what has not been read yet.

        Raises:
            RestoreError: it is not finite.
        """
        self._check(self._reader.flush())

    def diverged(self, what: str, iteration: int, first: int | None = None) -> RestoreError:
        """The error that ends a run: what, in which iteration, on the batch that begins with which sample."""
        parts, batch = self.session.parts, ""
        if first is not None:
            samples = Samples(parts.train, parts.settings.seed)
            names = [samples.name(k) for k in range(first, first + self.session.phase.plan.batch)]
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            batch = f" on the batch of {shown}"
        return RestoreError(
            f"{what} at iteration {iteration} (seed {parts.settings.seed}){batch}; {self.last_good()}. "
            "Try a lower learning rate or training.clip_norm"
        )


def _reduced(values: object) -> Tensor:
    assert isinstance(values, Tensor)
    return values
