"""The training loop, on Lightning Fabric."""

from __future__ import annotations

import math
import time
from typing import Any

import attrs
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from restore import weights as weight_files
from restore.build import Builder
from restore.contracts import Dataset, Degradation, Loss, Pair, Prediction, Schedule, Step, Traits
from restore.document import Document, Place
from restore.errors import RestoreError
from restore.evaluation.evaluate import Report, evaluate
from restore.evaluation.protocols import Protocol, protocol
from restore.functional.color import rgb_to_y
from restore.functional.seeding import seeded
from restore.modelling import build_model
from restore.progress import Progress, say
from restore.recipe import Recipe, Training, Use
from restore.training.data import batches
from restore.training.directory import RunDirectory
from restore.training.interrupt import Interrupt
from restore.training.optimizers import build_optimizer
from restore.training.plots import plot


@attrs.frozen
class Parts:
    """What a training recipe is made of, built and checked before the first iteration."""

    model: nn.Module
    traits: Traits
    degradation: Degradation
    losses: list[tuple[str, float, Loss]]
    optimizer: torch.optim.Optimizer
    learning_rate: Schedule
    train: Dataset
    validation: Dataset | None
    protocol: Protocol
    settings: Training
    component: str


def _needed(use: Use | None, table: str, root: Place) -> Use:
    if use is None:
        raise root.error(f"training needs a [{table}] table")
    return use


