"""Training one recipe in several ways, in a folder that can be gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Mapping, Sequence

from restore import RequestError
from restore.catalogue import recipe_document
from restore.document import dumps
from restore.modelling import builder
from restore.plugins import registry
from restore.progress import say
from restore.recipe import check
from restore.training.directory import RunDirectory
from restore.training.trainer import Trainer, build_parts

Callback = Callable[[Trainer], None]

# What turns a recipe of ECO into another method. Vanilla training is ECO whose clean side weighs everything, bit for
# bit, and the teacher is not asked.
METHODS: Mapping[str, tuple[str, ...]] = {
    "vanilla": ("degradation.clean_weight=1",),
    "KD": ("degradation.use=eco:distill",),
    "noise-free": ("degradation.use=eco:noise-free",),
    "ECO": (),
}


def train(recipe: str, overrides: Sequence[str], folder: Path, callbacks: Sequence[Callback] = ()) -> RunDirectory:
    """Train a recipe, go on with it where it stopped, or leave it alone where it is done.

    Args:
        recipe: name or file.
        overrides: as of ``--set``.
        folder: run directory.
        callbacks: called after every iteration.

    Raises:
        RequestError: the recipe is wrong, or the folder holds a run of another one.
    """
    directory = RunDirectory(folder)
    document = recipe_document(registry(), recipe=recipe, overrides=tuple(overrides))
    if directory.weights("final").exists():
        if directory.recipe.read_text(encoding="utf-8") != dumps(document.data):
            raise RequestError(
                f"{folder} holds a finished run of another recipe or other settings; name another folder"
            )
        return directory
    parts = build_parts(check(document), document, builder(registry()))
    resumed = directory.checkpoint.exists()
    if not resumed:
        directory.metrics.unlink(missing_ok=True)  # of an attempt that ended before its first checkpoint
        directory.create(document, registry())
    trainer = Trainer(parts, document, directory, callbacks=callbacks)
    if resumed:
        trainer.resume()
    say(f"{folder.name}: {parts.iterations} iterations")
    trainer.fit()
    return directory


def curve(directory: RunDirectory, key: str) -> tuple[list[int], list[float]]:
    """Iterations and values of one number in a run's history."""
    there = [(h["iteration"], h[key]) for h in directory.history() if key in h]
    return [i for i, _ in there], [v for _, v in there]
