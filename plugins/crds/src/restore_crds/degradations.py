"""Training pairs of the LDR-AE: a compressed clip and a version of it that is spoilt less."""

from __future__ import annotations

from typing import Sequence

import torch
from restore import Degradation, Pair, Step
from torch import Tensor

LEVELS = (0.0, 0.25, 0.5, 0.75)
"""alpha_s for s = 0, 1, 2, 3 (Sun et al., below Eq. 9)."""


def hybrid(observed: Tensor, clean: Tensor, alpha: float | Tensor) -> Tensor:
    """``xh^s = alpha_s * xh + (1 - alpha_s) * x`` (Sun et al., Eq. 8): at 1 what was observed, at 0 the clean clip.

    Args:
        observed: ``xh``, ``(B, T, C, H, W)`` in [0, 1].
        clean: ``x``, of that shape.
        alpha: the part of the degradation that stays, a number or a tensor that spreads over the clips.
    """
    return clean + alpha * (observed - clean)


def check_levels(levels: Sequence[float]) -> None:
    """ValueError unless there is at least one, and all lie in [0, 1]."""
    if not levels or not all(0 <= level <= 1 for level in levels):
        raise ValueError(f"levels must hold numbers from 0 to 1, at least one, got {list(levels)}")


def drawn_levels(below: int, count: int, generator: torch.Generator | None) -> Sequence[int]:
    """``count`` whole numbers in [0, ``below``); nothing is drawn where there is no choice."""
    if below == 1:
        return [0] * count
    device = generator.device if generator is not None else "cpu"
    drawn: list[int] = torch.randint(below, (count,), generator=generator, device=device).tolist()
    return drawn


class Levels:
    """What the LDR-AE is trained on (Eqs. 8, 9): the observed clip ``xh`` and, stacked below its channels, ``xh^s``, of
    which a part ``alpha_s`` of the degradation is left; s is drawn anew for each sample. The target is the clean clip.

    Args:
        base: what spoils clips, e.g. a codec; it must keep their size and their target.
        levels: alpha_s to draw from, each from 0 (the clean clip) to 1 (the observed one).

    Raises:
        ValueError: no levels, or one outside [0, 1].
    """

    per_frame = False

    def __init__(self, base: Degradation, levels: tuple[float, ...] = LEVELS) -> None:
        check_levels(levels)
        self.base, self.levels = base, tuple(levels)

    def settled(self, generator: torch.Generator | None) -> Levels:
        """The same with the level, and what the base draws, drawn once."""
        inner = getattr(self.base, "settled", None)
        base = self.base if inner is None else inner(generator)
        return Levels(base, (self.levels[drawn_levels(len(self.levels), 1, generator)[0]],))

    @torch.no_grad()
    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``(B, T, C, H, W)`` in [0, 1] to observed ``(B, T, 2C, H, W)``, ``xh`` then ``xh^s``, and the clean clip.

        Raises:
            ValueError: the base changes the clip's size.
        """
        pair = self.base(clean, step)
        if pair.observed.shape != pair.target.shape:
            sizes = f"{tuple(pair.observed.shape)} for a target of {tuple(pair.target.shape)}"
            raise ValueError(f"levels blends the observed with the clean clip, but {type(self.base).__name__} observes "
                             f"{sizes}; its scale must be 1")  # fmt: skip
        drawn = drawn_levels(len(self.levels), len(clean), step.generator)
        alpha = torch.tensor([self.levels[i] for i in drawn], dtype=clean.dtype, device=clean.device)
        milder = hybrid(pair.observed, pair.target, alpha.view(-1, 1, 1, 1, 1))
        return Pair(torch.cat([pair.observed, milder], dim=2), pair.target)
