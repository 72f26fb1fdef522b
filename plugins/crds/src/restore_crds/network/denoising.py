"""Denoising blocks: residual extraction, its propagation along time, and the next latent level (CRDS, Sec. 3.3)."""

from __future__ import annotations

import torch
from restore.networks.residual import kaiming, residual_trunk
from restore.pruning import Gate, chain_gates
from torch import Tensor, nn

from restore_crds.network.muna import Fusion, MuNA, follow

References = list[tuple[Tensor, "Tensor | None"]]


class Trunk(nn.Module):
    """One direction of the propagation: the state at a frame from its residual and the state of the frame before.

    Args:
        features: channels.
        blocks: residual blocks.
    """

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.trunk = residual_trunk(2 * features, features, blocks)
        kaiming(self.trunk[0])

    def forward(self, residual: Tensor, state: Tensor | None, flow: Tensor | None) -> Tensor:
        """The state ``(N, C, h, w)`` at a frame.

        Args:
            residual: ``(N, C, h, w)``.
            state: of the frame before in this direction, ``(N, C, h, w)``; None at the first.
            flow: from this frame to that one, ``(N, 2, h, w)`` in places.
        """
        state = torch.zeros_like(residual) if state is None or flow is None else follow(state, flow)
        return self.trunk(torch.cat([residual, state], dim=1))  # type: ignore[no-any-return]

    def gates(self, path: str) -> tuple[Gate, ...]:
        """What can be pruned of it, at ``path``: its residual blocks; the state keeps its width."""
        blocks = self.trunk[2]
        assert isinstance(blocks, nn.Sequential)
        return chain_gates(f"{path}.trunk.2", blocks)


class Propagation(nn.Module):
    """The residual propagation network (Eq. 14): a trunk for either direction of time, and what both say of the noise,
    added to the residual. That addition begins at zero.

    Args:
        features: channels.
        blocks: residual blocks of each trunk.
    """

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.backward_trunk, self.forward_trunk = Trunk(features, blocks), Trunk(features, blocks)
        self.merge = nn.Conv2d(2 * features, features, 1)
        nn.init.zeros_(self.merge.weight)
        if self.merge.bias is not None:
            nn.init.zeros_(self.merge.bias)
        self.reach = 1 + 2 * blocks

    def forward(self, residual: Tensor, to_next: Tensor, to_last: Tensor) -> Tensor:
        """The cleaner residuals of all frames.

        Args:
            residual: ``(B, T, C, h, w)``.
            to_next, to_last: flow from each frame to the next and to the one before, ``(B, T, 2, h, w)`` in places.
        """
        frames = residual.shape[1]
        behind = self._run(self.backward_trunk, residual, to_next, range(frames - 1, -1, -1))[::-1]
        before = self._run(self.forward_trunk, residual, to_last, range(frames))
        return self.combine(
            residual.flatten(0, 1), torch.stack(behind, 1).flatten(0, 1), torch.stack(before, 1).flatten(0, 1)
        ).unflatten(0, residual.shape[:2])

    def combine(self, residual: Tensor, behind: Tensor, before: Tensor) -> Tensor:
        """``(N, C, h, w)`` each: the residual, and the states of both directions."""
        return residual + self.merge(torch.cat([behind, before], dim=1))  # type: ignore[no-any-return]

    @staticmethod
    def _run(trunk: Trunk, residual: Tensor, flow: Tensor, order: range) -> list[Tensor]:
        states: list[Tensor] = []
        for t in order:
            states.append(trunk(residual[:, t], states[-1] if states else None, flow[:, t]))
        return states


class DenoisingBlock(nn.Module):
    """Takes one level of quantization noise away: ``l^s`` to ``l^(s - 1)`` (Eq. 15).

    Args:
        muna: predicts a frame from its references; None for a prediction of zero, so that the residual is the level.
        fusion: merges the predictions; None without them.
        propagation: cleans the residual.
    """

    def __init__(self, muna: MuNA | None, fusion: Fusion | None, propagation: Propagation) -> None:
        super().__init__()
        self.muna, self.fusion, self.propagation = muna, fusion, propagation

    def predict(self, level: Tensor, references: References) -> Tensor:
        """The predicted frames ``(N, C, h, w)`` out of ``(N, C, h, w)`` and their references."""
        if self.muna is None or self.fusion is None:
            return torch.zeros_like(level)
        return self.fusion(self.muna(level, references)[0])  # type: ignore[no-any-return]

    def vectors(self, level: Tensor, references: References) -> list[Tensor]:
        """MuNA's offsets for each reference, ``(N, 2, h, w)``, x then y, in places; the flow is not in them."""
        if self.muna is None:
            return [level.new_zeros(level.shape[0], 2, *level.shape[-2:]) for _ in references]
        return self.muna(level, references, offsets=True)[1] or []

    def gates(self, path: str) -> tuple[Gate, ...]:
        """What can be pruned of it, at ``path``: fusion and both trunks of the propagation."""
        fusion = () if self.fusion is None else self.fusion.gates(f"{path}.fusion")
        backward, forward = self.propagation.backward_trunk, self.propagation.forward_trunk
        at = f"{path}.propagation"
        return (*fusion, *backward.gates(f"{at}.backward_trunk"), *forward.gates(f"{at}.forward_trunk"))
