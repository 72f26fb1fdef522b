"""``restore plugins``: what is installed."""

from __future__ import annotations

import attrs
import click

from restore.cli.options import as_json, print_json, print_table

COLUMNS = ("name", "distribution", "version", "status", "cause", "components")


@click.command("plugins")
@as_json
def command(json_: bool) -> None:
    """List installed plugins, and whether they work."""
    from restore.plugins import registry

    rows = [{column: attrs.asdict(info)[column] for column in COLUMNS} for info in registry().plugins]
    if json_:
        print_json(rows)
    else:
        print_table(COLUMNS, [[row[c] for c in COLUMNS] for row in rows], right=("components",))
