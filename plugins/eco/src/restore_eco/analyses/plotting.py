"""Figures, where matplotlib is installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from restore import RequestError

COLORS = {"vanilla": "tab:gray", "KD": "tab:orange", "noise-free": "tab:blue", "ECO": "tab:red"}


def figure(rows: int, columns: int, size: tuple[float, float] = (4.2, 3.4)) -> tuple[Any, Any]:
    """A figure and its axes, ``(rows, columns)``; ``size`` of each in inches.

    Raises:
        RequestError: matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise RequestError("plots need matplotlib: pip install restorekit-eco[plots]") from None
    return pyplot.subplots(rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False)


def write(drawn: Any, path: Path) -> Path:
    """Write a figure as PNG, beside its name first."""
    from matplotlib import pyplot

    drawn.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    drawn.savefig(part, dpi=130, format="png")
    pyplot.close(drawn)
    os.replace(part, path)
    return path


def show(axes: Any, picture: Any, title: str, **more: Any) -> None:
    """A picture ``(C, H, W)`` or ``(H, W)`` without ticks."""
    shown = picture.detach().float().cpu()
    if shown.ndim == 3:
        shown = shown[0] if len(shown) == 1 else shown.permute(1, 2, 0).clamp(0, 1)
    axes.imshow(shown.numpy(), **({"cmap": "gray", "vmin": 0, "vmax": 1} if shown.ndim == 2 and not more else more))
    axes.set(title=title, xticks=[], yticks=[])
