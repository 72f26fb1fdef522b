"""The hooks a plugin may implement. Each takes nothing and returns the components that the plugin adds.

A plugin is a module that imports nothing heavy, named by an entry point of the group ``restore.v1``::

    [project.entry-points."restore.v1"]
    myplugin = "restore_myplugin.plugin"

and holds functions like::

    from restore import Component, hookimpl

    @hookimpl
    def restore_models():
        return [Component("mynet", "restore_myplugin.model:MyNet", summary="What it does")]

The group's name is the contract's version.
"""

from __future__ import annotations

from typing import Iterable

import pluggy

from restore.component import Component

PROJECT = "restore"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def restore_models() -> Iterable[Component]:  # type: ignore[empty-body]
    """Models: factories of an ``nn.Module`` that keeps :class:`restore.Model`."""


@hookspec
def restore_degradations() -> Iterable[Component]:  # type: ignore[empty-body]
    """Degradations and linear operators: clean clip to training pair (:class:`restore.Degradation`)."""


@hookspec
def restore_losses() -> Iterable[Component]:  # type: ignore[empty-body]
    """Losses: prediction and pair to a scalar (:class:`restore.Loss`)."""


@hookspec
def restore_schedules() -> Iterable[Component]:  # type: ignore[empty-body]
    """Schedules: step to a value (:class:`restore.Schedule`)."""


@hookspec
def restore_optimizers() -> Iterable[Component]:  # type: ignore[empty-body]
    """Optimizers: factories of a ``torch.optim.Optimizer`` that take ``params`` and ``lr``. All of ``torch.optim`` are
    known without a hook."""


@hookspec
def restore_pruners() -> Iterable[Component]:  # type: ignore[empty-body]
    """Pruners: a model to a smaller one (:class:`restore.Pruner`)."""


@hookspec
def restore_datasets() -> Iterable[Component]:  # type: ignore[empty-body]
    """Datasets of clean clips (:class:`restore.Dataset`)."""


@hookspec
def restore_metrics() -> Iterable[Component]:  # type: ignore[empty-body]
    """Metrics: restored and reference to a number (:class:`restore.Metric`)."""


@hookspec
def restore_recipes() -> Iterable[Component]:  # type: ignore[empty-body]
    """Recipes the package ships; ``factory`` is ``"package:recipes/name.toml"``, a file inside the package.

    The recipe named ``run`` is what ``restore run --plugin NAME`` uses.
    """


KIND_OF_HOOK = {
    "restore_models": "model",
    "restore_degradations": "degradation",
    "restore_losses": "loss",
    "restore_schedules": "schedule",
    "restore_optimizers": "optimizer",
    "restore_pruners": "pruner",
    "restore_datasets": "dataset",
    "restore_metrics": "metric",
    "restore_recipes": "recipe",
}
