"""``restore run``: restore images, videos and folders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore.cli.options import as_json, lock, overrides, print_json, source

if TYPE_CHECKING:
    from restore.document import Document
    from restore.inference.jobs import Job, Plan
    from restore.recipe import Recipe


@click.command("run")
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path), metavar="[INPUT]...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Result, or a folder for several results.")
@source
@overrides
@click.option("--reference", type=click.Path(path_type=Path), help="The clean original: measure the result against it.")
@click.option("--device", help="auto, cpu, cuda, cuda:1, mps  [default: auto]")
@click.option("--overwrite", is_flag=True, help="Replace an existing result. An input is never replaced.")
@lock
@as_json
def command(
    inputs: tuple[Path, ...],
    output: Path | None,
    plugin: str | None,
    recipe: str | None,
    overrides: tuple[str, ...],
    reference: Path | None,
    device: str | None,
    overwrite: bool,
    lock: Path | None,
    json_: bool,
) -> None:
    """Restore images, videos, or every image and video in a folder.

    A video keeps its sound, subtitles, chapters, timestamps, colour and bit depth. Without INPUT, a sample clip that
    comes with restore is restored, and the gain is measured.

    \b
    restore run --plugin srsenet                         the sample
    restore run --plugin srsenet clip.mp4 -o big.mp4     twice the size
    restore run --plugin srsenet photos/ -o larger/      a folder
    restore run --plugin srsenet --set model.scale=4 photo.png
    restore run --plugin srsenet --set run.output.codec=hevc --set run.output.quality=20 clip.mov
    restore run --recipe along_time.toml --set run.temporal.schedule=exact clip.mp4
    """
    from restore.catalogue import recipe_document
    from restore.errors import RequestError
    from restore.inference import jobs
    from restore.lock import enforce
    from restore.plugins import registry
    from restore.progress import say
    from restore.recipe import check

    if device is not None:
        overrides = (*overrides, f'run.device="{device}"')
    document = recipe_document(registry(), recipe=recipe, plugin=plugin, overrides=overrides)
    checked = check(document)
    if lock is not None:
        enforce(lock, "run", checked, document, registry(), {})
    sample = not inputs
    if sample:
        from restore.samples import path

        inputs = (path("sample.mkv"),)
        overwrite = True
        if output is None:
            output = Path(f"sample_restored.{checked.run.output.container or 'mkv'}")
        say("no INPUT: restoring the sample clip that comes with restore")
    planned = jobs.plan(inputs, output, checked.run.output, overwrite)
    if reference is not None and len(planned.jobs) != 1:
        raise RequestError("--reference goes with one INPUT")
    results, failed = _run_all(planned, checked, document, overwrite, reference, sample)
    if json_:
        print_json({"results": results})
    else:
        for result in results:
            click.echo(_sentence(result))
    if failed:
        sys.exit(1)


def _run_all(
    planned: Plan, checked: Recipe, document: Document, overwrite: bool, reference: Path | None, sample: bool
) -> tuple[list[dict[str, Any]], list[int]]:
    from restore.errors import RestoreError
    from restore.inference import jobs
    from restore.modelling import builder
    from restore.plugins import registry
    from restore.progress import say

    stages = jobs.build_stages(checked, document, builder(registry()), jobs.work_of(planned.jobs))
    results: list[dict[str, Any]] = []
    failed: list[int] = []

    def note(path: Path, error: RestoreError) -> None:
        say(f"restore: {error}")
        failed.append(error.exit_code)
        results.append({"input": str(path), "output": None, "error": str(error)})

    for path, error in planned.unreadable:
        note(path, error)
    for job in planned.jobs:
        try:
            result = jobs.run_job(job, stages, checked, overwrite)
        except RestoreError as error:
            # One bad file of many must not cost the others.
            if len(planned.jobs) + len(planned.unreadable) == 1:
                raise
            note(job.source.path, error)
            continue
        metrics = _metrics(job, reference, sample, stages.scale)
        results.append({**result, **({"metrics": metrics} if metrics else {})})
    return results, failed


def _metrics(job: Job, reference: Path | None, sample: bool, scale: int) -> dict[str, Any] | None:
    from restore.evaluation.files import compare

    if reference is None and sample and scale == 2:
        from restore.samples import path

        reference = path("sample_reference.mkv")
    return None if reference is None else compare(job.output, reference, job.source.path)


def _sentence(result: dict[str, Any]) -> str:
    if result["output"] is None:
        return f"{result['input']}: failed"
    frames = f", {result['frames']} frames at {result['fps']:.2f}/s" if result["frames"] > 1 else ""
    text = (
        f"{result['input']} -> {result['output']}: {result['width']}x{result['height']}{frames}, "
        f"{result['seconds']:.1f} s, {result['precision']}"
    )
    if result.get("schedule"):
        cuts = len(result["scene_cuts"])
        text += f", {result['schedule']}" + (f", {cuts + 1} scenes" if cuts else "")
    metrics = result.get("metrics")
    if metrics:
        gain = f", {metrics['gain']:+.2f} dB over bicubic" if "gain" in metrics else ""
        text += f"\n{result['output']}: luma {metrics['psnr']:.2f} dB{gain}, SSIM {metrics['ssim']:.4f}"
    return text
