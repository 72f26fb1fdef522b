"""What the core itself registers."""

from __future__ import annotations

from restore.component import Component
from restore.hookspecs import hookimpl

_HERE = "restore.builtin"


@hookimpl
def restore_models() -> list[Component]:
    """The baselines."""
    return [
        Component(
            "bicubic", f"{_HERE}.models.bicubic:BicubicUpscale", "MATLAB-compatible bicubic up-scaling, a baseline"
        ),
        Component("identity", f"{_HERE}.models.bicubic:Identity", "gives back what it gets"),
    ]


@hookimpl
def restore_degradations() -> list[Component]:
    """What spoils clean clips."""
    return [
        Component(
            "bicubic", f"{_HERE}.degradations.bicubic:Bicubic", "MATLAB-compatible antialiased down-scaling (BI)"
        ),
    ]


@hookimpl
def restore_losses() -> list[Component]:
    """Pixel losses."""
    return [
        Component("charbonnier", f"{_HERE}.losses.pixel:Charbonnier", "sqrt(d^2 + eps^2), a differentiable L1"),
        Component("l1", f"{_HERE}.losses.pixel:L1", "absolute difference"),
        Component("mse", f"{_HERE}.losses.pixel:MSE", "squared difference"),
    ]


@hookimpl
def restore_schedules() -> list[Component]:
    """Values that change with training."""
    return [
        Component("constant", f"{_HERE}.schedules.basic:Constant", "the same value always"),
        Component("linear", f"{_HERE}.schedules.basic:Linear", "a straight line over the whole run"),
        Component("cosine", f"{_HERE}.schedules.basic:Cosine", "half a cosine, with a warm-up"),
        Component("multistep", f"{_HERE}.schedules.basic:MultiStep", "multiplied by a factor at milestones"),
    ]


@hookimpl
def restore_datasets() -> list[Component]:
    """Clean clips."""
    return [Component("images", f"{_HERE}.datasets.images:Images", "a folder of images, or random patches of them")]


@hookimpl
def restore_metrics() -> list[Component]:
    """Numbers that compare two clips."""
    return [
        Component("psnr", f"{_HERE}.metrics.basic:PSNR", "peak signal-to-noise ratio in dB"),
        Component("ssim", f"{_HERE}.metrics.basic:SSIM", "structural similarity, 11x11 Gaussian window"),
    ]


@hookimpl
def restore_recipes() -> list[Component]:
    """Recipes that need no plugin."""
    return [
        Component("bicubic", "restore.builtin:recipes/bicubic.toml", "bicubic up-scaling, the baseline of the tables"),
        Component("identity", "restore.builtin:recipes/identity.toml", "changes nothing; lossless FFV1 in Matroska"),
        Component("run", "restore.builtin:recipes/bicubic.toml", "what `--plugin core` runs: bicubic up-scaling"),
    ]
