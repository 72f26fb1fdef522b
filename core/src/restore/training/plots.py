"""Curves of a run as a picture, where matplotlib is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def plot(history: list[dict[str, Any]], path: Path) -> bool:
    """Loss and validation against iterations as PNG; False without matplotlib or with nothing to show."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError:
        return False
    losses = [(h["iteration"], h["loss"]) for h in history if "loss" in h]
    scores = [(h["iteration"], h["psnr"]) for h in history if "psnr" in h]
    if not losses:
        return False
    figure, axes = plt.subplots(1, 2 if scores else 1, figsize=(10 if scores else 5, 3.5), squeeze=False)
    axes[0][0].plot(*zip(*losses, strict=True), linewidth=0.8)
    axes[0][0].set(xlabel="iteration", ylabel="loss", yscale="log", title="training loss")
    if scores:
        axes[0][1].plot(*zip(*scores, strict=True), marker=".")
        axes[0][1].set(xlabel="iteration", ylabel="PSNR, dB", title="validation")
    for ax in axes[0]:
        ax.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True
