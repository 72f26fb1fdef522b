"""Scoring a model in training on the validation data."""

from __future__ import annotations

import torch
from torch import nn

from restore.contracts import Dataset, Degradation, Pair, Step, Traits, plain_degradation
from restore.evaluation.clip_protocols import CLIPS, ClipProtocol
from restore.evaluation.clips import evaluate_clips, is_clip
from restore.evaluation.evaluate import Report, evaluate
from restore.evaluation.protocols import Protocol
from restore.modelling import answer
from restore.training.pairs import full_precision, to_channels
from restore.training.parts import PhaseParts


def score(
    model: nn.Module,
    data: Dataset,
    degradation: Degradation | None,
    protocol: Protocol | ClipProtocol,
    device: torch.device,
) -> Report:
    """What `restore eval` would say of the model as it stands; data that brings both sides is taken as it is."""
    observed = getattr(data, "observed", None) if degradation is None else None
    # What an operator measures is no picture that a protocol of stills could prepare.
    if isinstance(protocol, ClipProtocol) or is_clip(data) or model.traits.needs_operator:  # type: ignore[union-attr]
        named = protocol if isinstance(protocol, ClipProtocol) else CLIPS
        return evaluate_clips(model, data, degradation, named, device=device, observed=observed)  # type: ignore[arg-type]
    return evaluate(model, data, degradation, protocol, device=device, observed=observed)  # type: ignore[arg-type]


@torch.no_grad()
def mean_loss(
    model: nn.Module,
    data: Dataset,
    phase: PhaseParts,
    step: Step,
    traits: Traits,
    device: torch.device,
) -> float:
    """The phase's weighted sum of losses, averaged over the validation data, under what the model undoes."""
    total = 0.0
    for index in range(len(data)):
        pair = _pair(data, index, phase.degradation, step, traits, device)
        prediction = full_precision(answer(model, pair.observed, pair.operator, pair.qp))
        total += sum(t.weight(step) * float(t.loss(prediction, pair, step)) for t in phase.losses)
    return total / max(1, len(data))


def _pair(
    data: Dataset, index: int, degradation: Degradation | None, step: Step, traits: Traits, device: torch.device
) -> Pair:
    if degradation is None:
        pair = data.pair(index)  # type: ignore[attr-defined]
        observed, target = (to_channels(s.unsqueeze(0).to(device), traits) for s in (pair.observed, pair.target))
        return Pair(observed, target, qp=None if pair.qp is None else pair.qp.unsqueeze(0).to(device))
    clean = to_channels(data[index].unsqueeze(0).to(device), traits)
    # Sides that the model's scale does not divide lose their last rows, as in the protocols.
    height, width = (side // traits.scale * traits.scale for side in clean.shape[-2:])
    return plain_degradation(degradation)(clean[..., :height, :width], step)
