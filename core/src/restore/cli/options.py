"""Options that several commands share, and how commands print."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, Callable, Sequence, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def overrides(function: F) -> F:
    """``--set a.b=value``, as often as wanted."""
    text = "Override a key of the recipe, e.g. model.scale=4."
    return click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help=text)(function)


def source(function: F) -> F:
    """``--plugin`` or ``--recipe``."""
    text = "A recipe file, or the name of an installed recipe."
    function = click.option("--recipe", metavar="FILE|NAME", help=text)(function)
    return click.option("--plugin", metavar="NAME", help="Use this plugin's recipe `run`.")(function)


def lock(function: F) -> F:
    """``--lock FILE``."""
    text = "Write versions, hashes of weights and options to FILE; if it is there, refuse to run with others."
    return click.option("--lock", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=text)(function)


def as_json(function: F) -> F:
    """``--json``."""
    return click.option("--json", "json_", is_flag=True, help="Print one JSON document on standard output.")(function)


def _clean(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items()}
    return [_clean(v) for v in value] if isinstance(value, (list, tuple)) else value


def print_json(document: Any) -> None:
    """One JSON document on standard output; infinite numbers become null, which JSON can hold."""
    sys.stdout.write(json.dumps(_clean(document), indent=2) + "\n")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "", right: Sequence[str] = ()
) -> None:
    """A table for people, on standard output; columns named in ``right`` are numbers."""
    if not sys.stdout.isatty():
        # Nothing to fit into and nothing to colour: plain columns, which a program or grep can read. This also spares a
        # listing in a script the time that rich takes to import.
        print_columns(columns, rows, title, right)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(str(cell)) for cell in row])
    Console().print(table)


def print_columns(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str, right: Sequence[str]) -> None:
    """The same without a terminal: one line a row, two spaces between columns."""
    cells = [[str(cell).replace("\n", " ") for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    if title:
        click.echo(title)
    for row in cells:
        padded = (c.rjust(w) if n in right else c.ljust(w) for c, w, n in zip(row, widths, columns, strict=True))
        click.echo("  ".join(padded).rstrip())
