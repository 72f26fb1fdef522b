"""Visual information fidelity, of torchmetrics."""

from __future__ import annotations

import importlib
from typing import Any, Mapping

from torch import Tensor

from restore.builtin.metrics.basic import shave
from restore.errors import RequestError


class VIF:
    """Visual information fidelity in the pixel domain (Sheikh & Bovik, IEEE TIP 2006): how much of what an eye could
    take from the reference it can still take from the restored clip. 1 at equality, below for blur and noise; above 1
    where contrast was raised. Nearer to judgement than PSNR, and without a trained network.

    Args:
        border: pixels shaved on every side; what is left must have 41x41 pixels.

    Raises:
        RequestError: torchmetrics is not installed.
    """

    def __init__(self, border: int = 0) -> None:
        try:
            image = importlib.import_module("torchmetrics.functional.image")
        except ImportError:
            raise RequestError("vif needs torchmetrics: pip install 'restorekit[perceptual]'") from None
        self._vif = image.visual_information_fidelity
        self.border = border
        self.protocol: Mapping[str, Any] = {
            "metric": "vif", "border": border, "scales": 4, "noise_variance": 2.0, "peak": 255, "planes": "as given",
            "mean": "over frames and planes", "by": "torchmetrics",
        }  # fmt: skip

    def __call__(self, restored: Tensor, reference: Tensor) -> float:
        """The mean over the frames of two ``(B, T, C, H, W)`` clips in [0, 1]; ValueError below 41x41 pixels or for
        clips of unlike shapes."""
        if restored.shape != reference.shape:
            sizes = f"{tuple(restored.shape)} against {tuple(reference.shape)}"
            raise ValueError(f"vif: the restored clip and the reference differ in shape: {sizes}")
        a, b = (shave(clip, self.border).double().flatten(0, 1) * 255 for clip in (restored, reference))
        return float(self._vif(a, b, sigma_n_sq=2.0))
