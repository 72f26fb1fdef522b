"""Measuring a model on clean images under a named protocol."""

from __future__ import annotations

import time
from typing import Any

import attrs
import torch
from torch import Tensor

from restore.contracts import Dataset, Degradation, Model, Pair, Prediction
from restore.errors import RestoreError
from restore.evaluation.protocols import Protocol


@attrs.frozen
class Report:
    """What `restore eval` prints.

    Attributes:
        protocol: everything that moves the numbers.
        results: one entry an image: ``name``, ``psnr`` in dB, ``ssim``, ``seconds`` of the model alone.
    """

    protocol: dict[str, Any]
    results: list[dict[str, Any]]

    @property
    def mean(self) -> dict[str, float]:
        """Means over the images."""
        keys = [k for k in self.results[0] if k != "name"]
        return {k: sum(r[k] for r in self.results) / len(self.results) for k in keys}

    def document(self) -> dict[str, Any]:
        """As one JSON document."""
        return {"protocol": self.protocol, "results": self.results, "mean": self.mean}


def restored(answer: Tensor | Prediction) -> Tensor:
    """The restored clip of whatever a model returned."""
    return answer.restored if isinstance(answer, Prediction) else answer


def _exact(clean: Tensor) -> Tensor:
    # float32 cannot hold n/255; go back to the levels, so that float64 can.
    levels = (clean.double() * 255).round()
    return levels / 255 if torch.allclose(levels / 255, clean.double(), atol=1e-6) else clean.double()


@torch.no_grad()
def evaluate(
    model: Model,
    dataset: Dataset,
    degradation: Degradation,
    protocol: Protocol,
    *,
    device: torch.device | str = "cpu",
    observed: Dataset | None = None,
) -> Report:
    """Degrade, restore and score every image of a dataset.

    Args:
        model: an ``nn.Module`` in evaluation mode on ``device``.
        dataset: clean clips ``(1, C, H, W)`` in [0, 1]; C = 1 for grey images.
        degradation: what the model undoes.
        protocol: how it is scored.
        device: where the model lies.
        observed: the degraded side from elsewhere, in the dataset's order, instead of the degradation.

    Returns:
        the report; scores are those of the protocol.

    Raises:
        RestoreError: the model's answer has another size than the reference, or values that are not finite.
    """
    traits = model.traits
    border = traits.scale if traits.scale > 1 else 0
    results = []
    seconds = 0.0

    def run(clip: Tensor) -> Tensor:
        nonlocal seconds
        start = time.perf_counter()
        out = restored(model(clip.to(device=device, dtype=torch.float32))).cpu().double()
        seconds = time.perf_counter() - start
        return out

    for index in range(len(dataset)):
        clean = _exact(dataset[index]).unsqueeze(0)
        name = dataset.name(index) if hasattr(dataset, "name") else str(index)
        grey = clean.shape[-3] == 1
        pair = protocol.pair(clean, degradation, traits)
        if observed is not None:
            given = protocol.planes(_exact(observed[index]).unsqueeze(0), traits)
            pair = Pair(given, pair.target)
        out = protocol.restore(pair.observed, run, traits)
        if out.shape != pair.target.shape:
            sizes = f"{tuple(out.shape[-2:])} against {tuple(pair.target.shape[-2:])}"
            raise RestoreError(f"{name}: the restored image and the reference differ in size: {sizes} (height, width)")
        if not torch.isfinite(out).all():
            raise RestoreError(f"{name}: the model's output holds values that are not finite")
        results.append({"name": name, **protocol.score(out, pair.target, grey, border), "seconds": seconds})
    return Report(protocol.describe(border), results)
