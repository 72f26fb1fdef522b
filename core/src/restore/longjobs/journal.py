"""What is finished of a long work, kept so that neither a crash nor a power cut between any two writes loses it.

Beside the output lies a folder ``OUTPUT.restore``. Its file ``journal`` begins with a line that says what is made of
what; every further line is one finished part. A line ends with its own checksum, so that one that was being written
when the power went is seen, and left out. A part's file is whole on the disk before its line is written.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import zlib
from pathlib import Path
from typing import Any, Mapping

from filelock import FileLock, Timeout

from restore.errors import MediaError, RequestError
from restore.media.files import flush_folder

FORMAT = 1
_NAME = "journal"


def folder_for(output: Path) -> Path:
    """Where the journal of an output lies, ``clip.mp4.restore`` beside ``clip.mp4``."""
    return output.with_name(output.name[:200] + ".restore")


class Journal:
    """The record of one work. Made by :meth:`create` or :meth:`find`; one process at a time may have it.

    Attributes:
        folder: of the journal and the parts.
        header: what :meth:`create` was given.
        entries: of finished parts, in the order they were finished.
    """

    def __init__(self, folder: Path, lock: FileLock) -> None:
        self.folder, self._lock = folder, lock
        self.header: dict[str, Any] = {}
        self.entries: list[dict[str, Any]] = []

    @classmethod
    def find(cls, folder: Path) -> Journal | None:
        """The journal in ``folder``; None where there is none, or none that was begun.

        Raises:
            RequestError: another process works on it, or a later version wrote it.
        """
        if not folder.is_dir():
            return None
        journal = cls(folder, _locked(folder))
        try:
            if journal._read():
                return journal
        except BaseException:
            journal.close()
            raise
        journal.remove()
        return None

    @classmethod
    def create(cls, folder: Path, header: Mapping[str, Any]) -> Journal:
        """A new journal; MediaError where it cannot be written."""
        try:
            folder.mkdir(exist_ok=True)
            journal = cls(folder, _locked(folder))
            journal.header = {"format": FORMAT, **header}
            temporary = folder / f"{_NAME}.part"
            write_through(temporary, _line(journal.header))
            os.replace(temporary, folder / _NAME)
            flush_folder(folder)
            flush_folder(folder.parent)
        except OSError as error:
            raise _failure(folder, error) from error
        return journal

    def append(self, entry: Mapping[str, Any]) -> None:
        """One more part is finished. When this returns, it is on the disk; MediaError where that fails."""
        try:
            write_through(self.folder / _NAME, _line(entry), "ab")
        except OSError as error:
            self._cut_back()
            raise _failure(self.folder, error) from error
        self.entries.append(dict(entry))
        self._size = (self.folder / _NAME).stat().st_size

    def keep(self, temporary: Path, name: str) -> None:
        """Gives a part's file, which is whole on the disk, its final name; one with a folder may lie elsewhere."""
        target = self.folder / name
        try:
            os.replace(temporary, target)
            flush_folder(target.parent)
        except OSError as error:
            raise _failure(self.folder, error) from error

    def forget(self, wanted: set[str]) -> None:
        """Removes files that no entry names: parts that were at hand when the last run ended."""
        for path in self.folder.iterdir():
            if path.name not in {_NAME, "lock", *wanted}:
                throw_away(path)

    def close(self) -> None:
        """Lets go of it; it stays for the next run."""
        self._lock.release()

    def remove(self) -> None:
        """The work is done, or begun anew: nothing of it is needed. The journal goes first, so that no journal ever
        names parts that are gone."""
        with contextlib.suppress(OSError):
            (self.folder / _NAME).unlink(missing_ok=True)
            flush_folder(self.folder)
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> bool:
        path = self.folder / _NAME
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _failure(self.folder, error) from error
        lines, self._size = _checked(data)
        if not lines:
            return False
        self.header, self.entries = lines[0], lines[1:]
        if self.header.get("format") != FORMAT:
            said = self.header.get("format")
            raise RequestError(f"{path} has format {said}, this version writes {FORMAT}; --restart begins again")
        if self._size < len(data):
            self._cut_back()
        return True

    def _cut_back(self) -> None:
        """To the last whole line: what a later line is appended to must end with one."""
        with contextlib.suppress(OSError), (self.folder / _NAME).open("r+b") as file:
            file.truncate(self._size)
            os.fsync(file.fileno())

    _size = 0


def _locked(folder: Path) -> FileLock:
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RequestError(f"another `restore run` is at work on {folder}; wait for it, or stop it") from None
    return lock


def _line(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, separators=(",", ":")).encode()
    return b"%s\t%08x\n" % (text, zlib.crc32(text))


def _checked(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """The values of all lines up to the first that is not whole, and where that begins."""
    values, at = [], 0
    for line in data.splitlines(keepends=True):
        text, tab, check = line.rpartition(b"\t")
        if not tab or not line.endswith(b"\n") or check.strip() != b"%08x" % zlib.crc32(text):
            break
        values.append(json.loads(text))
        at += len(line)
    return values, at


def peek(folder: Path) -> list[dict[str, Any]]:
    """The entries of a journal that another may be at work on; none where there is no journal."""
    try:
        lines, _ = _checked((folder / _NAME).read_bytes())
    except OSError:
        return []
    return lines[1:]


def write_through(path: Path, data: bytes, how: str = "wb") -> None:
    """Writes a file, on the disk when this returns; OSError where that fails."""
    with path.open(how) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def throw_away(path: Path) -> None:
    """Removes a file or a folder, if it is there and lets itself be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def _failure(folder: Path, error: OSError) -> MediaError:
    return failure(f"{folder} cannot be written", error)


def failure(what: str, error: OSError) -> MediaError:
    """The error of a disk, with what to do about it."""
    hints = {errno.ENOSPC: "free some space on the disk", errno.ENOENT: "its folder is gone; make it again"}
    hint = hints.get(error.errno or 0, "check the disk and its permissions")
    return MediaError(f"{what}: {error.strerror or error}; {hint}")


def sha256_of(path: Path) -> str:
    """Of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
