"""A recipe's ``[model]`` table to a network with its weights, and the device it runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from restore import weights as weight_files
from restore.build import Builder
from restore.contracts import LinearOperator, Pair, Prediction, Traits
from restore.errors import RequestError
from restore.functional.quantizer import join_qp
from restore.plugins import Registry
from restore.pruning.gates import merge_gates
from restore.recipe import Use
from restore.teachers import FrozenModel


def builder(registry: Registry) -> Builder:
    """A builder that makes teachers too."""
    return Builder(registry, make_teacher=build_teacher)


def with_teachers(plain: Builder) -> Builder:
    """The builder itself if it makes teachers, else one that does."""
    return plain if plain.make_teacher is not None else attrs.evolve(plain, make_teacher=build_teacher)


def build_teacher(use: Use, builder: Builder) -> FrozenModel:
    """The frozen model of a table like ``[model]``, with its weights; ``cache`` names a folder for its answers.

    Raises:
        RequestError: unknown component or parameter; weights that are missing, do not fit, or are not named although
            the model has some.
    """
    parameters = dict(use.parameters)
    cache = parameters.pop("cache", None)
    if cache is not None and not isinstance(cache, (str, Path)):
        raise use.place.child("cache").error(f"needs a folder, got {cache!r}")
    model, name = build_model(Use(use.use, parameters, use.place), builder)
    if "weights" not in parameters and next(model.parameters(), None) is not None:
        raise use.place.error(f"a teacher must have been trained: say weights = NAME or PATH for {name}")
    return FrozenModel(model, name, None if cache is None else Path(cache).expanduser())


def build_model(use: Use, builder: Builder, keep_gates: bool = False) -> tuple[nn.Module, str]:
    """The model of a ``[model]`` table, its ``weights`` loaded where it names some, and its component's full name.

    Weights that were pruned make it the compact network that they are of; nothing else need be said.

    Args:
        use: the table.
        builder: makes the component.
        keep_gates: leave gates that the weights bring as they are, for a pruner; else they are folded in.

    Raises:
        RequestError: unknown component or parameter, or weights that are missing or do not fit.
    """
    parameters = dict(use.parameters)
    wanted = parameters.pop("weights", None)
    model = builder.build("model", Use(use.use, parameters, use.place))
    if wanted is not None:
        place = use.place.child("weights")
        if not isinstance(wanted, str):
            raise place.error(f"needs a name or a path, got {wanted!r}")
        with place.locate():
            weight_files.load_into(model, weight_files.read(weight_files.find(wanted, builder.registry)))
        if not keep_gates:
            merge_gates(model)
    return model, builder.registry.find("model", use.use).name


def answer(
    model: Any, observed: Tensor, operator: LinearOperator | None = None, qp: Tensor | None = None
) -> Tensor | Prediction:
    """What a model makes of the observed side ``(B, T, C, H, W)``; models that need their operator are given it, and
    those that take QPs these, ``(B, T)``.

    Raises:
        RequestError: the model needs a linear operator, and nothing linear made what was observed.
    """
    traits = getattr(model, "traits", None) or model.module.traits
    if traits.channels == "rgb+qp":
        observed = join_qp(observed, qp)
    if not traits.needs_operator:
        return model(observed)  # type: ignore[no-any-return]
    if operator is None:
        raise RequestError(
            "this model needs the linear operator beside what was observed: give it a degradation that is one, such as "
            "core:inpainting, or a data set that brings it"
        )
    return model(observed, operator)  # type: ignore[no-any-return]


def taken(pair: Pair, traits: Traits) -> Tensor:
    """The observed side ``(B, T, C, H, W)`` with the channels that a model of these traits takes."""
    return join_qp(pair.observed, pair.qp) if traits.channels == "rgb+qp" else pair.observed


def pick_device(name: str) -> torch.device:
    """The device called ``auto`` (CUDA where there is some, else the CPU), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises:
        RequestError: no such device, here or anywhere.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RequestError(f"no device {name!r}; there are: auto, cpu, cuda, cuda:1, mps") from None
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= count.get(device.type, 0):
        raise RequestError(f"device {name!r} is not on this machine; use cpu, or auto")
    return device
