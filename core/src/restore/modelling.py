"""A recipe's ``[model]`` table to a network with its weights, and the device it runs on."""

from __future__ import annotations

import torch
from torch import nn

from restore import weights as weight_files
from restore.build import Builder
from restore.errors import RequestError
from restore.recipe import Use


def build_model(use: Use, builder: Builder) -> tuple[nn.Module, str]:
    """The model of a ``[model]`` table, its ``weights`` loaded where it names some, and its component's full name.

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
    return model, builder.registry.find("model", use.use).name


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
