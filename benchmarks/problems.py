"""The operators that are measured: VideoOneNet's problems and the video super-resolution benchmarks' down-samplings."""

from __future__ import annotations

from typing import Callable

import torch
from restore.operators import (
    BoxDownsample,
    CircularBlur,
    CompressiveSensing,
    FullBlur,
    Grey,
    Mask,
    Operator,
    Snapshot,
    VideoSensing,
    area_downsample,
    bicubic_downsample,
    blur,
    frame_interpolation,
    frame_prediction,
    gaussian_downsample,
    temporal_blur,
)
from restore.operators.kernels import disk, gaussian, motion_legacy, motion_line
from torch import Tensor

Sizes = tuple[int, int, int, int]


def _bits(*sizes: int, seed: int = 0) -> Tensor:
    return torch.rand(*sizes, generator=torch.Generator().manual_seed(seed)) > 0.5


def _block(shape: Sizes) -> Tensor:
    seen = torch.ones(shape[2:], dtype=torch.bool)
    height, width = shape[2:]
    seen[height // 4 : height - height // 4, width // 4 : width - width // 4] = False
    return seen


def problems(shape: Sizes) -> dict[str, Callable[[], Operator]]:
    """Name to operator, made when asked for. Dense compressive sensing only where its matrix is kept."""
    _, _, height, width = shape
    line = torch.outer(gaussian(7, 1.5), gaussian(7, 1.5))
    made: dict[str, Callable[[], Operator]] = {
        "inpainting, pixels": lambda: Mask(shape, _bits(*shape)),
        "inpainting, block": lambda: Mask(shape, _block(shape)),
        "box x2": lambda: BoxDownsample(shape, 2),
        "box x4": lambda: BoxDownsample(shape, 4),
        "bicubic x4 (BI)": lambda: bicubic_downsample(shape, 4),
        "gaussian x4 (BD)": lambda: gaussian_downsample(shape, 4),
        "area x3.2": lambda: area_downsample(shape, (height * 5 // 16, width * 5 // 16)),
        "interpolation 2": lambda: frame_interpolation(shape, 2),
        "prediction .75": lambda: frame_prediction(shape, 0.75),
        "colourisation": lambda: Grey(shape),
        "snapshot": lambda: Snapshot(shape, _bits(shape[0], 1, height, width)),
        "temporal blur": lambda: temporal_blur(shape, torch.full((4,), 0.25)),
        "disk, circular": lambda: CircularBlur(shape, disk()),
        "disk, full": lambda: FullBlur(shape, disk()),
        "motion 7x7, full": lambda: FullBlur(shape, motion_line(7, 30)),
        "motion 3x3, full": lambda: FullBlur(shape, motion_legacy(100)),
        "gaussian 7x7, full": lambda: FullBlur(shape, line),
        "valid disk": lambda: blur(shape, disk(), "valid"),
        "sensing, structured": lambda: CompressiveSensing(shape, kind="structured"),
        "video sensing": lambda: VideoSensing(shape),
    }
    if height <= 64:
        made["sensing, dense"] = lambda: CompressiveSensing(shape)
        made["video sensing, structured"] = lambda: VideoSensing(shape, kind="structured")
    return made
