"""What a plugin registers: a name and an import path, never an import."""

from __future__ import annotations

import re
from typing import Mapping
from urllib.parse import unquote, urlsplit

import attrs

KINDS = ("model", "degradation", "loss", "schedule", "optimizer", "pruner", "dataset", "metric", "recipe")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[\w./-]+\Z")
_FILE = re.compile(r"[\w+-][\w.+-]*\Z")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")


def _check_name(_: object, __: object, value: str) -> None:
    if not isinstance(value, str) or not _NAME.match(value):
        raise ValueError(f"name {value!r} must be lower-case letters, digits, '.', '_' or '-'")


def _check_path(_: object, __: object, value: str) -> None:
    if not isinstance(value, str) or not _FACTORY.match(value):
        raise ValueError(f"{value!r} must look like 'package.module:Name' or, for a file, 'package:folder/file'")


def _check_format(file: str) -> None:
    if not file.endswith(WEIGHT_SUFFIXES):
        raise ValueError(f"weights {file!r} must be .safetensors, or .pth or .pt, which are read as tensors alone")


def _check_url(_: object, __: object, value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(f"weights lie at https://..., not at {value!r}")


def _check_hash(_: object, __: object, value: str) -> None:
    if not isinstance(value, str) or not _SHA256.match(value):
        raise ValueError(f"sha256 must be 64 hexadecimal digits (`sha256sum FILE` prints them), got {value!r}")


def _lower(value: str) -> str:
    return value.lower() if isinstance(value, str) else value


def _file_name(weights: RemoteWeights) -> str:
    return unquote(urlsplit(weights.url).path.rpartition("/")[2])


def _check_size(_: object, __: object, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"size must be the file's length in bytes, got {value!r}")


def _check_file(_: object, __: object, value: str) -> None:
    if not _FILE.match(value):
        raise ValueError(f"{value!r} is no file name: give filename, e.g. filename = 'net-x4.safetensors'")
    _check_format(value)


@attrs.frozen
class RemoteWeights:
    """Weights that are fetched when they are first asked for, and kept in the user's cache folder.

    Attributes:
        url: where the file lies, ``https://...``; it may redirect.
        sha256: of the file, 64 hexadecimal digits. What arrives is kept only if it has this hash.
        size: of the file, in bytes.
        filename: ends in ``.safetensors``, ``.pth`` or ``.pt``; left out, the last part of the address.

    Raises:
        ValueError: one of them is not of this form.
    """

    url: str = attrs.field(validator=_check_url)
    sha256: str = attrs.field(validator=_check_hash, converter=_lower)
    size: int = attrs.field(validator=_check_size)
    filename: str = attrs.field(validator=_check_file, default=attrs.Factory(_file_name, takes_self=True))


def _check_weights(_: object, __: object, value: Mapping[str, str | RemoteWeights]) -> None:
    for name, source in value.items():
        _check_name(None, None, name)
        if name.endswith(WEIGHT_SUFFIXES):
            raise ValueError(f"weights name {name!r} must not look like a file: leave its ending out")
        if not isinstance(source, RemoteWeights):
            _check_path(None, None, source)
            _check_format(source)


@attrs.frozen
class Component:
    """One thing that a plugin adds. Making it imports nothing.

    Attributes:
        name: what recipes write after ``use``; lower-case letters, digits, ``.``, ``_``, ``-``.
        factory: ``"package.module:Name"`` of a class or function whose signature is the parameter schema; for a recipe,
            ``"package:recipes/name.toml"``, a file inside the package.
        summary: one line for listings.
        paper: the source, e.g. ``"Mei et al., 2018"``.
        weights: for a model, names of its weights and where they lie: inside the package,
            ``{"srsenet-x2": "restore_srsenet:weights/srsenet-x2.safetensors"}``, or elsewhere,
            ``{"srsenet-x8": RemoteWeights(url, sha256, size)}``. Safetensors, or torch files of nothing but tensors.

    Raises:
        ValueError: a name or a path that is not of this form, or weights in another format.
    """

    name: str = attrs.field(validator=_check_name)
    factory: str = attrs.field(validator=_check_path)
    summary: str = ""
    paper: str = ""
    weights: Mapping[str, str | RemoteWeights] = attrs.field(factory=dict, kw_only=True, validator=_check_weights)
