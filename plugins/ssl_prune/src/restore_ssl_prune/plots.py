"""``python -m restore_ssl_prune.plots``: the two figures of SSL's supplement, from runs of one's own.

``gamma`` is Fig. 1: the mean factor of what stays and of what goes against the strength of the penalty, of a run's log.
``drift`` is Fig. 2: the mean hidden state of each frame of a long clip, of the whole network and of pruned ones; and,
besides, how far theirs are from it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

import click
import torch
from restore import RequestError, RestoreError, Step
from restore.catalogue import recipe_document
from restore.functional.seeding import seeded
from restore.modelling import build_model, builder
from restore.plugins import registry
from restore.recipe import Use, check
from restore.training.directory import RunDirectory
from torch import Tensor, nn

from restore_ssl_prune.losses import DIRECTIONS

_PREFIX = "pruning/"
_OUTPUT = click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The PNG.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The figures of SSL's supplement. Beside each picture lies a .json file with its numbers."""


def gamma_curves(history: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Of a run's log, alpha and the mean |gamma| of what stays and of what goes, in order of iterations.

    Raises:
        RequestError: nothing was regularised in this run, or before its first log entry.
    """
    keys = ("alpha", "gamma_kept", "gamma_pruned")
    lines = [h for h in history if all(_PREFIX + key in h for key in keys)]
    if not lines:
        raise RequestError(
            "the log has no pruning/alpha with pruning/gamma_kept and pruning/gamma_pruned: draw a run of a recipe "
            'with a [pruner] such as ssl_prune:ssl and a phase with pruning = "regularise"'
        )
    return {"iteration": [h["iteration"] for h in lines]} | {k: [h[_PREFIX + k] for h in lines] for k in keys}


@main.command("gamma")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_OUTPUT
def gamma(run: Path, output: Path) -> None:
    """Mean factors against the strength of the penalty (Fig. 1), from a RUN directory's log."""
    curves = gamma_curves(RunDirectory(run).history())
    drawn, (axes,) = _figure(1)
    axes.plot(curves["alpha"], curves["gamma_kept"], label="kept", color="tab:red")
    axes.plot(curves["alpha"], curves["gamma_pruned"], label="pruned", color="tab:blue")
    axes.set(xlabel=r"$\alpha$", ylabel=r"mean $|\gamma|$")
    _write(drawn, (axes,), output, curves)


@torch.no_grad()
def mean_states(networks: Mapping[str, nn.Module], observed: Tensor) -> dict[str, dict[str, list[float]]]:
    """Hidden states of recurrent networks, frame by frame.

    Args:
        networks: by name, each with an attribute ``hidden_states``; the first is the whole one.
        observed: ``(1, T, 3, H, W)`` in [0, 1].

    Returns:
        for each name, ``forward`` and ``backward`` (where the network has it): the mean over channels and pixels of
        each frame's state; and ``forward_drift``, ``backward_drift``: the mean absolute difference to the first's.

    Raises:
        RequestError: a network that gives no hidden states, or of another width than the first.
    """
    found: dict[str, dict[str, list[float]]] = {}
    whole: Mapping[str, Tensor] = {}
    for name, network in networks.items():
        network.hidden_states = True  # type: ignore[assignment]
        features = getattr(network.eval()(observed), "features", {})
        states = {key: features[key][0] for key in DIRECTIONS if key in features}
        whole = whole or states
        if not states or any(k not in whole or whole[k].shape != s.shape for k, s in states.items()):
            raise RequestError(
                f"{name} has no hidden states to compare with the whole network's: both must be recurrent, of one "
                "form, and pruned with aligned = false"
            )
        found[name] = {key: state.mean(dim=(1, 2, 3)).tolist() for key, state in states.items()}
        for key, state in states.items():
            found[name][f"{key}_drift"] = (state - whole[key]).abs().mean(dim=(1, 2, 3)).tolist()
    return found


@main.command("drift")
@click.option("--recipe", default="ssl_prune:basicvsr-small", show_default=True, help="Its model and degradation.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
@click.option("--whole", required=True, metavar="WEIGHTS", help="Of the unpruned network: a name or a path.")
@click.option("--pruned", multiple=True, required=True, metavar="LABEL=WEIGHTS", help="Of a pruned one; several times.")
@click.option("--clip", type=click.Path(exists=True, path_type=Path), help="A video, or a folder of frames.")
@click.option("--stills", type=click.Path(exists=True, path_type=Path), help="Photographs to move, instead of a clip.")
@click.option("--frames", default=100, show_default=True)
@click.option("--size", default=256, show_default=True, help="Side of the part of the clean frames that is taken.")
@_OUTPUT
def drift(
    recipe: str,
    overrides: tuple[str, ...],
    whole: str,
    pruned: tuple[str, ...],
    clip: Path | None,
    stills: Path | None,
    frames: int,
    size: int,
    output: Path,
) -> None:
    """Mean hidden states along a long clip, and their distance to the whole network's (Fig. 2)."""
    named = {"unpruned": whole, **dict(_split(entry) for entry in pruned)}
    networks = {label: _network(recipe, overrides, weights) for label, weights in named.items()}
    states = mean_states(networks, _observed(recipe, overrides, clip, stills, frames, size))
    directions = [key for key in DIRECTIONS if key in states["unpruned"]]
    drawn, axes = _figure(2 * len(directions))
    for number, key in enumerate(directions):
        for label, curves in states.items():
            axes[2 * number].plot(curves[key], label=label)
            if label != "unpruned":
                axes[2 * number + 1].plot(curves[f"{key}_drift"], label=label, color=f"C{list(states).index(label)}")
        axes[2 * number].set(xlabel="frame", ylabel=f"mean {key} state")
        axes[2 * number + 1].set(xlabel="frame", ylabel=f"mean distance of {key} states")
    _write(drawn, axes, output, states)


def _split(entry: str) -> tuple[str, str]:
    label, found, weights = entry.partition("=")
    if not found or not label or not weights:
        raise RequestError(f"--pruned takes LABEL=WEIGHTS, got {entry!r}")
    return label, weights


def _network(recipe: str, overrides: Sequence[str], weights: str) -> nn.Module:
    """The recipe's model with these weights."""
    document = recipe_document(
        registry(), recipe=recipe, overrides=(*overrides, f"model.weights={json.dumps(weights)}")
    )
    model = check(document).model
    if model is None:
        raise RequestError(f"{recipe} has no [model]")
    return build_model(model, builder(registry()))[0]


def _observed(
    recipe: str, overrides: Sequence[str], clip: Path | None, stills: Path | None, frames: int, size: int
) -> Tensor:
    """What the recipe's degradation makes of the first frames, ``(1, T, 3, h, w)``."""
    if (clip is None) == (stills is None):
        raise RequestError("give --clip or --stills, one of them")
    document, makers = recipe_document(registry(), recipe=recipe, overrides=tuple(overrides)), builder(registry())
    degradation = check(document).degradation
    if degradation is None:
        raise RequestError(f"{recipe} has no [degradation]")
    if clip is None:
        name, settings = "core:stills-in-motion", {"root": str(stills), "length": frames, "patch": size}
    else:
        name = "core:frames" if clip.is_dir() else "core:videos"
        settings = {"root": str(clip), "length": frames}
    clean = makers.build("dataset", Use(name, settings, document.root))[0]
    height, width = clean.shape[-2:]
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    clean = clean[..., top : top + size, left : left + size]
    step = Step(generator=seeded(0))
    observed: Tensor = makers.build("degradation", degradation)(clean.unsqueeze(0), step).observed
    return observed


def _figure(count: int) -> tuple[Any, list[Any]]:
    """A figure and its axes in a row.

    Raises:
        RequestError: matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise RequestError("plots need matplotlib: pip install restorekit-ssl-prune[plots]") from None
    drawn, axes = pyplot.subplots(1, count, figsize=(4.4 * count, 3.4), squeeze=False)
    return drawn, list(axes[0])


def _write(drawn: Any, axes: Sequence[Any], path: Path, numbers: Mapping[str, Any]) -> None:
    """The picture, beside its name first, and the numbers next to it."""
    from matplotlib import pyplot

    for ax in axes:
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    drawn.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    drawn.savefig(part, dpi=130, format="png")
    pyplot.close(drawn)
    os.replace(part, path)
    path.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    click.echo(str(path))


def run() -> None:
    """The command, its errors in one line."""
    try:
        main(standalone_mode=True)
    except RestoreError as error:
        click.echo(f"restore_ssl_prune.plots: {error}", err=True)
        sys.exit(2 if isinstance(error, RequestError) else 1)


if __name__ == "__main__":
    run()
