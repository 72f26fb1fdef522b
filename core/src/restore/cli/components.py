"""``restore components``: what the plugins add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from restore.cli.options import as_json, print_json, print_table
from restore.component import KINDS

if TYPE_CHECKING:
    from restore.plugins import Registered


@click.command("components")
@click.argument("name", required=False)
@click.option("--kind", type=click.Choice(KINDS), help="Only components of this kind.")
@as_json
def command(name: str | None, kind: str | None, json_: bool) -> None:
    """List models, losses, degradations, ...; with NAME, also the parameters that component takes."""
    from restore.catalogue import matching
    from restore.plugins import registry

    found = [c for c in matching(registry(), name) if kind in (None, c.kind)]
    if name is not None and not found:
        from restore.errors import RequestError

        raise RequestError(f"{name!r} is no {kind}; leave out --kind to see what it is")
    if json_:
        print_json([_entry(c, name is not None) for c in found])
        return
    print_table(
        ("name", "kind", "summary"),
        [(c.name, c.kind, c.component.summary) for c in sorted(found, key=lambda c: (KINDS.index(c.kind), c.name))],
    )
    for component in found if name is not None else []:
        print_parameters(component)


def _entry(registered: Registered, parameters: bool) -> dict[str, Any]:
    component = registered.component
    entry: dict[str, Any] = {
        "name": registered.name, "kind": registered.kind, "summary": component.summary, "paper": component.paper,
    }  # fmt: skip
    if parameters and registered.kind != "recipe":
        entry["parameters"] = parameters_of(registered)
    return entry


# Parameters that the core gives, and recipes may not.
_GIVEN = {"optimizer": ("params",)}


def parameters_of(registered: Registered) -> list[dict[str, Any]]:
    """Name, type, default and whether it is required, for each parameter; imports that one component.

    Raises:
        RestoreError: the component cannot be imported.
    """
    from restore.build import import_factory, schema

    return [
        {
            "name": p.name,
            "type": p.type_name,
            "default": None if p.required or not _plain(p.default) else p.default,
            "required": p.required,
        }
        for p in schema(import_factory(registered), _GIVEN.get(registered.kind, ())).values()
    ]


def _plain(value: Any) -> bool:
    """Whether JSON can hold a default."""
    if isinstance(value, (list, tuple)):
        return all(_plain(v) for v in value)
    return value is None or isinstance(value, (bool, int, float, str))


def print_parameters(registered: Registered) -> None:
    """The parameters as a table."""
    from restore.document import toml

    def default(p: dict[str, Any]) -> str:
        return "required" if p["required"] else "-" if p["default"] is None else toml(p["default"])

    rows = (
        [(p["name"], p["type"], default(p)) for p in parameters_of(registered)] if registered.kind != "recipe" else []
    )
    if rows:
        print_table(("parameter", "type", "default"), rows, title=f"parameters of {registered.kind} {registered.name}")
