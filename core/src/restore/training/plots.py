"""Curves of a run as a picture, where matplotlib is installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

History = list[dict[str, Any]]
_UNITS = {"psnr": "PSNR, dB", "ssim": "SSIM", "loss": "loss on validation data"}


def plot(history: History, path: Path) -> bool:
    """Losses, learning rate and validation against iterations as PNG; False without matplotlib or with nothing to show.

    Args:
        history: lines of ``metrics.jsonl``.
        path: of the picture; written beside it and renamed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError:
        return False
    losses = [h for h in history if "loss" in h]
    if not losses:
        return False
    scores = [h for h in history if "psnr" in h]
    measures = [m for m in ("psnr", "ssim") if scores]
    measures += ["validation_loss"] if any("validation_loss" in h for h in scores) else []
    count = 2 + len(measures)
    figure, axes = plt.subplots(1, count, figsize=(4.2 * count, 3.5), squeeze=False)
    _losses(axes[0][0], losses)
    axes[0][1].plot([h["iteration"] for h in losses], [h["lr"] for h in losses], linewidth=0.8)
    axes[0][1].set(xlabel="iteration", title="learning rate")
    for ax, measure in zip(axes[0][2:], measures, strict=True):
        there = [h for h in scores if measure in h]
        ax.plot([h["iteration"] for h in there], [h[measure] for h in there], marker=".")
        ax.set(xlabel="iteration", ylabel=_UNITS.get(measure, "loss"), title=f"validation, {measure.replace('_', ' ')}")
    for ax in axes[0]:
        ax.grid(alpha=0.3)
    figure.tight_layout()
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, dpi=120, format="png")
    plt.close(figure)
    os.replace(part, path)
    return True


def _losses(ax: Any, losses: History) -> None:
    """The sum, and each term where there are several."""
    known = {"iteration", "seconds", "lr", "phase", "skipped"}
    terms = list(dict.fromkeys(k for h in losses for k in h if k not in known and "/" not in k))
    for term in terms:
        there = [(h["iteration"], h[term]) for h in losses if h.get(term, 0) > 0]
        if there:
            width = 1.2 if term == "loss" else 0.7
            ax.plot(*zip(*there, strict=True), linewidth=width, label="sum" if term == "loss" else term)
    ax.set(xlabel="iteration", yscale="log", title="training loss")
    if len(terms) > 1:
        ax.legend(fontsize=8)
