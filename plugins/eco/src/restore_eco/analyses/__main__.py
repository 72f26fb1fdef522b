"""``python -m restore_eco.analyses NAME``: trains what a figure of the paper compares, and draws it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable, Sequence

import click
import torch
from restore import RequestError, RestoreError
from restore.catalogue import recipe_document
from restore.contracts import Dataset
from restore.modelling import build_model, builder
from restore.plugins import registry
from restore.recipe import check
from restore.training.pairs import to_channels
from torch import Tensor, nn

from restore_eco.analyses import pictures, smoothness
from restore_eco.analyses.plotting import COLORS, figure, write
from restore_eco.analyses.runs import METHODS, curve, train

_DEFAULT = "eco:edsr-baseline-x2-small"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The paper's analyses. Those that train go on where they stopped when they are called again.

    They take any recipe of ECO, its teacher trained beforehand; --set overrides its keys, as of `restore train`.
    """


def _common(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option("--recipe", default=_DEFAULT, show_default=True, help="Of ECO: with a base and a teacher."),
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe."),
        click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder, or the PNG."),
    )
    for option in options:
        command = option(command)
    return command


def _compared(recipe: str, overrides: Sequence[str], output: Path, variants: dict[str, tuple[str, ...]]) -> Path:
    """Train every variant and draw the validation PSNR of all."""
    runs = {label: train(recipe, (*overrides, *more), output / _folder(label)) for label, more in variants.items()}
    drawn, axes = figure(1, 2)
    for label, run in runs.items():
        color = COLORS.get(label)
        axes[0][0].plot(*curve(run, "loss"), label=label, linewidth=0.6, color=color)
        axes[0][1].plot(*curve(run, "psnr"), label=label, marker=".", color=color)
    axes[0][0].set(xlabel="iteration", title="training loss, each against its own target", yscale="log")
    axes[0][1].set(xlabel="iteration", title="validation PSNR, dB")
    for ax in axes[0]:
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    return write(drawn, output / "curves.png")


def _folder(label: str) -> str:
    return label.lower().replace(" ", "-").replace(",", "")


@main.command("curves")
@_common
def curves(recipe: str, overrides: tuple[str, ...], output: Path) -> None:
    """Fig. 3: vanilla training, distillation, and the noise-free objective."""
    _said(_compared(recipe, overrides, output, {m: METHODS[m] for m in ("vanilla", "KD", "noise-free")}))


@main.command("blend")
@_common
def blend(recipe: str, overrides: tuple[str, ...], output: Path) -> None:
    """Fig. 5: vanilla training, and the noise-free objective without and with the blend (ECO)."""
    _said(_compared(recipe, overrides, output, {m: METHODS[m] for m in ("vanilla", "noise-free", "ECO")}))


@main.command("batches")
@click.option("--sizes", default="2,4,8,16", show_default=True, help="Clips in a batch.")
@_common
def batches(recipe: str, overrides: tuple[str, ...], output: Path, sizes: str) -> None:
    """Fig. 4: vanilla training and the noise-free objective with small batches."""
    drawn, axes = figure(1, len(sizes.split(",")), (3.4, 3.2))
    for ax, size in zip(axes[0], sizes.split(","), strict=True):
        for method in ("vanilla", "noise-free"):
            settings = (*overrides, *METHODS[method], f"training.batch={size}")
            run = train(recipe, settings, output / f"batch-{size}-{method}")
            ax.plot(*curve(run, "psnr"), label=method, marker=".", color=COLORS[method])
        ax.set(title=f"batch {size}", xlabel="iteration", ylabel="validation PSNR, dB")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    _said(write(drawn, output / "batches.png"))


@main.command("smoothness")
@click.option("--every", default=50, show_default=True, help="Iterations between two looks.")
@_common
def smooth(recipe: str, overrides: tuple[str, ...], output: Path, every: int) -> None:
    """Fig. 2: loss and gradient along the gradient, for vanilla training and the noise-free objective."""
    folders = {}
    for method in ("vanilla", "noise-free"):
        probe = smoothness.GradientSmoothness(every)
        folders[method] = train(recipe, (*overrides, *METHODS[method]), output / method, (probe,)).path
    _said(smoothness.plot(folders, output / "smoothness.png"))


@main.command("targets")
@click.option("--image", type=click.Path(exists=True, path_type=Path), help="[default: the first of validation data]")
@_common
def targets(recipe: str, overrides: tuple[str, ...], output: Path, image: Path | None) -> None:
    """Fig. 7: target images as the weight of the clean side grows."""
    _, degradation, clean = _loaded(recipe, overrides, image)
    _said(pictures.targets(degradation, clean, output))


@main.command("noise")
@click.option("--weights", required=True, help="Of the network that eco:noise-regression trained.")
@click.option("--image", type=click.Path(exists=True, path_type=Path), help="[default: the first of validation data]")
@_common
def noise(recipe: str, overrides: tuple[str, ...], output: Path, image: Path | None, weights: str) -> None:
    """Appendix B: what a network says that the teacher misses, and what it did miss."""
    model, degradation, clean = _loaded(recipe, (*overrides, f'model.weights="{weights}"'), image)
    _said(pictures.noise(degradation, model, clean, output))


@main.command("spectrum")
@click.option("--weights", help="Of the student at the step to look at; left out, untrained.")
@click.option("--image", type=click.Path(exists=True, path_type=Path), help="[default: the first of validation data]")
@_common
def spectrum(recipe: str, overrides: tuple[str, ...], output: Path, image: Path | None, weights: str | None) -> None:
    """Appendix C: gradients of the losses in the spectral domain."""
    more = () if weights is None else (f'model.weights="{weights}"',)
    model, degradation, clean = _loaded(recipe, (*overrides, *more), image)
    _said(pictures.spectrum(degradation, model, clean, output))


def _loaded(recipe: str, overrides: Sequence[str], image: Path | None) -> tuple[nn.Module, Any, Tensor]:
    """Model and degradation of a recipe, and a picture in the planes that they work on."""
    document = recipe_document(registry(), recipe=recipe, overrides=tuple(overrides))
    checked, makers = check(document), builder(registry())
    if checked.model is None or checked.degradation is None:
        raise RequestError(f"{recipe} has no [model] or no [degradation]")
    torch.manual_seed(0 if checked.training is None else checked.training.seed)
    model, _ = build_model(checked.model, makers)
    degradation = makers.build("degradation", checked.degradation)
    data: Dataset
    if image is not None:
        from restore.builtin.datasets.images import Images

        data = Images(image)
    elif checked.data.validation is not None:
        data = makers.build("dataset", checked.data.validation)
    else:
        raise RequestError(f"{recipe} has no [data.validation]: name a picture with --image")
    traits: Any = model.traits
    clean = to_channels(data[0].unsqueeze(0), traits)
    side = traits.scale * traits.multiple_of
    height, width = (length // side * side for length in clean.shape[-2:])
    return model.eval(), degradation, clean[..., :height, :width]


def _said(path: Path) -> None:
    click.echo(str(path))


def run() -> None:
    """The command, its errors in one line."""
    try:
        main(standalone_mode=True)
    except RestoreError as error:
        click.echo(f"restore_eco.analyses: {error}", err=True)
        sys.exit(2 if isinstance(error, RequestError) else 1)


if __name__ == "__main__":
    run()
