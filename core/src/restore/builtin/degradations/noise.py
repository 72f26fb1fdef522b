"""Noise of sensors and of storage: Gaussian, Poisson, rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.builtin.degradations.draw import check_range, draw, per_sample
from restore.contracts import Pair, Step
from restore.functional.color import LUMA_WEIGHTS
from restore.functional.resize import quantize


class GaussianNoise:
    """Adds white Gaussian noise.

    Args:
        sigma: standard deviation on the [0, 1] scale, or a range from which each sample draws its own.
        grey: the same noise in every channel.
        clamp: keep the result in [0, 1]; the field's denoising tables do not.

    Attributes:
        per_frame: frames are spoilt independently of each other.

    Raises:
        ValueError: a negative sigma, or a range whose ends are not in order.
    """

    per_frame = True

    def __init__(self, sigma: float | tuple[float, float], grey: bool = False, clamp: bool = False) -> None:
        check_range("sigma", sigma, 0)
        self.sigma, self.grey, self.clamp = sigma, grey, clamp

    def settled(self, generator: torch.Generator | None) -> GaussianNoise:
        """The same with one sigma drawn, for all frames of a video."""
        return GaussianNoise(draw(self.sigma, 1, generator)[0], self.grey, self.clamp)

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``(B, T, C, H, W)`` to a pair of that shape; the target is the clean clip."""
        sigma = per_sample(draw(self.sigma, clean.shape[0], step.generator), clean)
        shape = (*clean.shape[:2], 1 if self.grey else clean.shape[2], *clean.shape[3:])
        # Drawn where the generator lives, so that a seed means the same noise on every device.
        device = step.generator.device if step.generator is not None else clean.device
        noise = torch.randn(shape, generator=step.generator, dtype=clean.dtype, device=device).to(clean.device)
        observed = clean + sigma * noise
        return Pair(observed.clamp(0, 1) if self.clamp else observed, clean)


class PoissonNoise:
    """Photon counting: ``Poisson(peak x) / peak``, whose variance is ``x / peak``.

    Args:
        peak: photons that white stands for, or a range from which each sample draws its own. Fewer are noisier.
        grey: count on the luma (BT.601) and add the same difference to every channel.
        clamp: keep the result in [0, 1].

    Attributes:
        per_frame: frames are spoilt independently of each other.

    Raises:
        ValueError: a peak that is not positive, or a range whose ends are not in order.
    """

    per_frame = True

    def __init__(self, peak: float | tuple[float, float], grey: bool = False, clamp: bool = False) -> None:
        check_range("peak", peak, 0)
        if (peak[0] if isinstance(peak, tuple) else peak) <= 0:
            raise ValueError(f"peak must be above 0, got {peak}")
        self.peak, self.grey, self.clamp = peak, grey, clamp

    def settled(self, generator: torch.Generator | None) -> PoissonNoise:
        """The same with one peak drawn, for all frames of a video."""
        return PoissonNoise(draw(self.peak, 1, generator)[0], self.grey, self.clamp)

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``(B, T, C, H, W)`` to a pair of that shape; the target is the clean clip. Below 0 there is no light."""
        peak = per_sample(draw(self.peak, clean.shape[0], step.generator), clean)
        light = clean
        if self.grey and clean.shape[2] == 3:
            kr, kb = LUMA_WEIGHTS["bt601"]
            weights = torch.tensor([kr, 1 - kr - kb, kb], dtype=clean.dtype, device=clean.device)
            light = (clean * weights.view(3, 1, 1)).sum(dim=2, keepdim=True)
        light = light.clamp(min=0)
        device = step.generator.device if step.generator is not None else clean.device
        counted = torch.poisson((light * peak).to(device), generator=step.generator).to(clean.device) / peak
        observed = counted + (clean - light) if light.shape != clean.shape else counted
        return Pair(observed.clamp(0, 1) if self.clamp else observed, clean)


class Rounding:
    """What storing whole levels does: clamped to [0, 1] and rounded, halves up.

    Args:
        bits: of one sample, 1 to 16; 8 gives 256 levels.

    Attributes:
        per_frame: frames are spoilt independently of each other.

    Raises:
        ValueError: bits outside 1 to 16.
    """

    per_frame = True

    def __init__(self, bits: int = 8) -> None:
        check_range("bits", bits, 1, 16)
        self.bits = bits

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``(B, T, C, H, W)`` to a pair of that shape; the target is the clean clip, not rounded."""
        return Pair(quantize(clean, 2**self.bits - 1), clean)
