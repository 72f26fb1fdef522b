"""What a plugin registers: a name and an import path, never an import."""

from __future__ import annotations

import re
from typing import Mapping

import attrs

KINDS = ("model", "degradation", "loss", "schedule", "optimizer", "pruner", "dataset", "metric", "recipe")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[\w./-]+\Z")


def _check_name(_: object, __: object, value: str) -> None:
    if not isinstance(value, str) or not _NAME.match(value):
        raise ValueError(f"component name {value!r} must be lower-case letters, digits, '.', '_' or '-'")


def _check_path(_: object, __: object, value: str) -> None:
    if not isinstance(value, str) or not _FACTORY.match(value):
        raise ValueError(f"{value!r} must look like 'package.module:Name' or, for a file, 'package:folder/file'")


def _check_weights(_: object, __: object, value: Mapping[str, str]) -> None:
    for path in value.values():
        _check_path(None, None, path)


@attrs.frozen
class Component:
    """One thing that a plugin adds. Making it imports nothing.

    Attributes:
        name: what recipes write after ``use``; lower-case letters, digits, ``.``, ``_``, ``-``.
        factory: ``"package.module:Name"`` of a class or function whose signature is the parameter schema; for a recipe,
            ``"package:recipes/name.toml"``, a file inside the package.
        summary: one line for listings.
        paper: the source, e.g. ``"Mei et al., 2018"``.
        weights: for a model, names of weight files that ship with it and where they lie inside the package,
            ``{"srsenet-x2": "restore_srsenet:weights/srsenet-x2.safetensors"}``.

    Raises:
        ValueError: a name or a path that is not of this form.
    """

    name: str = attrs.field(validator=_check_name)
    factory: str = attrs.field(validator=_check_path)
    summary: str = ""
    paper: str = ""
    weights: Mapping[str, str] = attrs.field(factory=dict, kw_only=True, validator=_check_weights)
