"""What `restore run` does with files and folders: names of outputs, images, videos, results."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Collection, Sequence

import attrs

from restore.build import Builder
from restore.contracts import VideoMeasurement
from restore.document import Document
from restore.errors import RequestError, RestoreError
from restore.inference.stages import Stages
from restore.inference.temporal import TemporalRunner, restorer_of
from restore.inference.video import VideoJob
from restore.media.color import Picture
from restore.media.encoders import OutputOptions
from restore.media.files import check_output
from restore.media.image import FORMATS, read_image, write_image
from restore.media.probe import MediaInfo, list_media, probe
from restore.modelling import build_model
from restore.progress import say
from restore.recipe import Output, Recipe

_CONTAINERS = (".mp4", ".mkv", ".mov", ".webm", ".m4v")


@attrs.frozen
class Job:
    """One input and where its result goes."""

    source: MediaInfo
    output: Path


def build_stages(recipe: Recipe, document: Document, builder: Builder, work: int | None = None) -> Stages:
    """The models of ``[model]`` and ``[[stages]]``, with their weights.

    Args:
        recipe: checked.
        document: it came from, for errors.
        builder: makes the components.
        work: input pixels that will come in all.

    Raises:
        RequestError: the recipe names no model, or one that cannot be built.
    """
    uses = ([recipe.model] if recipe.model is not None else []) + list(recipe.stages)
    if not uses:
        raise document.root.error("nothing to run: the recipe has neither [model] nor [[stages]]")
    restorers = []
    measurement = build_measurement(recipe, builder)
    for k, use in enumerate(uses):
        model, name = build_model(use, builder)
        restorers.append(restorer_of(model, recipe.run, name, work, measurement if k == 0 else None))
    stages = Stages(restorers)
    if recipe.operator is not None and stages.measured is None:
        raise recipe.operator.place.error(f"{restorers[0].name} takes no operator; leave this table out")
    if recipe.operator is not None and stages.rate > 1 and any(isinstance(r, TemporalRunner) for r in restorers[1:]):
        raise recipe.operator.place.error("behind a model that makes new frames only models of single frames can come")
    return stages


def build_measurement(recipe: Recipe, builder: Builder) -> VideoMeasurement | None:
    """What ``[operator]`` says made the file; None without such a table.

    Raises:
        RequestError: no such component, or one that is no linear measurement of a video.
    """
    if recipe.operator is None:
        return None
    made = builder.build("degradation", recipe.operator)
    if not isinstance(made, VideoMeasurement):
        raise recipe.operator.place.error(
            f"{recipe.operator.use} is no linear operator whose result is a video; there are core:mask, "
            "core:frame-interpolation, core:kernel-blur, core:disk-blur, core:greyscale, core:box and others"
        )
    return made


def _suffix(info: MediaInfo, settings: Output) -> str:
    suffix = info.path.suffix.lower()
    if info.kind == "image":
        asked = settings.image_format
        if asked is None:
            return suffix if suffix in FORMATS else ".png"
        asked = "." + asked.lower().lstrip(".")
        if asked not in FORMATS:
            raise RequestError(
                f"run.output.image_format = {asked[1:]!r}: choose one of {', '.join(f[1:] for f in FORMATS)}"
            )
        return asked
    if settings.container is not None:
        return "." + settings.container.lower().lstrip(".")
    # AVI knows no timestamps and few streams; what it cannot hold goes to Matroska.
    return suffix if suffix in _CONTAINERS else ".mkv"


@attrs.frozen
class Plan:
    """Jobs to do, and the inputs of several that cannot be read, each with its error."""

    jobs: list[Job]
    unreadable: list[tuple[Path, RestoreError]]


def _sources(inputs: Sequence[Path]) -> tuple[list[tuple[MediaInfo, Path]], list[tuple[Path, RestoreError]], bool]:
    """Every file with its name below the output folder, those that cannot be read, and whether a folder is needed."""
    files = [(file, path) for path in inputs for file in (list_media(path) if path.is_dir() else [path])]
    several = len(files) != 1 or any(path.is_dir() for path in inputs)
    found: list[tuple[MediaInfo, Path]] = []
    unreadable: list[tuple[Path, RestoreError]] = []
    for file, path in files:
        try:
            found.append((probe(file), file.relative_to(path) if path.is_dir() else Path(file.name)))
        except RestoreError as error:
            # One bad file of many must not cost the others; but a name that is not there is a mistake in the request.
            if not several or not file.exists():
                raise
            unreadable.append((file, error))
    return found, unreadable, several


def plan(
    inputs: Sequence[Path],
    output: Path | None,
    settings: Output,
    overwrite: bool,
    finished: Collection[Path] = (),
) -> Plan:
    """Names of the outputs. Those in ``finished`` may be there already.

    One file goes to ``output``, or to ``NAME_restored`` in the current folder. Several files, or a folder, go into the
    folder ``output`` under their own names (default ``restored``); it is made where missing.

    Raises:
        RequestError: an input that is missing, or a single one that is no media; an output that exists, is an input, or
            is named twice.
    """
    sources, unreadable, several = _sources(inputs)
    into_folder = several or (output is not None and output.is_dir())
    jobs = []
    if into_folder:
        folder = output or Path("restored")
        if folder.exists() and not folder.is_dir():
            raise RequestError(f"{folder} is a file; several inputs need a folder as output")
        jobs = [Job(info, folder / name.with_suffix(_suffix(info, settings))) for info, name in sources]
    else:
        info = sources[0][0]
        target = output or Path(f"{info.path.stem}_restored{_suffix(info, settings)}")
        jobs.append(Job(info, target if target.suffix else target.with_suffix(_suffix(info, settings))))
    _check_outputs(jobs, overwrite, finished, make_folders=into_folder)
    return Plan(jobs, unreadable)


def _check_outputs(jobs: list[Job], overwrite: bool, finished: Collection[Path], make_folders: bool) -> None:
    seen: dict[Path, Path] = {}
    for job in jobs:
        if job.output in seen:
            raise RequestError(
                f"{seen[job.output]} and {job.source.path} would both be written to {job.output}; rename one"
            )
        seen[job.output] = job.source.path
    for job in jobs:
        if make_folders:
            job.output.parent.mkdir(parents=True, exist_ok=True)
        check_output(job.output, list(seen.values()), overwrite or job.output in finished)


def work_of(jobs: Sequence[Job]) -> int:
    """Input pixels of all jobs; a video of unknown length counts as long."""
    return sum(
        j.source.width * j.source.height * (1 if j.source.kind == "image" else (j.source.frames or 100_000))
        for j in jobs
    )


def options(settings: Output) -> OutputOptions:
    """``[run.output]`` as the media room takes it."""
    return OutputOptions(settings.codec, settings.quality, settings.preset, settings.options, settings.pixel_format)


def _image(job: Job, stages: Stages, settings: Output) -> tuple[int, int, list[str]]:
    stages.accept(job.source)
    image = read_image(job.source.path)
    if image.kind == "gray" and stages.layout_of(job.source.layout).kind != "gray":
        image = attrs.evolve(image, kind="rgb", pixels=image.pixels.repeat(3, axis=2))
    picture = stages(Picture.from_image(image, stages.restorers[0].device))
    height, width = picture.size
    warnings = write_image(job.output, picture.to_image(image), settings.image_quality)
    return width, height, warnings


def run_job(job: Job, stages: Stages, recipe: Recipe, overwrite: bool) -> dict[str, Any]:
    """Restore one file.

    Returns:
        ``input``, ``output``, ``frames``, ``width``, ``height``, ``seconds``, ``fps``, ``precision``, ``warnings``, and
        for a video its ``codec``; of models that look along time also their ``schedule`` and the ``scene_cuts`` found.

    Raises:
        RequestError, MediaError, RestoreError: see :class:`restore.inference.video.VideoJob`.
    """
    start = time.perf_counter()
    result: dict[str, Any] = {"input": str(job.source.path), "output": str(job.output)}
    guesses = job.source.color.describe_guesses() if job.source.kind == "video" else ""
    if guesses:
        say(f"{job.source.path.name}: {guesses}")
    settings = recipe.run.output
    more: dict[str, Any] = {}
    if job.source.kind == "image":
        width, height, warnings = _image(job, stages, settings)
        frames = 1
    else:
        video = VideoJob(job.source.path, job.output, stages, options(settings), recipe.run.batch, overwrite)
        done = video.run(job.source.path.name)
        width, height, frames, warnings = done.width, done.height, done.frames, done.warnings
        more["codec"] = done.codec
        if stages.schedule:
            more |= {"schedule": stages.schedule, "scene_cuts": stages.cuts}
    seconds = time.perf_counter() - start
    for text in warnings:
        say(text)
    return {
        **result,
        "frames": frames,
        "width": width,
        "height": height,
        "seconds": round(seconds, 3),
        "fps": round(frames / seconds, 3),
        "precision": stages.precision,
        "warnings": [*([guesses] if guesses else []), *warnings, *stages.warnings],
        **more,
    }
