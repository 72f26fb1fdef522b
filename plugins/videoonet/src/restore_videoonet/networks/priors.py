"""Prior steps: what makes X of Z and U."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from restore import Prediction, Traits
from torch import Tensor, nn

from restore_videoonet.networks.autoencoder import EncoderDecoder


class Prior(nn.Module):
    """``X = p([Z, U])`` (VideoOneNet, Alg. 3 c) or ``X = p(Z - U)`` (OneNet, Alg. 2 c).

    Args:
        network: from 2 C channels to C where both are concatenated, else from C to C.
        concatenated: which of the two.
        residual: the network's answer is added to ``Z - U``.
    """

    def __init__(self, network: EncoderDecoder, concatenated: bool, residual: bool) -> None:
        super().__init__()
        self.network, self.concatenated, self.residual = network, concatenated, residual

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        """Clips ``(B, T, C, H, W)`` to one."""
        x: Tensor = self.network(torch.cat([z, u], dim=2) if self.concatenated else z - u)
        return x + (z - u) if self.residual else x

    @property
    def reach(self) -> int:
        """As of the network."""
        return self.network.reach


class ModelPrior(nn.Module):
    """``X = f(Z - U)`` with any model f that keeps the size: plug and play.

    A luma model is given each channel by itself, in luma's range; an RGB model a grey clip three times, its answers
    averaged. Sides are extended by reflection to what the model takes.

    Args:
        model: keeps :class:`restore.Model`, of scale 1.

    Raises:
        ValueError: a model that enlarges, or needs an operator itself.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        traits = model.traits
        assert isinstance(traits, Traits)
        if traits.scale != 1 or traits.needs_operator:
            what = f"enlarges by {traits.scale}" if traits.scale != 1 else "needs an operator itself"
            raise ValueError(
                f"a prior keeps the size of its clip and needs nothing else; {type(model).__name__} {what}"
            )
        self.model = model

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        """Clips ``(B, T, C, H, W)`` to one."""
        return through_model(self.model, z - u)

    @property
    def reach(self) -> int:
        """As the model's halo says."""
        traits = self.model.traits
        assert isinstance(traits, Traits)
        return traits.halo.pixels


def through_model(model: Any, clip: Tensor) -> Tensor:
    """A model's answer to any clip ``(B, T, C, H, W)``, whatever planes and sizes it takes."""
    traits: Traits = model.traits
    batch, _, channels, height, width = clip.shape
    planes = clip
    if traits.channels == "y":
        # One channel after the other, from [0, 1] to luma's [16, 235]/255.
        planes = (clip.movedim(2, 1).flatten(0, 1).unsqueeze(2) * 219 + 16) / 255
    elif channels == 1:
        planes = clip.expand(-1, -1, 3, -1, -1)
    multiple, least = traits.multiple_of, traits.minimum
    wanted = [-(-max(side, least) // multiple) * multiple for side in (height, width)]
    if wanted != [height, width]:
        planes = _extended(planes, wanted[0] - height, wanted[1] - width)
    answer = model(planes)
    out: Tensor = answer.restored if isinstance(answer, Prediction) else answer
    out = out[..., :height, :width]
    if traits.channels == "y":
        return ((out * 255 - 16) / 219).squeeze(2).unflatten(0, (batch, channels)).movedim(1, 2)
    return out.mean(dim=2, keepdim=True) if channels == 1 else out


def _extended(clip: Tensor, rows: int, columns: int) -> Tensor:
    """More rows and columns below and to the right, mirrored where there is enough to mirror."""
    mirrored = rows < clip.shape[-2] and columns < clip.shape[-1]
    frames = F.pad(clip.flatten(0, 1), (0, columns, 0, rows), mode="reflect" if mirrored else "replicate")
    return frames.unflatten(0, clip.shape[:2])
