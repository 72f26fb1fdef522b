"""Where the iterations begin: a first guess that explains the measurement and is smooth, for any operator."""

from __future__ import annotations

import warnings

import torch
from restore import LinearOperator
from restore.operators import FrameSelection, Mask, Mixed, ToleranceWarning, conjugate_gradients
from torch import Tensor

from restore_videoonet.networks.holes import Weights, fill, roughness

# Between values of which nothing was seen, differences in space weigh so many times less: time comes first there.
_SPACE_IN_HOLES = 1 / 100
# Of squared differences between channels, where only a sum over them is known: such pixels begin as grey.
_CHANNELS = 1.0
# The residual that remains, relative to the weight of differences: in a hole there is nothing else. At 1e-3 the middle
# of a large one stays dark.
_TOLERANCE = 1e-5
_STEPS = 300
_AXES = {"time": 1, "height": 3, "width": 4}


@torch.no_grad()
def smooth_inverse(operator: LinearOperator, observed: Tensor, space: float, time: float) -> Tensor:
    """``argmin_z 1/2 |A z - y|^2 + 1/2 |D z|^2``, D the weighted differences of neighbours in space and time.

    Holes are filled from the frames before and after, and from their edges where they last; missing frames fade into
    each other; a blur is sharpened as far as noise allows; what has lost its colours is grey. Found by conjugate
    gradients, preconditioned with the operator's own data step, or from coarse to fine where every value is either seen
    or not (:func:`restore_videoonet.networks.holes.fill`); no gradient goes through it.

    Args:
        operator: any linear operator.
        observed: what it measured.
        space: weight of squared differences along height and width, above 0; a hundredth of it where nothing is seen.
        time: weight of those along time; where nothing is seen, at least that of space.

    Returns:
        ``(B, T, C, H, W)``.
    """
    if isinstance(operator, Mixed):
        pairs = zip(operator.operators, operator.split(observed), strict=True)
        return torch.cat([smooth_inverse(one, part[None], space, time) for one, part in pairs])
    weighted = operator.adjoint(observed)
    ones = operator.adjoint(operator(torch.ones_like(weighted)))

    def weights_of(seen: Tensor, share: float = 1.0) -> Weights:
        return {_AXES[axis]: _weights(seen, axis, share * space, time, space) for axis in _AXES}

    tolerance = max(_TOLERANCE * min(space, 1.0), 4 * torch.finfo(weighted.dtype).eps)
    if isinstance(operator, (Mask, FrameSelection)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ToleranceWarning)
            return fill(ones, weighted, weights_of, tolerance)
    weights = weights_of(ones != 0)
    colourless = _colourless(operator, ones)
    if colourless is not None:
        weights[2] = _CHANNELS * colourless.expand(-1, -1, ones.shape[2] - 1, -1, -1)
    nothing = torch.zeros_like(observed)
    rho = 2 * max(space, time)

    def system(z: Tensor) -> Tensor:
        return operator.adjoint(operator(z)) + roughness(z, weights)

    def precondition(r: Tensor) -> Tensor:
        # (A^T A + rho I)^-1 r
        return operator.prox(r / rho, nothing, rho)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToleranceWarning)
        return conjugate_gradients(system, weighted, tolerance, _STEPS, precondition, "the smooth start").x


def _weights(seen: Tensor, axis: str, space: float, time: float, least: float) -> Tensor:
    """Of the differences along one axis, ``(B, T, C, H, W)`` less one along it; ``least`` is that of time in holes."""
    dim = _AXES[axis]
    count = max(seen.shape[dim] - 1, 0)
    both = seen.narrow(dim, 0, count) & seen.narrow(dim, seen.shape[dim] - count, count)
    known, hole = (time, max(least, time)) if axis == "time" else (space, space * _SPACE_IN_HOLES)
    return torch.where(both, known, hole)


def _colourless(operator: LinearOperator, ones: Tensor) -> Tensor | None:
    """``(B, T, 1, H, W)``, 1 where all that is known of a pixel is a sum over its channels, else 0; None if it is so
    nowhere. ``ones`` is A^T A of a clip of ones: there, that of any clip is the same but for a factor."""
    first = torch.zeros_like(ones)
    first[:, :, 0] = 1
    first = operator.adjoint(operator(first))
    size = ones.abs().amax(2, keepdim=True) * first.abs().amax(2, keepdim=True)
    across = (first * ones[:, :, :1] - ones * first[:, :, :1]).abs().amax(2, keepdim=True)
    found = (size > 0) & (across <= 1e-4 * size)
    return found.to(ones) if ones.shape[2] > 1 and bool(found.any()) else None
