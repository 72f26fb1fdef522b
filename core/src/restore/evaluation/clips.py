"""Measuring a model on clips: every frame, every video, and the mean over videos."""

from __future__ import annotations

import math
import time
from typing import Any, Callable, Mapping, Sequence

import attrs
import torch
from torch import Tensor

from restore.contracts import Dataset, Degradation, Metric, Model, Pair, Step, Traits, plain_degradation
from restore.errors import RequestError, RestoreError
from restore.evaluation.clip_protocols import CLIPS, ClipProtocol
from restore.evaluation.evaluate import Report, apply_metric, restored
from restore.evaluation.long_clips import PIECE, WHOLE, Engine, FrameByFrame, Pieces, in_pieces, pieces_of, score_pieces
from restore.functional.color import rgb_to_y
from restore.functional.seeding import seeded
from restore.modelling import answer, taken


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
    protocol: ClipProtocol = CLIPS,
    *,
    metrics: Mapping[str, Metric] | None = None,
    device: torch.device | str = "cpu",
    observed: Dataset | None = None,
    on_result: Callable[[dict[str, Any]], None] | None = None,
    engine: Engine | None = None,
    whole: int = WHOLE,
) -> Report:
    """Degrade, restore and score every clip of a dataset.

    A clip of more than 64 frames is read, spoilt, restored and scored in pieces of 32, so that memory does not grow
    with it, where the dataset can be read in pieces, the degradation spoils each frame by itself, and no further metric
    wants whole clips; what is random is then drawn anew for each piece. Other clips are held as a whole.

    Args:
        model: an ``nn.Module`` in evaluation mode on ``device``; one that works frame by frame is given single frames.
        dataset: clean clips ``(T, C, H, W)`` in [0, 1].
        degradation: what the model undoes, its draws a function of the clip's number; not needed with ``observed``.
        protocol: which planes are scored, and whether gains over the observed clip are.
        metrics: further ones by name, each given whole clips of the planes that are scored.
        device: where the model lies.
        observed: the degraded side from elsewhere, in the dataset's order.
        on_result: called with the entry of each clip as soon as it is there.
        engine: runs a model that looks along time over clips of more than ``whole`` frames; without one, it is given
            them as a whole.
        whole: frames up to which a clip is given to the model as a whole.

    Returns:
        the report; every entry also holds ``frames``, a list of ``{"psnr", "ssim"}``; PSNR is None for equal frames.
        With a protocol of gains, both also have ``delta_psnr`` and ``delta_ssim``, and entries ``ms_per_frame``.

    Raises:
        RequestError: neither degradation nor observed clips, sizes that do not belong together, or a protocol or metric
            that cannot be had of such a model or such clips.
        RestoreError: the model's answer has another size than the reference, or values that are not finite.
    """
    results = []
    protocol.check(model.traits)
    for index in range(len(dataset)):
        name = dataset.name(index) if hasattr(dataset, "name") else str(index)
        runner = FrameByFrame(model, device) if model.traits.temporal == "frame" else engine
        count = in_pieces(dataset, index, degradation, observed)
        if count and not metrics and runner is not None and not model.traits.needs_operator:
            parts = pieces_of(dataset, index, count, degradation, observed)
            result = _measure_pieces(model.traits, parts, runner, protocol, name)
        else:
            pair = _pair(dataset, index, degradation, observed, model.traits, name)
            result = _measure(model, pair, protocol, metrics or {}, name, device, engine, whole)
        result = {"name": name, **result}
        if protocol.gains:
            result["ms_per_frame"] = 1000 * result["seconds"] / len(result["frames"])
        results.append(result)
        if on_result is not None:
            on_result(result)
    described = protocol.describe(model.traits)
    if metrics:
        described["metrics"] = {key: dict(metric.protocol) for key, metric in metrics.items()}
    if engine is not None and model.traits.temporal != "frame":
        longer = f"; clips of up to {whole} frames at once" if whole else ""
        described["along time"] = f"{engine.schedule}{longer}"
    return Report(described, results)


def _measure(
    model: Model,
    pair: Pair,
    protocol: ClipProtocol,
    metrics: Mapping[str, Metric],
    name: str,
    device: torch.device | str,
    engine: Engine | None,
    whole: int,
) -> dict[str, Any]:
    started = time.perf_counter()
    clip = _restore(model, pair, device, engine if pair.observed.shape[1] > whole else None)
    seconds = time.perf_counter() - started
    if clip.shape != pair.target.shape:
        sizes = f"{tuple(clip.shape)} against {tuple(pair.target.shape)}"
        raise RestoreError(f"{name}: the restored clip and the reference differ in shape: {sizes}")
    if not torch.isfinite(clip).all():
        raise RestoreError(f"{name}: the model's output holds values that are not finite")
    return {**_scores(clip, pair, protocol, metrics, name), "seconds": seconds}


