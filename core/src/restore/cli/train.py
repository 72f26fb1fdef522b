"""``restore train``: train a recipe's model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from restore.cli.options import as_json, overrides, print_json


@click.command("train")
@click.argument("recipe")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Run directory [default: runs/RECIPE-N].")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the run directory.")
@overrides
@as_json
def command(recipe: str, output: Path | None, resume: bool, overrides: tuple[str, ...], json_: bool) -> None:
    """Train the model of RECIPE, a TOML file or the name of an installed recipe.

    The run directory holds the resolved recipe, environment, metrics, curves, checkpoints and the weights.
    """
    from restore.build import Builder
    from restore.catalogue import recipe_document
    from restore.errors import RequestError
    from restore.plugins import registry
    from restore.progress import say
    from restore.recipe import check
    from restore.training.directory import RunDirectory
    from restore.training.trainer import Trainer, build_parts

    document = recipe_document(registry(), recipe=recipe, overrides=overrides)
    checked = check(document)
    if output is None:
        if resume:
            raise RequestError("--resume needs -o DIR, the run directory to go on with")
        output = _fresh(Path(recipe).stem.replace(":", "-"))
    directory = RunDirectory(output)
    parts = build_parts(checked, document, Builder(registry()))
    if not resume:
        directory.create(document, registry())
    trainer = Trainer(parts, document, directory)
    if resume:
        trainer.resume()
    count = sum(p.numel() for p in parts.model.parameters())
    say(f"{parts.component}, {count:,} parameters, {parts.settings.iterations} iterations into {output}")
    trainer.fit()
    history = directory.history()
    final: dict[str, Any] = next((h for h in reversed(history) if "psnr" in h), {})
    result = {
        "output": str(output),
        "weights": str(directory.weights("final")),
        "iterations": trainer.iteration,
        "loss": next((h["loss"] for h in reversed(history) if "loss" in h), None),
        "validation": {k: final[k] for k in ("psnr", "ssim") if k in final} or None,
    }
    if json_:
        print_json(result)
    else:
        score = f", validation {final['psnr']:.3f} dB" if final else ""
        click.echo(f"trained {trainer.iteration} iterations{score}; weights: {directory.weights('final')}")


def _fresh(stem: str) -> Path:
    number = 1
    while (path := Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return path
