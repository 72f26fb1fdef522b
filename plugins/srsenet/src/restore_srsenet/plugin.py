"""What this plugin registers. Imports nothing heavy."""

from __future__ import annotations

from restore import Component, hookimpl

_PAPER = "Mei et al., An Effective Single-Image Super-Resolution Model Using Squeeze-and-Excitation Networks, 2018"
_WEIGHTS = {f"srsenet-x{scale}": f"restore_srsenet:weights/srsenet-x{scale}.safetensors" for scale in (2, 3, 4)}


@hookimpl
def restore_models() -> list[Component]:
    """The network as the paper draws it, and as its code runs it."""
    return [
        Component(
            "srsenet",
            "restore_srsenet.model:SrSENet",
            "luma super-resolution with squeeze-and-excitation, eight separate blocks",
            _PAPER,
            weights=_WEIGHTS,
        ),
        Component(
            "official",
            "restore_srsenet.model:official",
            "the same with one block shared, as in the authors' code",
            _PAPER,
        ),
    ]


@hookimpl
def restore_recipes() -> list[Component]:
    """Recipes: ``run`` restores, ``small`` trains on two cores, ``paper`` is the full setting."""
    return [
        Component("run", "restore_srsenet:recipes/run.toml", "super-resolution of images and video, x2, x3 or x4"),
        Component("small", "restore_srsenet:recipes/small.toml", "training that fits two cores"),
        Component("small-x4", "restore_srsenet:recipes/small-x4.toml", "the same for x4, starting from the x2 trunk"),
        Component("paper", "restore_srsenet:recipes/paper.toml", "training at the paper's full settings", _PAPER),
    ]
