"""Options that several commands share."""

from __future__ import annotations

import json
import sys
from typing import Any, Callable, Sequence, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def overrides(function: F) -> F:
    """``--set a.b=value``, as often as wanted."""
    return click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe, e.g. model.scale=4."
    )(function)


def source(function: F) -> F:
    """``--plugin`` or ``--recipe``."""
    function = click.option("--recipe", metavar="FILE|NAME", help="A recipe file, or the name of an installed recipe.")(function)
    return click.option("--plugin", metavar="NAME", help="Use this plugin's recipe `run`.")(function)


def as_json(function: F) -> F:
    """``--json``."""
    return click.option("--json", "json_", is_flag=True, help="Print one JSON document on standard output.")(function)


def print_json(document: Any) -> None:
    """One JSON document on standard output; infinite numbers become null, which JSON can hold."""

    def clean(value: Any) -> Any:
        if isinstance(value, float) and value in (float("inf"), float("-inf")) or value != value:
            return None
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items()}
        return [clean(v) for v in value] if isinstance(value, (list, tuple)) else value

    sys.stdout.write(json.dumps(clean(document), indent=2) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "", right: Sequence[str] = ()) -> None:
    """A table for people, on standard output; columns named in ``right`` are numbers."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(str(cell)) for cell in row])
    console = Console()
    if not console.is_terminal:
        # A pipe has no width: do not fold lines that a program or grep will read.
        console = Console(width=200)
    console.print(table)
