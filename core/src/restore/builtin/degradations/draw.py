"""Parameters that are a number or a range ``[low, high]`` to draw from, one value for each sample of a batch."""

from __future__ import annotations

import math
from typing import Sequence

import torch
from torch import Tensor


def check_range(name: str, value: float | Sequence[float], low: float, high: float = math.inf) -> None:
    """ValueError unless ``value`` is a number, or two in order, in [``low``, ``high``]."""
    ends = tuple(value) if isinstance(value, Sequence) else (value, value)
    allowed = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
    if len(ends) != 2 or ends[0] > ends[1]:
        raise ValueError(f"{name} must be a number or a range [low, high], got {list(ends)}")
    if not all(low <= end <= high and math.isfinite(end) for end in ends):
        raise ValueError(f"{name} must be {allowed}, got {value if ends[0] == ends[1] else list(ends)}")


def draw(value: float | Sequence[float], count: int, generator: torch.Generator | None) -> list[float]:
    """``count`` values, uniform over a range. A plain number draws nothing from the generator."""
    if not isinstance(value, Sequence):
        return [float(value)] * count
    low, high = value
    device = generator.device if generator is not None else "cpu"
    unit = torch.rand(count, generator=generator, dtype=torch.float64, device=device)
    return [float(v) for v in (low + (high - low) * unit).tolist()]


def draw_whole(value: int | Sequence[int], count: int, generator: torch.Generator | None) -> list[int]:
    """``count`` whole numbers, uniform over a range with both its ends. A plain number draws nothing."""
    if not isinstance(value, Sequence):
        return [int(value)] * count
    low, high = value
    device = generator.device if generator is not None else "cpu"
    return [int(v) for v in torch.randint(low, high + 1, (count,), generator=generator, device=device).tolist()]


def per_sample(values: Sequence[float], clip: Tensor) -> Tensor:
    """One value for each sample as ``(B, 1, 1, 1, 1)`` in the clip's dtype, on its device."""
    return torch.tensor(values, dtype=clip.dtype, device=clip.device).view(-1, 1, 1, 1, 1)
