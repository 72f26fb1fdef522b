"""How smooth the loss is along the gradient (Fig. 2; Santurkar et al., How Does Batch Normalization Help Optimization?,
NeurIPS 2018, Sec. 3.1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping, Sequence

import torch
from restore import Step
from restore.functional.seeding import seeded
from restore.training.data import Samples
from restore.training.pairs import full_precision, to_channels
from restore.training.trainer import Trainer
from torch import Tensor
from torch.func import functional_call

from restore_eco.analyses.plotting import COLORS, figure, write


class GradientSmoothness:
    """A callback that walks from the weights along the negative gradient and looks at loss and gradient on the way.

    Training is not affected: weights, gradients and random numbers stay as they are. Each line of ``smoothness.jsonl``
    in the run directory has the iteration, the loss at the weights and its least and largest value on the way (on the
    loss's own scale), and the largest distance ``|g' - g|`` of a gradient on the way from the one at the weights.

    Args:
        every: iterations between two looks.
        multiples: how far to walk, as multiples of ``lr * sqrt(parameters)`` with the largest learning rate of the run,
            the length of a step of Adam in which every weight moves. Along the gradient, where few weights move, the
            loss soars long before that; as of Santurkar et al. the ends are a factor of eight apart.
        batch: clips to look at; left out, those of the recipe's batch.

    Raises:
        ValueError: nothing to walk, or ``every`` below 1.
    """

    def __init__(
        self, every: int, multiples: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.4), batch: int | None = None
    ) -> None:
        if every < 1 or not multiples or min(multiples) <= 0:
            raise ValueError("every must be at least 1, multiples above 0")
        self.every, self.multiples, self.batch = every, tuple(multiples), batch

    def __call__(self, trainer: Trainer) -> None:
        """Look, every so many iterations, and write a line."""
        if trainer.iteration % self.every:
            return
        seen = {"iteration": trainer.iteration, **self.measure(trainer)}
        with log_of(trainer.directory.path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(seen) + "\n")

    def measure(self, trainer: Trainer) -> dict[str, float]:
        """Loss and gradients from the trainer's weights along the way, on clips that training comes to next."""
        session = trainer.session
        plan, model = session.phase.plan, trainer.parts.model
        step = Step(plan.clock + session.standing.within, plan.clock_total)
        weights = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        length = _largest_rate(trainer) * sum(w.numel() for w in weights.values()) ** 0.5
        loss, gradient = self._look(trainer, weights, step)
        norm = _norm(gradient)
        losses, changes = [loss], []
        for multiple in self.multiples:
            along = {n: w - multiple * length / max(norm, 1e-30) * gradient[n] for n, w in weights.items()}
            there, other = self._look(trainer, along, step)
            losses.append(there)
            changes.append(_norm({n: other[n] - gradient[n] for n in gradient}))
        return {
            "loss": loss,
            "lowest": min(losses),
            "highest": max(losses),
            "gradient": norm,
            "gradient_change": max(changes),
        }

    def _look(self, trainer: Trainer, weights: Mapping[str, Tensor], step: Step) -> tuple[float, dict[str, Tensor]]:
        """Loss and gradient at some weights; clips and draws follow from the iteration alone."""
        parts, session = trainer.parts, trainer.session
        seed, first = parts.settings.seed, session.standing.samples
        samples = Samples(parts.train, seed, pairs=session.phase.degradation is None)
        clips: list[Any] = [samples[first + k] for k in range(self.batch or session.phase.plan.batch)]
        device = next(iter(weights.values())).device
        degradation = session.phase.degradation
        assert degradation is not None, "the training data must be clean clips"
        now = Step(step.iteration, step.total, seeded(seed, 6, step.iteration))
        pair = degradation(to_channels(torch.stack(clips).to(device), parts.traits), now)
        free = {n: w.clone().requires_grad_() for n, w in weights.items()}
        with torch.enable_grad():
            prediction = full_precision(functional_call(parts.model, free, (pair.observed,)))
            terms = [term.weight(now) * term.loss(prediction, pair, now) for term in session.phase.losses]
            total = torch.stack(terms).sum()
            gradients = torch.autograd.grad(total, list(free.values()), allow_unused=True)
        found = {n: torch.zeros_like(w) if g is None else g for (n, w), g in zip(free.items(), gradients, strict=True)}
        return float(total.detach()), found


def _largest_rate(trainer: Trainer) -> float:
    """Of a hundred steps all over the phase's clock."""
    phase = trainer.session.phase
    total = phase.plan.clock_total
    return max(phase.optimizer.rates(Step(total * k // 100, total))[-1] for k in range(100))


def _norm(values: Mapping[str, Tensor]) -> float:
    return float(torch.stack([v.norm() for v in values.values()]).norm())


def log_of(folder: Path) -> Path:
    """Where the callback writes, in a run directory."""
    return folder / "smoothness.jsonl"


def read(folder: Path) -> list[dict[str, float]]:
    """What the callback wrote; of an iteration that was worked through twice, the later line."""
    lines = [json.loads(line) for line in log_of(folder).read_text(encoding="utf-8").splitlines()]
    return sorted({line["iteration"]: line for line in lines}.values(), key=lambda line: line["iteration"])


def plot(folders: Mapping[str, Path], path: Path) -> Path:
    """Fig. 2: the band of losses along the gradient, and the largest change of the gradient, run by run."""
    drawn, axes = figure(1, 2)
    for label, folder in folders.items():
        lines, color = read(folder), COLORS.get(label)
        steps = [line["iteration"] for line in lines]
        axes[0][0].fill_between(
            steps, [x["lowest"] for x in lines], [x["highest"] for x in lines], alpha=0.4, label=label, color=color
        )
        axes[0][1].plot(steps, [x["gradient_change"] for x in lines], label=label, linewidth=0.9, color=color)
    for ax, title in zip(axes[0], ("loss along the gradient", "largest change of the gradient, L2"), strict=True):
        ax.set(xlabel="iteration", title=title, yscale="log")
        ax.legend(fontsize=8)
        ax.grid(alpha=0.3)
    return write(drawn, path)
