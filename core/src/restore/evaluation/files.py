"""Restored files against their clean references: luma PSNR and SSIM, frame by frame."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, Iterator

import torch
from torch import Tensor

from restore.errors import RequestError
from restore.functional.quality import psnr, ssim
from restore.functional.resize import quantize, resize
from restore.media.color import Picture
from restore.media.image import read_image
from restore.media.probe import probe
from restore.media.reader import VideoReader

PROTOCOL = {
    "plane": "luma as stored, studio range, rounded to 8 bit",
    "border": 0,
    "data_range": 255,
    "psnr": "10 log10(255^2 / mse) per frame, then the mean over frames",
    "ssim": "11x11 Gaussian window, sigma 1.5, valid window; mean over frames",
    "bicubic": "the input's luma enlarged to the reference's size, MATLAB-compatible",
}


def _lumas(path: Path) -> Iterator[Tensor]:
    """Studio-range luma ``(1, 1, H, W)`` of every frame."""
    if probe(path).kind == "image":
        yield Picture.from_image(read_image(path)).channels("y")
        return
    with VideoReader(path) as reader:
        for frame in reader:
            yield Picture.from_frames([frame]).channels("y")


def _mean(values: list[float]) -> float:
    # A frame that is equal has no finite PSNR; it must not turn the mean to infinity.
    finite = [v for v in values if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else math.inf


def _ssim(a: Tensor, b: Tensor) -> float:
    return ssim(a, b) if min(a.shape[-2:]) >= 11 else ssim(a, b, padding="replicate")


@torch.inference_mode()
def compare(restored: Path, reference: Path, source: Path | None = None) -> dict[str, Any]:
    """Scores of a restored file, and of plain bicubic enlargement of what it was made from.

    Args:
        restored: image or video.
        reference: the clean one, of the same size and number of frames.
        source: what was restored; adds the baseline.

    Returns:
        ``psnr`` in dB and ``ssim``, means over frames, ``frames``, the ``protocol``; with ``source`` also
        ``bicubic_psnr``, ``bicubic_ssim`` and ``gain`` in dB.

    Raises:
        RequestError: sizes or numbers of frames differ.
    """
    scores: dict[str, list[float]] = {"psnr": [], "ssim": [], "bicubic_psnr": [], "bicubic_ssim": []}
    sources: Iterator[Tensor | None] = _lumas(source) if source is not None else itertools.repeat(None)
    count = 0
    for a, b in itertools.zip_longest(_lumas(restored), _lumas(reference)):
        if a is None or b is None:
            shorter, longer = (restored, reference) if a is None else (reference, restored)
            raise RequestError(
                f"{shorter} has {count} frames and {longer} has more; a reference must match frame by frame"
            )
        if a.shape != b.shape:
            sizes = f"{a.shape[-1]}x{a.shape[-2]} against {b.shape[-1]}x{b.shape[-2]}"
            raise RequestError(f"{restored} and its reference {reference} differ in size: {sizes}")
        count += 1
        a, b = quantize(a), quantize(b)
        scores["psnr"].append(psnr(a, b))
        scores["ssim"].append(_ssim(a, b))
        low = next(sources, None)
        if low is not None:
            plain = quantize(resize(low, size=(int(b.shape[-2]), int(b.shape[-1]))))
            scores["bicubic_psnr"].append(psnr(plain, b))
            scores["bicubic_ssim"].append(_ssim(plain, b))
    result: dict[str, Any] = {name: _mean(values) for name, values in scores.items() if values}
    if "bicubic_psnr" in result:
        result["gain"] = result["psnr"] - result["bicubic_psnr"]
    return {**result, "frames": count, "protocol": PROTOCOL}
