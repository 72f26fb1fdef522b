"""How steady a restored clip is in time."""

from __future__ import annotations

from typing import Any, Mapping

import torch
from torch import Tensor

from restore.builtin.metrics.basic import shave
from restore.functional.color import rgb_to_y
from restore.functional.flow import lucas_kanade, visible, warp


def _check(restored: Tensor, reference: Tensor, name: str) -> None:
    if restored.shape != reference.shape:
        sizes = f"{tuple(restored.shape)} against {tuple(reference.shape)}"
        raise ValueError(f"{name}: the restored clip and the reference differ in shape: {sizes}")
    if restored.shape[1] < 2:
        raise ValueError(f"{name} looks at successive frames: it needs at least 2, got {restored.shape[1]}")


class Flicker:
    """Change from frame to frame that the reference does not have: ``mean |(r[t+1] - r[t]) - (g[t+1] - g[t])|``.

    0 is as steady as the reference; an error that stays the same in all frames is not flicker. In units of the [0, 1]
    scale.

    Args:
        border: pixels shaved on every side.
    """

    def __init__(self, border: int = 0) -> None:
        self.border = border
        self.protocol: Mapping[str, Any] = {
            "metric": "flicker", "definition": "mean |(r[t+1] - r[t]) - (g[t+1] - g[t])|", "border": border,
            "planes": "as given", "peak": 1.0,
        }  # fmt: skip

    def __call__(self, restored: Tensor, reference: Tensor) -> float:
        """Of two ``(B, T, C, H, W)`` clips in [0, 1], T at least 2; ValueError for fewer or other shapes."""
        _check(restored, reference, "flicker")
        error = (shave(restored, self.border).double() - shave(reference, self.border).double()).diff(dim=1)
        return float(error.abs().mean())


class WarpingError:
    """How far a frame differs from the next one brought back along the motion, where both see the same thing.

    As in Lai et al. (ECCV 2018): the mean over visible points of ``(r[t] - warp(r[t+1], flow[t]))^2``, then over
    frames. The flow is estimated on the reference, by iterated Lucas-Kanade on its luma from coarse to fine, so that a
    restored clip cannot look steady by spoiling the flow; points that leave the frame or whose forward and backward
    flows disagree are left out (Sundaram et al. 2010). The reference itself has an error above 0: compare with that, or
    with others.

    Args:
        border: pixels shaved on every side after warping.
        levels: of the flow's pyramid; motion of up to about ``2^(levels - 1)`` pixels from frame to frame is found.
    """

    def __init__(self, border: int = 0, levels: int = 4) -> None:
        self.border, self.levels = border, levels
        self.protocol: Mapping[str, Any] = {
            "metric": "warping_error", "definition": "mean (r[t] - warp(r[t+1]))^2 of visible points, then over frames",
            "flow": f"of the reference's luma: iterated Lucas-Kanade, {levels} levels, 15x15 window",
            "visible": "forward and backward flow agree (Sundaram 2010) and the point stays in the frame",
            "border": border, "planes": "as given", "peak": 1.0,
        }  # fmt: skip

    @torch.no_grad()
    def __call__(self, restored: Tensor, reference: Tensor) -> float:
        """Of two ``(B, T, C, H, W)`` clips in [0, 1], T at least 2.

        Frames of which no point is visible in the next count nothing; NaN if that is true of all.

        Raises:
            ValueError: fewer than two frames, or shapes differ.
        """
        _check(restored, reference, "warping_error")
        errors = [
            self._error(restored[:, t].double(), restored[:, t + 1].double(), *self._flow(reference[:, t : t + 2]))
            for t in range(restored.shape[1] - 1)
        ]
        return float(torch.cat(errors).nanmean())

    def _flow(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        luma = frames.double() if frames.shape[2] == 1 else rgb_to_y(frames.double())
        a, b = luma.unbind(dim=1)
        forward, backward = lucas_kanade(a, b, self.levels), lucas_kanade(b, a, self.levels)
        return forward, visible(forward, backward)

    def _error(self, now: Tensor, after: Tensor, flow: Tensor, seen: Tensor) -> Tensor:
        error = shave((now - warp(after, flow)) ** 2, self.border).mean(dim=1, keepdim=True)
        weight = shave(seen, self.border).to(error)
        # 0 / 0 is the NaN that the mean over frames leaves out.
        return (error * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))
