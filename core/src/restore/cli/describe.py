"""``restore describe``: what a component or recipe takes, and what may stand in a recipe."""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any

import click

from restore.cli.components import parameters_of, print_parameters
from restore.cli.options import as_json, print_json, print_table

if TYPE_CHECKING:
    from restore.plugins import Registered

HINT = """use = "NAME" names a component: `restore components` lists them, `restore describe NAME` says what else may
stand beside it. `restore recipes` lists whole recipes to begin with, and `restore describe RECIPE` prints one."""


@click.command("describe")
@click.argument("name", required=False)
@as_json
def command(name: str | None, json_: bool) -> None:
    """Show what the component or recipe NAME takes; without NAME, what may stand where in a recipe."""
    if name in (None, "recipe"):
        rows = recipe_keys()
        if json_:
            print_json(rows)
        else:
            print_table(("key", "type", "default"), [(r["key"], r["type"], r["default"]) for r in rows])
            click.echo("\n" + HINT)
        return
    from restore.catalogue import matching
    from restore.plugins import registry

    found = matching(registry(), name)
    if json_:
        print_json([_entry(registered) for registered in found])
        return
    for i, registered in enumerate(found):
        if i:
            click.echo()
        _print_recipe(registered) if registered.kind == "recipe" else _print_component(registered)


def _entry(registered: Registered) -> dict[str, Any]:
    from restore.build import asset_path, import_factory

    component = registered.component
    entry: dict[str, Any] = {
        "name": registered.name, "kind": registered.kind, "summary": component.summary, "paper": component.paper,
    }  # fmt: skip
    if registered.kind == "recipe":
        path = asset_path(component.factory)
        return {**entry, "path": str(path), "text": path.read_text(encoding="utf-8")}
    entry["parameters"] = parameters_of(registered)
    entry["doc"] = inspect.getdoc(import_factory(registered)) or ""
    if registered.kind == "model":
        entry["weights"] = sorted(component.weights)
        entry |= _with_defaults(registered)
    return entry


def _with_defaults(registered: Registered) -> dict[str, Any]:
    """Traits and parameter count of a model as its defaults make it; empty where it needs more than defaults."""
    import attrs

    from restore.build import import_factory
    from restore.errors import RestoreError

    if any(p["required"] for p in parameters_of(registered)):
        return {}
    try:
        model = import_factory(registered)()
    except (RestoreError, ValueError, TypeError, RuntimeError):
        return {}
    count = sum(p.numel() for p in model.parameters())
    return {"traits": attrs.asdict(model.traits), "parameter_count": count}


def _print_recipe(registered: Registered) -> None:
    from restore.build import asset_path

    path = asset_path(registered.component.factory)
    click.echo(f"recipe {registered.name}: {registered.component.summary}\n{path}\n")
    click.echo(path.read_text(encoding="utf-8").rstrip())


def _print_component(registered: Registered) -> None:
    entry = _entry(registered)
    click.echo(f"{registered.kind} {registered.name}: {entry['summary']}")
    if entry["paper"]:
        click.echo(f"paper: {entry['paper']}")
    if entry.get("weights"):
        click.echo(f"weights: {', '.join(entry['weights'])}")
    if "parameter_count" in entry:
        click.echo(f"with defaults: {entry['parameter_count']:,} parameters; traits:")
        click.echo("  " + ", ".join(f"{k} {_short(v)}" for k, v in entry["traits"].items()))
    if entry["doc"]:
        click.echo("\n" + entry["doc"] + "\n")
    print_parameters(registered)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {v}" for k, v in value.items()) + ")"
    return "/".join(value) if isinstance(value, (list, tuple)) else str(value)


def recipe_keys() -> list[dict[str, str]]:
    """Every key that the core reads from a recipe: ``key``, ``type``, ``default``."""
    from restore.recipe import Recipe

    return _keys(Recipe, "")


def _keys(cls: type[Any], prefix: str) -> list[dict[str, str]]:
    import attrs

    from restore.convert import describe_type
    from restore.document import toml
    from restore.recipe import Use

    attrs.resolve_types(cls)
    rows = []
    for field in attrs.fields(cls):
        choices = [a for a in (field.type, *typing.get_args(field.type)) if a is not None]
        many = any(typing.get_origin(a) is tuple for a in choices)
        inner = [b for a in choices for b in (a, *typing.get_args(a)) if isinstance(b, type)]
        table = next((a for a in inner if attrs.has(a)), None)
        key = f"{prefix}{field.name}"
        if table is Use:
            kind = ("number or " if float in inner else "") + ("list of components" if many else "component")
            bare = key.replace("[", "").replace("]", "")
            rows.append({"key": f"[[{bare}]]" if many else f"[{bare}]", "type": f"{kind}: use = ...", "default": "-"})
        elif table is not None:
            rows += _keys(table, f"[[{key}]]." if many else f"{key}.")
        else:
            given = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
            default = "required" if given is attrs.NOTHING else "-" if given in (None, {}, ()) else toml(given)
            rows.append({"key": key, "type": describe_type(field.type), "default": default})
    return rows
