"""Restores files: at once or in parts, in this process or by many workers."""

from __future__ import annotations

import functools
from typing import Any, Callable, Mapping, Sequence

from restore.document import Document
from restore.errors import RestoreError
from restore.inference import jobs
from restore.inference.stages import Stages
from restore.longjobs.film import Film
from restore.longjobs.identity import recipe_identity
from restore.longjobs.joining import can_be_parted, whole_because
from restore.longjobs.running import Conductor
from restore.longjobs.work import Setting, why_whole
from restore.longjobs.workers import Here, Pool, Processes
from restore.modelling import builder
from restore.plugins import registry
from restore.progress import Progress, say
from restore.recipe import Recipe, check

Done = Callable[[jobs.Job, dict[str, Any]], None]
Failed = Callable[[jobs.Job, RestoreError], None]


def build(document: Document, work: int | None, device: str | None) -> Stages:
    """The models of a recipe, in whatever process; ``device`` overrules the recipe's."""
    if device is not None:
        document.data.setdefault("run", {})["device"] = device
    return jobs.build_stages(check(document), document, builder(registry()), work)


def setting_of(
    recipe: Recipe,
    document: Document,
    files: Sequence[jobs.Job],
    overwrite: bool,
    origins: Mapping[str, str] | None = None,
) -> Setting:
    """What workers know of a recipe; ``origins`` are URLs of files, by the names of their copies here."""
    builds = functools.partial(build, document, jobs.work_of(files))
    return Setting(recipe, builds, overwrite, document, origins or {})


def identity_of(setting: Setting) -> dict[str, Any]:
    """What results would be made of where this is asked; empty where the models come from no recipe file."""
    if setting.document is None:
        return {}
    return recipe_identity(setting.recipe, setting.document, registry())


def restore_here(
    files: Sequence[jobs.Job],
    setting: Setting,
    stages: Stages,
    identity: Callable[[], Mapping[str, Any]],
    done: Done,
    failed: Failed,
    restart: bool = False,
) -> None:
    """One file after the other, in this process. Long videos go in parts.

    Args:
        files: what to restore.
        setting: what a worker knows.
        stages: the models.
        identity: of recipe, plugins and weights; asked for where there are parts.
        done, failed: told of each file's end.
        restart: parts of an earlier run are thrown away.
    """
    for job in files:
        why, long = why_whole(stages), can_be_parted(job.source, job.output, setting)
        if why and long:
            say(whole_because(job.source.path, why))
        if why or not long:
            _at_once(job, setting, stages, done, failed)
            continue
        film = Film(job, setting, identity(), restart)
        with Progress(job.source.path.name, job.source.frames, "frames") as bar:
            begun = _Shown(film, bar)
            stages.tell(lambda text: bar.advance(0, note=text))
            pool = Here(setting, stages, begun)
            Conductor([film], pool, _ended(done), _ended(failed)).run()


class _Shown:
    """Progress of one film; what was there before is counted when the first frame comes."""

    def __init__(self, film: Film, bar: Progress) -> None:
        self._film, self._bar, self._first = film, bar, True

    def __call__(self, frames: int) -> None:
        if self._first:
            self._bar.begin_at(self._film.resumed_frames)
            self._first = False
        self._bar.advance(frames)


def _ended(told: Callable[[jobs.Job, Any], None]) -> Callable[[Film, Any], None]:
    return lambda film, what: told(film.job, what)


def _at_once(job: jobs.Job, setting: Setting, stages: Stages, done: Done, failed: Failed) -> None:
    try:
        result = jobs.run_job(job, stages, setting.recipe, setting.overwrite)
    except RestoreError as error:
        failed(job, error)
    else:
        done(job, result)


def restore_by(
    pool: Pool,
    files: Sequence[jobs.Job],
    setting: Setting,
    identity: Mapping[str, Any],
    done: Done,
    failed: Failed,
    restart: bool = False,
) -> None:
    """By workers: parts of long videos, and whole short ones, in the order of the files. Arguments as above."""
    films = [Film(job, setting, identity, restart) for job in files]
    total = sum(job.source.frames or 0 for job in files)
    label = files[0].source.path.name if len(files) == 1 else f"{len(files)} files"
    try:
        with Progress(label, total or None, "frames") as bar:
            Conductor(films, pool, _ended(done), _ended(failed), bar).run()
    finally:
        pool.close()


def pool_of(setting: Setting, workers: int | None, ray: str | None, identity: Mapping[str, Any]) -> Pool:
    """So many processes of this machine, or the workers of the Ray cluster at an address.

    Raises:
        RequestError: no such cluster, Ray is not installed, or a node has other plugins or weights.
    """
    if ray is None:
        return Processes(setting, workers or 1)
    from restore.longjobs.ray_workers import RayWorkers

    return RayWorkers(setting, ray, identity)
