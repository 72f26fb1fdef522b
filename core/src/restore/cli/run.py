"""``restore run``: restore images, videos and folders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore.cli.options import as_json, lock, overrides, print_json, source

if TYPE_CHECKING:
    from restore.document import Document
    from restore.errors import RestoreError
    from restore.inference.jobs import Job, Plan
    from restore.longjobs.ledger import Ledger
    from restore.recipe import Recipe


@click.command("run")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-o", "--output", help="Result, or a folder for several results.")
@source
@overrides
@click.option("--reference", type=click.Path(path_type=Path), help="The clean original: measure the result against it.")
@click.option("--device", help="auto, cpu, cuda, cuda:1, mps  [default: auto]")
@click.option("--overwrite", is_flag=True, help="Replace an existing result. An input is never replaced.")
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Processes of this machine that share the work."
)
@click.option("--ray", metavar="ADDRESS", help="Workers of a Ray cluster instead: auto, or host:port.")
@click.option("--restart", is_flag=True, help="Throw away what an interrupted run has finished.")
@lock
@as_json
def command(
    inputs: tuple[str, ...],
    output: str | None,
    plugin: str | None,
    recipe: str | None,
    overrides: tuple[str, ...],
    reference: Path | None,
    device: str | None,
    overwrite: bool,
    workers: int | None,
    ray: str | None,
    restart: bool,
    lock: Path | None,
    json_: bool,
) -> None:
    """Restore images, videos, or every image and video in a folder.

    A video keeps its sound, subtitles, chapters, timestamps, colour and bit depth. Without INPUT, a sample clip that
    comes with restore is restored, and the gain is measured.

    A long video is restored in parts, which are kept in a folder beside the output until all are joined: the same
    command goes on where an interrupted one was. --workers and --ray give parts, and short files, to several workers.
    INPUT and output may be URLs (s3://, sftp://, https://, whatever fsspec reaches).

    \b
    restore run --plugin srsenet                         the sample
    restore run --plugin srsenet clip.mp4 -o big.mp4     twice the size
    restore run --plugin srsenet photos/ -o larger/      a folder
    restore run --plugin srsenet --set model.scale=4 photo.png
    restore run --plugin srsenet --set run.output.codec=hevc --set run.output.quality=20 clip.mov
    restore run --recipe along_time.toml --set run.temporal.schedule=exact clip.mp4
    restore run --plugin srsenet --workers 4 film.mkv -o big.mkv
    """
    from restore.catalogue import recipe_document
    from restore.errors import RequestError
    from restore.inference import jobs
    from restore.lock import enforce
    from restore.longjobs.joining import was_joined
    from restore.longjobs.ledger import Ledger
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
    places = _Places(inputs, output, overwrite)
    paths, target = places.inputs, places.output
    if sample:
        from restore.samples import path

        overwrite = True
        if target is None:
            target = Path(f"sample_restored.{checked.run.output.container or 'mkv'}")
        say("no INPUT: restoring the sample clip that comes with restore")
        paths = [_damaged(path("sample.mkv"), target, checked)]
    if workers is not None and ray is not None:
        raise RequestError("give either --workers or --ray: the workers of a cluster are as many as it has")
    several = len(paths) > 1 or any(path.is_dir() for path in paths)
    ledger = Ledger(_folder(target), restart) if several else None
    known = ledger.outputs if ledger else [target] if target is not None and was_joined(target) else []
    planned = jobs.plan(paths, target, checked.run.output, overwrite, known)
    if reference is not None and len(planned.jobs) != 1:
        raise RequestError("--reference goes with one INPUT")
    command = _Command(planned, checked, document, overwrite, restart, ledger, places.origins)
    command.run(workers, ray)
    results, failed = command.ordered(), command.failed
    if reference is not None or sample:
        _measure(planned.jobs[0], results[0], reference, sample)
    places.send(planned.jobs, results)
    if json_:
        print_json({"results": results})
    else:
        for result in results:
            click.echo(_sentence(result))
    if failed:
        sys.exit(1)


class _Places:
    """Inputs and output of one call on this machine, and where they are from and go to.

    Raises:
        RequestError: a URL that does not exist, or one that does and may not be replaced.
    """

    def __init__(self, inputs: tuple[str, ...], output: str | None, overwrite: bool) -> None:
        from restore.errors import RequestError
        from restore.longjobs import remote

        self.origins: dict[str, str] = {}
        self.inputs: list[Path] = []
        self._url = output if output is not None and remote.is_url(output) else None
        if self._url is not None:
            if any(text.rstrip("/") == self._url.rstrip("/") for text in inputs):
                raise RequestError(f"{self._url} is the input itself; give another name for the output")
            if not overwrite and Path(self._url).suffix and remote.exists(self._url):
                raise RequestError(f"{self._url} exists already; give another name or --overwrite")
        self.output = None if output is None else Path(output) if self._url is None else remote.staged(self._url)
        for text in inputs:
            if remote.is_url(text):
                self.inputs.append(remote.fetch(text))
                self.origins[str(self.inputs[-1])] = text
            else:
                self.inputs.append(Path(text))

    def send(self, files: list[Job], results: list[dict[str, Any]]) -> None:
        """Results to where they go; what they say of their places becomes true."""
        from restore.longjobs import remote

        by_name = {result["output"]: result for result in results}
        for job in files:
            result = by_name.get(str(job.output))
            if self._url is None or result is None:
                continue
            url = self._url if job.output == self.output else f"{self._url.rstrip('/')}/{job.output.name}"
            remote.send(job.output, url)
            result["output"] = url


def _folder(output: Path | None) -> Path:
    """Where results of several inputs go."""
    return output or Path("restored")


class _Command:
    """All files of one call, by whoever does the work."""

    def __init__(
        self,
        planned: Plan,
        recipe: Recipe,
        document: Document,
        overwrite: bool,
        restart: bool,
        ledger: Ledger | None,
        origins: dict[str, str],
    ) -> None:
        self.origins = origins
        self.planned, self.recipe, self.document = planned, recipe, document
        self.overwrite, self.restart, self.ledger = overwrite, restart, ledger
        self.results: dict[Path, dict[str, Any]] = {}
        self.failed: list[int] = []
        self._identity: dict[str, Any] | None = None

    def run(self, workers: int | None, ray: str | None) -> None:
        """Restores all of them."""
        from restore.longjobs import restoring
        from restore.longjobs.journal import folder_for

        for path, error in self.planned.unreadable:
            self._note(path, error)
        complete = False
        try:
            files = self._left()
            overwrite = self.overwrite or self.ledger is not None
            setting = restoring.setting_of(self.recipe, self.document, files, overwrite, self.origins)
            if workers is None and ray is None:
                stages = setting.build(None)
                restoring.restore_here(
                    files, setting, stages, self.identity, self.done, self.error, restart=self.restart
                )
            elif files:
                pool = restoring.pool_of(setting, workers, ray, self.identity())
                restoring.restore_by(pool, files, setting, self.identity(), self.done, self.error, self.restart)
            # A file that failed for good is no reason to keep anything; one whose parts wait to be taken up is.
            complete = not any(folder_for(job.output).is_dir() for job in self.planned.jobs)
        finally:
            if self.ledger is not None:
                self.ledger.close(complete)

    def _left(self) -> list[Job]:
        """Files that no earlier run has finished."""
        from restore.progress import say

        if self.ledger is None:
            return list(self.planned.jobs)
        self.ledger.begin(self.identity())
        left = []
        for job in self.planned.jobs:
            result = self.ledger.result(job)
            if result is None:
                self.ledger.start(job)
                left.append(job)
            else:
                self.results[job.source.path] = {**result, "resumed": True}
        if len(left) < len(self.planned.jobs):
            done, count = len(self.results), len(self.planned.jobs)
            say(f"{done} of {count} files are there from before; going on with the others")
        return left

    def identity(self) -> dict[str, Any]:
        """What results are made of; weights are read for it, so it is asked for only where it is needed."""
        from restore.longjobs.identity import recipe_identity
        from restore.plugins import registry

        if self._identity is None:
            self._identity = recipe_identity(self.recipe, self.document, registry())
        return self._identity

    def done(self, job: Job, result: dict[str, Any]) -> None:
        """One file is there."""
        self.results[job.source.path] = result
        if self.ledger is not None:
            self.ledger.add(job, result)

    def error(self, job: Job, error: RestoreError) -> None:
        """One bad file of many must not cost the others."""
        if len(self.planned.jobs) + len(self.planned.unreadable) == 1:
            raise error
        self._note(job.source.path, error)

    def _note(self, path: Path, error: RestoreError) -> None:
        from restore.progress import say

        say(f"restore: {error}")
        self.failed.append(error.exit_code)
        self.results[path] = {"input": str(path), "output": None, "error": str(error)}

    def ordered(self) -> list[dict[str, Any]]:
        """Results in the order of the inputs, those that could not be read first."""
        paths = [path for path, _ in self.planned.unreadable] + [job.source.path for job in self.planned.jobs]
        return [self.results[path] for path in paths]


def _damaged(sample: Path, output: Path, recipe: Recipe) -> Path:
    """The sample as the recipe's operator makes it, beside the output; the sample itself where there is none."""
    from restore.inference import jobs
    from restore.inference.degrading import degrade_video, find_way
    from restore.media.probe import probe
    from restore.modelling import builder
    from restore.plugins import registry
    from restore.progress import say
    from restore.recipe import Output

    made = jobs.build_measurement(recipe, builder(registry()))
    if made is None or made.rate > 1 or made.colours:
        return sample
    target, info = output.with_name("sample_damaged.mkv"), probe(sample)
    degrade_video(info, target, find_way(info, target, made, 0, Output(), segment=info.frames), overwrite=True)
    say(f"{target}: the sample as {recipe.operator.use if recipe.operator else ''} makes it")
    return target


def _measure(job: Job, result: dict[str, Any], reference: Path | None, sample: bool) -> None:
    """Adds ``metrics``, where there is something to compare with."""
    from restore.evaluation.files import compare
    from restore.media.probe import probe
    from restore.samples import path

    if reference is None and sample:
        clean = path("sample.mkv")
        if job.source.path == clean:
            reference = path("sample_reference.mkv") if result["height"] == 2 * job.source.height else None
        elif (result["width"], result["height"]) == (probe(clean).width, probe(clean).height):
            reference = clean
    if reference is not None:
        result["metrics"] = compare(job.output, reference, job.source.path)
        result["metrics"]["enlarged"] = result["height"] != job.source.height


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
        over = "bicubic" if metrics.get("enlarged", True) else "the input"
        gain = f", {metrics['gain']:+.2f} dB over {over}" if "gain" in metrics else ""
        text += f"\n{result['output']}: luma {metrics['psnr']:.2f} dB{gain}, SSIM {metrics['ssim']:.4f}"
    return text
