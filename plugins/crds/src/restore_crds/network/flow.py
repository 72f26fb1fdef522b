"""Where optical flow comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Sequence, get_args

import torch
from restore.functional.color import rgb_to_y
from restore.functional.flow import lucas_kanade
from restore.networks.spynet import SpyNet
from restore.weights import load_into, read
from torch import Tensor, nn

FlowMethod = Literal["spynet", "lucas-kanade"]

# Of coded frames, a wide window averages quantisation out; five levels follow motion of 16 places.
LEVELS = 5
ITERATIONS = 3
SPAN = 21


class LucasKanade(nn.Module):
    """Flow of luma by :func:`restore.functional.flow.lucas_kanade`, called as ``SpyNet`` is: for networks that have
    neither published flow weights nor the time to learn their own. No gradient runs through it."""

    @torch.no_grad()
    def forward(self, reference: Tensor, supporting: Tensor) -> Tensor:
        """The flow from ``reference`` to ``supporting``, both ``(N, 3, H, W)`` RGB in [0, 1]: ``(N, 2, H, W)``, x, then
        y, in pixels."""
        return lucas_kanade(rgb_to_y(reference), rgb_to_y(supporting), LEVELS, ITERATIONS, SPAN)


def make_flow(method: FlowMethod, levels: int, widths: Sequence[int], weights: Path | None) -> nn.Module:
    """A flow network, or what stands for it.

    Args:
        method: ``spynet`` or ``lucas-kanade``.
        levels, widths: of SpyNet.
        weights: file of published SpyNet weights; without them its flow begins at zero.

    Raises:
        ValueError: an unknown method, no such file, or weights for what has none.
    """
    if method not in get_args(FlowMethod):
        raise ValueError(f"flow must be one of {', '.join(get_args(FlowMethod))}; got {method!r}")
    if method == "lucas-kanade":
        if weights is not None:
            raise ValueError(
                'flow_weights are SpyNet\'s; with flow = "lucas-kanade" there is nothing to load them into'
            )
        return LucasKanade()
    flow = SpyNet(levels, widths, zero_init=weights is None)
    if weights is not None:
        if not Path(weights).is_file():
            raise ValueError(f"flow_weights: there is no file {weights}")
        load_into(flow, read(Path(weights)))
    return flow
