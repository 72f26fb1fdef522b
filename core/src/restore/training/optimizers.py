"""Optimizers by name, their parameters checked like any component's, with groups of their own learning rates."""

from __future__ import annotations

import inspect
import types
import typing
from typing import Any, Callable, Mapping, Sequence

import attrs
import torch
from torch import Tensor, nn

from restore.build import Builder, Parameter, import_factory, is_number, schema
from restore.contracts import Schedule, Step
from restore.convert import convert
from restore.document import Place
from restore.errors import RequestError, RestoreError
from restore.plugins import nearest
from restore.recipe import Use
from restore.weights import matches

Named = Sequence[tuple[str, nn.Parameter]]
_OURS = ("params", "lr")


@attrs.frozen
class Group:
    """Parameters with a learning rate or settings of their own.

    Attributes:
        match: patterns of their names.
        lr: their own schedule; else the optimizer's.
        lr_factor: multiplies it.
        arguments: of the optimizer, for them alone.
    """

    match: tuple[str, ...]
    lr: Schedule | None = None
    lr_factor: float = 1.0
    arguments: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class OptimizerPlan:
    """An optimizer that is checked, but not made yet: each phase may need a new one.

    Attributes:
        name: as the recipe says.
        factory: takes groups of parameters, ``lr`` and ``arguments``.
        arguments: from the recipe.
        lr: the learning rate.
        groups: a parameter belongs to the first that matches it, else to the optimizer at large.
    """

    name: str
    factory: Callable[..., torch.optim.Optimizer]
    arguments: Mapping[str, Any]
    lr: Schedule
    groups: tuple[Group, ...] = ()

    def make(self, named: Named) -> torch.optim.Optimizer:
        """The optimizer of these parameters, its moments empty.

        Raises:
            RequestError: a pattern of a group matches nothing.
            ValueError, TypeError: the optimizer does not like an argument.
        """
        members: list[list[nn.Parameter]] = [[] for _ in range(len(self.groups) + 1)]
        for name, parameter in named:
            index = next((i for i, g in enumerate(self.groups) if matches(name, g.match)), len(self.groups))
            members[index].append(parameter)
        for group, found in zip(self.groups, members, strict=False):
            if not found:
                raise RequestError(f"the group match = {list(group.match)} matches no parameter that is left to it")
        tables: list[dict[str, Any]] = [
            {"params": m, **g.arguments} for g, m in zip(self.groups, members, strict=False)
        ]
        if members[-1]:
            tables.append({"params": members[-1]})
        # The schedules set the rate before every step; 1 passes every class's own check.
        return self.factory(tables, lr=1.0, **self.arguments)

    def rates(self, step: Step) -> list[float]:
        """The learning rate of each group at this step, the optimizer's own last."""
        own = self.lr(step)
        return [(own if g.lr is None else g.lr(step)) * g.lr_factor for g in self.groups] + [own]


def set_rates(optimizer: Any, rates: list[float]) -> None:
    """Give the optimizer's groups their learning rates, in the order of :meth:`OptimizerPlan.rates`."""
    for group, rate in zip(optimizer.param_groups, rates, strict=False):
        group["lr"] = rate


def _classes(module: Any) -> dict[str, Any]:
    base = torch.optim.Optimizer
    found = {n.lower(): c for n, c in vars(module).items() if inspect.isclass(c) and issubclass(c, base)}
    return {n: c for n, c in found.items() if c is not base and n != "baseoptimizer"}


def find_factory(use: Use, builder: Builder) -> Callable[..., Any]:
    """The class of an optimizer's name: a plugin's component, one of ``torch.optim``, or one of the library
    pytorch-optimizer (the extra ``optimizers``); in this order.

    Raises:
        RequestError: nobody has it.
    """
    plugins = builder.registry.of_kind("optimizer")
    if ":" in use.use or any(use.use == c.component.name for c in plugins):
        with use.place.child("use").locate():
            return import_factory(builder.registry.find("optimizer", use.use))
    known = _classes(torch.optim)
    name = use.use.lower()
    if name in known:
        return known[name]  # type: ignore[no-any-return]
    try:
        import pytorch_optimizer
    except ImportError:
        more, missing = {}, "; more come with `pip install restorekit[optimizers]`"
    else:
        more, missing = _classes(pytorch_optimizer), ""
    if name in more:
        return more[name]  # type: ignore[no-any-return]
    names = sorted({*known, *more, *(c.component.name for c in plugins)})
    hint = nearest(name, names) or f"; there are: {', '.join(sorted(known))}"
    raise use.place.child("use").error(f"no optimizer {use.use!r}{hint}{missing}")


