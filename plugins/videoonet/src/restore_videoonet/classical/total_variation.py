"""Total variation over height, width and time."""

from __future__ import annotations

import torch
from torch import Tensor

from restore_videoonet.classical.admm import ADMM, Start


class TotalVariation(ADMM):
    """ADMM whose prior is the total variation of each channel: isotropic in space, and along time by itself.

    Its proximal operator is found by fast gradient projection on the dual (Beck & Teboulle, 2009), which goes on where
    it stood in the iteration before.

    Args:
        weight: of the prior in space.
        time: of the prior along time, relative to that.
        inner: gradient projections in each iteration.
        iterations, rho, tolerance, start: see :class:`ADMM`.

    Raises:
        ValueError: a number out of its range.
    """

    def __init__(
        self,
        weight: float = 0.005,
        time: float = 1.0,
        inner: int = 10,
        iterations: int = 100,
        rho: float = 0.3,
        tolerance: float = 1e-5,
        start: Start = "pinv",
    ) -> None:
        super().__init__(iterations, rho, tolerance, start)
        if weight < 0 or time < 0 or inner < 1:
            raise ValueError(
                f"weight and time must not be negative and inner at least 1, got {weight}, {time} and {inner}"
            )
        self.weight, self.time, self.inner = weight, time, inner
        self._dual: Tensor | None = None

    def forward(self, observed: Tensor, operator: object) -> Tensor:
        """A measurement and its operator to clips ``(B, T, C, H, W)``, not clamped."""
        self._dual = None
        try:
            return super().forward(observed, operator)  # type: ignore[arg-type]
        finally:
            self._dual = None

    def proximal(self, v: Tensor) -> Tensor:
        """``argmin_x weight TV(x) + rho/2 |x - v|^2``."""
        bound = self.weight / self.rho
        dual = v.new_zeros(3, *v.shape) if self._dual is None else self._dual
        ahead, momentum = dual, 1.0
        # The operator norm of the three differences is at most sqrt(8 + 4 time^2).
        length = 1 / (8 + 4 * self.time**2)
        for _ in range(self.inner):
            new = _projected(ahead + length * gradient(v - divergence(ahead, self.time), self.time), bound)
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = new + (momentum - 1) / following * (new - dual)
            dual, momentum = new, following
        self._dual = dual.detach()
        return v - divergence(dual, self.time)


def gradient(x: Tensor, time: float) -> Tensor:
    """Differences to the next row, column and frame, the last one times ``time``: ``(3, B, T, C, H, W)``; 0 at ends."""
    made = x.new_zeros(3, *x.shape)
    made[0, ..., :-1, :] = x.diff(dim=-2)
    made[1, ..., :-1] = x.diff(dim=-1)
    made[2, :, :-1] = time * x.diff(dim=1)
    return made


def divergence(p: Tensor, time: float) -> Tensor:
    """The transpose of :func:`gradient`."""
    rows, columns, frames = p[0, ..., :-1, :], p[1, ..., :-1], time * p[2, :, :-1]
    made = torch.zeros_like(p[0])
    made[..., 1:, :] += rows
    made[..., :-1, :] -= rows
    made[..., 1:] += columns
    made[..., :-1] -= columns
    made[:, 1:] += frames
    made[:, :-1] -= frames
    return made


def _projected(p: Tensor, bound: float) -> Tensor:
    """On pairs of at most this length in space, and values of at most this size along time."""
    space = p[:2]
    length = space.square().sum(0, keepdim=True).sqrt()
    return torch.cat([space * (bound / length.clamp_min(max(bound, 1e-30))), p[2:].clamp(-bound, bound)])
