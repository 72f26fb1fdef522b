"""Names of outputs: never an input, hidden while unfinished, whole when they appear."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Iterable

from restore.errors import MediaError, RequestError


def check_output(path: str | Path, inputs: Iterable[str | Path] = (), overwrite: bool = False) -> Path:
    """``path`` as a Path that may be written.

    Raises:
        RequestError: it is one of ``inputs`` (under any name or link), it is a folder, its folder does not exist, or it
            exists and ``overwrite`` is false.
    """
    path = Path(path)
    for source in inputs:
        if _same(path, Path(source)):
            raise RequestError(f"{path} is the input itself; give another name for the output")
    if path.is_dir():
        raise RequestError(f"{path} is a folder; give a file name for the output")
    if not path.parent.is_dir():
        raise RequestError(f"{path.parent} is not a folder; make it before writing {path.name} there")
    if path.exists() and not overwrite:
        raise RequestError(f"{path} exists already; give another name or allow overwriting")
    return path


def _same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:  # one of them does not exist
        return a.resolve() == b.resolve()


def temporary_name(path: Path) -> Path:
    """A hidden unused name beside ``path``, with the same ending so that the format is found."""
    stem = path.stem[:180]  # names may have 255 bytes
    return path.with_name(f".{stem}.{os.getpid()}-{secrets.token_hex(3)}.part{path.suffix}")


def partial_name(path: Path) -> Path:
    """An unused name that says the content is not whole: ``name.partial.ext``, ``name.partial-2.ext``."""
    candidate, number = path.with_name(f"{path.stem}.partial{path.suffix}"), 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.stem}.partial-{number}{path.suffix}"), number + 1
    return candidate


def write_whole(path: Path, data: bytes) -> None:
    """Writes ``data`` to ``path`` at once or not at all; MediaError if it cannot be written."""
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        cause = error.strerror or error
        raise MediaError(f"{path} could not be written: {cause}; check space and permissions") from error


def flush_folder(folder: Path) -> None:
    """Names given and taken in a folder are on the disk when this returns, where the system has a way to say so."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
