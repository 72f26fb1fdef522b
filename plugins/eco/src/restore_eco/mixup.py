"""Conventional mixup, which ECO is not, and which goes together with it (Sec. 5.2)."""

from __future__ import annotations

import numpy as np
import torch
from restore import Degradation, Pair, RestoreError, Step
from restore.contracts import plain_degradation
from torch import Tensor


class Mixup:
    """Blends every pair with that of another sample of the batch (Zhang et al., ICLR 2018; Eq. 13)::

        observed = w * x_i + (1 - w) * x_j        target = w * y_i + (1 - w) * y_j        w ~ Beta(c, c)

    Args:
        base: any degradation, also one that blends by itself, such as ``eco:centroid``.
        concentration: c, above 0; small ones leave most pairs nearly alone, 1 draws w uniformly.
        probability: with which a batch is mixed at all.

    Raises:
        ValueError: a concentration that is not positive, or a probability outside [0, 1].
    """

    def __init__(self, base: Degradation, concentration: float = 1.0, probability: float = 1.0) -> None:
        if concentration <= 0 or not 0 <= probability <= 1:
            raise ValueError(
                f"concentration must be above 0 and probability in [0, 1], got {concentration} and {probability}"
            )
        self.base, self.concentration, self.probability = base, concentration, probability

    @property
    def plain(self) -> Degradation:
        """What the trained model undoes, and what it is measured under."""
        return plain_degradation(self.base)

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``clean``: ``(B, T, C, H, W)`` in [0, 1]; a batch of one has nobody to mix with. The pair of a mixed batch
        has no operator: those of two samples may differ.

        Raises:
            RestoreError: the samples of the batch were observed in different shapes.
        """
        pair = self.base(clean, step)
        count = len(pair.target)
        if count > 1 and len(pair.observed) != count:
            raise RestoreError("mixup needs observed clips of one shape in a batch; this degradation gives several")
        seed = torch.randint(2**62, (), generator=step.generator, device=_device(step)).item()
        random = np.random.default_rng(int(seed))
        if count == 1 or random.random() >= self.probability:
            return pair
        weights = torch.from_numpy(random.beta(self.concentration, self.concentration, count))
        partners = torch.from_numpy(random.permutation(count)).to(clean.device)

        def mixed(clip: Tensor) -> Tensor:
            weight = weights.to(clip).view(-1, *[1] * (clip.ndim - 1))
            return weight * clip + (1 - weight) * clip[partners]

        return Pair(mixed(pair.observed), mixed(pair.target))


def _device(step: Step) -> torch.device | str:
    return "cpu" if step.generator is None else step.generator.device
