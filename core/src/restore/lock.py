"""``--lock FILE``: what a pipeline was made of, written down once and compared ever after."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

import attrs
from importlib_metadata import PackageNotFoundError, packages_distributions, version

from restore import __version__, downloads
from restore.build import Builder, schema
from restore.contracts import Schedule
from restore.convert import convert
from restore.document import Document, Place, dumps, parse, toml
from restore.errors import RequestError
from restore.plugins import Registered, Registry
from restore.progress import say
from restore.recipe import Phase, Recipe, Training, Use, uses
from restore.weights_store import local, named

FORMAT = 1
# The recipe itself is compared key by key; its digest is there to be compared with that in trained weights.
_NOT_COMPARED = "recipe_sha256"


def enforce(
    path: Path, command: str, recipe: Recipe, document: Document, registry: Registry, options: Mapping[str, Any]
) -> None:
    """Write the lock where there is none; else compare it with what would run now.

    Args:
        path: the lock, TOML.
        command: ``run`` or ``train``; a run uses a recipe's models alone, a training all of it.
        recipe: checked.
        document: what it came from, after ``--set``.
        registry: installed plugins.
        options: of the command line that shape the result and are not in the recipe.

    Raises:
        RequestError: something differs, the message says what; or the lock, a component or a file cannot be read.
    """
    now = describe(command, recipe, document, registry, options)
    if not path.exists():
        _write(path, command, now)
        say(f"wrote {path}: from now on --lock {path} runs with nothing else")
        return
    rows = differences(_read(path), now)
    if rows:
        raise RequestError(
            f"{path} locks another pipeline than this; nothing was done\n{table(('what', 'locked', 'now'), rows)}\n"
            f"Go back to what is locked, or delete {path} to lock what is there now"
        )


def describe(
    command: str, recipe: Recipe, document: Document, registry: Registry, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The lock's content: the core's version; plugins; components and where their code comes from; hashes of weights;
    options; and the resolved recipe. Arguments and errors are those of :func:`enforce`."""
    tracer = _Tracer(registry)
    for kind, use in uses(recipe):
        if command == "run" and kind != "model":
            continue
        _trace(kind, use, tracer)
    if command != "run":
        tables: list[tuple[Training | Phase | None, Place]] = [(recipe.training, document.root.child("training"))]
        tables += [(p, document.root.child("phases").child(i)) for i, p in enumerate(recipe.phases)]
        for table, place in tables:
            if table is not None and table.start is not None:
                tracer.weights[table.start.weights] = place.child("start").child("weights")
    infos = {p.name: p for p in registry.plugins}
    components = {
        key: f"{c.component.factory}, {_origin(c.component.factory, infos[c.plugin].release)}"
        for key, c in tracer.used.items()
    }
    components |= {f"optimizer {name}": f"{path}, {_origin(path, '')}" for name, path in tracer.optimizers.items()}
    return {
        "lock": FORMAT,
        "command": command,
        "restorekit": __version__,
        _NOT_COMPARED: document.digest(),
        "options": dict(options),
        "plugins": {name: infos[name].release for name in sorted({"core", *(c.plugin for c in tracer.used.values())})},
        "components": dict(sorted(components.items())),
        "weights": {name: _weights(name, place, registry) for name, place in sorted(tracer.weights.items())},
        "recipe": document.data,
    }


