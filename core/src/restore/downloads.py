"""The cache of fetched weights. What lies there under its final name has the size and hash that a plugin promised."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, Iterator

import platformdirs

from restore.component import RemoteWeights
from restore.errors import RequestError, RestoreError
from restore.progress import Progress, say

TIMEOUT = 30.0  # seconds that a server may say nothing
_CHUNK = 1 << 16


def cache_folder() -> Path:
    """Where fetched files are kept: ``RESTORE_CACHE``, else the user's cache folder of this system."""
    named = os.environ.get("RESTORE_CACHE")
    return Path(named).expanduser().absolute() if named else Path(platformdirs.user_cache_dir("restorekit", False))


def is_offline() -> bool:
    """Whether ``RESTORE_OFFLINE`` forbids the network."""
    return os.environ.get("RESTORE_OFFLINE", "0").lower() not in ("", "0", "false", "no")


def cached_path(weights: RemoteWeights) -> Path:
    """The file's place in the cache, whether it is there or not; other contents have other places."""
    return cache_folder() / "weights" / f"{weights.sha256[:12]}-{weights.filename}"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hex.

    Raises:
        RestoreError: it cannot be read.
    """
    total = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                total.update(chunk)
    except OSError as error:
        raise RestoreError(f"{path} cannot be read: {error.strerror}") from None
    return total.hexdigest()


def is_whole(weights: RemoteWeights) -> bool:
    """Whether the cache holds the file, with the size and hash that were promised."""
    path = cached_path(weights)
    return path.is_file() and path.stat().st_size == weights.size and sha256_of(path) == weights.sha256


def megabytes(size: int) -> str:
    """A size in bytes as a person reads it."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def fetch(weights: RemoteWeights, name: str) -> Path:
    """The file in the cache, fetched first if it is not there or is damaged.

    Two processes that ask at once fetch it once. Nothing is ever seen under the final name but the whole file.

    Args:
        weights: what to fetch.
        name: how messages call it.

    Raises:
        RequestError: it is not there, and ``RESTORE_OFFLINE`` is set; the message says what to put where.
        RestoreError: it cannot be fetched, is not what was promised, or the cache cannot be written.
    """
    path = cached_path(weights)
    if is_whole(weights):
        return path
    if is_offline():
        state = "damaged in the cache" if path.exists() else "not in the cache"
        raise RequestError(
            f"weights {name} ({megabytes(weights.size)}) are {state}, and RESTORE_OFFLINE is set: fetch {weights.url} "
            f"by hand and put it at {path} (sha256 {weights.sha256})"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path, name):
            # Whoever held the lock before may have fetched it.
            if not is_whole(weights):
                if path.exists():
                    say(f"{path} is damaged; fetching it again")
                _download(weights, name, path)
    except OSError as error:
        folder = cache_folder()
        raise RestoreError(
            f"weights {name} cannot be kept in {folder}: {error.strerror or error}. "
            "RESTORE_CACHE=DIR names another folder"
        ) from None
    return path


@contextlib.contextmanager
def _alone(path: Path, name: str) -> Iterator[None]:
    import filelock

    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        try:
            lock.acquire(timeout=0.2)
        except filelock.Timeout:
            say(f"another process fetches {name}; waiting for it")
            lock.acquire()
    except NotImplementedError:
        pass  # A file system without locks: each process fetches a file of its own and renames it, which is safe too.
    try:
        yield
    finally:
        lock.release()


def _download(weights: RemoteWeights, name: str, path: Path) -> None:
    import logging

    import pooch
    import requests

    label = f"{name} ({megabytes(weights.size)})"
    say(f"fetching {label} from {weights.url}")
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # its own two lines would say the same again
    try:
        pooch.retrieve(
            weights.url,
            known_hash=f"sha256:{weights.sha256}",
            fname=path.name,
            path=path.parent,
            downloader=_Download(weights, name),
        )
    except requests.HTTPError as error:
        said = str(error).partition(" for url")[0]  # e.g. "404 Client Error: Not Found"
        hint = "try again later" if said.startswith("5") else "a newer release of the plugin may know where it is now"
        raise RestoreError(f"weights {name}: the server says {said} to {weights.url}; {hint}") from None
    except requests.RequestException as error:
        how = "broke off" if isinstance(error, requests.exceptions.ChunkedEncodingError) else "cannot be fetched"
        raise RestoreError(f"weights {name}: {weights.url} {how} ({_reason(error)}); try again") from None
    except ValueError:
        raise RestoreError(
            f"weights {name}: what {weights.url} holds has another sha256 than the plugin promises "
            f"({weights.sha256[:12]}...), and was thrown away; tell the plugin's author"
        ) from None
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The innermost cause, which says it plainly."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _reason(reason)
    text = str(error.args[0] if error.args else error)
    return text.splitlines()[0] if text else type(error).__name__


class _Download:
    """What pooch calls to fill its temporary file; sees to it that as many bytes come as were promised."""

    def __init__(self, weights: RemoteWeights, name: str) -> None:
        self.weights, self.name = weights, name

    def __call__(self, url: str, output: str, _: Any) -> None:
        import pooch

        with Progress(f"fetching {self.name}", self.weights.size // 1000, "kB") as bar:
            count = _Count(self, bar)
            # Unpacked on the way, a file would not have the length that the server announces.
            headers = {"Accept-Encoding": "identity", "User-Agent": "restorekit"}
            pooch.HTTPDownloader(progressbar=count, chunk_size=_CHUNK, timeout=TIMEOUT, headers=headers)(url, output, _)
        arrived = Path(output).stat().st_size
        if arrived < self.weights.size and arrived != count.total:
            raise RestoreError(
                f"weights {self.name}: {url} broke off after {arrived:,} of {self.weights.size:,} bytes; try again"
            )
        if arrived != self.weights.size:
            raise self.wrong_size(f"has {arrived:,} bytes")
        os.chmod(output, 0o644)  # temporary files are their owner's alone; a cache may be shared

    def wrong_size(self, what: str) -> RestoreError:
        """The error of a file that cannot be the one that was promised."""
        return RestoreError(
            f"weights {self.name}: {self.weights.url} {what}, the plugin promises {self.weights.size:,}; "
            "it was thrown away; tell the plugin's author"
        )


class _Count:
    """Stands where pooch expects a bar of tqdm."""

    def __init__(self, download: _Download, bar: Progress) -> None:
        self.total = 0  # pooch sets it to what the server announces
        self._download, self._bar, self._arrived = download, bar, 0

    def update(self, count: int) -> None:
        """One more chunk; the last may be shorter than it is said to be."""
        size = self._download.weights.size
        self._arrived += count
        if self._arrived - _CHUNK > size:
            raise self._download.wrong_size(f"has more than {size:,} bytes")
        self._bar.advance(min(self._arrived, size) // 1000 - self._bar.done)

    def reset(self) -> None:
        """Pooch fills the bar at the end."""
        self._arrived = 0

    def close(self) -> None:
        """Nothing: the bar closes itself."""
