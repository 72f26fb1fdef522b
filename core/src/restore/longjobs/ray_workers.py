"""Workers of a Ray cluster. What they make comes back through Ray's own store and is written here, by one hand, so that
only the inputs must be seen by all nodes."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from pathlib import Path
from typing import Any, Mapping

import attrs

from restore import lock
from restore.errors import MediaError, RequestError, RestoreError
from restore.longjobs.identity import stamp
from restore.longjobs.journal import failure, write_through
from restore.longjobs.passes import Pass
from restore.longjobs.remote import fetch
from restore.longjobs.work import Look, Piece, Setting, Task, Whole, Workbench
from restore.longjobs.workers import Event
from restore.media.files import temporary_name
from restore.progress import hide_bars, say

_ERROR = re.compile(r"[\w.]+(Error|Exception): ")
_LOST = 60.0  # seconds without a node to put a worker on, after which the work ends


@attrs.frozen
class _Made:
    """A task's result, and the files it wrote where it was done: by name of the task's attribute."""

    result: dict[str, Any]
    files: dict[str, bytes]


def _library() -> Any:
    try:
        import ray
    except ImportError as error:
        raise RequestError(
            "--ray needs Ray, on this machine and on every node: pip install 'restorekit[ray]'"
        ) from error
    return ray


class _Actor:
    """One worker, on whatever node."""

    def __init__(self, setting: Setting, threads: int, gpu: bool) -> None:
        import torch

        torch.set_num_threads(threads)
        hide_bars()
        self._setting, self._device = setting, "cuda:0" if gpu else None
        self._bench: Workbench | None = None
        self._advanced = 0

    def describe(self) -> dict[str, Any]:
        """What this node would make results of, and where it is."""
        from restore.longjobs.restoring import identity_of

        return {"identity": identity_of(self._setting), "node": platform.node(), "pid": os.getpid()}

    def do(self, task: Task, files: dict[str, bytes]) -> _Made:
        """A task, with the files it reads; its target lies in a folder of its own here."""
        bench = self._bench = self._bench or Workbench(self._setting, self._device)
        self._advanced = 0
        with tempfile.TemporaryDirectory(prefix="restore-") as name:
            local = _moved(_fetched(task, self._setting.origins), Path(name), files)
            result = bench.do(local, self._advance)
            return _Made(result, _written(local))

    def _advance(self, frames: int) -> None:
        self._advanced += frames

    def advanced(self) -> int:
        """Frames of the task at hand that are finished."""
        return self._advanced


def _fetched(task: Task, origins: Mapping[str, str]) -> Task:
    """A task on this node's own copy of a source that was given as a URL."""
    if isinstance(task, Whole):
        url = _origin(task.source.path, origins)
        return task if url is None else attrs.evolve(task, source=attrs.evolve(task.source, path=fetch(url)))
    if isinstance(task, (Piece, Look, Pass)):
        url = _origin(task.source, origins)
        return task if url is None else attrs.evolve(task, source=fetch(url))
    return task


def _origin(path: Path, origins: Mapping[str, str]) -> str | None:
    """The URL of a file that is not on this machine, or of the folder that it is from."""
    if path.exists():
        return None
    if str(path) in origins:
        return origins[str(path)]
    folder = origins.get(str(path.parent))
    return None if folder is None else f"{folder.rstrip('/')}/{path.name}"


def _moved(task: Task, folder: Path, files: Mapping[str, bytes]) -> Task:
    """A task whose files lie in ``folder``."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    if isinstance(task, Piece):
        _same_source(task)
        out = None if task.state_out is None else folder / "state_out"
        into = None if task.state_in is None else folder / "state_in"
        return attrs.evolve(task, target=folder / "target", state_in=into, state_out=out, stamp=stamp(task.source))
    if isinstance(task, Pass):
        # What waits between two sweeps is too much to be sent: it lies in a folder that all nodes see.
        _same_source(task)
        return attrs.evolve(task, stamp=stamp(task.source))
    if isinstance(task, Whole):
        return attrs.evolve(task, output=folder / task.output.name)
    return task


def _same_source(task: Piece | Pass) -> None:
    """Clocks of machines differ; what the file's size says must not."""
    try:
        size = stamp(task.source)[0]
    except OSError as error:
        raise MediaError(
            f"{task.source} is not seen by a node of the cluster ({error.strerror}); put it in a folder that all nodes "
            "share, or give it as a URL"
        ) from error
    if size != task.stamp[0]:
        raise MediaError(f"{task.source} is another file on a node of the cluster, or was changed")


def _written(task: Task) -> dict[str, bytes]:
    if isinstance(task, Piece):
        files = {"target": task.target.read_bytes()}
        if task.state_out is not None:
            files["state_out"] = task.state_out.read_bytes()
        return files
    return {"output": task.output.read_bytes()} if isinstance(task, Whole) else {}


