"""``restore degrade``: the damaged version of images, through the components that training uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore.cli.options import as_json, overrides, print_json

if TYPE_CHECKING:
    from restore.contracts import Degradation


@click.command("degrade")
@click.argument("input", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="File, or folder for a folder.")
@click.option("--use", metavar="NAME", help="A degradation; --set KEY=VALUE gives its parameters.")
@click.option("--recipe", metavar="FILE|NAME", help="Use this recipe's [degradation].")
@overrides
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
@as_json
def command(
    input: Path,
    output: Path,
    use: str | None,
    recipe: str | None,
    overrides: tuple[str, ...],
    seed: int,
    overwrite: bool,
    json_: bool,
) -> None:
    """Make the damaged version of an image, or of every image in a folder.

    \b
    restore degrade photo.png -o small.png --use bicubic --set scale=4
    restore degrade Set5/ -o Set5_x4/ --use bicubic --set scale=4
    """
    from restore.progress import Progress

    degradation = _degradation(use, recipe, overrides)
    jobs = _jobs(input, output, overwrite)
    if input.is_dir():
        output.mkdir(parents=True, exist_ok=True)
    results = []
    with Progress("degrade", len(jobs), "images") as bar:
        for index, (source, target) in enumerate(jobs):
            results.append(_degrade(source, target, degradation, seed, index))
            bar.advance(note=source.name)
    if json_:
        print_json({"results": results})
    else:
        for result in results:
            click.echo(f"{result['output']}: {result['width']}x{result['height']}")


def _degradation(use: str | None, recipe: str | None, overrides: tuple[str, ...]) -> Degradation:
    from restore.build import Builder
    from restore.catalogue import recipe_document
    from restore.document import parse
    from restore.errors import RequestError
    from restore.plugins import registry
    from restore.recipe import Use, check

    if (use is None) == (recipe is None):
        raise RequestError(
            "name one of --use DEGRADATION or --recipe FILE (see `restore components --kind degradation`)"
        )
    if use is not None:
        document = parse("", f"--use {use}", overrides)
        wanted = Use(use, document.data, document.root)
    else:
        document = recipe_document(registry(), recipe=recipe, overrides=overrides)
        named = check(document).degradation
        if named is None:
            raise document.root.error("there is no [degradation] table")
        wanted = named
    degradation: Degradation = Builder(registry()).build("degradation", wanted)
    return degradation


def _jobs(source: Path, output: Path, overwrite: bool) -> list[tuple[Path, Path]]:
    """Inputs and outputs, all checked before the first is made."""
    from restore.errors import RequestError
    from restore.media.files import check_output
    from restore.media.probe import IMAGE_SUFFIXES, VIDEO_SUFFIXES, list_media, probe
    from restore.progress import say

    if not source.is_dir():
        if probe(source).kind == "video":
            raise RequestError(f"{source} is a video; `restore degrade` takes images in this version")
        target = output / _name(source) if output.is_dir() else output
        return [(source, check_output(target, [source], overwrite))]
    if output.exists() and not output.is_dir():
        raise RequestError(f"{output} is a file; a folder of images needs a folder to go to")
    found = list_media(source)
    images = [p for p in found if p.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise RequestError(f"{source} holds only videos; `restore degrade` takes images in this version")
    skipped = sum(p.suffix.lower() in VIDEO_SUFFIXES for p in found)
    if skipped:
        say(f"left out {skipped} videos in {source}: `restore degrade` takes images in this version")
    sources = {p.resolve() for p in images}
    jobs: dict[Path, Path] = {}
    for path in images:
        target = output / _name(path)
        if target in jobs:
            raise RequestError(f"{path} and {jobs[target]} would both become {target}; rename one of them")
        if target.resolve() in sources:
            raise RequestError(f"{target} is an input itself; give another folder for the output")
        if target.exists() and not overwrite:
            raise RequestError(f"{target} exists already; give another folder, or --overwrite")
        jobs[target] = path
    return [(path, target) for target, path in jobs.items()]


def _name(source: Path) -> str:
    """JPEG would damage the result once more: it becomes PNG."""
    return f"{source.stem}.png" if source.suffix.lower() in (".jpg", ".jpeg") else source.name


def _degrade(source: Path, target: Path, degradation: Degradation, seed: int, index: int) -> dict[str, Any]:
    import attrs
    import numpy as np
    import torch

    from restore.contracts import Step
    from restore.errors import RequestError
    from restore.functional.resize import quantize, resize
    from restore.media.image import read_image, write_image
    from restore.progress import say
    from restore.training.data import seeded

    image = read_image(source)
    top = 2**image.bit_depth - 1
    clip = torch.from_numpy(image.pixels.astype(np.float64) / top).permute(2, 0, 1)[None, None]
    try:
        made = degradation(clip, Step(generator=seeded(seed, index))).observed[0, 0]
    except ValueError as error:
        raise RequestError(f"{source}: {error}") from error

    def codes(x: Any) -> Any:
        return (quantize(x, top) * top).round().numpy().astype(image.pixels.dtype)

    alpha = image.alpha
    if alpha is not None and alpha.shape != tuple(made.shape[-2:]):
        opacity = torch.from_numpy(alpha.astype(np.float64) / top)
        alpha = codes(resize(opacity, size=(made.shape[-2], made.shape[-1])))
    result = attrs.evolve(image, pixels=codes(made.permute(1, 2, 0)), alpha=alpha)
    for warning in write_image(target, result, quality=95):
        say(warning)
    height, width = made.shape[-2:]
    return {"input": str(source), "output": str(target), "width": width, "height": height}