def _plain(annotation: Any) -> Any:
    """A type hint without what no recipe can write: tensors."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_plain(a) for a in args if a is not Tensor)]  # noqa: UP007
    if origin is tuple:
        return tuple[tuple(_plain(a) for a in args)]  # type: ignore[misc]
    return annotation


def _arguments(values: Mapping[str, Any], known: Mapping[str, Any], name: str, place: Place) -> dict[str, Any]:
    converted = {}
    for key, value in values.items():
        if key not in known:
            hint = nearest(key, known) or f"; it takes: lr, groups, {', '.join(known)}"
            raise place.child(key).error(f"{name} has no parameter {key!r}{hint}")
        converted[key] = convert(value, _plain(known[key].annotation), place.child(key))
    return converted


def learning_rate(value: Any, place: Place, builder: Builder) -> Schedule:
    """A number or a schedule's table as a schedule.

    Raises:
        RequestError: neither.
    """
    if not is_number(value) and not isinstance(value, dict):
        raise place.error(f"needs a number or a schedule, got {value!r}")
    return convert(value, Schedule, place, builder.special)  # type: ignore[no-any-return]


def _group(table: Any, known: Mapping[str, Any], name: str, place: Place, builder: Builder) -> Group:
    if not isinstance(table, dict) or "match" not in table:
        raise place.error('needs a table with match = ["pattern", ...]')
    values = dict(table)
    match = convert(values.pop("match"), tuple[str, ...], place.child("match"))
    lr = values.pop("lr", None)
    factor = convert(values.pop("lr_factor", 1.0), float, place.child("lr_factor"))
    schedule = None if lr is None else learning_rate(lr, place.child("lr"), builder)
    return Group(match, schedule, factor, _arguments(values, known, name, place))


def plan_optimizer(use: Use, named: Named, builder: Builder) -> OptimizerPlan:
    """The optimizer of a table: ``use``, ``lr`` (number or schedule), ``groups`` (tables with ``match``, and ``lr`` or
    ``lr_factor`` or any parameter of the optimizer), and the parameters of the class itself.

    Raises:
        RequestError: unknown optimizer or parameter, wrong type, a value that the class refuses, or a group that
            matches nothing.
    """
    factory = find_factory(use, builder)
    if factory is torch.optim.LBFGS:
        raise use.place.child("use").error("lbfgs needs the loss several times a step; use another optimizer")
    values = dict(use.parameters)
    if "lr" not in values:
        raise use.place.error(f"{use.use} needs 'lr' (number or schedule)")
    lr = learning_rate(values.pop("lr"), use.place.child("lr"), builder)
    try:
        known = schema(factory, _OURS)
    except RestoreError:
        # A library's hints may name what only its type checker sees; then only the names are checked.
        known = {n: Parameter(n, Any) for n in inspect.signature(factory).parameters if n not in _OURS}
    tables, place = values.pop("groups", []), use.place.child("groups")
    if not isinstance(tables, list):
        raise place.error("needs a list of tables")
    groups = tuple(_group(t, known, use.use, place.child(i), builder) for i, t in enumerate(tables))
    plan = OptimizerPlan(use.use, factory, _arguments(values, known, use.use, use.place), lr, groups)
    _try(plan, named, use.place)
    return plan


def _try(plan: OptimizerPlan, named: Named, place: Place) -> None:
    """Make it once, so that whatever the class refuses is known before training."""
    try:
        with place.locate():
            plan.make(named)
    except (ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, RestoreError):
            raise
        raise place.error(f"{plan.name}: {error}") from None


def trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that the architecture itself leaves free, by name."""
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad]
