"""What this plugin registers."""

from __future__ import annotations

from restore import Component, hookimpl

_PAPER = "Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015"


@hookimpl
def restore_models() -> list[Component]:
    """The network."""
    return [Component("unet2d", "restore_unet2d.model:ResidualUNet", "what a U-Net adds to the picture", _PAPER)]


@hookimpl
def restore_recipes() -> list[Component]:
    """Removing noise."""
    return [
        Component("run", "restore_unet2d:recipes/run.toml", "removes noise"),
        Component("small", "restore_unet2d:recipes/small.toml", "learns to remove noise"),
    ]