class RayWorkers:
    """As many workers as the cluster has GPUs, or else CPUs for; each takes a GPU, or ``threads`` cores.

    Args:
        setting: what workers know; it is pickled.
        address: ``auto``, ``host:port``, or ``local`` for a cluster of this machine alone.
        identity: of recipe, plugins and weights here; every node must have the same.
        workers: how many; None: as many as there is room for.

    Raises:
        RequestError: Ray is not installed, there is no such cluster, or a node has other plugins or weights.
    """

    remote = True

    def __init__(self, setting: Setting, address: str, identity: Mapping[str, Any], workers: int | None = None) -> None:
        self._ray = ray = _library()
        self._began = not ray.is_initialized()
        if self._began:
            try:
                where = None if address == "local" else address
                ray.init(address=where, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise RequestError(
                    f"there is no Ray cluster at {address!r} ({error}); `ray start` begins one"
                ) from error
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if setting.recipe.run.device in ("auto", "cuda") else 0
        count = workers or gpus or max(1, int(resources.get("CPU", 1)))
        cpus = resources.get("CPU", 1.0)
        self._threads, self._share = (
            max(1, int(cpus) // count),
            max(1, cpus // count) if cpus >= count else cpus / count,
        )
        self._setting, self._gpu = setting, gpus > 0
        self._all = [self._begin() for _ in range(count)]
        self._tasks: dict[int, tuple[Any, Task]] = {}
        self._seen: dict[int, int] = {}
        try:
            self._check(identity)
        except BaseException:
            self.close()
            raise

    def _begin(self) -> Any:
        options = {"num_gpus": 1, "num_cpus": 0} if self._gpu else {"num_cpus": self._share}
        # Two calls at a time: one works, the other tells how far it is.
        kind = self._ray.remote(_Actor).options(max_concurrency=2, **options)
        return kind.remote(self._setting, self._threads, self._gpu)

    def _check(self, identity: Mapping[str, Any]) -> None:
        try:
            told = self._ray.get([one.describe.remote() for one in self._all], timeout=_LOST * 5)
        except Exception as error:
            raise RequestError(f"a worker of the cluster cannot begin: {_reason(error)}") from error
        for found in told:
            rows = lock.differences(identity, found["identity"]) if found["identity"] else []
            if rows:
                table = lock.table(("what", "here", f"on {found['node']}"), rows)
                raise RequestError(
                    f"node {found['node']} would restore otherwise than this machine; nothing was done\n{table}\n"
                    "Install the same versions and weights on all nodes"
                )
        nodes = {found["node"] for found in told}
        self.ids = [int(found["pid"]) for found in told]
        say(f"{len(told)} workers on {len(nodes)} machine{'s' if len(nodes) > 1 else ''}")

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self._all)

    def free(self) -> list[int]:
        """Those without a task."""
        return [k for k in range(len(self._all)) if k not in self._tasks]

    def give(self, worker: int, task: Task) -> None:
        """Sends it, and the state it goes on from."""
        files = {}
        if isinstance(task, Piece) and task.state_in is not None:
            files["state_in"] = task.state_in.read_bytes()
        self._tasks[worker] = (self._all[worker].do.remote(task, files), task)
        self._seen[worker] = 0

    def listen(self, seconds: float) -> list[Event]:
        """Waits for a result; one that died is replaced, on another node where its own is lost."""
        waiting = {answer: worker for worker, (answer, _) in self._tasks.items()}
        if not waiting:
            return []
        ready, _ = self._ray.wait(list(waiting), timeout=seconds)
        events = self._progress()
        for answer in ready:
            events.append(self._ended(waiting[answer], answer))
        return events

    def _progress(self) -> list[Event]:
        events = []
        asked = {worker: self._all[worker].advanced.remote() for worker in self._tasks}
        ready, _ = self._ray.wait(list(asked.values()), num_returns=len(asked), timeout=0.2)
        for worker, answer in asked.items():
            if answer not in ready:
                continue
            try:
                frames = int(self._ray.get(answer))
            except Exception:  # the task's own answer says what became of the worker
                continue
            if frames > self._seen[worker]:
                events.append(Event(worker, "progress", frames - self._seen[worker]))
                self._seen[worker] = frames
        return events

    def _ended(self, worker: int, answer: Any) -> Event:
        _, task = self._tasks.pop(worker)
        try:
            made = self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, RestoreError):
                return Event(worker, "failed", cause)
            return Event(worker, "died", str(cause).strip().splitlines()[-1] if str(cause).strip() else repr(cause))
        except self._ray.exceptions.RayError as error:
            self._all[worker] = self._begin()
            return Event(worker, "died", _reason(error))
        try:
            return Event(worker, "done", self._kept(task, made))
        except OSError as error:
            return Event(worker, "failed", failure("what a worker made cannot be written", error))

    def _kept(self, task: Task, made: _Made) -> dict[str, Any]:
        """The result, its files now here."""
        if isinstance(task, Piece):
            write_through(task.target, made.files["target"])
            if task.state_out is not None:
                write_through(task.state_out, made.files["state_out"])
        elif isinstance(task, Whole):
            part = temporary_name(task.output)
            write_through(part, made.files["output"])
            os.replace(part, task.output)
            return {**made.result, "output": str(task.output), "stamp": stamp(task.output)}
        else:
            assert isinstance(task, (Look, Pass))
        return made.result

    def close(self) -> None:
        """Ends the workers; a cluster that was begun here ends too."""
        for one in self._all:
            self._ray.kill(one)
        self._all = []
        self._tasks.clear()
        if self._began and self._ray.is_initialized():
            self._ray.shutdown()


def _reason(error: BaseException) -> str:
    """The line of a traceback that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if _ERROR.match(line)]
    return (told or lines[:1] or [type(error).__name__])[-1]
