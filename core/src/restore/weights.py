"""Weights: safetensors with provenance, found by name or path, loaded without running anybody's code."""

from __future__ import annotations

import copy
import fnmatch
import json
import os
import pickle
import re
import warnings
from pathlib import Path
from typing import Any, Iterable, Mapping

import attrs
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from restore.errors import RequestError
from restore.plugins import Registry
from restore.pruning.compaction import prepare
from restore.pruning.gates import is_gate
from restore.weights_store import local, named


@attrs.frozen
class Weights:
    """Tensors by parameter name, what the file says of itself, and where it lies."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    path: Path


def find(name: str, registry: Registry) -> Path:
    """The file of a weights name (``srsenet-x2``, ``srsenet:srsenet-x2``) or path; remote ones are fetched first.

    Raises:
        RequestError: no such file and no such name; the message lists what is installed.
        RestoreError: they cannot be fetched.
    """
    return local(name) or named(name, registry).obtain()


def read(path: Path) -> Weights:
    """The tensors of a safetensors file, or of a torch file that holds nothing but tensors.

    Raises:
        RequestError: damaged, or a pickle that wants to run code, or no tensors in it.
    """
    if path.suffix == ".safetensors":
        try:
            with safe_open(str(path), framework="pt") as file:
                return Weights({k: file.get_tensor(k) for k in list(file.keys())}, file.metadata() or {}, path)
        except (SafetensorError, OSError) as error:
            raise RequestError(f"weights {path} cannot be read: {error}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch wonders at old pickle protocols; what matters is said below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RequestError(
            f"weights {path} hold more than tensors and would run code when loaded; refused. "
            "Ask their author for safetensors"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise RequestError(
            f"weights {path} cannot be read: {str(error).splitlines()[0] if str(error) else error}"
        ) from None
    for key in ("params_ema", "params", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise RequestError(f"weights {path} hold no tensors by name")
    return Weights(tensors, {}, path)


def _list(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns (``fnmatch``) names ``name`` or a module that it lies in: ``"encoder"`` matches
    ``encoder.0.weight``, ``"*.bias"`` matches every bias."""
    parts = name.split(".")
    above = [".".join(parts[: i + 1]) for i in range(len(parts))]
    return any(fnmatch.fnmatchcase(n, p) for p in patterns for n in above)


def renamed(weights: Weights, rename: Mapping[str, str]) -> Weights:
    """The same tensors under other names: in each name, the first match of every regular expression gives way.

    Raises:
        RequestError: an expression that is none or matches no name, or two tensors that get the same name.
    """
    names = {n: n for n in weights.tensors}
    for pattern, replacement in rename.items():
        try:
            changed = {n: re.sub(pattern, replacement, new, count=1) for n, new in names.items()}
        except re.error as error:
            raise RequestError(f"rename {pattern!r} = {replacement!r} is no regular expression: {error}") from None
        if not any(re.search(pattern, new) for new in names.values()):
            raise RequestError(f"rename {pattern!r} matches no name in {weights.path}; it has {_list(sorted(names))}")
        names = changed
    if len(set(names.values())) < len(names):
        twice = next(n for n in names.values() if list(names.values()).count(n) > 1)
        raise RequestError(f"rename gives two tensors of {weights.path} the name {twice!r}")
    return attrs.evolve(weights, tensors={names[n]: v for n, v in weights.tensors.items()})


def _translated(model: nn.Module, weights: Weights) -> Weights:
    """The tensors under the model's own names, where it knows those of other code (see :class:`restore.Model`)."""
    translate = getattr(model, "translate_weights", None)
    return weights if translate is None else attrs.evolve(weights, tensors=translate(weights.tensors))


def load_into(model: nn.Module, weights: Weights, exclude: tuple[str, ...] = (), dry: bool = False) -> list[str]:
    """Copy weights into a model, all of them or an error.

    Weights of a pruned network say which channels it kept: a model that is still whole is first cut alike, one that
    has gates keeps them open where weights without gates say nothing of them.

    Args:
        model: takes them in place, in its own dtype.
        weights: from :func:`read`.
        exclude: patterns (:func:`matches`) of names, of the model or of the file, that are left alone.
        dry: only check that they fit.

    Returns:
        the model's names that were left out.

    Raises:
        RequestError: names or shapes differ: these are another architecture's weights.
    """
    if weights.metadata:
        model = copy.deepcopy(model) if dry else model
        prepare(model, weights.metadata)
    weights = _translated(model, weights)
    own = dict(model.state_dict(keep_vars=True))
    skipped = [n for n in own if matches(n, exclude)]
    for pattern in exclude:
        if not any(matches(n, [pattern]) for n in (*own, *weights.tensors)):
            raise RequestError(f"exclude pattern {pattern!r} matches no parameter of {type(model).__name__}")
    wanted = {n: v for n, v in own.items() if n not in skipped}
    offered = {n: v for n, v in weights.tensors.items() if not matches(n, exclude)}
    missing, extra = (
        sorted(n for n in wanted.keys() - offered.keys() if not is_gate(n)),
        sorted(offered.keys() - wanted.keys()),
    )
    wrong = [n for n in sorted(wanted.keys() & offered.keys()) if wanted[n].shape != offered[n].shape]
    if missing or extra or wrong:
        parts = []
        if wrong:
            name = wrong[0]
            parts.append(f"{name} is {tuple(offered[name].shape)}, the model's is {tuple(wanted[name].shape)}")
        if missing:
            parts.append(f"lacks {_list(missing)}")
        if extra:
            parts.append(f"has {_list(extra)} that the model lacks")
        made_for = weights.metadata.get("component")
        origin = f" (made for {made_for} {weights.metadata.get('parameters', '')})" if made_for else ""
        raise RequestError(f"weights {weights.path} do not fit this {type(model).__name__}{origin}: {'; '.join(parts)}")
    with torch.no_grad():
        for name in wanted.keys() & offered.keys() if not dry else ():
            wanted[name].copy_(offered[name])
    return skipped


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], half: bool = False) -> None:
    """Write safetensors beside the final name, then rename.

    Args:
        path: final name.
        tensors: any dtype; made contiguous.
        metadata: provenance; values that are not text are written as JSON.
        half: store floating-point tensors as float16.
    """
    plain = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    if half:
        plain = {k: v.half() if v.is_floating_point() else v for k, v in plain.items()}
    text = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    part = path.with_name(f".{path.name}.part")
    # safetensors' own save_file makes files that only their owner can read.
    part.write_bytes(serialize(plain, metadata=text))
    os.replace(part, path)
