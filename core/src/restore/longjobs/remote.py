"""Inputs and outputs that lie elsewhere, by URL: whatever fsspec can reach (s3://, gs://, sftp://, https://, memory://).

An input is fetched once to every machine that works on it, and kept until another takes its place; an output is made on
this machine, journal and all, and sent when it is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import Any, Iterator

import platformdirs

from restore.errors import MediaError, RequestError
from restore.media.files import temporary_name
from restore.media.probe import is_media_name
from restore.progress import say

_URL = re.compile(r"[a-z][a-z0-9+.-]+(::[^:]+)*://", re.IGNORECASE)


def is_url(text: str | Path) -> bool:
    """Whether a name is a URL and no path of this machine."""
    return bool(_URL.match(str(text)))


def cache_folder() -> Path:
    """Where copies of inputs and unfinished outputs lie; ``RESTORE_CACHE`` names another folder."""
    return Path(os.environ.get("RESTORE_CACHE") or platformdirs.user_cache_dir("restore")) / "remote"


def _place(url: str) -> Path:
    name = url.rstrip("/").rpartition("/")[2] or "file"
    return cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:16] / name


@contextlib.contextmanager
def _reaching(url: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise RequestError(f"{url}: {error}") from error
    except FileNotFoundError as error:
        raise RequestError(f"{url} does not exist; check the name") from error
    except ValueError as error:
        raise RequestError(f"{url}: {error}") from error
    except OSError as error:
        raise MediaError(f"{url} cannot be reached: {error}") from error


def _open(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    found: tuple[Any, str] = url_to_fs(url)
    return found


def fetch(url: str) -> Path:
    """A copy of a file on this machine, or a folder with copies of a folder's images and videos.

    What was fetched before is taken as it is while the original says the same of itself (size, version, time).

    Raises:
        RequestError: it does not exist, or fsspec needs another package for this kind of URL, which is named.
        MediaError: it cannot be reached.
    """
    with _reaching(url):
        system, path = _open(url)
        place = _place(url)
        if not system.isdir(path):
            _copy(system, path, place, url)
            return place
        place.mkdir(parents=True, exist_ok=True)
        names = [name.rstrip("/").rpartition("/")[2] for name in system.ls(path, detail=False)]
        wanted = {name for name in names if is_media_name(name)}
        for old in place.iterdir():
            if old.name.removesuffix(".told") not in wanted:
                old.unlink()
        for name in wanted:
            _copy(system, f"{path.rstrip('/')}/{name}", place / name, f"{url.rstrip('/')}/{name}")
        return place


def _copy(system: Any, path: str, place: Path, url: str) -> None:
    told, note = str(system.ukey(path)), place.with_name(place.name + ".told")
    if place.is_file() and note.is_file() and note.read_text(encoding="utf-8") == told:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    say(f"fetching {url}")
    temporary = temporary_name(place)
    try:
        system.get_file(path, str(temporary))
        note.unlink(missing_ok=True)
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)
    note.write_text(told, encoding="utf-8")


def staged(url: str) -> Path:
    """Where an output is made before it is sent; the same for every run, so that an interrupted one is taken up."""
    place = _place(url)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def exists(url: str) -> bool:
    """Whether something has the name already."""
    with _reaching(url):
        system, path = _open(url)
        return bool(system.exists(path))


def send(local: Path, url: str) -> None:
    """Sends a finished file to its URL, and removes it here.

    Raises:
        MediaError: it did not arrive whole; it is still here.
    """
    with _reaching(url):
        system, path = _open(url)
        parent = path.rpartition("/")[0]
        if parent:
            with contextlib.suppress(NotImplementedError, PermissionError):
                system.makedirs(parent, exist_ok=True)
        system.put_file(str(local), path)
        if system.size(path) != local.stat().st_size:
            raise MediaError(f"{url} did not arrive whole; the result is {local}")
    local.unlink()