def _losses(recipe: Recipe, root: Place, builder: Builder) -> list[tuple[str, float, Loss]]:
    if not recipe.losses:
        raise root.error("training needs at least one [[losses]] table")
    built = []
    for use in recipe.losses:
        parameters = dict(use.parameters)
        weight = parameters.pop("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise use.place.child("weight").error(f"needs a number, got {weight!r}")
        loss = builder.build("loss", Use(use.use, parameters, use.place))
        built.append((use.use, float(weight), loss))
    return built


def build_parts(recipe: Recipe, document: Document, builder: Builder) -> Parts:
    """Everything a training recipe names.

    Raises:
        RequestError: something is missing, unknown or mistyped, with file, line and key.
    """
    root = document.root
    if recipe.training is None:
        raise root.error("training needs a [training] table")
    torch.manual_seed(recipe.training.seed)
    model_use = _needed(recipe.model, "model", root)
    model, component = build_model(model_use, builder)
    start = recipe.training.start
    if start is not None:
        place = root.child("training").child("start")
        with place.child("weights").locate():
            found = weight_files.read(weight_files.find(start.weights, builder.registry))
        with place.locate():
            weight_files.load_into(model, found, start.exclude)
    optimizer_use = _needed(recipe.optimizer, "optimizer", root)
    optimizer, learning_rate = build_optimizer(optimizer_use, model.parameters(), builder)
    validation = recipe.data.validation
    with root.child("evaluation").child("protocol").locate():
        measured_by = protocol(recipe.evaluation.protocol)
    traits = model.traits
    assert isinstance(traits, Traits)
    return Parts(
        model=model,
        traits=traits,
        degradation=builder.build("degradation", _needed(recipe.degradation, "degradation", root)),
        losses=_losses(recipe, root, builder),
        optimizer=optimizer,
        learning_rate=learning_rate,
        train=builder.build("dataset", _needed(recipe.data.train, "data.train", root)),
        validation=None if validation is None else builder.build("dataset", validation),
        protocol=measured_by,
        settings=recipe.training,
        component=component,
    )


class Trainer:
    """Runs a recipe's one phase in a run directory.

    Args:
        parts: from :func:`build_parts`.
        document: the resolved recipe, for provenance.
        directory: where everything is written.
        fabric: devices and precision; by default one device, the accelerator if there is one.
    """

    def __init__(self, parts: Parts, document: Document, directory: RunDirectory, fabric: Fabric | None = None) -> None:
        self.parts, self.document, self.directory = parts, document, directory
        self.fabric = fabric or Fabric(accelerator="auto", devices=1, precision=parts.settings.precision)
        self.iteration, self.best = 0, -math.inf
        self._seconds = 0.0
        model = parts.model
        if parts.settings.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model, self.optimizer = self.fabric.setup(model, parts.optimizer)

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
        self.parts.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.iteration, self.best, self._seconds = state["iteration"], state["best"], state["seconds"]
        self.directory.forget_after(self.iteration)

    def fit(self) -> None:
        """Train to the end. Ctrl-C (between two iterations) and a non-finite loss leave the last good state behind.

        Raises:
            RestoreError: the loss or the weights are not finite.
            KeyboardInterrupt: after the state was saved.
        """
        settings = self.parts.settings
        loader = batches(
            self.parts.train, settings.seed, settings.batch, self.iteration, settings.iterations, settings.workers
        )
        self.model.train()
        with Progress("train", settings.iterations, "iterations") as bar, Interrupt() as interrupt:
            bar.begin_at(self.iteration)
            try:
                for clean in loader:
                    started = time.perf_counter()
                    losses = self._iterate(self.fabric.to_device(clean))
                    self._seconds += time.perf_counter() - started
                    bar.advance(note=f"loss {losses['loss']:.5f}")
                    self._after(losses)
                    interrupt.check()
            except KeyboardInterrupt:
                self._checkpoint()
                say(f"stopped at iteration {self.iteration}; go on with --resume -o {self.directory.path}")
                raise
        self._finish()

    def _iterate(self, clean: Tensor) -> dict[str, float]:
        parts = self.parts
        seed = parts.settings.seed
        step = Step(self.iteration, parts.settings.iterations, seeded(seed, 3, self.iteration))
        # What draws from torch's own generators (dropout) follows from the seed and the iteration too, on every device:
        # a resumed run need not have drawn what came before.
        torch.manual_seed(seeded(seed, 4, self.iteration, self.fabric.global_rank).initial_seed())
        rate = parts.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pair = parts.degradation(to_channels(clean, parts.traits), step)
        prediction = self.model(pair.observed)
        if not isinstance(prediction, Prediction):
            prediction = Prediction(prediction)
        total, values = self._loss(prediction, pair, step)
        if not math.isfinite(values["loss"]):
            raise self._diverged(f"the loss became {values['loss']}")
        self.fabric.backward(total)
        if parts.settings.clip_norm is not None:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=parts.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.iteration += 1
        return {**values, "lr": rate}

    def _diverged(self, what: str) -> RestoreError:
        checkpoint = self.directory.checkpoint
        kept = f"the last good state is {checkpoint}" if checkpoint.exists() else "no checkpoint was written yet"
        return RestoreError(
            f"{what} at iteration {self.iteration} (seed {self.parts.settings.seed}); {kept}. "
            "Try a lower learning rate or training.clip_norm"
        )

    def _loss(self, prediction: Prediction, pair: Pair, step: Step) -> tuple[Tensor, dict[str, float]]:
        terms = [(name, weight * loss(prediction, pair, step)) for name, weight, loss in self.parts.losses]
        total = torch.stack([term for _, term in terms]).sum()
        values = {"loss": float(total.detach())}
        if len(terms) > 1:
            values |= {name: float(term.detach()) for name, term in terms}
        return total, values

    def _after(self, losses: dict[str, float]) -> None:
        settings, last = self.parts.settings, self.iteration == self.parts.settings.iterations
        if self.iteration % settings.log_every == 0 or last:
            self.directory.log(iteration=self.iteration, seconds=round(self._seconds, 3), **losses)
        if self.parts.validation is not None and (self.iteration % settings.validate_every == 0 or last):
            self._validate()
        if self.iteration % settings.checkpoint_every == 0 and not last:
            self._checkpoint()

    def validate(self) -> Report:
        """Score the model as it stands on the validation data."""
        assert self.parts.validation is not None
        self.model.eval()
        try:
            return evaluate(
                self.parts.model,  # type: ignore[arg-type]
                self.parts.validation,
                self.parts.degradation,
                self.parts.protocol,
                device=self.fabric.device,
            )
        finally:
            self.model.train()

    def _validate(self) -> None:
        mean = self.validate().mean
        self.directory.log(iteration=self.iteration, psnr=mean["psnr"], ssim=mean["ssim"])
        say(f"iteration {self.iteration}: validation {mean['psnr']:.3f} dB, SSIM {mean['ssim']:.4f}")
        if mean["psnr"] > self.best:
            self.best = mean["psnr"]
            self._save_weights("best")
        plot(self.directory.history(), self.directory.path / "curves.png")

    def _checkpoint(self) -> None:
        # A finite loss may have had infinite gradients: never put such weights in the place of good ones.
        if not all(bool(torch.isfinite(p).all()) for p in self.parts.model.parameters()):
            raise self._diverged("the weights are no longer finite")
        self.directory.save_checkpoint(
            {
                "recipe": self.document.digest(),
                "iteration": self.iteration,
                "best": self.best,
                "seconds": self._seconds,
                "model": self.parts.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )

    def _save_weights(self, which: str) -> None:
        model = self.document.data["model"]
        metadata: dict[str, Any] = {
            "component": self.parts.component,
            "parameters": {k: v for k, v in model.items() if k not in ("use", "weights")},
            "iteration": self.iteration,
            "recipe_sha256": self.document.digest(),
        }
        weight_files.save(self.directory.weights(which), self.parts.model.state_dict(), metadata)

    def _finish(self) -> None:
        self._checkpoint()
        self._save_weights("final")
        plot(self.directory.history(), self.directory.path / "curves.png")


def to_channels(clean: Tensor, traits: Traits) -> Tensor:
    """Clean RGB clips ``(B, T, 3, H, W)`` as the planes that a model of these traits works on."""
    return rgb_to_y(clean) if traits.channels == "y" and clean.shape[-3] == 3 else clean
