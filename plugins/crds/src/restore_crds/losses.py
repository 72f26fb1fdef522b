"""The losses of CRDS and of its pre-training (Sun et al., Eqs. 10 and 16; Eq. 17 is ``core:charbonnier``)."""

from __future__ import annotations

import torch
from restore import Pair, Prediction, Step
from torch import Tensor

from restore_crds.degradations import hybrid


class Staged:
    """L_I, the intermediate loss (Eq. 16): each denoising block's frame ``xh + D(l^N, l^s)`` is held against
    ``xh^s = clean_weight_s * x + (1 - clean_weight_s) * xh``, which is cleaner with every block. The mean squared
    errors of all blocks but the last are summed. CRDS makes intermediates in training alone: measured, the loss is 0.

    Args:
        clean_weights: ``1 - alpha_s`` of each intermediate, in the model's order, from the first block's (s = N - 1) to
            the last but one's (s = 1); each from 0 to 1. Left out, in equal steps: 0.25, 0.5, 0.75 of four blocks, as
            published.

    Raises:
        ValueError: a weight outside [0, 1]; later, a model in training without intermediates or with another number of
            them, or observed clips of another size than the target.
    """

    def __init__(self, clean_weights: tuple[float, ...] | None = None) -> None:
        if clean_weights is not None and not all(0 <= weight <= 1 for weight in clean_weights):
            raise ValueError(f"clean_weights must lie from 0 to 1, got {list(clean_weights)}")
        self.clean_weights = clean_weights

    def __call__(self, prediction: Prediction, pair: Pair, step: Step) -> Tensor:
        """The sum over intermediates of mean squared errors, in float32 or wider."""
        frames = prediction.intermediates
        if not len(frames):
            if torch.is_grad_enabled() and prediction.restored.requires_grad:
                raise ValueError("crds:staged needs a model with intermediates, such as crds:crds; this one gives none")
            return 0 * prediction.restored.float().mean()
        if pair.observed.shape != pair.target.shape:
            raise ValueError(
                f"crds:staged blends observed and clean clips, which have the shapes {tuple(pair.observed.shape)} and "
                f"{tuple(pair.target.shape)}; they must be equal"
            )
        weights = self.clean_weights or tuple((k + 1) / (len(frames) + 1) for k in range(len(frames)))
        if len(weights) != len(frames):
            raise ValueError(f"clean_weights has {len(weights)} numbers, the model gives {len(frames)} intermediates")
        terms = []
        for frame, weight in zip(frames, weights, strict=True):
            aim = hybrid(pair.observed, pair.target, 1 - weight)
            terms.append((frame.to(torch.promote_types(frame.dtype, aim.dtype)) - aim).square().mean())
        return torch.stack(terms).sum()


class LatentDegradation:
    """The pre-training loss of the LDR-AE (Eq. 10): ``|theta(xh, xh^s) + xh - xh^s| / (alpha_s + bias)``, mildly spoilt
    frames counting most: 4, 2, 4/3, 1 for s = 0 to 3. The norm, which the paper leaves open, is Charbonnier's, in the
    mean over pixels.

    The pair is that of ``crds:levels``: observed holds ``xh`` and ``xh^s`` as channels, the target is ``x``, and the
    model's answer is ``xh + theta(xh, xh^s)``, the frame ``xh^s`` made again. Each sample's alpha_s follows from the
    three by least squares, which is exact as Eq. 8 is linear; a sample that coding left as it was counts as s = 0.

    Args:
        bias: keeps the weight of the clean level finite; 0.25 as published.
        eps: of the Charbonnier norm, on the [0, 1] scale; that of BasicVSR and of the main loss.

    Raises:
        ValueError: bias or eps is not above 0; later, observed clips that do not have twice the target's channels.
    """

    def __init__(self, bias: float = 0.25, eps: float = 1e-6) -> None:
        if not bias > 0 or not eps > 0:
            raise ValueError(f"bias and eps must be above 0, got {bias} and {eps}")
        self.bias, self.eps = bias, eps

    def __call__(self, prediction: Prediction, pair: Pair, step: Step) -> Tensor:
        """The weighted mean, a scalar in float32 or wider."""
        channels = pair.target.shape[2]
        if pair.observed.shape[2] != 2 * channels:
            raise ValueError(
                f"crds:ldr needs xh and xh^s as {2 * channels} channels, got {pair.observed.shape[2]}: train with "
                'degradation = { use = "crds:levels", base = ... }'
            )
        observed, milder = pair.observed[:, :, :channels], pair.observed[:, :, channels:]
        weight = 1 / (self._levels(observed, milder, pair.target) + self.bias)
        restored = prediction.restored.to(torch.promote_types(prediction.restored.dtype, milder.dtype))
        apart = (restored - milder).square().add(self.eps**2).sqrt()
        return (weight * apart.flatten(1).mean(1)).mean()

    @staticmethod
    def _levels(observed: Tensor, milder: Tensor, clean: Tensor) -> Tensor:
        """alpha_s of each sample, ``(B,)`` in [0, 1]."""
        noise = (observed - clean).flatten(1)
        power = noise.square().sum(1)
        along = ((milder - clean).flatten(1) * noise).sum(1)
        return (along / torch.where(power > 0, power, 1)).clamp(0, 1)
