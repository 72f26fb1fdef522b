"""What a result is made of: recipe, plugins, weights and source. Nothing is joined with what was made otherwise."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Mapping

from restore import lock
from restore.document import Document
from restore.errors import RequestError
from restore.plugins import Registry
from restore.recipe import Recipe

_WHOLE = 64 * 2**20
_BLOCK, _BLOCKS = 2**20, 64
# Tables of a recipe that no run reads.
_ELSEWHERE = ("summary", "degradation", "losses", "optimizer", "pruner", "data", "training", "phases", "evaluation")


def recipe_identity(recipe: Recipe, document: Document, registry: Registry) -> dict[str, Any]:
    """What ``--lock`` writes: versions of the core and of plugins, where components come from, hashes of weights, and
    the recipe's tables that a run reads.

    Raises:
        RequestError: weights that are not there.
    """
    found = lock.describe("run", recipe, document, registry, {})
    found["recipe"] = recipe_tables = {k: v for k, v in found["recipe"].items() if k not in _ELSEWHERE}
    if isinstance(recipe_tables.get("run"), dict):
        recipe_tables["run"] = _shaping(recipe_tables["run"])
    return {k: found[k] for k in ("restorekit", "plugins", "components", "weights", "recipe")}


def _shaping(run: dict[str, Any]) -> dict[str, Any]:
    """``[run]`` without what changes no result."""
    found = {k: dict(v) if isinstance(v, dict) else v for k, v in run.items()}
    for table, key in (("segments", "time_limit"), ("temporal", "scratch")):
        if isinstance(found.get(table), dict):
            found[table].pop(key, None)
            if not found[table]:
                del found[table]
    return found


def stamp(path: Path) -> list[int]:
    """Size and time of the last change: other ones say that a file may have been changed."""
    told = path.stat()
    return [told.st_size, told.st_mtime_ns]


def source_identity(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file. Of more than 64 MiB only 64 blocks of 1 MiB count, the first, the last and others
    evenly between: a film is not read from end to end once more for this."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if size <= _WHOLE:
            while block := file.read(_BLOCK):
                digest.update(block)
        else:
            for k in range(_BLOCKS):
                file.seek((size - _BLOCK) * k // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return {"size": size, "sha256": digest.hexdigest()}


def refuse_other(before: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """RequestError where a journal in ``where`` is of something else, with what differs."""
    rows = lock.differences(before, now)
    if not rows:
        return
    table = lock.table(("what", "begun with", "now"), rows)
    raise RequestError(
        f"{where} holds the finished parts of another run; nothing was done\n{table}\nGo back to what it was begun "
        "with, or begin again with --restart, which throws those parts away"
    )
