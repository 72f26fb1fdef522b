"""What the quantizer that a frame was coded with says of its errors. Not in the paper, whose networks are trained for
one quantizer each."""

from __future__ import annotations

import torch
from restore.functional.quantizer import MAX_QP
from torch import Tensor, nn

# Corrections are in units of the quantizer's step at this QP, that of the paper's main tables.
REFERENCE = 37.0
# Below the first, coding leaves nothing but rounding, which nobody can guess; from the second on, corrections count in
# full.
FINE, COARSE = 12.0, 28.0


class Quantizer(nn.Module):
    """Frames with their QP as a fourth channel, ``(N, 4, H, W)``: QP / 51 of H.264 and HEVC, -1 where nobody knows.

    The steps of a quantizer double with every six QP, and no coefficient is off by more than half a step: corrections
    are scaled so. What is left by fine steps looks like noise to whoever sees the result alone: between QP 28 and 12
    corrections fade to nothing. So good video is left alone, whatever its content. The network sees the QP, too: it
    tells what coding smoothed from what is smooth, and a frame from a neighbour that was coded better.

    Args:
        assumed: QP that all frames are taken for, whatever is said of them; None: their own, and 37 where nobody knows.

    Raises:
        ValueError: not from 0 to 51.
    """

    def __init__(self, assumed: float | None) -> None:
        super().__init__()
        if assumed is not None and not 0 <= assumed <= MAX_QP:
            raise ValueError(f"assumed_qp must be from 0 to {MAX_QP}, got {assumed}")
        self.assumed = assumed

    def forward(self, frames: Tensor) -> Tensor:
        """The frames with a QP wherever there was none."""
        return torch.cat([frames[:, :3], self._known(frames)], dim=1)

    @staticmethod
    def unknown(frames: Tensor) -> Tensor:
        """Where nobody knows, bool ``(N, 1, H, W)``."""
        return frames[:, 3:] < 0

    def scale(self, frames: Tensor) -> Tensor:
        """What corrections are multiplied by, ``(N, 1, H, W)``: the step's size against that at QP 37, but 1 at most,
        as frames hold no more than they do; times what fading leaves."""
        qp = MAX_QP * self._known(frames)
        step = torch.exp2((qp - REFERENCE) / 6).clamp(max=1)
        return step * ((qp - FINE) / (COARSE - FINE)).clamp(0, 1)

    def _known(self, frames: Tensor) -> Tensor:
        qp = frames[:, 3:]
        if self.assumed is not None:
            return torch.full_like(qp, self.assumed / MAX_QP)
        return torch.where(qp < 0, REFERENCE / MAX_QP, qp)
