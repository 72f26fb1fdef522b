"""Measuring a model on clips: every frame, every video, and the mean over videos."""

from __future__ import annotations

import math
import time
from typing import Any, Callable, Mapping

import attrs
import torch
from torch import Tensor

from restore.contracts import Dataset, Degradation, Metric, Model, Pair, Step, Traits, plain_degradation
from restore.errors import RequestError, RestoreError
from restore.evaluation.evaluate import Report, apply_metric, restored
from restore.functional.color import rgb_to_y
from restore.functional.quality import psnr, ssim
from restore.functional.resize import quantize
from restore.functional.seeding import seeded

NAME = "clips"


def describe(traits: Traits) -> dict[str, Any]:
    """The protocol as printed with a table."""
    luma = traits.channels == "y"
    return {
        "name": NAME,
        "plane": "Y of BT.601, studio range" if luma else "RGB",
        "crop": "clean clip cropped to a multiple of the scale",
        "rounding": "both sides rounded to 8 bit",
        "border": 0,
        "data_range": 255,
        "psnr": "10 log10(255^2 / mse) per frame, the mean over frames, then over videos; equal frames are left out",
        "ssim": "11x11 Gaussian window, sigma 1.5, valid window, per frame; the mean over frames, then over videos",
    }


def is_clip(dataset: Dataset) -> bool:
    """Whether the entries have more than one frame, told without reading one where the dataset knows its shapes."""
    shape = getattr(dataset, "shape", None)
    frames = shape(0)[0] if shape is not None else dataset[0].shape[0]
    return bool(frames > 1) and getattr(dataset, "length", None) != 1


@torch.no_grad()
def evaluate_clips(
    model: Model,
    dataset: Dataset,
    degradation: Degradation | None,
    *,
    metrics: Mapping[str, Metric] | None = None,
    device: torch.device | str = "cpu",
    observed: Dataset | None = None,
    on_result: Callable[[dict[str, Any]], None] | None = None,
) -> Report:
    """Degrade, restore and score every clip of a dataset. One clip at a time is held in memory, as a whole.

    Args:
        model: an ``nn.Module`` in evaluation mode on ``device``; one that works frame by frame is given single frames.
        dataset: clean clips ``(T, C, H, W)`` in [0, 1].
        degradation: what the model undoes, its draws a function of the clip's number; not needed with ``observed``.
        metrics: further ones by name, each given whole clips of the planes that are scored.
        device: where the model lies.
        observed: the degraded side from elsewhere, in the dataset's order.
        on_result: called with the entry of each clip as soon as it is there.

    Returns:
        the report; every entry also holds ``frames``, a list of ``{"psnr", "ssim"}``; PSNR is None for equal frames.

    Raises:
        RequestError: neither degradation nor observed clips, sizes that do not belong together, or a metric that
            cannot be had of such clips.
        RestoreError: the model's answer has another size than the reference, or values that are not finite.
    """
    results = []
    for index in range(len(dataset)):
        name = dataset.name(index) if hasattr(dataset, "name") else str(index)
        pair = _pair(dataset, index, degradation, observed, model.traits, name)
        started = time.perf_counter()
        answer = _restore(model, pair.observed, device)
        seconds = time.perf_counter() - started
        if answer.shape != pair.target.shape:
            sizes = f"{tuple(answer.shape)} against {tuple(pair.target.shape)}"
            raise RestoreError(f"{name}: the restored clip and the reference differ in shape: {sizes}")
        if not torch.isfinite(answer).all():
            raise RestoreError(f"{name}: the model's output holds values that are not finite")
        result = {"name": name, **_scores(answer, pair, metrics or {}, name), "seconds": seconds}
        results.append(result)
        if on_result is not None:
            on_result(result)
    protocol = describe(model.traits)
    if metrics:
        protocol["metrics"] = {key: dict(metric.protocol) for key, metric in metrics.items()}
    return Report(protocol, results)


def _pair(
    dataset: Dataset, index: int, degradation: Degradation | None, observed: Dataset | None, traits: Traits, name: str
) -> Pair:
    clean = _planes(dataset[index].unsqueeze(0), traits)
    height, width = (side // traits.scale * traits.scale for side in clean.shape[-2:])
    clean = clean[..., :height, :width]
    if observed is not None:
        pair = Pair(_planes(observed[index].unsqueeze(0), traits), clean)
    elif degradation is not None:
        pair = plain_degradation(degradation)(clean, Step(generator=seeded(0, index)))
    else:
        raise RequestError("evaluation needs a degradation or observed clips")
    low, high = pair.observed.shape, pair.target.shape
    if (low[1], low[-2] * traits.scale, low[-1] * traits.scale) != (high[1], *high[-2:]):
        raise RequestError(
            f"{name}: {low[1]} observed frames of {low[-1]}x{low[-2]} for {high[1]} clean ones of "
            f"{high[-1]}x{high[-2]}, but the model enlarges by {traits.scale}; "
            "give both the same scale and the same frames"
        )
    return pair


def _planes(clip: Tensor, traits: Traits) -> Tensor:
    if traits.channels == "y":
        return rgb_to_y(clip) if clip.shape[-3] == 3 else clip
    return clip.expand(-1, -1, 3, -1, -1) if clip.shape[-3] == 1 else clip


def _restore(model: Model, clip: Tensor, device: torch.device | str) -> Tensor:
    parts = torch.split(clip, 1, dim=1) if model.traits.temporal == "frame" else (clip,)
    return torch.cat([restored(model(part.to(device=device, dtype=torch.float32))).cpu() for part in parts], dim=1)


def _scores(answer: Tensor, pair: Pair, metrics: Mapping[str, Metric], name: str) -> dict[str, Any]:
    a, b = quantize(answer.double()), quantize(pair.target.double())
    try:
        frames = [{"psnr": psnr(x, y), "ssim": ssim(x, y)} for x, y in zip(a[0], b[0], strict=True)]
        more = {key: apply_metric(metric, a, b, quantize(pair.observed.double())) for key, metric in metrics.items()}
    except ValueError as error:
        raise RequestError(f"{name} cannot be scored: {error}") from error
    finite = [f["psnr"] for f in frames if math.isfinite(f["psnr"])]
    return {
        "psnr": sum(finite) / len(finite) if finite else math.inf,
        "ssim": sum(f["ssim"] for f in frames) / len(frames),
        **more,
        "frames": [{**f, "psnr": f["psnr"] if math.isfinite(f["psnr"]) else None} for f in frames],
    }


@attrs.frozen
class FirstFrames:
    """A dataset of clips cut to their first frames.

    Attributes:
        clips: with ``shape(index)`` and ``read(index, window)``, as videos and folders of frames have them.
        count: at most so many frames of each.
    """

    clips: Any
    count: int

    def __len__(self) -> int:
        return len(self.clips)

    def name(self, index: int) -> str:
        """As of the clips."""
        return str(self.clips.name(index))

    def shape(self, index: int) -> tuple[int, int, int]:
        """Frames, height and width."""
        frames, height, width = self.clips.shape(index)
        return min(frames, self.count), height, width

    def __getitem__(self, index: int) -> Tensor:
        """``(T, C, H, W)`` in [0, 1]; what comes later is not read."""
        from restore.builtin.datasets.cutting import Window

        shape = self.clips.shape(index)
        window = Window.whole(shape, 0, min(shape[0], self.count))
        out: Tensor = self.clips.read(index, window)
        return out
