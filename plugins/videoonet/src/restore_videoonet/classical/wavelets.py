"""Sparsity in 3D wavelets: the classical method of the paper's Table 1 (Sec. 3.2; PyWavelets does the transform)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pywt
import torch
from torch import Tensor

from restore_videoonet.classical.admm import ADMM, Start

# Frames, height and width of (B, T, C, H, W); channels each by themselves.
_AXES = (1, 3, 4)


class Wavelets(ADMM):
    """ADMM whose prior is ``weight |W x|_1`` with a 3D wavelet transform over time, height and width of each channel.
    Everything is thresholded softly, the coarsest coefficients too, as published.

    The published setting, ``level = "auto"``, asks for the deepest level whose wavelets fit; db4 needs more frames and
    pixels than the paper's clips have (9x14x14, 4x16x16, 4x32x32), the level is 0, W the identity, and what is sparse
    are the pixels. It is kept because it is what the table shows; ``videoonet:wavelets-haar`` is a transform indeed.

    Args:
        wavelet: a discrete one that PyWavelets knows.
        level: of the transform, or ``auto``.
        weight: of the prior; the threshold is ``weight / rho``.
        iterations, rho, tolerance, start: see :class:`ADMM`.

    Raises:
        ValueError: an unknown wavelet, a negative level, or a number out of its range.
    """

    def __init__(
        self,
        wavelet: str = "db4",
        level: int | Literal["auto"] = "auto",
        weight: float = 0.05,
        iterations: int = 13,
        rho: float = 0.3,
        tolerance: float = 1e-6,
        start: Start = "pinv",
    ) -> None:
        super().__init__(iterations, rho, tolerance, start)
        if wavelet not in pywt.wavelist(kind="discrete"):
            raise ValueError(f"no discrete wavelet {wavelet!r}; PyWavelets knows haar, db1 to db38, sym2 to sym20, ...")
        if weight < 0 or (level != "auto" and level < 0):
            raise ValueError(f"weight and level must not be negative, got {weight} and {level}")
        self.wavelet, self.level, self.weight = wavelet, level, weight

    def levels(self, clip: Tensor) -> int:
        """Of the transform of clips ``(B, T, C, H, W)``."""
        if self.level != "auto":
            return self.level
        return int(pywt.dwtn_max_level([clip.shape[axis] for axis in _AXES], self.wavelet))

    def proximal(self, v: Tensor) -> Tensor:
        """The transform, the soft threshold, and back."""
        threshold, level = self.weight / self.rho, self.levels(v)
        if level == 0:
            return torch.nn.functional.softshrink(v, threshold)
        pixels = v.detach().cpu().numpy()
        coefficients = pywt.wavedecn(pixels, self.wavelet, mode="periodization", level=level, axes=_AXES)
        flat, places = pywt.coeffs_to_array(coefficients, axes=_AXES)
        flat = np.sign(flat) * np.maximum(np.abs(flat) - threshold, 0)
        kept = pywt.array_to_coeffs(flat, places, output_format="wavedecn")
        back = pywt.waverecn(kept, self.wavelet, mode="periodization", axes=_AXES)
        # Sides that are no multiple of two to the level come back longer.
        return torch.from_numpy(np.ascontiguousarray(back[tuple(slice(n) for n in v.shape)])).to(v)


def haar(
    level: int = 2,
    weight: float = 0.01,
    iterations: int = 50,
    rho: float = 0.3,
    tolerance: float = 1e-5,
    start: Start = "pinv",
) -> Wavelets:
    """The same with Haar wavelets, which fit into the shortest clips: here neighbours in space and time do count.

    Args:
        level: of the transform.
        weight: of the prior; the threshold is ``weight / rho``.
        iterations, rho, tolerance, start: see :class:`ADMM`.

    Raises:
        ValueError: a number out of its range.
    """
    return Wavelets("haar", level, weight, iterations, rho, tolerance, start)
