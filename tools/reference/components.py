"""The catalogue: a page for every kind of component, with what each component takes."""

from __future__ import annotations

import inspect
import typing

import attrs
from restore.build import asset_path, import_factory, schema
from restore.component import KINDS
from restore.document import toml
from restore.errors import RestoreError
from restore.plugins import Registered
from restore.testing.kinds.package import undocumented

from reference.text import cell, code, doc, entries, inline, markdown, sections, table

TITLES = {
    "model": "Models", "degradation": "Degradations", "loss": "Losses", "schedule": "Schedules",
    "optimizer": "Optimizers", "pruner": "Pruners", "dataset": "Datasets", "metric": "Metrics", "recipe": "Recipes",
}  # fmt: skip
_GIVEN = {"optimizer": ("params",)}


def pages(components):
    """An index and a page for every kind."""
    made = {"reference/components/index.md": _index(components)}
    for kind in KINDS:
        these = sorted((c for c in components if c.kind == kind), key=lambda c: c.name)
        body = [_recipes(these)] if kind == "recipe" else [part for c in these for part in _component(c)]
        lead = (
            "Take one with `restore run --recipe NAME`, `restore train NAME` or `restore prune NAME`; "
            "`restore describe NAME` prints it." if kind == "recipe" else
            "Named `plugin:component`; the short name works while it is unambiguous. `restore describe NAME` says "
            "the same."
        )  # fmt: skip
        made[f"reference/components/{kind}.md"] = "\n\n".join([f"# {TITLES[kind]}", lead, *body]) + "\n"
    return made


def _index(components):
    out = ["# Component catalogue", "What the core and the plugins of this repository add; others add theirs."]
    for kind in KINDS:
        these = sorted((c for c in components if c.kind == kind), key=lambda c: c.name)
        anchor = "#{0}" if kind != "recipe" else ""
        rows = [(f"[`{c.name}`]({kind}.md{anchor.format(slug(c.name))})", cell(c.component.summary)) for c in these]
        out += [f"## {TITLES[kind]}", table(("name", "what"), rows)]
    return "\n\n".join(out) + "\n"


def slug(name):
    """A heading's anchor, as Markdown's table of contents makes it of a component's name."""
    return name.lower().replace(":", "").replace(".", "")


def _recipes(these):
    rows = []
    for registered in these:
        path = asset_path(registered.component.factory)
        rows.append((code(registered.name), cell(registered.component.summary), code(path.name)))
    return table(("name", "what", "file"), rows)


def _component(registered: Registered):
    factory = import_factory(registered)
    texts = docs(factory)
    out = [f"## {registered.name}", f"**{inline(registered.component.summary)}**"]
    out.append(markdown(sections(texts[0])[""]) if texts else "")
    if registered.component.paper:
        out.append(f"Source: {inline(registered.component.paper)}.")
    if registered.component.weights:
        out.append(f"Weights: {', '.join(code(name) for name in sorted(registered.component.weights))}.")
    rows = parameters(registered)
    out.append(table(("parameter", "type", "default", "what"), rows) if rows else "It takes no parameters.")
    return [part for part in out if part]


def docs(factory) -> list[str]:
    """The docstrings that speak of a factory's parameters: its own, its constructor's, and of a function that of the
    class it gives."""
    texts = [doc(factory)]
    if inspect.isclass(factory):
        owner = next(c for c in factory.__mro__ if "__init__" in vars(c))
        own = [] if owner is object else [doc(owner), doc(vars(owner)["__init__"])]
        return [*texts, *own]
    given = typing.get_type_hints(factory).get("return")
    return texts + (docs(given) if inspect.isclass(given) else [])


def parameters(registered):
    """Rows of the table of parameters."""
    factory, said = import_factory(registered), {}
    for text in reversed(docs(factory)):
        parts = sections(text)
        said |= entries(parts.get("Attributes", "")) | entries(parts.get("Args", ""))
    rows = []
    for p in schema(factory, _GIVEN.get(registered.kind, ())).values():
        default = "required" if p.required else _default(p.default)
        rows.append((code(p.name), cell(p.type_name), default, cell(said.get(p.name, ""))))
    return rows


def _default(value):
    if value is attrs.NOTHING or value is None:
        return ""
    try:
        return code(toml(value))
    except (TypeError, ValueError, RestoreError):
        return code(value.__name__) if inspect.isclass(value) else ""


def missing(components):
    """Components without a summary or a docstring, and parameters that none mentions."""
    lost = []
    for registered in components:
        if not registered.component.summary.strip():
            lost.append(f"{registered.kind} {registered.name} has no summary")
        if registered.kind == "recipe":
            continue
        if not doc(import_factory(registered)):
            lost.append(f"{registered.kind} {registered.name} has no docstring")
        lost += [f"{registered.kind} {registered.name}: parameter {name}" for name in undocumented(registered)]
    return lost
