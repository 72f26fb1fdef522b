"""A component and its parameters to an object. The factory's own signature is the schema."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import typing
from pathlib import Path
from typing import Any, Callable, Mapping

import attrs

from restore import contracts
from restore.convert import convert, describe_type
from restore.document import Place
from restore.errors import RequestError, RestoreError
from restore.plugins import Registered, Registry, nearest
from restore.recipe import Use

# A parameter typed as one of these takes a nested table with its own `use`.
CONTRACTS: dict[Any, str] = {
    contracts.Model: "model",
    contracts.Teacher: "teacher",
    contracts.Degradation: "degradation",
    contracts.LinearOperator: "degradation",
    contracts.Loss: "loss",
    contracts.Schedule: "schedule",
    contracts.Pruner: "pruner",
    contracts.Dataset: "dataset",
    contracts.Metric: "metric",
}


@attrs.frozen
class Parameter:
    """One parameter of a factory: its name, type hint, and default (``attrs.NOTHING`` where it must be given)."""

    name: str
    annotation: Any
    default: Any = attrs.NOTHING

    @property
    def required(self) -> bool:
        """Whether a recipe must give it."""
        return self.default is attrs.NOTHING

    @property
    def type_name(self) -> str:
        """Its type as a person writes it."""
        return describe_type(self.annotation)


def import_factory(registered: Registered) -> Callable[..., Any]:
    """The object that a component's import path names.

    Raises:
        RestoreError: the import fails; the message names plugin, component and cause.
    """
    module_name, _, attribute = registered.component.factory.partition(":")
    try:
        target: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
    except Exception as error:
        raise RestoreError(
            f"plugin {registered.plugin!r} cannot provide {registered.kind} {registered.component.name!r}: "
            f"{registered.component.factory} failed with {type(error).__name__}: {error}"
        ) from error
    if not callable(target):
        raise RestoreError(f"{registered.name}: {registered.component.factory} is not a class or function")
    return target  # type: ignore[no-any-return]


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    try:
        if isinstance(factory, type) and attrs.has(factory):
            # attrs writes __init__ where the module's names cannot be seen; the fields know their types.
            attrs.resolve_types(factory)
            return {f.alias or f.name: f.type for f in attrs.fields(factory)}
        function = factory.__init__ if inspect.isclass(factory) else factory
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        name = f"{factory.__module__}.{factory.__qualname__}"
        raise RestoreError(
            f"the type hints of {name} cannot be read: {error}; import what they name at run time"
        ) from error


def schema(factory: Callable[..., Any], skip: tuple[str, ...] = ()) -> dict[str, Parameter]:
    """The parameters of a factory, from its signature and type hints; ``skip`` leaves out what the caller provides.

    Raises:
        RestoreError: a type hint names something that its module does not hold.
    """
    hints = _hints(factory)
    found = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name in skip:
            continue
        default = attrs.NOTHING if parameter.default is parameter.empty else parameter.default
        found[name] = Parameter(name, hints.get(name, Any), default)
    return found


def is_number(value: Any) -> bool:
    """Whether a recipe's value is a number, or a text such as ``"25/255"`` that stands for one."""
    if isinstance(value, str):
        return bool(re.match(r"\s*[-+]?\.?\d", value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def asset_path(location: str) -> Path:
    """The file that ``"package:folder/file"`` names.

    Raises:
        RestoreError: the package is not installed or the file is not in it.
    """
    from importlib.resources import files

    package, _, inside = location.partition(":")
    try:
        path = Path(str(files(package).joinpath(inside)))
    except ModuleNotFoundError as error:
        raise RestoreError(f"{location}: {error}") from None
    if not path.is_file():
        raise RestoreError(f"{location} is missing from the installed package")
    return path


@attrs.frozen
class Builder:
    """Makes objects out of recipe tables.

    Attributes:
        registry: installed plugins.
        make_teacher: makes the object of a parameter typed ``Teacher`` out of its table; ``restore.modelling.builder``
            fills it in, as weights need torch.
        teachers: those made so far, by their tables: the same table twice is one object.
    """

    registry: Registry
    make_teacher: Callable[[Use, Builder], Any] | None = None
    teachers: dict[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    def build(self, kind: str, use: Use, **provided: Any) -> Any:
        """The object that ``use`` describes.

        Args:
            kind: ``model``, ``degradation``, ...
            use: the component and its parameters.
            provided: values of parameters that the caller gives, and recipes may not.

        Raises:
            RequestError: unknown component, unknown, missing or mistyped parameter, with file, line and key.
            RestoreError: the component cannot be imported.
        """
        try:
            registered = self.registry.find(kind, use.use)
        except RequestError as error:
            raise use.place.child("use").error(str(error)) from None
        factory = import_factory(registered)
        return self.call(factory, registered.name, use.parameters, use.place, **provided)

    def call(
        self, factory: Callable[..., Any], name: str, values: Mapping[str, Any], place: Place, **provided: Any
    ) -> Any:
        """``factory`` with parameters from a table, checked against its signature. ``name`` is for errors."""
        known = schema(factory, tuple(provided))
        for key in values:
            if key not in known:
                hint = nearest(key, known) or f"; it takes: {', '.join(known) or 'nothing'}"
                raise place.child(key).error(f"{name} has no parameter {key!r}{hint}")
        arguments = dict(provided)
        for key, parameter in known.items():
            if key in values:
                arguments[key] = convert(values[key], parameter.annotation, place.child(key), self.special)
            elif parameter.required:
                raise place.error(f"{name} needs {key!r} ({parameter.type_name})")
        try:
            with place.locate():
                return factory(**arguments)
        except (ValueError, TypeError) as error:
            raise place.error(f"{name}: {error}") from error

    def special(self, value: Any, annotation: Any, place: Any) -> Any:
        """Makes a nested component where the type hint is a contract; ``NotImplemented`` elsewhere."""
        kind = CONTRACTS.get(annotation) if isinstance(annotation, type) else None
        if kind is None:
            return NotImplemented
        if kind == "schedule" and is_number(value):
            return self.build(kind, Use("core:constant", {"value": value}, place))
        if isinstance(value, str):
            return self._nested(kind, Use(value, {}, place))
        if isinstance(value, dict) and isinstance(value.get("use"), str):
            return self._nested(kind, Use(value["use"], {k: v for k, v in value.items() if k != "use"}, place))
        also = "a number or " if kind == "schedule" else ""
        raise place.error(f'needs a {kind}: {also}a table with use = "component"')

    def _nested(self, kind: str, use: Use) -> Any:
        return self.teacher(use) if kind == "teacher" else self.build(kind, use)

    def teacher(self, use: Use) -> Any:
        """The frozen model of a table like ``[model]``; the same object for the same table.

        Raises:
            RequestError: unknown component or parameter, or weights that are missing or do not fit.
            RestoreError: this builder cannot make teachers (see ``restore.modelling.builder``).
        """
        key = json.dumps([use.use, use.parameters], sort_keys=True, default=str)
        if key not in self.teachers:
            if self.make_teacher is None:
                raise RestoreError("this Builder makes no teachers; take that of restore.modelling.builder(registry)")
            self.teachers[key] = self.make_teacher(use, self)
        return self.teachers[key]
