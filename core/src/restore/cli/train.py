"""``restore train``: train a recipe's model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore.cli.options import as_json, lock, overrides, print_json

if TYPE_CHECKING:
    from restore.document import Document
    from restore.recipe import Recipe
    from restore.training.directory import RunDirectory
    from restore.training.trainer import Trainer


@click.command("train")
@click.argument("recipe")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Run directory [default: runs/RECIPE-N].")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the run directory.")
@click.option("--devices", type=click.IntRange(min=0), help="How many, a process each; 0: all [default: the recipe's].")
@overrides
@lock
@as_json
def command(
    recipe: str,
    output: Path | None,
    resume: bool,
    devices: int | None,
    overrides: tuple[str, ...],
    lock: Path | None,
    json_: bool,
) -> None:
    """Train the model of RECIPE, a TOML file or the name of an installed recipe.

    The run directory holds the resolved recipe, environment, metrics, curves, checkpoints and the weights. On several
    machines: torchrun --nnodes 2 --nproc-per-node 8 ... -m restore train RECIPE -o DIR
    """
    from restore.catalogue import recipe_document
    from restore.lock import enforce
    from restore.plugins import registry
    from restore.recipe import check

    document = recipe_document(registry(), recipe=recipe, overrides=overrides)
    checked = check(document)
    if lock is not None:
        enforce(lock, "train", checked, document, registry(), {} if devices is None else {"devices": devices})
    trainer = train_document(checked, document, recipe, output, resume, devices)
    if trainer.session.first:
        _say(trainer, json_)


def train_document(
    checked: Recipe,
    document: Document,
    name: str,
    output: Path | None,
    resume: bool,
    devices: int | None,
) -> Trainer:
    """Train a recipe in a run directory, on as many devices as asked for.

    Args:
        checked: the recipe.
        document: what it came from.
        name: of the recipe, for a directory where none is named.
        output: the run directory.
        resume: go on with the run in it.
        devices: instead of the recipe's.

    Raises:
        RequestError: whatever is wrong with the request.
        RestoreError: the training failed.
    """
    from restore.errors import RequestError
    from restore.modelling import builder
    from restore.plugins import registry
    from restore.training.devices import close, make_fabric
    from restore.training.directory import RunDirectory
    from restore.training.records import check_tensorboard
    from restore.training.trainer import Trainer, build_parts

    if checked.training is None:
        raise document.root.error("training needs a [training] table")
    if output is None and resume:
        raise RequestError("--resume needs -o DIR, the run directory to go on with")
    if checked.training.tensorboard:
        check_tensorboard()
    fabric = make_fabric(checked.training, devices)
    # Everything is checked before further processes are started, and again in each of them.
    parts = build_parts(checked, document, builder(registry()), devices=fabric.world_size)
    fabric.launch()
    try:
        first = fabric.global_rank == 0
        chosen = output or _fresh(Path(name).stem.replace(":", "-")) if first else output
        directory = RunDirectory(Path(fabric.broadcast(str(chosen))))
        if not resume and first:
            directory.create(document, registry())
        fabric.barrier()
        trainer = Trainer(parts, document, directory, fabric)
        if resume:
            trainer.resume()
        if first:
            _announce(trainer)
        trainer.fit()
    finally:
        close()
    return trainer


def _announce(trainer: Trainer) -> None:
    from restore.progress import say

    parts = trainer.parts
    count = sum(p.numel() for p in parts.model.parameters())
    where = f" on {trainer.fabric.world_size} devices" if trainer.fabric.world_size > 1 else ""
    into = trainer.directory.path
    say(f"{parts.component}, {count:,} parameters, {parts.iterations} iterations{where} into {into}")


def _say(trainer: Trainer, json_: bool) -> None:
    """What came of it."""
    result = result_of(trainer.directory, trainer.iteration)
    if json_:
        print_json(result)
        return
    score = f", validation {result['validation']['psnr']:.3f} dB" if result["validation"] else ""
    click.echo(f"trained {trainer.iteration} iterations{score}; weights: {result['weights']}")


def result_of(directory: RunDirectory, iterations: int) -> dict[str, Any]:
    """What the JSON document says of a finished run."""
    history = directory.history()
    final: dict[str, Any] = next((h for h in reversed(history) if "psnr" in h), {})
    return {
        "output": str(directory.path),
        "weights": str(directory.weights("final")),
        "iterations": iterations,
        "loss": next((h["loss"] for h in reversed(history) if "loss" in h), None),
        "validation": {k: final[k] for k in ("psnr", "ssim") if k in final} or None,
    }


def _fresh(stem: str) -> Path:
    number = 1
    while (path := Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return path
