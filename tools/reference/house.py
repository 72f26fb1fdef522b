"""The floors of the core, out of import-linter's contract and the modules' own first sentences."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from reference.text import code, inline, table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "src" / "restore"


def floors():
    """The table of floors, from the top."""
    layers = _layers()
    rows = []
    for number, layer in enumerate(layers):
        for room in (name.strip() for name in layer.split("|")):
            rows.append((str(len(layers) - number), code(room), inline(_sentence(room))))
    return table(("floor", "room", "what"), rows)


def _layers():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    return next(c["layers"] for c in contracts if c["type"] == "layers")


def _sentence(room):
    """The first sentence of a module's docstring, without importing it."""
    path = CORE / room / "__init__.py"
    tree = ast.parse((path if path.is_file() else CORE / f"{room}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n\n")[0].partition(":\n")[0]
