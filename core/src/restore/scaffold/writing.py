"""Writing the repository: templates of the package, filled in with a kept library."""

from __future__ import annotations

import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Mapping

import attrs
from jinja2 import Environment, StrictUndefined

from restore import __version__
from restore.errors import RequestError
from restore.scaffold.names import Names

LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause")


@attrs.frozen
class Part:
    """An example component.

    Attributes:
        kind: of the component.
        component: its name; empty for the model, which is called as the plugin is.
        factory: of the component, below the package; ``{model}`` is the network's class.
        summary: one line for listings.
    """

    kind: str
    component: str
    factory: str
    summary: str


_PARTS = {
    part.kind: part
    for part in (
        Part("model", "", ".model:{model}", "a small residual network on top of bicubic enlargement"),
        Part("degradation", "fade", ".degradation:Fade", "contrast lost towards grey"),
        Part("loss", "edges", ".loss:Edges", "differences between neighbouring pixels"),
        Part("schedule", "halving", ".schedule:Halving", "halved again and again, smoothly"),
        Part("optimizer", "lion", ".optimizer:Lion", "steps by the sign of an interpolated momentum"),
        Part("pruner", "slimming", ".pruner:Slimming", "the channels with the smallest gates go"),
        Part("dataset", "discs", ".dataset:Discs", "coloured discs that drift, without any files"),
        Part("metric", "mae", ".metric:MeanAbsoluteError", "mean absolute difference in levels of 8 bits"),
    )
}
KINDS = tuple(_PARTS)
# Something must be there to train with what else was asked for.
_TRIAL = Part("model", "trial", ".model:{model}", "a small network to try the rest of this plugin on")
_RECIPES = (
    Part("recipe", "run", ":recipes/run.toml", "twice the size"),
    Part("recipe", "small", ":recipes/small.toml", "training that fits a laptop"),
)
_HOOK_DOCS = {
    "restore_models": "Networks.",
    "restore_degradations": "What spoils clean clips.",
    "restore_losses": "Losses.",
    "restore_schedules": "Values that change with training.",
    "restore_optimizers": "Optimizers.",
    "restore_pruners": "What makes networks smaller.",
    "restore_datasets": "Clean clips.",
    "restore_metrics": "Numbers that compare two clips.",
    "restore_recipes": "Recipes; `run` is what `restore run --plugin` takes.",
}


@attrs.frozen
class Scaffold:
    """What to write.

    Attributes:
        names: of the plugin.
        kinds: of which there shall be an example; a model is written in any case.
        license: one of :data:`LICENSES`.
        author: of the licence and the metadata.
    """

    names: Names
    kinds: tuple[str, ...] = ("model",)
    license: str = "MIT"
    author: str = ""

    @property
    def parts(self) -> list[Part]:
        """The components, in the order of :data:`KINDS`, with their names filled in."""
        model = _PARTS["model"] if "model" in self.kinds else _TRIAL
        wanted = [model, *(_PARTS[k] for k in KINDS if k in self.kinds and k != "model")]
        return [
            attrs.evolve(
                p, component=p.component or self.names.plugin, factory=p.factory.format(model=self.names.model)
            )
            for p in wanted
        ]

    def files(self) -> dict[str, str]:
        """Every file's path below the repository, and its text."""
        render, package = _Renderer(self._values()), f"src/{self.names.package}"
        made = {
            "pyproject.toml": render("project/pyproject.toml.tmpl"),
            "README.md": render("project/README.md.tmpl"),
            "LICENSE": render(f"licenses/{self.license}.txt"),
            ".gitignore": render("project/gitignore.tmpl"),
            ".github/workflows/tests.yml": render("workflows/checks.yml.tmpl"),
            ".github/workflows/release.yml": render("workflows/release.yml.tmpl"),
            f"{package}/__init__.py": render("project/init.py.tmpl"),
            f"{package}/py.typed": "",
            f"{package}/plugin.py": render("project/plugin.py.tmpl"),
            f"{package}/recipes/run.toml": render("project/run.toml.tmpl"),
            f"{package}/recipes/small.toml": render("project/small.toml.tmpl"),
            "tests/test_conformance.py": render("tests/conformance.py.tmpl"),
            "tests/test_training.py": render("tests/training.py.tmpl"),
        }
        made |= {f"{package}/{part.kind}.py": render(f"parts/{part.kind}.py.tmpl") for part in self.parts}
        return made

    def _values(self) -> dict[str, Any]:
        names, parts = self.names, self.parts
        hooks: dict[str, list[Part]] = {}
        for part in (*parts, *_RECIPES):
            plural = {"loss": "losses"}.get(part.kind, f"{part.kind}s")
            hooks.setdefault(f"restore_{plural}", []).append(part)
        return {
            "name": names.plugin,
            "distribution": names.distribution,
            "package": names.package,
            "class": names.model,
            "model": parts[0].component,
            "title": names.plugin.replace("_", " "),
            "components": parts,
            "hooks": list(hooks.items()),
            "hook_docs": _HOOK_DOCS,
            "has": {kind: kind in self.kinds for kind in KINDS},
            "license": self.license,
            "author": self.author or f"The {names.plugin} authors",
            "year": datetime.date.today().year,
            "core": __version__,
        }


class _Renderer:
    """Fills templates in. Its marks are none that Python, TOML or a workflow has."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.environment = Environment(
            variable_start_string="<<",
            variable_end_string=">>",
            block_start_string="<%",
            block_end_string="%>",
            comment_start_string="<#",
            comment_end_string="#>",
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            undefined=StrictUndefined,
        )

    def __call__(self, name: str) -> str:
        text = files("restore.scaffold").joinpath("templates", *name.split("/")).read_text(encoding="utf-8")
        return self.environment.from_string(text).render(self.values)


def write(scaffold: Scaffold, folder: Path) -> list[Path]:
    """Write the repository; gives the files.

    Args:
        scaffold: what to write.
        folder: where to; it must not exist, or be empty.

    Raises:
        RequestError: the folder is a file, holds something, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "has files in it" if folder.is_dir() else "is a file"
        raise RequestError(f"{folder} {what}; nothing is overwritten. Name another folder with -o")
    written = []
    try:
        for path, text in scaffold.files().items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            written.append(target)
    except OSError as error:
        raise RequestError(f"{folder} cannot be written: {error}; name another folder with -o") from None
    return written
