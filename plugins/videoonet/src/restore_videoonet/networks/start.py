"""Where the iterations begin: a first guess that explains the measurement and is smooth, for any operator."""

from __future__ import annotations

import warnings

import torch
from restore import LinearOperator
from restore.operators import ToleranceWarning, conjugate_gradients
from torch import Tensor

# Between values of which nothing was seen, differences in space weigh so many times less: time comes first there.
_SPACE_IN_HOLES = 1 / 100
# The residual that remains, relative to the weight of differences: in a hole there is nothing else.
_TOLERANCE = 1e-3
_STEPS = 300
_AXES = {"time": 1, "height": 3, "width": 4}


@torch.no_grad()
def smooth_inverse(operator: LinearOperator, observed: Tensor, space: float, time: float) -> Tensor:
    """``argmin_z 1/2 |A z - y|^2 + 1/2 |D z|^2``, D the weighted differences of neighbours in space and time.

    Holes are filled from the frames before and after, and from their edges where they last; missing frames fade into
    each other; a blur is sharpened as far as noise allows. Found by conjugate gradients, preconditioned with the
    operator's own data step; no gradient goes through it.

    Args:
        operator: any linear operator.
        observed: what it measured.
        space: weight of squared differences along height and width, above 0; a hundredth of it where nothing is seen.
        time: weight of those along time; where nothing is seen, at least that of space.

    Returns:
        ``(B, T, C, H, W)``.
    """
    weighted = operator.adjoint(observed)
    seen = operator.adjoint(operator(torch.ones_like(weighted))) != 0
    weights = {axis: _weights(seen, axis, space, time) for axis in _AXES}
    nothing = torch.zeros_like(observed)
    rho = 2 * max(space, time)

    def system(z: Tensor) -> Tensor:
        return operator.adjoint(operator(z)) + roughness(z, weights)

    def precondition(r: Tensor) -> Tensor:
        # (A^T A + rho I)^-1 r
        return operator.prox(r / rho, nothing, rho)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToleranceWarning)
        tolerance = max(_TOLERANCE * min(space, 1.0), 4 * torch.finfo(weighted.dtype).eps)
        return conjugate_gradients(system, weighted, tolerance, _STEPS, precondition, "the smooth start").x


def _weights(seen: Tensor, axis: str, space: float, time: float) -> Tensor:
    """Of the differences along one axis, ``(B, T, C, H, W)`` less one along it."""
    dim = _AXES[axis]
    count = max(seen.shape[dim] - 1, 0)
    both = seen.narrow(dim, 0, count) & seen.narrow(dim, seen.shape[dim] - count, count)
    known, hole = (time, max(space, time)) if axis == "time" else (space, space * _SPACE_IN_HOLES)
    return torch.where(both, known, hole)


def roughness(z: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """``D^T D z`` for clips ``(B, T, C, H, W)`` and the weights of squared differences along each axis."""
    out = torch.zeros_like(z)
    for axis, weight in weights.items():
        dim = _AXES[axis]
        step = weight.to(z) * z.diff(dim=dim)
        out.narrow(dim, z.shape[dim] - step.shape[dim], step.shape[dim]).add_(step)
        out.narrow(dim, 0, step.shape[dim]).sub_(step)
    return out