def _measure_pieces(
    traits: Traits, pieces: Pieces, engine: Engine, protocol: ClipProtocol, name: str
) -> dict[str, Any]:
    def read(number: int) -> Pair:
        pair = pieces.read(number, lambda clip: _planes(clip, traits), traits.scale)
        _check_sizes(pair, traits, name)
        return pair

    def score(clip: Tensor, pair: Pair) -> list[Any]:
        frames: list[Any] = _scores(clip, pair, protocol, {}, name)["frames"]
        return frames

    frames, seconds = score_pieces(read, len(pieces), engine, score, name, traits)
    return {**_means(frames), "frames": frames, "seconds": seconds}


def _pair(
    dataset: Dataset, index: int, degradation: Degradation | None, observed: Dataset | None, traits: Traits, name: str
) -> Pair:
    clean = _planes(dataset[index].unsqueeze(0), traits)
    height, width = (side // traits.scale * traits.scale for side in clean.shape[-2:])
    clean = clean[..., :height, :width]
    if observed is not None:
        told = getattr(observed, "qps", None) if traits.channels == "rgb+qp" else None
        qp = None if told is None else told(index)
        given = _planes(observed[index].unsqueeze(0), traits)
        pair = Pair(given, clean, qp=None if qp is None else qp.unsqueeze(0))
    elif degradation is not None:
        pair = plain_degradation(degradation)(clean, Step(generator=seeded(0, index)))
    else:
        raise RequestError("evaluation needs a degradation or observed clips")
    if traits.needs_operator:
        # What an operator measures has any shape.
        return pair
    _check_sizes(pair, traits, name)
    return pair


def _check_sizes(pair: Pair, traits: Traits, name: str) -> None:
    low, high = pair.observed.shape, pair.target.shape
    if (low[1], low[-2] * traits.scale, low[-1] * traits.scale) != (high[1], *high[-2:]):
        raise RequestError(
            f"{name}: {low[1]} observed frames of {low[-1]}x{low[-2]} for {high[1]} clean ones of "
            f"{high[-1]}x{high[-2]}, but the model enlarges by {traits.scale}; "
            "give both the same scale and the same frames"
        )


def _planes(clip: Tensor, traits: Traits) -> Tensor:
    if traits.channels == "y":
        return rgb_to_y(clip) if clip.shape[-3] == 3 else clip
    return clip.expand(-1, -1, 3, -1, -1) if clip.shape[-3] == 1 else clip


def _restore(model: Model, pair: Pair, device: torch.device | str, engine: Engine | None) -> Tensor:
    if engine is not None and model.traits.temporal != "frame" and not model.traits.needs_operator:
        engine.reset()
        clip = taken(pair, model.traits)[0].float()
        found = [part.cpu() for one in torch.split(clip, PIECE) for part in engine.push(one)]
        return torch.cat([*found, *(part.cpu() for part in engine.cut())]).unsqueeze(0)
    if model.traits.needs_operator:
        observed = pair.observed.to(device=device, dtype=torch.float32)
        return restored(answer(model, observed, pair.operator, pair.qp)).cpu()
    observed = taken(pair, model.traits).to(device=device, dtype=torch.float32)
    parts = torch.split(observed, 1, dim=1) if model.traits.temporal == "frame" else (observed,)
    return torch.cat([restored(model(part)).cpu() for part in parts], dim=1)


def _scores(
    answer: Tensor, pair: Pair, protocol: ClipProtocol, metrics: Mapping[str, Metric], name: str
) -> dict[str, Any]:
    a, b, before = (protocol.planes(clip) for clip in (answer, pair.target, pair.observed))
    shown = before[0] if protocol.gains else b[0]
    try:
        frames = [protocol.frame(x, y, z) for x, y, z in zip(a[0], b[0], shown, strict=True)]
        more = {key: apply_metric(metric, a, b, before) for key, metric in metrics.items()}
    except ValueError as error:
        raise RequestError(f"{name} cannot be scored: {error}") from error
    return {**_means(frames), **more, "frames": frames}


def _means(frames: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    return {key: _mean([f[key] for f in frames], math.inf if key == "psnr" else math.nan) for key in frames[0]}


def _mean(values: Sequence[float | None], otherwise: float) -> float:
    """Over the frames that count."""
    counted = [v for v in values if v is not None]
    return sum(counted) / len(counted) if counted else otherwise


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

    def read(self, index: int, window: Any) -> Tensor:
        """A window of a clip, ``(T, C, h, w)`` in [0, 1]."""
        out: Tensor = self.clips.read(index, window)
        return out

    def read_qps(self, index: int, window: Any) -> Tensor | None:
        """Of a window's frames, ``(T,)``; None where the dataset knows none."""
        read = getattr(self.clips, "read_qps", None)
        found: Tensor | None = None if read is None else read(index, window)
        return found

    def qps(self, index: int) -> Tensor | None:
        """Of each frame, ``(T,)``; None where the dataset knows none."""
        told = getattr(self.clips, "qps", None)
        found: Tensor | None = None if told is None else told(index)
        return None if found is None else found[: self.count]

    def __getitem__(self, index: int) -> Tensor:
        """``(T, C, H, W)`` in [0, 1]; what comes later is not read."""
        from restore.builtin.datasets.cutting import Window

        shape = self.clips.shape(index)
        window = Window.whole(shape, 0, min(shape[0], self.count))
        out: Tensor = self.clips.read(index, window)
        return out
