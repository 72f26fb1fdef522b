"""``restore degrade``: make the damaged version, through the components that training uses."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore.cli.options import as_json, overrides, print_json

if TYPE_CHECKING:
    from restore.contracts import Degradation
    from restore.media.probe import MediaInfo
    from restore.recipe import Output


@click.command("degrade")
@click.argument("input", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="File, or folder for a folder.")
@click.option("--use", metavar="NAME", help="A degradation; --set KEY=VALUE gives its parameters.")
@click.option("--recipe", metavar="FILE|NAME", help="Use this recipe's [degradation].")
@overrides
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--segment", type=click.IntRange(1), help="Frames of a video degraded together  [default: 8 to 64]")
@click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
@as_json
def command(
    input: Path,
    output: Path,
    use: str | None,
    recipe: str | None,
    overrides: tuple[str, ...],
    seed: int,
    segment: int | None,
    overwrite: bool,
    json_: bool,
) -> None:
    """Make the damaged version of an image, a video, or of all in a folder.

    A video keeps its frames, times, sound and other streams. With `codec` as the (last) degradation, the stream of the
    output file is the damaged one; otherwise a video is written losslessly to .mkv, and nearly so to .mp4.
    --set run.output.KEY=VALUE says how instead.

    \b
    restore degrade photo.png -o small.png --use bicubic --set scale=4
    restore degrade Set5/ -o Set5_x4/ --use bicubic --set scale=4
    restore degrade clip.mkv -o lq.mp4 --use codec --set codec=x265 --set qp=37
    restore degrade clip.mp4 -o noisy.mkv --use gaussian-noise --set sigma=25/255
    """
    degradation, settings = _request(use, recipe, overrides)
    jobs, failed = _jobs(input, output, settings, overwrite)
    results = [{"input": str(path), "output": None, "error": str(error)} for path, error in failed]
    results += _degrade_all(jobs, degradation, settings, seed, segment, overwrite, alone=not input.is_dir())
    if json_:
        print_json({"results": results})
    else:
        for result in results:
            click.echo(_sentence(result))
    if any(result["output"] is None for result in results):
        sys.exit(1)


def _request(use: str | None, recipe: str | None, overrides: tuple[str, ...]) -> tuple[Degradation, Output]:
    """The degradation, and how results are written."""
    from restore.catalogue import recipe_document
    from restore.document import parse
    from restore.errors import RequestError
    from restore.modelling import builder
    from restore.plugins import registry
    from restore.recipe import Use, check

    if (use is None) == (recipe is None):
        raise RequestError(
            "name one of --use DEGRADATION or --recipe FILE (see `restore components --kind degradation`)"
        )
    if use is not None:
        of_run = tuple(o for o in overrides if o.startswith("run."))
        document = parse("", f"--use {use}", tuple(o for o in overrides if o not in of_run))
        wanted = Use(use, document.data, document.root)
        settings = check(parse("", f"--use {use}", of_run)).run.output
    else:
        document = recipe_document(registry(), recipe=recipe, overrides=overrides)
        checked = check(document)
        if checked.degradation is None:
            raise document.root.error("there is no [degradation] table")
        wanted, settings = checked.degradation, checked.run.output
    degradation: Degradation = builder(registry()).build("degradation", wanted)
    return degradation, settings


def _jobs(
    source: Path, output: Path, settings: Output, overwrite: bool
) -> tuple[list[tuple[MediaInfo, Path]], list[tuple[Path, Exception]]]:
    """Inputs and outputs, all checked before the first is made, and the files of a folder that cannot be read."""
    from restore.errors import RequestError, RestoreError
    from restore.media.files import check_output
    from restore.media.probe import list_media, probe
    from restore.progress import say

    if not source.is_dir():
        info = probe(source)
        target = output / _name(info, settings) if output.is_dir() else output
        return [(info, check_output(target, [source], overwrite))], []
    if output.exists() and not output.is_dir():
        raise RequestError(f"{output} is a file; a folder of images or videos needs a folder to go to")
    infos: list[MediaInfo] = []
    failed: list[tuple[Path, Exception]] = []
    found = list_media(source)
    for path in found:
        try:
            infos.append(probe(path))
        except RestoreError as error:
            # One bad file of many must not cost the others.
            say(f"restore: {error}")
            failed.append((path, error))
    sources = {p.resolve() for p in found}
    jobs: dict[Path, MediaInfo] = {}
    for info in infos:
        target = output / _name(info, settings)
        if target in jobs:
            raise RequestError(f"{info.path} and {jobs[target].path} would both become {target}; rename one of them")
        if target.resolve() in sources:
            raise RequestError(f"{target} is an input itself; give another folder for the output")
        if target.exists() and not overwrite:
            raise RequestError(f"{target} exists already; give another folder, or --overwrite")
        jobs[target] = info
    output.mkdir(parents=True, exist_ok=True)
    return [(info, target) for target, info in jobs.items()], failed


def _name(info: MediaInfo, settings: Output) -> str:
    from restore.media.encoders import CONTAINERS

    asked = settings.image_format if info.kind == "image" else settings.container
    if asked is not None:
        return f"{info.path.stem}.{asked.lower().lstrip('.')}"
    suffix = info.path.suffix.lower()
    if info.kind == "image":
        # JPEG would damage the result once more.
        return f"{info.path.stem}.png" if suffix in (".jpg", ".jpeg") else info.path.name
    return info.path.name if suffix in CONTAINERS else f"{info.path.stem}.mkv"


def _degrade_all(
    jobs: list[tuple[MediaInfo, Path]],
    degradation: Degradation,
    settings: Output,
    seed: int,
    segment: int | None,
    overwrite: bool,
    alone: bool,
) -> list[dict[str, Any]]:
    from restore.errors import RestoreError
    from restore.functional.seeding import seeded
    from restore.inference.degrading import degrade_image, degrade_video, find_way
    from restore.progress import Progress, say

    seeds = [seeded(seed, index).initial_seed() for index in range(len(jobs))]
    ways = {
        target: find_way(info, target, degradation, own, settings, segment)
        for (info, target), own in zip(jobs, seeds, strict=True)
        if info.kind == "video"
    }
    results: list[dict[str, Any]] = []
    # A video shows a bar of its own, and a terminal can hold one.
    with Progress("degrade", len(jobs), "images") if not ways else contextlib.nullcontext() as bar:
        for (info, target), own in zip(jobs, seeds, strict=True):
            try:
                if info.kind == "image":
                    result = degrade_image(info.path, target, degradation, own, settings.image_quality)
                else:
                    result = degrade_video(info, target, ways[target], overwrite)
            except RestoreError as error:
                if alone:
                    raise
                say(f"restore: {error}")
                result = {"input": str(info.path), "output": None, "error": str(error)}
            for warning in result.get("warnings", ()):
                say(warning)
            if bar is not None:
                bar.advance(note=info.path.name)
            results.append(result)
    return results


def _sentence(result: dict[str, Any]) -> str:
    if result["output"] is None:
        return f"{result['input']}: failed"
    frames = f", {result['frames']} frames, {result['codec']}" if "frames" in result else ""
    return f"{result['output']}: {result['width']}x{result['height']}{frames}"
