"""Tensors of frames on disk, where a whole video's would not fit into memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any, Mapping, Sequence

import torch
from torch import Tensor

from restore.errors import RequestError, RestoreError

# What must stay free beside: the result, and whatever else the machine is doing.
_SPARE = 2**28
_LENGTH = struct.Struct("<Q")


def pick_folder(needed: int, asked: Path | None, beside: Path, what: str) -> Path:
    """A folder with room for ``needed`` bytes: the one asked for, else beside the output, else the system's own.

    Raises:
        RequestError: none of them has the room, or the one asked for is no folder.
    """
    if asked is not None and not asked.is_dir():
        raise RequestError(f"run.temporal.scratch = {str(asked)!r} is no folder")
    candidates = [asked] if asked is not None else [f for f in (beside, Path(tempfile.gettempdir())) if f.is_dir()]
    for folder in candidates:
        if shutil.disk_usage(folder).free >= needed + _SPARE:
            return folder
    best = max(candidates, key=lambda folder: shutil.disk_usage(folder).free)
    raise RequestError(
        f"{what} needs {_gigabytes(needed)} of disk for the time being, and {best} has "
        f"{_gigabytes(shutil.disk_usage(best).free)} free; name another folder with run.temporal.scratch, or take "
        'run.temporal.schedule = "look_ahead", which needs none'
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"


class Store:
    """Dicts of tensors by number, each in a file of its own; gone when it is closed or forgotten.

    Args:
        folder: where the files' own folder is made.
        device: where tensors are given back.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=".restore-", dir=folder)
        self._device = str(device)
        self._numbers: set[int] = set()

    def __len__(self) -> int:
        return len(self._numbers)

    def _path(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number}.safetensors"

    def put(self, number: int, value: Mapping[str, Tensor]) -> None:
        """Keep a value; names, shapes, types and numbers come back as they are.

        Raises:
            RestoreError: the disk is full, or does not work.
        """
        from safetensors.torch import save_file

        # A tensor that shares its memory with another is written by itself.
        whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in value.items()}
        try:
            save_file(whole, self._path(number))
        except Exception as error:  # safetensors has errors of its own for what the disk says
            raise RestoreError(f"{self._folder.name}: what must wait cannot be written ({error})") from error
        self._numbers.add(number)

    def get(self, number: int) -> dict[str, Tensor]:
        """What was kept under a number."""
        from safetensors.torch import load_file

        # Tensors read here may be changed like any others; those that map a file could not outlive it.
        return load_file(self._path(number), device=self._device)

    def drop(self, number: int) -> None:
        """Forget one."""
        self._numbers.discard(number)
        self._path(number).unlink(missing_ok=True)

    def numbers(self) -> Sequence[int]:
        """What is there, in order."""
        return sorted(self._numbers)

    def close(self) -> None:
        """Remove the files."""
        self._numbers.clear()
        self._folder.cleanup()


class SpillWriter:
    """Dicts of tensors by key, one behind the other in one file that outlives the process; :class:`Spill` reads it.

    Args:
        path: of the file; whatever has the name is replaced.

    Raises:
        OSError: the disk is full, or does not work; so do the methods.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._digest, self._at = path, hashlib.sha256(), 0
        self._places: dict[str, tuple[int, int]] = {}
        self._file = path.open("wb")

    def put(self, key: str, value: Mapping[str, Tensor]) -> None:
        """Append a value; names, shapes, types and numbers come back as they are."""
        from safetensors.torch import save

        data = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in value.items()})
        self._places[key] = self._at, len(data)
        self._write(data)

    def commit(self, about: Mapping[str, Any]) -> str:
        """Ends the file, on the disk to the last byte, with what is to be known ``about`` it; its SHA-256, hex."""
        end = json.dumps({"places": self._places, "about": about}).encode()
        self._write(end + _LENGTH.pack(len(end)))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._digest.hexdigest()

    def abort(self) -> None:
        """Removes it."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._at += len(data)


class Spill:
    """What a :class:`SpillWriter` wrote.

    Args:
        path: of the file.
        device: where tensors are given back.

    Attributes:
        about: what :meth:`SpillWriter.commit` was told.
    """

    def __init__(self, path: Path, device: torch.device | str = "cpu") -> None:
        self._file, self._device = path.open("rb"), device
        self._file.seek(-_LENGTH.size, os.SEEK_END)
        (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
        self._file.seek(-_LENGTH.size - length, os.SEEK_END)
        told = json.loads(self._file.read(length))
        self._places: dict[str, tuple[int, int]] = told["places"]
        self.about: dict[str, Any] = told["about"]

    def get(self, key: str) -> dict[str, Tensor]:
        """What was put under a key."""
        from safetensors.torch import load

        at, length = self._places[key]
        self._file.seek(at)
        return {name: tensor.to(self._device) for name, tensor in load(self._file.read(length)).items()}

    def close(self) -> None:
        """No more is read."""
        self._file.close()
