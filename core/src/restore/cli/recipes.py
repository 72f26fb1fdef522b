"""``restore recipes``: recipes that installed plugins ship."""

from __future__ import annotations

import click

from restore.cli.options import as_json, print_json, print_table


@click.command("recipes")
@as_json
def command(json_: bool) -> None:
    """List installed recipes; `restore describe NAME` prints one."""
    from restore.plugins import registry

    rows = [{"name": r.name, "summary": r.component.summary, "plugin": r.plugin} for r in registry().of_kind("recipe")]
    if json_:
        print_json(rows)
    else:
        print_table(("name", "summary", "plugin"), [tuple(row.values()) for row in rows])
