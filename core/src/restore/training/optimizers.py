"""Optimizers by name, their parameters checked against the class's own signature."""

from __future__ import annotations

import inspect
from typing import Any, Iterable

import torch
from torch import nn

from restore.build import Builder
from restore.builtin.schedules.basic import Constant
from restore.contracts import Schedule
from restore.convert import convert
from restore.plugins import nearest
from restore.recipe import Use


def optimizer_classes() -> dict[str, type[torch.optim.Optimizer]]:
    """Every class of ``torch.optim``, by lower-case name."""
    return {
        name.lower(): cls
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
    }


def build_optimizer(
    use: Use, parameters: Iterable[nn.Parameter], builder: Builder
) -> tuple[torch.optim.Optimizer, Schedule]:
    """The optimizer of a recipe's ``[optimizer]`` and the schedule of its learning rate.

    ``lr`` is a number or a schedule (``lr = { use = "cosine", start = 4e-4 }``); all else goes to the class.

    Raises:
        RequestError: unknown optimizer or parameter, wrong type.
    """
    classes = optimizer_classes()
    if use.use.lower() not in classes:
        hint = nearest(use.use, classes) or f"; there are: {', '.join(sorted(classes))}"
        raise use.place.child("use").error(f"no optimizer {use.use!r}{hint}")
    cls = classes[use.use.lower()]
    values = dict(use.parameters)
    if "lr" not in values:
        raise use.place.error(f"{use.use} needs 'lr' (number or schedule)")
    place = use.place.child("lr")
    if isinstance(values["lr"], dict):
        schedule: Schedule = convert(values.pop("lr"), Schedule, place, builder.special)
    else:
        schedule = Constant(convert(values.pop("lr"), float, place))
    known = [n for n in inspect.signature(cls).parameters if n not in ("params", "lr")]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            hint = nearest(key, known) or f"; it takes: lr, {', '.join(known)}"
            raise use.place.child(key).error(f"{use.use} has no parameter {key!r}{hint}")
        arguments[key] = tuple(value) if isinstance(value, list) else value
    try:
        return cls([p for p in parameters if p.requires_grad], lr=1.0, **arguments), schedule  # type: ignore[call-arg]
    except (ValueError, TypeError) as error:
        raise use.place.error(f"{use.use}: {error}") from None
