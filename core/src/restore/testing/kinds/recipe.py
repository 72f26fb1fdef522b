"""Checks of recipes: they parse, and every component they name exists and takes what it is given."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Iterator, Mapping

import torch
from torch import nn

from restore import weights, weights_store
from restore.build import Builder, schema
from restore.document import Document, Place
from restore.errors import RequestError, RestoreError
from restore.plugins import Registry, registry
from restore.recipe import Recipe, Use, uses
from restore.recipe import check as parsed
from restore.testing.conformance import NotApplicableError, check, fail
from restore.testing.sample import Sample
from restore.training.optimizers import plan_optimizer


def without(use: Use, *keys: str) -> Use:
    """The table without keys that are not the component's own."""
    return Use(use.use, {k: v for k, v in use.parameters.items() if k not in keys}, use.place)


class Dry(Builder):
    """Checks a table against the signature of what it names, nested tables too, and makes nothing."""

    def call(
        self, factory: Callable[..., Any], name: str, values: Mapping[str, Any], place: Place, **provided: Any
    ) -> Any:
        """``None``, after the checks of :meth:`restore.build.Builder.call`."""
        known = schema(factory, tuple(provided))

        def stand_in(**_: Any) -> None:
            """Has the factory's signature, and does nothing."""

        empty = inspect.Parameter.empty
        stand_in.__annotations__ = {n: p.annotation for n, p in known.items()}
        stand_in.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=empty if p.required else p.default)
                for n, p in known.items()
            ]
        )
        return super().call(stand_in, name, values, place)

    def teacher(self, use: Use) -> None:
        """A teacher is a model with weights, and perhaps a folder for its answers."""
        self.build("model", without(use, "weights", "cache"))


def _parsed(document: Any) -> Recipe:
    if not isinstance(document, Document):
        fail(f"a {type(document).__name__}", "register a TOML file: Component(name, 'package:recipes/name.toml')")
    return parsed(document)


# What tables hold beside the component's own parameters.
_EXTRA = {"model": ("weights",), "loss": ("weight",), "optimizer": ("groups",)}


def stripped(recipe: Recipe) -> Iterator[tuple[str, Use]]:
    """Every component that the recipe's tables name, and its kind; with the component's own parameters alone."""
    for kind, use in uses(recipe):
        yield kind, without(use, *_EXTRA.get(kind, ()))


@check("recipe", "the file is TOML of recipe = 1, its tables and keys are known", devices=False)
def parses(document: Any, sample: Sample) -> None:
    """As `restore train` and `restore run` read it."""
    try:
        _parsed(document)
    except RequestError as error:
        fail(str(error), "correct the line; `restore describe recipe` prints what may stand where")


@check("recipe", "every component it names is installed and takes the parameters it is given", devices=False)
def components(document: Any, sample: Sample) -> None:
    """Nested ones too. Nothing is built: data need not be there."""
    recipe, builder = _parsed(document), Dry(_registry(sample))
    try:
        for kind, use in stripped(recipe):
            if kind == "optimizer":
                plan_optimizer(use, [("weight", nn.Parameter(torch.zeros(2, 2)))], builder)
            else:
                builder.build(kind, use)
    except RestoreError as error:
        fail(
            str(error),
            "name components of your plugin or of the core; `restore describe NAME` prints what one takes",
        )


@check("recipe", "weights that it names are registered, and lie whole in the package or elsewhere by their hash")
def weights_there(document: Any, sample: Sample) -> None:
    """`weights` of the model and of every stage. Nothing is fetched. A recipe that trains may begin with a path: with
    what an earlier run left there."""
    recipe = _parsed(document)
    names = [use.parameters.get("weights") for use in (recipe.model, *recipe.stages) if use is not None]
    names = [name for name in names if name is not None]
    if not names:
        raise NotApplicableError("it names no weights")
    mend = "add the file to the package and its name to Component(weights={...}), or leave `weights` out"
    for name in map(str, names):
        if weights_store.is_path(name):
            if recipe.training is None:
                fail(f"{name!r} is a path", f"nobody else has that file: {mend}")
            continue
        try:
            named = weights_store.named(name, _registry(sample))
        except RestoreError as error:
            fail(str(error), mend)
        status, wrong = weights_store.check(named)
        if status in ("missing", "damaged"):
            fail(wrong, mend)
        if named.where == "package":
            try:
                weights.read(named.path())
            except RestoreError as error:
                fail(str(error), mend)


def _registry(sample: Sample) -> Registry:
    return registry() if sample.registry is None else sample.registry
