"""Small images that all fit into memory: MNIST's idx files and CIFAR-10's batches."""

from __future__ import annotations

import gzip
import math
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from restore.errors import MediaError, RequestError

Split = Literal["train", "test"]
Bytes = npt.NDArray[np.uint8]
_IDX_IMAGES = 0x00000803  # unsigned bytes in three dimensions


class _Stack:
    """Images in memory, ``(N, C, H, W)`` uint8."""

    def __init__(self, images: Tensor, prefix: str) -> None:
        self.images, self.prefix = images, prefix

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """The split and the number in the data's own order, ``"train-00007"``."""
        return f"{self.prefix}-{range(len(self))[index]:05d}"

    def __getitem__(self, index: int) -> Tensor:
        """The image, ``(1, C, H, W)`` float32 in [0, 1]."""
        return self.images[range(len(self))[index]].unsqueeze(0).float() / 255


class MNIST(_Stack):
    """Handwritten digits, or anything else in idx files of unsigned bytes, as clips of one frame (LeCun et al., 1998).

    Args:
        root: folder that holds ``train-images-idx3-ubyte`` and ``t10k-images-idx3-ubyte``, plain or ``.gz``, at any
            depth; or one such file, then ``split`` only names the entries.
        split: ``train`` or ``test``.
        channels: ``native``, one channel; ``rgb``, repeated.

    Raises:
        RequestError: no such file, or several.
        MediaError: it is no idx file of images, or is cut off.
    """

    def __init__(self, root: Path, split: Split = "train", channels: Literal["rgb", "native"] = "native") -> None:
        prefix = "train" if split == "train" else "t10k"
        path = root if root.is_file() else _one(root, f"{prefix}-images*idx3-ubyte")
        images = torch.from_numpy(_read_idx(path)).unsqueeze(1)
        super().__init__(images if channels == "native" else images.expand(-1, 3, -1, -1), split)


class CIFAR10(_Stack):
    """Photographs of 32x32 pixels, as RGB clips of one frame (Krizhevsky, 2009).

    Args:
        root: folder that holds the official Python batches (``data_batch_1`` ..., ``test_batch``) at any depth, or
            ``train*.npz`` and ``test*.npz`` with ``images`` (N, 32, 32, 3) uint8; or one such file, then ``split`` only
            names the entries. The pickles are read without running what they ask for.
        split: ``train`` or ``test``.

    Raises:
        RequestError: no such file.
        MediaError: a file is damaged, or a pickle that asks for more than arrays, lists and text.
    """

    def __init__(self, root: Path, split: Split = "train") -> None:
        files = [root] if root.is_file() else _batches(root, split)
        super().__init__(torch.from_numpy(np.concatenate([_read_batch(p) for p in files])), split)


def _one(root: Path, pattern: str) -> Path:
    if not root.is_dir():
        raise RequestError(f"{root} does not exist")
    found = {p.with_suffix("") if p.suffix == ".gz" else p: p for p in sorted(root.rglob(pattern + ".gz"))}
    found |= {p: p for p in sorted(root.rglob(pattern))}
    if not found:
        raise RequestError(f"there is no {pattern} (or .gz) under {root}")
    if len(found) > 1:
        raise RequestError(f"there are several {pattern} under {root}: {', '.join(map(str, found))}; name one")
    return next(iter(found.values()))


def _read_idx(path: Path) -> Bytes:
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        magic, count, height, width = struct.unpack_from(">4I", data)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise MediaError(f"{path} cannot be read as an idx file: {error}") from None
    if magic != _IDX_IMAGES:
        raise MediaError(
            f"{path} is no idx file of images: it begins with {magic:#010x}, images with {_IDX_IMAGES:#010x}"
        )
    if len(data) != 16 + count * height * width:
        raise MediaError(
            f"{path} should have {count} images of {width}x{height}, but holds {len(data) - 16} bytes of pixels"
        )
    pixels: Bytes = np.frombuffer(data, np.uint8, offset=16).reshape(count, height, width).copy()
    return pixels


def _batches(root: Path, split: Split) -> list[Path]:
    if not root.is_dir():
        raise RequestError(f"{root} does not exist")
    official = "data_batch_[1-5]" if split == "train" else "test_batch"
    found = sorted(root.rglob(official)) or sorted(root.rglob(f"{split}*.npz"))
    if not found:
        raise RequestError(f"there is no {official} and no {split}*.npz under {root}")
    return found


def _read_batch(path: Path) -> Bytes:
    """``(N, 3, 32, 32)``."""
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                with np.load(path, allow_pickle=False) as arrays:
                    images = np.asarray(arrays["images"])
                if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
                    raise ValueError(f"'images' is {images.dtype} {images.shape}, not uint8 (N, 32, 32, 3)")
                return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
            file.seek(0)
            content = _Unpickler(file, encoding="bytes").load()
        data = content.get(b"data", content.get("data")) if isinstance(content, dict) else None
        if not isinstance(data, _Array) or data.values is None:
            raise ValueError("it holds no array 'data'")
        return data.values.reshape(-1, 3, 32, 32)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, *_UNPICKLING) as error:
        raise MediaError(f"{path} cannot be read as a CIFAR-10 batch: {error}") from None


# What hostile or damaged pickles make the unpickler raise.
_UNPICKLING = (pickle.UnpicklingError, AttributeError, ImportError, IndexError, TypeError, MemoryError, OverflowError)


class _Array:
    """Stands for a numpy array: numpy's own rebuilding never sees the pickle's bytes."""

    def __init__(self, *_: Any) -> None:
        self.values: Bytes | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, fortran, raw = state[-4:]
        if not isinstance(dtype, _Type) or dtype.name not in ("u1", b"u1"):
            raise pickle.UnpicklingError("an array of something else than bytes")
        if not isinstance(raw, bytes) or not all(isinstance(n, int) for n in shape) or len(raw) != math.prod(shape):
            raise pickle.UnpicklingError("an array whose bytes do not fit its shape")
        self.values = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C").copy()


class _Type:
    """Stands for a numpy dtype."""

    def __init__(self, name: Any = "", *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like; bytes have none."""


class _Encoded(bytes):
    """Python 3 writes bytes for Python 2 as text and the call that encodes it."""

    def __new__(cls, text: str, encoding: str = "latin1") -> Any:
        """The bytes; nothing but latin1."""
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise pickle.UnpicklingError(f"text in {encoding!r}")
        return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Numbers, text, bytes, lists, dicts and arrays of bytes; anything else in a pickle could run code."""

    _allowed: ClassVar[dict[tuple[str, str], type]] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Type,
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("_codecs", "encode"): _Encoded,
    }

    def find_class(self, module: str, name: str) -> Any:
        """A harmless stand-in, or UnpicklingError."""
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not read; it may be harmful")
        return self._allowed[module, name]
