"""What checks feed to components: clips with structure and motion, generators, and a way to make a component again."""

from __future__ import annotations

import math
from typing import Any, Callable

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.contracts import Step
from restore.functional.seeding import seeded
from restore.plugins import Registry

Sizes = tuple[int, ...]


@attrs.frozen
class Sample:
    """Sizes, dtype and device of the inputs of a check.

    Attributes:
        shape: ``(B, T, C, H, W)`` of a clip; checks of models fit channels and sides to the model's traits.
        dtype: name of a torch dtype.
        device: name of a torch device.
        make: builds the component once more, with fresh random parameters; None where nobody can.
        registry: installed components, for what is looked up by name.
        model: makes the model that a pruner is tried on, or whose predictions a loss is given; None takes a small one,
            and predictions without features.
    """

    shape: Sizes = (3, 3, 3, 24, 32)
    dtype: str = "float32"
    device: str = "cpu"
    make: Callable[[], Any] | None = None
    registry: Registry | None = None
    model: Callable[[], Any] | None = None

    def describe(self) -> str:
        """``"(B, T, C, H, W) = (3, 3, 3, 24, 32), float32, cpu"``."""
        return f"(B, T, C, H, W) = {tuple(self.shape)}, {self.dtype}, {self.device}"

    def clip(self, seed: int = 0, shape: Sizes | None = None) -> Tensor:
        """A moving picture ``(B, T, C, H, W)`` in [0.05, 0.95]: soft shapes and fine grain that move one pixel right
        and down from frame to frame, other ones for each sample and seed."""
        batch, frames, channels, height, width = self.shape if shape is None else shape
        generator = seeded(0xC11B, seed)
        tall, wide = height + frames, width + frames
        coarse = torch.rand(
            batch, channels, 2 + math.ceil(tall / 6), 2 + math.ceil(wide / 6), generator=generator, dtype=torch.float64
        )
        soft = F.interpolate(coarse, size=(tall, wide), mode="bicubic", align_corners=False).clamp(0, 1)
        fine = torch.rand(batch, channels, tall, wide, generator=generator, dtype=torch.float64)
        picture = 0.05 + 0.9 * (0.85 * soft + 0.15 * fine)
        views = [picture[..., t : t + height, t : t + width] for t in range(frames)]
        return torch.stack(views[::-1], dim=1).to(dtype=self.torch_dtype, device=self.device)

    def noise(self, like: Tensor, seed: int = 1) -> Tensor:
        """Standard normal numbers of the shape, dtype and device of ``like``."""
        made = torch.randn(like.shape, generator=seeded(0x4015E, seed), dtype=torch.float64)
        return made.to(like)

    def step(self, seed: int = 0, iteration: int = 0, total: int = 10) -> Step:
        """A training step whose generator starts from ``seed``."""
        return Step(iteration, total, self.generator(seed))

    def generator(self, seed: int = 0) -> torch.Generator:
        """A CPU generator."""
        return seeded(0x6E4, seed)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype itself."""
        found = getattr(torch, self.dtype)
        assert isinstance(found, torch.dtype)
        return found


def largest(tensor: Tensor) -> float:
    """The largest magnitude; 0 for nothing."""
    return float(tensor.detach().abs().max()) if tensor.numel() else 0.0


def finite(tensor: Tensor) -> bool:
    """Whether all values are finite."""
    return bool(torch.isfinite(tensor).all())
