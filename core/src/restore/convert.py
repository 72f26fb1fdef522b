"""Plain TOML values to typed ones, strictly: a string is never a list, ``true`` never a number, nothing is dropped."""

from __future__ import annotations

import types
import typing
from fractions import Fraction
from pathlib import Path
from typing import Any, Callable, Literal, Mapping, Union, get_args, get_origin

import attrs

from restore.errors import RequestError
from restore.plugins import nearest

Error = Callable[[str], RequestError]


class Place(typing.Protocol):
    """Where a value stands: makes errors that name file, line and key."""

    def child(self, key: str | int) -> Place:
        """The place of an entry below this one."""
        ...

    def error(self, message: str) -> RequestError:
        """An error at this place."""
        ...


Special = Callable[[Any, Any, Place], Any]


def describe_type(annotation: Any) -> str:
    """A type as a person writes it: ``int``, ``"a" or "b"``, ``list of int``."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(repr(a) for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join(describe_type(a) for a in args if a is not type(None))
    if annotation is Path:
        return "path"
    if origin in (list, tuple) or getattr(origin, "__name__", "") == "Sequence":
        inner = [a for a in args if a is not Ellipsis]
        if origin is tuple and Ellipsis not in args:
            return "list of " + ", ".join(describe_type(a) for a in inner)
        return f"list of {describe_type(inner[0])}" if inner else "list"
    if annotation in (Any, typing.Any):
        return "anything"
    return str(getattr(annotation, "__name__", annotation))


def _number(value: Any, place: Place) -> float:
    if isinstance(value, str):
        # Papers write noise as 25/255; so may a recipe.
        try:
            return float(Fraction(value.replace(" ", ""))) if "/" in value else float(value)
        except (ValueError, ZeroDivisionError):
            raise place.error(f'{value!r} is not a number (a fraction such as "25/255" is fine)') from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise place.error(f"needs a number, got {value!r}")
    return float(value)


def _plain(value: Any, annotation: Any, place: Place) -> Any:
    if annotation is float:
        return _number(value, place)
    if annotation is Path:
        if isinstance(value, (str, Path)):
            return Path(value).expanduser()
        raise place.error(f"needs a path, got {value!r}")
    if annotation is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise place.error(f"needs a whole number, got {value!r}")
    if annotation is bool and not isinstance(value, bool):
        raise place.error(f"needs true or false, got {value!r}")
    if annotation is str and not isinstance(value, str):
        raise place.error(f"needs text in quotes, got {value!r}")
    return value


def _union(value: Any, annotation: Any, place: Place, special: Special | None) -> Any:
    args = get_args(annotation)
    if value is None and type(None) in args:
        return None
    problems: list[RequestError] = []
    # float would swallow the text "auto" of `float | Literal["auto"]` with its own complaint: try exact kinds first.
    for candidate in sorted((a for a in args if a is not type(None)), key=lambda a: a is float):
        try:
            return convert(value, candidate, place, special)
        except RequestError as problem:
            problems.append(problem)
    if problems and (isinstance(value, dict) or len(problems) == 1):
        raise problems[0]
    raise place.error(f"needs {describe_type(annotation)}, got {value!r}")


def _sequence(value: Any, origin: Any, args: tuple[Any, ...], place: Place, special: Special | None) -> Any:
    if not isinstance(value, (list, tuple)):
        raise place.error(f"needs a list, got {value!r}")
    if origin is tuple and args and Ellipsis not in args:
        if len(value) != len(args):
            raise place.error(f"needs {len(args)} values, got {len(value)}")
        return tuple(convert(v, a, place.child(i), special) for i, (v, a) in enumerate(zip(value, args, strict=True)))
    inner = args[0] if args else Any
    items = [convert(v, inner, place.child(i), special) for i, v in enumerate(value)]
    return tuple(items) if origin is tuple else items


def convert(value: Any, annotation: Any, place: Place, special: Special | None = None) -> Any:
    """``value`` as the annotated type.

    Args:
        value: what the TOML said.
        annotation: a resolved type hint.
        place: for errors.
        special: called first with (value, annotation, place); anything but ``NotImplemented`` is the answer. The
            builder makes nested components with it.

    Raises:
        RequestError: naming file, line and key.
    """
    if special is not None:
        made = special(value, annotation, place)
        if made is not NotImplemented:
            return made
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if origin is typing.Annotated:
        return convert(value, args[0], place, special)
    if origin is Literal:
        if value in args and type(value) in {type(a) for a in args}:
            return value
        hint = nearest(value, [a for a in args if isinstance(a, str)]) if isinstance(value, str) else ""
        raise place.error(f"must be {describe_type(annotation)}, got {value!r}{hint}")
    if origin in (Union, types.UnionType):
        return _union(value, annotation, place, special)
    name = getattr(origin or annotation, "__name__", "")
    if name in ("list", "tuple", "Sequence", "Iterable"):
        return _sequence(value, origin or annotation, args, place, special)
    if name in ("dict", "Mapping"):
        if not isinstance(value, dict):
            raise place.error(f"needs a table, got {value!r}")
        inner = args[1] if args else Any
        return {k: convert(v, inner, place.child(k), special) for k, v in value.items()}
    if isinstance(annotation, type) and attrs.has(annotation):
        return structure(value, annotation, place, special)
    if annotation in (bool, int, float, str, Path):
        return _plain(value, annotation, place)
    raise place.error(f"cannot be set from a recipe: it is a {describe_type(annotation)}")


def structure(table: Any, cls: type[Any], place: Place, special: Special | None = None) -> Any:
    """A TOML table as an attrs class; unknown and missing keys are errors with the nearest right name."""
    if not isinstance(table, Mapping):
        raise place.error(f"needs a table, got {table!r}")
    attrs.resolve_types(cls)
    fields = {f.name: f for f in attrs.fields(cls) if f.init}
    for key in table:
        if key not in fields:
            hint = nearest(key, fields) or f"; there are: {', '.join(fields)}"
            raise place.child(key).error(f"unknown key{hint}")
    values = {}
    for name, field in fields.items():
        if name in table:
            values[name] = convert(table[name], field.type, place.child(name), special)
        elif field.default is attrs.NOTHING:
            raise place.error(f"{name!r} is missing")
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        raise place.error(str(error)) from None
