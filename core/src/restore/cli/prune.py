"""``restore prune``: train a recipe through its pruning phases, and say what that saved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore.cli.options import as_json, lock, overrides, print_json, print_table

if TYPE_CHECKING:
    from restore.recipe import Recipe
    from restore.training.trainer import Trainer


@click.command("prune")
@click.argument("recipe")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Run directory [default: runs/RECIPE-N].")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the run directory.")
@click.option("--ratio", type=float, help="Of the channels that go, in [0, 1) [default: the recipe's].")
@click.option("--size", default="180x320", show_default=True, metavar="HxW", help="Input that costs are given for.")
@click.option("--devices", type=click.IntRange(min=0), help="How many, a process each; 0: all [default: the recipe's].")
@overrides
@lock
@as_json
def command(
    recipe: str,
    output: Path | None,
    resume: bool,
    ratio: float | None,
    size: str,
    devices: int | None,
    overrides: tuple[str, ...],
    lock: Path | None,
    json_: bool,
) -> None:
    """Prune the model of RECIPE, a TOML file or the name of an installed recipe, which has a [pruner] table.

    Runs the recipe's phases as `restore train` does. The weights in the run directory carry what was cut, so that
    `restore run --recipe RECIPE --set model.weights=DIR/final.safetensors` builds the smaller network.
    """
    from restore.catalogue import recipe_document
    from restore.cli.train import train_document
    from restore.lock import enforce
    from restore.plugins import registry
    from restore.recipe import check

    height, width = _size(size)
    ratios = () if ratio is None else (f"pruner.ratio={ratio}",)
    document = recipe_document(registry(), recipe=recipe, overrides=(*overrides, *ratios))
    checked = check(document)
    if checked.pruner is None:
        raise document.root.error("pruning needs a [pruner] table; `restore components --kind pruner` lists pruners")
    if not any(phase.pruning == "compact" for phase in checked.phases):
        raise document.root.error('nothing would be cut: one of [[phases]] needs pruning = "compact"')
    if lock is not None:
        enforce(lock, "prune", checked, document, registry(), {} if devices is None else {"devices": devices})
    trainer = train_document(checked, document, recipe, output, resume, devices)
    if trainer.session.first:
        _report(trainer, checked, height, width, json_)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or "0" in match.groups():
        raise click.UsageError(f"--size {text!r}: say HEIGHTxWIDTH in pixels, e.g. 180x320")
    return int(match[1]), int(match[2])


def _report(trainer: Trainer, recipe: Recipe, height: int, width: int, json_: bool) -> None:
    """What the network cost, and costs now, for one clip of this size."""
    from restore.cli.train import result_of
    from restore.modelling import build_model, builder
    from restore.plugins import registry
    from restore.pruning.cost import macs, seconds

    small = trainer.parts.model
    device = next(small.parameters()).device
    assert recipe.model is not None
    dense, _ = build_model(recipe.model, builder(registry()))
    models = {"dense": dense.to(device), "pruned": small}
    shape = _shape(trainer.parts.traits, height, width)
    times = seconds(list(models.values()), shape)
    costs = {
        name: {"parameters": sum(p.numel() for p in model.parameters()), "macs": macs(model, shape), "seconds": taken}
        for (name, model), taken in zip(models.items(), times, strict=True)
    }
    result = {**result_of(trainer.directory, trainer.iteration), "shape": list(shape), **costs}
    if json_:
        print_json(result)
        return
    keys = ("parameters", "macs", "seconds")
    rows: list[list[Any]] = [
        [n, f"{c['parameters']:,}", f"{c['macs'] / 1e9:.2f} G", f"{c['seconds']:.3f} s"] for n, c in costs.items()
    ]
    rows.append(["ratio", *(f"{costs['pruned'][k] / costs['dense'][k]:.3f}" for k in keys)])
    title = f"one clip (B, T, C, H, W) = {tuple(shape)} on {device}"
    print_table(("", "parameters", "MACs", "time"), rows, title, right=("parameters", "MACs", "time"))
    click.echo(f"weights: {result['weights']}")


def _shape(traits: Any, height: int, width: int) -> tuple[int, int, int, int, int]:
    """A clip that the model can take: models that look along time get some frames."""
    unit = traits.multiple_of
    sides = [max(traits.minimum, -(-side // unit) * unit) for side in (height, width)]
    frames = {"frame": 1, "clip": 2 * traits.halo.frames + 1, "stream": 3}[traits.temporal]
    return 1, frames, traits.planes, sides[0], sides[1]