def differences(locked: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Key, locked value and present value, for each key whose values differ; ``-`` where one side lacks it. The order
    of keys means nothing."""
    before, after = dict(_flat(locked)), dict(_flat(now))
    rows = []
    for key in [*after, *(k for k in before if k not in after)]:
        if before.get(key) != after.get(key) and key != _NOT_COMPARED:
            rows.append((key, _short(before.get(key, "-")), _short(after.get(key, "-"))))
    tables = [*now, *locked]
    return sorted(rows, key=lambda row: tables.index(row[0].partition(".")[0]))


@attrs.frozen
class _Tracer(Builder):
    """Notes every component and all weights that tables name, nested ones too, and makes nothing. What is wrong with a
    table is left to whoever builds it."""

    used: dict[str, Registered] = attrs.field(factory=dict)
    weights: dict[str, Place] = attrs.field(factory=dict)
    optimizers: dict[str, str] = attrs.field(factory=dict)

    def build(self, kind: str, use: Use, **provided: Any) -> Any:
        with use.place.child("use").locate():
            found = self.registry.find(kind, use.use)
        self.used[f"{kind} {found.name}"] = found
        return super().build(kind, use, **provided)

    def call(
        self, factory: Callable[..., Any], name: str, values: Mapping[str, Any], place: Place, **provided: Any
    ) -> Any:
        known = schema(factory)
        for key in values:
            if key in known:
                convert(values[key], known[key].annotation, place.child(key), self.special)

    def teacher(self, use: Use) -> Any:
        _trace("model", use, self)


def _trace(kind: str, use: Use, tracer: _Tracer) -> None:
    if kind == "optimizer":
        _trace_optimizer(use, tracer)
        return
    weights = use.parameters.get("weights")
    if kind == "model" and isinstance(weights, str):
        tracer.weights[weights] = use.place.child("weights")
    if kind == "loss" and isinstance(use.parameters.get("weight"), dict):
        tracer.special(use.parameters["weight"], Schedule, use.place.child("weight"))
    tracer.build(kind, use)


def _trace_optimizer(use: Use, tracer: _Tracer) -> None:
    """Optimizers need be nobody's component: they are known by their classes."""
    from restore.training.optimizers import find_factory

    factory = find_factory(use, tracer)
    tracer.optimizers[use.use] = f"{factory.__module__}:{factory.__qualname__}"
    groups = use.parameters.get("groups", [])
    for table in (use.parameters, *(g for g in groups if isinstance(g, dict))):
        if isinstance(table.get("lr"), dict):
            tracer.special(table["lr"], Schedule, use.place.child("lr"))


@functools.lru_cache(maxsize=1)
def _owners() -> Mapping[str, list[str]]:
    return packages_distributions()


def _origin(path: str, otherwise: str) -> str:
    """The distribution that holds an import path, and its version; ``otherwise`` where nobody knows."""
    # A package that is installed to be edited is not among its distribution's files.
    names = sorted(set(_owners().get(path.partition(":")[0].partition(".")[0], ())))
    return " and ".join(f"{name} {_version(name)}" for name in names) or otherwise


def _version(distribution: str) -> str:
    try:
        # What follows a plus is how it was built: +cpu, +cu126.
        return version(distribution).partition("+")[0]
    except PackageNotFoundError:
        return ""


def _weights(name: str, place: Place, registry: Registry) -> dict[str, Any]:
    with place.locate():
        path = local(name)
        if path is not None:
            return {"sha256": downloads.sha256_of(path), "size": path.stat().st_size}
        found = named(name, registry)
        return {"sha256": found.sha256(), "size": found.size()}


def _write(path: Path, command: str, content: Mapping[str, Any]) -> None:
    head = f"# What `restore {command} --lock` found; it goes on with nothing else. Delete the file to lock anew.\n"
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(head + dumps(content), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise RequestError(f"lock {path} cannot be written: {error.strerror}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"lock {path} cannot be read: {error}") from None
    data = parse(text, str(path)).data
    if data.get("lock") != FORMAT:
        said = f"says lock = {data['lock']}, this core writes lock = {FORMAT}" if "lock" in data else "is no lock"
        raise RequestError(f"{path} {said}; name another file, or delete it to lock this pipeline")
    return data


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every value of nested tables and lists as TOML, by its dotted key."""
    entries: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        entries = list(value.items())
    elif isinstance(value, (list, tuple)) and any(isinstance(v, (Mapping, list, tuple)) for v in value):
        entries = list(enumerate(value))
    if not entries:
        if not isinstance(value, Mapping):
            yield key, toml(value)
        return
    for name, inner in entries:
        yield from _flat(inner, f"{key}.{name}" if key else str(name))


def _short(value: str) -> str:
    """A hash by its first digits."""
    plain = value.strip('"')
    return f"{plain[:12]}..." if len(plain) == 64 and all(c in "0123456789abcdef" for c in plain) else plain


def table(columns: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    """Lines of text with columns one below the other, each indented by two."""
    lines = [columns, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("  " + "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)
