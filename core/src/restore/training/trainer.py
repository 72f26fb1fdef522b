"""The training loop, on Lightning Fabric."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import Any, Callable, Sequence

import torch
from lightning_fabric import Fabric

from restore import weights as weight_files
from restore.contracts import Step
from restore.document import Document
from restore.evaluation.evaluate import Report
from restore.progress import Progress, say
from restore.pruning.compaction import metadata_of
from restore.training.data import Sample, batches
from restore.training.devices import make_fabric
from restore.training.directory import RunDirectory
from restore.training.interrupt import Interrupt
from restore.training.pairs import to_channels
from restore.training.parts import Parts, build_parts
from restore.training.plots import plot
from restore.training.records import Recorder
from restore.training.session import Session
from restore.training.state import is_spread, model_state
from restore.training.stepping import Stepper
from restore.training.validation import mean_loss, score
from restore.training.watching import BETTER_WHEN

__all__ = ["Parts", "Trainer", "build_parts", "to_channels"]

_FORMAT = 2


class Trainer:
    """Works through a recipe's phases in a run directory.

    Args:
        parts: from :func:`build_parts`.
        document: the resolved recipe, for provenance.
        directory: where everything is written, by the first process alone.
        fabric: devices and precision, launched; by default what the recipe says, in this process.
        callbacks: called with the trainer after every iteration, in order, on every process; they may look at
            ``session`` and must leave the model, the optimizer and torch's generators as they found them.
    """

    def __init__(
        self,
        parts: Parts,
        document: Document,
        directory: RunDirectory,
        fabric: Fabric | None = None,
        callbacks: Sequence[Callable[[Trainer], None]] = (),
    ) -> None:
        self.document, self.directory, self.callbacks = document, directory, tuple(callbacks)
        self.fabric = fabric or make_fabric(parts.settings)
        self.session = Session(parts, self.fabric)
        self._stepper = Stepper(self.session, self._last_good)
        self._recorder: Recorder | None = None

    @property
    def parts(self) -> Parts:
        """What is trained; a pruner may have put a smaller model into it."""
        return self.session.parts

    @property
    def iteration(self) -> int:
        """Finished iterations."""
        return self.session.standing.iteration

    def _say(self, message: str) -> None:
        if self.session.first:
            say(message)

    def _last_good(self) -> str:
        checkpoint = self.directory.checkpoint
        return f"the last good state is {checkpoint}" if checkpoint.exists() else "no checkpoint was written yet"

    def resume(self) -> None:
        """Go back to the last checkpoint of the run directory.

        Raises:
            RequestError: there is none, or it belongs to another recipe.
        """
        state = self.directory.load_checkpoint()
        if state["recipe"] != self.document.digest():
            raise self.document.root.error(
                f"the checkpoint in {self.directory.path} was made by another recipe; "
                "start in a new folder, or resume with the recipe.toml that lies in it"
            )
        if state.get("format") != _FORMAT:
            raise self.document.root.error(
                f"the checkpoint in {self.directory.path} is of another version of restorekit; start in a new folder, "
                "from its weights with training.start.weights"
            )
        self.session.load_state_dict(state)
        if self.session.first:
            self.directory.forget_after(self.iteration)
        self.fabric.barrier()

    def fit(self) -> None:
        """Train to the end. Ctrl-C (between two iterations) and a non-finite loss leave the last good state behind.

        Raises:
            RestoreError: the loss or the weights are not finite; the message names the batch.
            KeyboardInterrupt: after the state was saved.
        """
        standing = self.session.standing
        if self.session.first:
            self._recorder = Recorder(self.directory, self.parts.settings.tensorboard, standing.iteration)
        try:
            with Interrupt() as interrupt:
                while standing.phase < len(self.parts.phases):
                    self._work_through(interrupt)
            self._save_weights("final")
            self._plot()
            self.fabric.barrier()
        finally:
            if self._recorder is not None:
                self._recorder.close()

    def _work_through(self, interrupt: Interrupt) -> None:
        """The phase at hand, from where it stands to its end."""
        session, standing = self.session, self.session.standing
        plan = session.phase.plan
        if len(self.parts.phases) > 1:
            self._say(f"phase {plan.name}: {plan.iterations} iterations")
        session.begin()
        self._loop(interrupt)
        self._stepper.flush()
        stopping = plan.early_stopping
        best = self.directory.weights(_best_of(plan.index))
        if stopping is not None and stopping.restore_best and self.fabric.broadcast(best.exists()):
            session.restore(dict(weight_files.read(best).tensors))
        standing.phase, standing.within = standing.phase + 1, 0
        self._checkpoint()

    def _loader(self) -> Any:
        settings, plan, standing, fabric = (
            self.parts.settings,
            self.session.phase.plan,
            self.session.standing,
            self.fabric,
        )
        return batches(
            self.parts.train,
            settings.seed,
            plan.batch,
            standing.within,
            plan.iterations,
            settings.workers,
            first=standing.samples,
            parts=plan.accumulate,
            rank=fabric.global_rank,
            devices=fabric.world_size,
            pairs=self.session.phase.degradation is None,
            pin=fabric.device.type == "cuda",
        )

    def _loop(self, interrupt: Interrupt) -> None:
        plan, standing = self.session.phase.plan, self.session.standing
        label = "train" if len(self.parts.phases) == 1 else f"phase {plan.name}"
        with contextlib.ExitStack() as stack:
            bar = Progress(label, plan.iterations, "iterations")
            if self.session.first:
                stack.enter_context(bar)
            bar.begin_at(standing.within)
            started = time.perf_counter()
            loader = iter(self._loader())
            try:
                stop = False
                while standing.within < plan.iterations and not stop:
                    losses = self._iterate(list(itertools.islice(loader, plan.accumulate)))
                    standing.seconds += time.perf_counter() - started
                    bar.advance(note=self._stepper.shown)
                    stop = self._after(losses)
                    for callback in self.callbacks:
                        callback(self)
                    self._stop_if_asked(interrupt)
                    started = time.perf_counter()
            except KeyboardInterrupt:
                self._checkpoint()
                self._say(f"stopped at iteration {self.iteration}; go on with --resume -o {self.directory.path}")
                raise

    def _iterate(self, batch: list[Sample]) -> dict[str, float]:
        return self._stepper.step(batch)

    def _stop_if_asked(self, interrupt: Interrupt) -> None:
        """Ctrl-C; all processes stop after the same iteration, or none."""
        if self.fabric.world_size == 1:
            interrupt.check()
        elif self.iteration % 10 == 0:
            asked = torch.tensor(float(interrupt.asked), device=self.fabric.device)
            total: Any = self.fabric.all_reduce(asked, reduce_op="sum")
            if total > 0:
                raise KeyboardInterrupt

    def _after(self, losses: dict[str, float]) -> bool:
        """Log, validate, save; whether the phase should end early."""
        settings, plan, standing = self.parts.settings, self.session.phase.plan, self.session.standing
        ends = standing.within == plan.iterations
        if losses and self._recorder is not None:
            self._recorder.losses(self.iteration, plan.index + 1, standing.seconds, losses)
        stop = False
        if self.parts.validation is not None and (self.iteration % settings.validate_every == 0 or ends):
            stop = self._validate()
        if settings.keep_every and self.iteration % settings.keep_every == 0:
            self._save_weights(self.iteration)
        if self.iteration % settings.checkpoint_every == 0 and not ends and not stop:
            self._checkpoint()
        return stop

    def validate(self) -> Report:
        """Score the model as it stands on the validation data.

        Raises:
            RequestError, RestoreError: as :func:`restore.evaluation.evaluate.evaluate`.
        """
        parts = self.parts
        assert parts.validation is not None
        with self.session.evaluating() as model:
            degradation = self.session.phase.degradation
            return score(model, parts.validation, degradation, parts.protocol, self.fabric.device)

    def _scores(self) -> dict[str, float]:
        mean, phase, parts = self.validate().mean, self.session.phase, self.parts
        scores = {"psnr": mean["psnr"], "ssim": mean["ssim"]}
        stopping = phase.plan.early_stopping
        if "loss" in (parts.settings.best, None if stopping is None else stopping.metric):
            assert parts.validation is not None
            begun = phase.plan.clock + self.session.standing.within
            step = Step(begun, phase.plan.clock_total, self.session.validation_generator())
            with self.session.evaluating() as model:
                scores["loss"] = mean_loss(model, parts.validation, phase, step, parts.traits, self.fabric.device)
        return scores

    def _validate(self) -> bool:
        """Score, and keep what is best; whether patience is over. One process scores, unless each holds a part."""
        scores = self._scores() if self.session.first or is_spread(self.parts.model) else {}
        scores = self.fabric.broadcast(scores)
        if self._recorder is not None:
            named = {"validation_loss" if k == "loss" else k: v for k, v in scores.items()}
            self._recorder.scores(self.iteration, named)
        more = f", loss {scores['loss']:.6g}" if "loss" in scores else ""
        self._say(f"iteration {self.iteration}: validation {scores['psnr']:.3f} dB, SSIM {scores['ssim']:.4f}{more}")
        metric, standing = self.parts.settings.best, self.session.standing
        if BETTER_WHEN[metric] * scores[metric] > standing.best:
            standing.best = BETTER_WHEN[metric] * scores[metric]
            self._save_weights("best", {f"validation_{metric}": scores[metric]})
        self._plot()
        return self._lost_patience(scores)

    def _lost_patience(self, scores: dict[str, float]) -> bool:
        plan, patience = self.session.phase.plan, self.session.patience
        if patience is None:
            return False
        if patience.better(scores) and patience.settings.restore_best:
            self._save_weights(_best_of(plan.index))
        if patience.over:
            message = f"phase {plan.name} ends at iteration {self.iteration}: "
            message += f"{patience.bad} validations without a better {patience.settings.metric}"
            self._say(message)
            if self._recorder is not None:
                self._recorder.note(self.iteration, message)
        return patience.over

    def _plot(self) -> None:
        if self.session.first:
            plot(self.directory.history(), self.directory.path / "curves.png")

    def _checkpoint(self) -> None:
        # A finite loss may have had infinite gradients: never put such weights in the place of good ones.
        if not all(bool(torch.isfinite(p).all()) for p in self.parts.model.parameters()):
            raise self._stepper.diverged("the weights are no longer finite", self.iteration)
        state = self.session.state_dict()
        if self.session.first:
            self.directory.save_checkpoint({"format": _FORMAT, "recipe": self.document.digest(), **state})
        self.fabric.barrier()

    def _save_weights(self, which: str | int, more: dict[str, Any] | None = None) -> None:
        model, average = self.document.data["model"], self.session.average
        metadata: dict[str, Any] = {
            "component": self.parts.component,
            "parameters": {k: v for k, v in model.items() if k not in ("use", "weights")},
            "iteration": self.iteration,
            "recipe_sha256": self.document.digest(),
            **metadata_of(self.parts.model),
            **({} if average is None else {"average": average.decay}),
            **(more or {}),
        }
        with self.session.averaged():
            tensors = model_state(self.parts.model)
            if self.session.first:
                path = self.directory.weights(which)
                path.parent.mkdir(exist_ok=True)
                weight_files.save(path, tensors, metadata)


def _best_of(phase: int) -> str:
    """The name of a phase's best weights."""
    return f"phase-{phase + 1}-best"
