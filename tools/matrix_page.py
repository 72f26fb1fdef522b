"""The combination matrix as a page."""

from __future__ import annotations

import re
from typing import Iterable, Mapping

from matrix_cells import AXES, Cell, Result
from restore.plugins import Registry

Pair = tuple[str, str, str, str]
MARKS = {"works": "✓", "runs": "▷", "broken": "**✗**"}
_HEAD = """# What combines with what

<!-- Written by tools/matrix.py; do not edit. -->

Models, degradations, losses, pruners and training methods come from plugins that know nothing of each other, and
meet in recipes. This page says which of them go together, and why others are refused. Each cell was tried: a recipe
of tiny parts, two training steps (and two more after pruning), its weights read into a fresh network, and that run on
a clip by the engine. A training method here is a degradation that wraps another one, as ECO does.

{count:,} cells were tried. They are not the full product of {product:,}: every *pair* of values on two of the five axes
is in at least one cell. `python tools/matrix.py` repeats it. Among the plugins are two by somebody else, {foreign},
which lie in `tests/thirdparty` and know restorekit alone.

✓ trains and runs · ▷ runs; there is nothing in it to train · a number: refused, for [that reason](#reasons).
"""
_TITLES = {
    ("model", "degradation"): "Models and degradations",
    ("model", "loss"): "Models and losses",
    ("model", "pruner"): "Models and pruners",
    ("model", "method"): "Models and training methods",
    ("degradation", "loss"): "Degradations and losses",
    ("degradation", "pruner"): "Degradations and pruners",
    ("degradation", "method"): "Degradations and training methods",
    ("loss", "pruner"): "Losses and pruners",
    ("loss", "method"): "Losses and training methods",
    ("pruner", "method"): "Pruners and training methods",
}


def pair(one: str, first: str, other: str, second: str) -> Pair:
    """Two values on two axes, in the order of :data:`AXES`."""
    if AXES.index(one) > AXES.index(other):
        return other, second, one, first
    return one, first, other, second


def alike(reason: str, names: Iterable[str]) -> str:
    """A reason without its numbers, these names and those of classes: what two cells have in common."""
    for name in sorted(names, key=len, reverse=True):
        reason = reason.replace(name, "NAME")
    return re.sub(r"\d+", "N", re.sub(r"\b[A-Z][a-z]+\w*", "CLASS", reason))


class Reasons:
    """Numbers refusals; those that differ in numbers, sizes and names alone are one."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.texts: list[str] = []

    def __call__(self, reason: str, names: list[str]) -> int:
        """The number of a reason."""
        key = alike(reason, names)
        if key not in self.numbers:
            self.numbers[key] = len(self.texts) + 1
            self.texts.append(reason)
        return self.numbers[key]


def page(
    registry: Registry,
    values: Mapping[str, list[str]],
    verdicts: Mapping[Pair, Result],
    results: Mapping[Cell, Result],
) -> str:
    """The whole page, as Markdown."""
    product = 1
    for axis in AXES:
        product *= len(values[axis])
    foreign = sorted({r.plugin for r in registry.components} & {"fields", "unet2d"})
    parts = [
        _HEAD.format(
            count=len(results),
            product=product,
            foreign=" and ".join(f"`{name}`" for name in foreign),
        )
    ]
    reasons = Reasons()
    for (one, other), title in _TITLES.items():
        # The longer axis goes down.
        down, across = (one, other) if len(values[one]) >= len(values[other]) else (other, one)
        parts.append(_table(title, down, across, values, verdicts, reasons))
    listed = "\n".join(f"{number}. {_escaped(text)}" for number, text in enumerate(reasons.texts, start=1))
    parts.append(
        f"## Reasons\n\nIn the words of the program, of one cell each; others differ in names and sizes.\n\n{listed}\n"
    )
    return "\n".join(parts)


def _escaped(text: str) -> str:
    return text.replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;").replace("[", "\\[")


def _table(
    title: str,
    down: str,
    across: str,
    values: Mapping[str, list[str]],
    verdicts: Mapping[Pair, Result],
    reasons: Reasons,
) -> str:
    columns = values[across]
    header = " | ".join(f"`{name}`" for name in columns)
    lines = [
        f"## {title}\n",
        f"| {down} / {across} | {header} |",
        "| --- |" + " :-: |" * len(columns),
    ]
    names = [name for axis in AXES for name in values[axis]]
    for row in values[down]:
        marks = []
        for column in columns:
            found = verdicts[pair(down, row, across, column)]
            marks.append(MARKS.get(found.status) or str(reasons(found.reason, names)))
        lines.append(f"| `{row}` | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"


def read(text: str) -> dict[Pair, str]:
    """The marks of a page, by pair."""
    found: dict[Pair, str] = {}
    down, across, columns = "", "", []
    for line in text.splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("| ").split(" | ")]
        if line.startswith("| ") and " / " in cells[0]:
            (down, across), columns = cells[0].split(" / "), cells[1:]
        elif line.startswith("| `"):
            for column, mark in zip(columns, cells[1:], strict=True):
                found[pair(down, cells[0], across, column)] = mark
    return found
