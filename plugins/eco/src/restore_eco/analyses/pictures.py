"""What targets, missed detail and losses look like: Fig. 7, and Appendices B and C."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import torch
from restore import Degradation, Pair, RequestError, Step
from restore.builtin.losses.pixel import L1
from restore.builtin.schedules.basic import Constant
from restore.contracts import Prediction
from restore.functional.seeding import seeded
from torch import Tensor, nn

from restore_eco.analyses.plotting import figure, show, write
from restore_eco.centroid import Centroid, Distill, Residual, noise_free

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def _step() -> Step:
    return Step(0, 1, seeded(0))


def _teaching(degradation: Degradation) -> Centroid | Distill | Residual:
    if not isinstance(degradation, (Centroid, Distill, Residual)):
        raise RequestError("this analysis needs a recipe whose degradation has a teacher, e.g. eco:centroid")
    return degradation


def _at(clean: Tensor, share: float) -> int:
    """The place of a quantile among the sorted pixels of a plane; ``torch.quantile`` refuses large pictures."""
    return int(share * (clean.shape[-2] * clean.shape[-1] - 1))


def targets(degradation: Degradation, clean: Tensor, path: Path, weights: Sequence[float] = WEIGHTS) -> Path:
    """Fig. 7: the target as the clean side's weight grows, and below it what it has beyond the teacher's answer.

    Args:
        degradation: of a recipe of ECO.
        clean: ``(1, 1, C, H, W)`` in [0, 1], in the planes of the model.
        path: of the PNG.
        weights: in [0, 1].
    """
    taught = _teaching(degradation)
    pairs = [Centroid(taught.base, taught.teacher, Constant(w), teacher_bits=taught.teacher_bits) for w in weights]
    shown = [pair(clean, _step()).target[0, 0] for pair in pairs]
    drawn, axes = figure(2, len(weights), (2.6, 2.8))
    # Not the largest value: a few pixels would leave all others pale.
    limit = max(float((shown[-1] - shown[0]).mean(dim=0).abs().flatten().sort().values[_at(clean, 0.995)]), 1e-6)
    for column, (weight, target) in enumerate(zip(weights, shown, strict=True)):
        show(axes[0][column], target, f"clean_weight {weight:g}")
        missed = (target - shown[0]).mean(dim=0)
        show(axes[1][column], missed, "beyond the teacher", cmap="coolwarm", vmin=-limit, vmax=limit)
    return write(drawn, path)


@torch.no_grad()
def noise(degradation: Degradation, regressor: nn.Module, clean: Tensor, path: Path) -> Path:
    """Appendix B: what a network says that a teacher misses, beside what it did miss.

    Args:
        degradation: of the recipe that the regressor was trained with, or one of ECO.
        regressor: trained on :class:`restore_eco.centroid.Residual`.
        clean: ``(1, 1, C, H, W)`` in [0, 1].
        path: of the PNG.
    """
    taught = _teaching(degradation)
    pair = Residual(taught.base, taught.teacher, teacher_bits=taught.teacher_bits)(clean, _step())
    answer = regressor.eval()(pair.observed)
    said = (answer.restored if isinstance(answer, Prediction) else answer)[0, 0].abs().mean(dim=0)
    true = pair.target[0, 0].mean(dim=0)
    drawn, axes = figure(1, 4, (3.2, 3.2))
    show(axes[0][0], clean[0, 0], "clean")
    show(axes[0][1], pair.observed[0, 0], "observed")
    top = max(float(true.flatten().sort().values[_at(clean, 0.995)]), 1e-6)
    show(axes[0][2], said, "regressed", cmap="magma", vmin=0, vmax=top)
    show(axes[0][3], true, "|y - teacher|", cmap="magma", vmin=0, vmax=top)
    return write(drawn, path)


def spectral_gradients(model: nn.Module, pair: Pair) -> tuple[Tensor, Tensor]:
    """Magnitudes of the L1 loss's gradient with respect to the spectra of both sides (Appendix C): the clips go through
    an FFT and back before the model and the loss see them.

    Args:
        model: on the device of the pair.
        pair: ``(B, T, C, h, w)`` and ``(B, T, C, H, W)``.

    Returns:
        of the observed and of the target, ``(h, w)`` and ``(H, W)``, frequency zero in the middle, means over batch,
        frames and channels.
    """
    spectra = [torch.fft.fft2(side).requires_grad_() for side in (pair.observed, pair.target)]
    observed, target = (torch.fft.ifft2(s).real for s in spectra)
    answer = model(observed)
    prediction = answer if isinstance(answer, Prediction) else Prediction(answer)
    loss = L1()(prediction, Pair(observed, target), _step())
    gradients = torch.autograd.grad(loss, spectra)
    first, second = (torch.fft.fftshift(g.abs().mean(dim=(0, 1, 2)), dim=(-2, -1)) for g in gradients)
    return first, second


def _log_spectrum(clip: Tensor) -> Tensor:
    spectrum = torch.fft.fft2(clip).abs().mean(dim=(0, 1, 2))
    return torch.fft.fftshift(spectrum, dim=(-2, -1)).clamp_min(1e-8).log10()


def spectrum(degradation: Degradation, model: nn.Module, clean: Tensor, path: Path) -> Path:
    """Appendix C, Fig. 9: spectra of vanilla and noise-free pairs, and where in them the loss's gradients lie.

    Args:
        degradation: of a recipe of ECO.
        model: student, at the training step to look at.
        clean: ``(B, T, C, H, W)`` in [0, 1].
        path: of the PNG.
    """
    taught = _teaching(degradation)
    pairs = {
        "vanilla": taught.base(clean, _step()),
        "noise-free": noise_free(taught.base, taught.teacher, taught.teacher_bits)(clean, _step()),
    }
    drawn, axes = figure(2, 5, (2.7, 2.7))
    found = {label: spectral_gradients(model.eval(), pair) for label, pair in pairs.items()}
    largest = [max(float(g[side].max()) for g in found.values()) for side in (0, 1)]
    for row, (label, pair) in zip(axes, pairs.items(), strict=True):
        show(row[0], _log_spectrum(pair.target), f"{label}: target, log", cmap="viridis")
        show(row[1], _log_spectrum(pair.observed), "observed, log", cmap="viridis")
        for side, (ax, name) in enumerate(((row[2], "observed"), (row[3], "target"))):
            # The same colours in both rows: they are what is compared.
            levels = found[label][side].clamp_min(1e-12).log10()
            top = torch.tensor(largest[side]).clamp_min(1e-12).log10().item()
            show(ax, levels, f"gradient, {name}, log", cmap="inferno", vmin=top - 3, vmax=top)
        row[4].plot(*_radial(found[label][1]))
        row[4].set(title="gradient, target", xlabel="cycles per pixel", yscale="log")
        row[4].grid(alpha=0.3)
    axes[1][4].sharey(axes[0][4])
    axes[0][4].autoscale()
    return write(drawn, path)


def _radial(levels: Tensor, bins: int = 32) -> tuple[list[float], list[float]]:
    """Means over rings of one distance from frequency zero."""
    height, width = levels.shape
    v = (torch.arange(height) - height // 2).float() / height
    u = (torch.arange(width) - width // 2).float() / width
    ring = ((v[:, None] ** 2 + u[None, :] ** 2).sqrt() / 0.5 * bins).long()
    flat = levels.detach().float().cpu()
    inside = [(k, flat[ring == k]) for k in range(bins)]
    there = [(k, values.mean().item()) for k, values in inside if values.numel()]
    return [(k + 0.5) / bins * 0.5 for k, _ in there], [value for _, value in there]
