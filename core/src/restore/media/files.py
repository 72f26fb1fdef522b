"""Names of outputs: never an input, hidden while unfinished, whole when they appear."""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
import sys
import time
from pathlib import Path
from typing import IO, Iterable

from restore.errors import MediaError, RequestError

if sys.platform != "win32":  # there a file that someone writes cannot be removed anyway
    import fcntl

_HIDDEN = re.compile(r"\.(.*)\.(\d+)-[0-9a-f]{6}\.part(\.[^.]*|)", re.DOTALL)
_Hidden = dict[tuple[str, str], list[Path]]
_seen: dict[Path, tuple[float, float, _Hidden]] = {}  # how long a folder took to read, when, and what was there


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
    """A hidden unused name beside ``path``, with the same ending so that the format is found. What processes that were
    killed have left of the same output is removed."""
    for old in _hidden_in(path.parent).get((_short(path), path.suffix), []):
        _remove_left(old)
    return path.with_name(f".{_short(path)}.{os.getpid()}-{secrets.token_hex(3)}.part{path.suffix}")


def _short(path: Path) -> str:
    return path.stem[:180]  # names may have 255 bytes


def _hidden_in(folder: Path) -> _Hidden:
    """Unfinished files of other processes, by stem and suffix of their outputs. A folder of very many files is not read
    for each of them: only when fifty times as long as it took has gone by."""
    now = time.monotonic()
    took, when, found = _seen.get(folder, (0.0, -math.inf, {}))
    if now - when > 50 * took:
        found = _scan(folder)
        _seen.clear()
        _seen[folder] = time.monotonic() - now, now, found
    return found


def _scan(folder: Path) -> _Hidden:
    found: _Hidden = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _HIDDEN.fullmatch(entry.name)
            if match and int(match[2]) != os.getpid():
                found.setdefault((match[1], match[3]), []).append(folder / entry.name)
    return found


def _remove_left(path: Path) -> None:
    """Removes an unfinished file, unless its process lives, here or (as its lock tells) elsewhere."""
    match = _HIDDEN.fullmatch(path.name)
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            path.unlink()
        elif match and not _lives(int(match[2])):
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is someone else's
        return True
    return True


def hold(path: Path) -> IO[bytes] | None:
    """Makes a file and locks it while what is given back is open: nobody takes it for one that was left behind.

    Raises:
        OSError: it cannot be made.
    """
    if sys.platform == "win32":
        return None
    file = path.open("ab")
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


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
