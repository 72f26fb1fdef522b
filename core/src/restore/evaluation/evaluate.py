"""Measuring a model on clean images under a named protocol."""

from __future__ import annotations

import time
from typing import Any, Callable, Mapping

import attrs
import torch
from torch import Tensor

from restore.contracts import Dataset, Degradation, Metric, Model, Pair, Prediction, Traits, plain_degradation
from restore.errors import RequestError, RestoreError
from restore.evaluation.protocols import Protocol
from restore.modelling import answer


@attrs.frozen
class Report:
    """What `restore eval` prints.

    Attributes:
        protocol: everything that moves the numbers.
        results: one entry an image or clip: ``name``, ``psnr`` in dB, ``ssim``, further metrics, ``seconds`` of the
            model alone; of a clip also ``frames``.
    """

    protocol: dict[str, Any]
    results: list[dict[str, Any]]

    @property
    def mean(self) -> dict[str, float]:
        """Means over the images or clips."""
        keys = [k for k in self.results[0] if k not in ("name", "frames")]
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
    degradation: Degradation | None,
    protocol: Protocol,
    *,
    metrics: Mapping[str, Metric] | None = None,
    device: torch.device | str = "cpu",
    observed: Dataset | None = None,
    on_result: Callable[[dict[str, Any]], None] | None = None,
) -> Report:
    """Degrade, restore and score every image of a dataset.

    Args:
        model: an ``nn.Module`` in evaluation mode on ``device``.
        dataset: clean clips ``(1, C, H, W)`` in [0, 1]; C = 1 for grey images.
        degradation: what the model undoes; not needed where ``observed`` is given.
        protocol: how it is scored.
        metrics: further ones by name, of the planes that the protocol scores.
        device: where the model lies.
        observed: the degraded side from elsewhere, in the dataset's order, instead of the degradation.
        on_result: called with the entry of each image as soon as it is there.

    Returns:
        the report; scores are those of the protocol.

    Raises:
        RequestError: neither degradation nor observed images, or their scale is not the model's, or an image is too
            small to be scored.
        RestoreError: the model's answer has another size than the reference, or values that are not finite.
    """
    border = model.traits.scale if model.traits.scale > 1 else 0
    results = []
    for index in range(len(dataset)):
        name = dataset.name(index) if hasattr(dataset, "name") else str(index)
        clean = _exact(dataset[index]).unsqueeze(0)
        given = None if observed is None else _exact(observed[index]).unsqueeze(0)
        pair = _pair(clean, given, degradation, protocol, model.traits, name)
        scores = _measure(model, pair, protocol, metrics or {}, clean.shape[-3] == 1, border, device, name)
        result = {"name": name, **scores}
        results.append(result)
        if on_result is not None:
            on_result(result)
    described = protocol.describe(border)
    if metrics:
        described["metrics"] = {key: dict(metric.protocol) for key, metric in metrics.items()}
    return Report(described, results)


def _pair(
    clean: Tensor, given: Tensor | None, degradation: Degradation | None, protocol: Protocol, traits: Traits, name: str
) -> Pair:
    if given is not None:
        pair = Pair(protocol.planes(given, traits), protocol.reference(clean, traits))
        source = "the observed image is"
    elif degradation is not None:
        pair = protocol.pair(clean, plain_degradation(degradation), traits)
        source = "the degradation makes"
    else:
        raise RequestError("evaluation needs a degradation or observed images")
    height, width = pair.observed.shape[-2:]
    wanted = pair.target.shape[-2:]
    if pair.observed.shape[-3] != pair.target.shape[-3]:
        raise RequestError(f"{name}: one of the two images is grey and the other is not")
    if (height * traits.scale, width * traits.scale) != tuple(wanted):
        raise RequestError(
            f"{name}: {source} {width}x{height} for a reference of {wanted[1]}x{wanted[0]}, "
            f"but the model enlarges by {traits.scale}; give both the same scale"
        )
    return pair


def apply_metric(metric: Metric, restored_clip: Tensor, reference: Tensor, observed: Tensor) -> float:
    """A metric's number; those that say ``needs_observed`` are given the observed clip, too.

    Raises:
        ValueError: it cannot be had of these clips.
    """
    if getattr(metric, "needs_observed", False):
        return float(metric(restored_clip, reference, observed))  # type: ignore[call-arg]
    return float(metric(restored_clip, reference))


def _measure(
    model: Model,
    pair: Pair,
    protocol: Protocol,
    metrics: Mapping[str, Metric],
    grey: bool,
    border: int,
    device: torch.device | str,
    name: str,
) -> dict[str, float]:
    seconds = 0.0

    def run(clip: Tensor) -> Tensor:
        nonlocal seconds
        start = time.perf_counter()
        out = restored(answer(model, clip.to(device=device, dtype=torch.float32))).cpu().double()
        seconds += time.perf_counter() - start
        return out

    out = protocol.restore(pair.observed, run, model.traits)
    if out.shape != pair.target.shape:
        sizes = f"{tuple(out.shape[-2:])} against {tuple(pair.target.shape[-2:])}"
        raise RestoreError(f"{name}: the restored image and the reference differ in size: {sizes} (height, width)")
    if not torch.isfinite(out).all():
        raise RestoreError(f"{name}: the model's output holds values that are not finite")
    try:
        scores = protocol.score(out, pair.target, grey, border)
        if metrics:
            a, b = protocol.scored(out, pair.target, grey, border)
            before = protocol.scored(pair.observed, pair.observed, grey, border)[0]
            scores |= {key: apply_metric(metric, a, b, before) for key, metric in metrics.items()}
    except ValueError as error:
        raise RequestError(f"{name} cannot be scored: {error}") from error
    return {**scores, "seconds": seconds}
