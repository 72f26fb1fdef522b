"""``restore export``: a model for other programs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore.cli.options import as_json, overrides, print_json, source

if TYPE_CHECKING:
    from restore.exporting import Exported


@click.command("export")
@click.argument("recipe_", required=False, metavar="[RECIPE]")
@source
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="FILE.onnx or FILE.pt2")
@click.option("--size", metavar="WIDTHxHEIGHT", help="Of the example it is traced with [default: 64x64].")
@click.option("--frames", type=click.IntRange(min=1), help="Of a window, for models that answer windows at once.")
@click.option("--static", is_flag=True, help="Only exactly that size; some programs run it faster.")
@click.option("--opset", type=click.IntRange(min=1), help="Of ONNX.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@overrides
@as_json
def command(
    recipe_: str | None,
    plugin: str | None,
    recipe: str | None,
    output: Path,
    size: str | None,
    frames: int | None,
    static: bool,
    opset: int | None,
    overwrite: bool,
    overrides: tuple[str, ...],
    json_: bool,
) -> None:
    """Write the model of RECIPE as ONNX or for torch.export, and compare it with the model itself.

    Models of single frames take (N, C, H, W) in the traits' channels, in [0, 1], and give (N, C, scale*H, scale*W); any
    batch, height and width where the model's code allows. The traits lie in the file's metadata.

    \b
    restore export --plugin srsenet -o srsenet.onnx
    restore export --plugin srsenet --set model.scale=4 -o srsenet-x4.pt2
    """
    from restore.catalogue import recipe_document
    from restore.errors import RequestError
    from restore.exporting import SUFFIXES, check_packages, refuse, trace, write
    from restore.modelling import build_model, builder
    from restore.plugins import registry
    from restore.progress import say
    from restore.recipe import check

    if recipe_ is not None and recipe is not None:
        raise RequestError("name the recipe once")
    if output.suffix not in SUFFIXES:
        raise RequestError(f"{output} must end in .onnx (ONNX) or .pt2 (torch.export)")
    if output.exists() and not overwrite:
        raise RequestError(f"{output} exists; --overwrite replaces it")
    document = recipe_document(registry(), recipe=recipe or recipe_, plugin=plugin, overrides=overrides)
    checked = check(document)
    use = checked.model or (checked.stages[0] if len(checked.stages) == 1 else None)
    if use is None:
        raise document.root.error("export writes one model: give a recipe with [model]")
    model, name = build_model(use, builder(registry()))
    refuse(model)
    check_packages(output)
    if "weights" not in use.parameters and next(model.parameters(), None) is not None:
        say(f"{name}: the recipe names no weights, so what is written is untrained (--set model.weights=...)")
    traced = trace(model, _size(size), frames, static)
    about = {"component": name, "parameters": {k: str(v) for k, v in use.parameters.items()}}
    written = write(traced, output, model.traits, about, opset)  # type: ignore[arg-type]
    if json_:
        print_json(_entry(written, name))
    else:
        click.echo(_sentence(written, name))


def _size(text: str | None) -> tuple[int, int] | None:
    """``"320x180"`` as height and width."""
    from restore.errors import RequestError

    if text is None:
        return None
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None:
        raise RequestError(f"--size is WIDTHxHEIGHT, such as 320x180, not {text!r}")
    return int(found.group(2)), int(found.group(1))


def _entry(written: Exported, name: str) -> dict[str, Any]:
    return {
        "output": str(written.path),
        "format": written.format,
        "component": name,
        "shape": list(written.shape),
        "dynamic": written.dynamic,
        "difference": written.difference,
        "checked_with": written.checked,
        "note": written.note,
    }


def _sentence(written: Exported, name: str) -> str:
    sizes = {"all": "any batch, height and width", "batch": "any batch", "none": "this shape alone"}[written.dynamic]
    shape = "x".join(map(str, written.shape))
    text = f"{name} -> {written.path}: {written.format}, {shape}, {sizes}"
    by = (
        f"differs from the model by at most {written.difference:.2g}" if written.difference is not None else "unchecked"
    )
    return f"{text}\n{written.path}: {by} ({written.checked})" + (f"\n{written.note}" if written.note else "")
