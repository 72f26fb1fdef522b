"""Which of many files are done, so that a run over a folder goes on where it was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

from restore.inference.jobs import Job
from restore.longjobs.identity import refuse_other, stamp
from restore.longjobs.journal import Journal

NAME = "run.restore"


class Ledger:
    """Finished files of a run over several, beside them in the folder ``run.restore``.

    Args:
        folder: of the outputs.
        restart: what an earlier run finished does not count.

    Raises:
        RequestError: another process works there.
    """

    def __init__(self, folder: Path, restart: bool = False) -> None:
        self._folder = folder / NAME
        self._journal = Journal.find(self._folder)
        if self._journal is not None and restart:
            self._journal.remove()
            self._journal = None
        entries = self._journal.entries if self._journal is not None else []
        self._entries = {e["output"]: e for e in entries if "result" in e and _unchanged(e)}
        # Begun, and perhaps named just before the power went: whatever is there is ours.
        self._begun = {e["output"] for e in entries} - {e["output"] for e in entries if "result" in e}

    @property
    def outputs(self) -> list[Path]:
        """Files that are done, and as they were left; and those that were begun."""
        return [Path(name) for name in (*self._entries, *self._begun)]

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Goes on with recipe, plugins and weights that are those of before, or begins.

        Raises:
            RequestError: they are others.
        """
        if self._journal is None:
            self._journal = Journal.create(self._folder, {"identity": dict(identity)})
        else:
            refuse_other(self._journal.header["identity"], identity, self._folder)

    def result(self, job: Job) -> dict[str, Any] | None:
        """What was said of a file when it was done."""
        entry = self._entries.get(str(job.output))
        found: dict[str, Any] | None = None if entry is None else entry["result"]
        return found

    def start(self, job: Job) -> None:
        """A file is begun."""
        assert self._journal is not None
        if not job.output.exists():
            self._journal.append({"output": str(job.output)})

    def add(self, job: Job, result: Mapping[str, Any]) -> None:
        """A file is done."""
        assert self._journal is not None
        told = {"source_stamp": stamp(job.source.path), "output_stamp": stamp(job.output), "result": dict(result)}
        self._journal.append({"output": str(job.output), "source": str(job.source.path), **told})

    def close(self, complete: bool) -> None:
        """Lets go of it; with ``complete`` it is removed."""
        if self._journal is not None:
            if complete or not self._journal.entries:
                self._journal.remove()
            else:
                self._journal.close()
            self._journal = None


def _unchanged(entry: Mapping[str, Any]) -> bool:
    try:
        source, output = stamp(Path(entry["source"])), stamp(Path(entry["output"]))
    except OSError:
        return False
    return bool(source == entry["source_stamp"] and output == entry["output_stamp"])
