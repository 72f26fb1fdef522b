"""Who does the tasks: this process, or several of this machine. All look alike to the one who gives them out."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing import connection
from typing import Any, Callable, Literal, Protocol

import attrs

from restore.errors import RestoreError
from restore.inference.stages import Stages
from restore.longjobs.work import Setting, Task, Workbench
from restore.progress import hide_bars, say

Kind = Literal["progress", "done", "failed", "died", "note"]
_HEARTBEAT = 5.0  # seconds
_SILENT = 120.0  # a worker whose heart has not beaten for so long hangs, lock and all


@attrs.frozen
class Event:
    """What a worker says.

    Attributes:
        worker: its number.
        kind: ``progress``, ``value`` more frames; ``done``, ``value`` is the result; ``failed``, ``value`` is the
            error; ``died``, ``value`` says how.
        value: as above.
    """

    worker: int
    kind: Kind
    value: Any


class Pool(Protocol):
    """Workers that are each given one task at a time."""

    remote: bool

    @property
    def workers(self) -> int:
        """How many there are."""
        ...

    def free(self) -> list[int]:
        """Numbers of those that have no task."""
        ...

    def give(self, worker: int, task: Task) -> None:
        """A task for a free worker."""
        ...

    def listen(self, seconds: float) -> list[Event]:
        """What has been said, waiting so long for the first word."""
        ...

    def close(self) -> None:
        """No more tasks; those at hand are given up."""
        ...


class Here:
    """This process, one task after the other.

    Args:
        setting: what workers know.
        stages: the models.
        on_progress: told of finished frames at once, as nobody listens while a task is done.
    """

    remote = False
    workers = 1

    def __init__(self, setting: Setting, stages: Stages, on_progress: Callable[[int], None]) -> None:
        self._bench = Workbench(setting, stages=stages)
        self._task: Task | None = None
        self._advance = on_progress

    def free(self) -> list[int]:
        """It is, whenever it is asked."""
        return [0] if self._task is None else []

    def give(self, worker: int, task: Task) -> None:
        """To be done when one listens."""
        self._task = task

    def listen(self, seconds: float) -> list[Event]:
        """Does the task."""
        if self._task is None:
            return []
        task, self._task = self._task, None
        try:
            return [Event(0, "done", self._bench.do(task, self._advance))]
        except RestoreError as error:
            return [Event(0, "failed", error)]

    def close(self) -> None:
        """Nothing is left."""
        self._task = None


def device_of(worker: int, asked: str) -> str | None:
    """A GPU for each worker in turn where the recipe says ``auto`` or ``cuda``; None: as the recipe says."""
    import torch

    count = torch.cuda.device_count() if asked in ("auto", "cuda") else 0
    return f"cuda:{worker % count}" if count else None


def _context(start: str | None) -> Any:
    """How processes begin: from one that has imported all and done nothing, where the system can do that."""
    if start == "spawn" or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["restore.longjobs.work"])
    return context


class _Process:
    """One of this machine's workers, from here."""

    def __init__(self, setting: Setting, number: int, threads: int, start: str | None) -> None:
        context = _context(start)
        self.pipe, theirs = context.Pipe()
        device = device_of(number, setting.recipe.run.device)
        self.process = context.Process(target=_serve, args=(theirs, setting, device, threads), daemon=True)
        # BLAS and others read this once, when they are loaded.
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = str(threads)
        try:
            self.process.start()
        finally:
            if before is None:
                del os.environ["OMP_NUM_THREADS"]
            else:
                os.environ["OMP_NUM_THREADS"] = before
        theirs.close()
        self.busy = False
        self.heard = time.monotonic()

    def stop(self) -> None:
        self.process.kill()
        self.process.join(10)
        self.pipe.close()


class Processes:
    """Several processes of this machine, each with its share of the cores, or a GPU of its own.

    Args:
        setting: what workers know; it is pickled.
        workers: how many.
        start: ``spawn`` begins each from nothing, which takes seconds; None: as is quickest here.
    """

    remote = False

    def __init__(self, setting: Setting, workers: int, start: str | None = None) -> None:
        self._setting, self._start = setting, start
        self._threads = max(1, cores() // workers)
        self._all = [_Process(setting, k, self._threads, start) for k in range(workers)]

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self._all)

    @property
    def ids(self) -> list[int]:
        """Their process numbers."""
        return [p.process.pid or 0 for p in self._all]

    def free(self) -> list[int]:
        """Those without a task."""
        return [k for k, p in enumerate(self._all) if not p.busy]

    def give(self, worker: int, task: Task) -> None:
        """Sends it."""
        one = self._all[worker]
        one.busy, one.heard = True, time.monotonic()
        # Where the worker has died just now, listen() finds out.
        with contextlib.suppress(OSError):
            one.pipe.send(task)

    def listen(self, seconds: float) -> list[Event]:
        """Waits for a word of anyone; one that died is replaced."""
        pipes = {p.pipe: k for k, p in enumerate(self._all)}
        events: list[Event] = []
        for pipe in connection.wait(list(pipes), seconds):
            number = pipes[pipe]
            try:
                while self._all[number].pipe.poll():
                    events += self._said(number, *self._all[number].pipe.recv())
            except (EOFError, OSError):
                self._all[number].process.join(5)
                events.append(self._replaced(number, f"exit code {self._all[number].process.exitcode}"))
        for number, one in enumerate(self._all):
            if one.busy and time.monotonic() - one.heard > _SILENT:
                events.append(self._replaced(number, f"silent for {_SILENT:g} s"))
        return events

    def _said(self, number: int, kind: Kind, value: Any) -> list[Event]:
        one = self._all[number]
        one.heard = time.monotonic()
        if kind in ("done", "failed", "died"):
            one.busy = False
        return [Event(number, kind, value)] if kind != "note" else []

    def _replaced(self, number: int, how: str) -> Event:
        self._all[number].stop()
        self._all[number] = _Process(self._setting, number, self._threads, self._start)
        return Event(number, "died", how)

    def close(self) -> None:
        """Ends them."""
        for one in self._all:
            one.stop()
        self._all = []


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def _serve(pipe: Any, setting: Setting, device: str | None, threads: int) -> None:
    """A worker's life: tasks come, results go; it ends with the process that began it."""
    # Ctrl-C reaches every process of a terminal; the one that gives out tasks decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(threads)
    hide_bars()
    lock = threading.Lock()

    def send(kind: Kind, value: Any) -> None:
        with lock:
            pipe.send((kind, value))

    def beat() -> None:
        while True:
            time.sleep(_HEARTBEAT)
            try:
                send("note", None)
            except OSError:
                os._exit(1)  # nobody is there any more; nothing half-done is wanted

    threading.Thread(target=beat, daemon=True).start()
    bench: Workbench | None = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = pipe.recv()
            try:
                bench = bench or Workbench(setting, device)
                send("done", bench.do(task, lambda count: send("progress", count)))
            except RestoreError as error:
                send("failed", error)
            except (EOFError, OSError, MemoryError):
                raise
            except Exception as error:
                say(f"worker {os.getpid()}: {type(error).__name__}: {error}")
                send("died", f"{type(error).__name__}: {error}")
                bench = None
