"""How coarsely frames were coded, beside their pixels."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_QP = 51
UNKNOWN = -1.0


def join_qp(clip: Tensor, qp: Tensor | None) -> Tensor:
    """A clip as models take it whose traits say ``rgb+qp``.

    Args:
        clip: ``(..., T, 3, H, W)`` RGB.
        qp: ``(..., T)``, each frame's QP on the scale of H.264 and HEVC, 0 to 51, or below 0 where nobody knows; None:
            of no frame.

    Returns:
        ``(..., T, 4, H, W)``: the fourth channel is QP / 51, or -1.

    Raises:
        ValueError: another number of channels.
    """
    if clip.shape[-3] != 3:
        raise ValueError(f"a model that is told QPs takes RGB, got clips of {clip.shape[-3]} channel(s)")
    plane = clip[..., :1, :, :]
    if qp is None:
        return torch.cat([clip, torch.full_like(plane, UNKNOWN)], dim=-3)
    share = torch.where(qp < 0, UNKNOWN, qp.clamp(max=MAX_QP) / MAX_QP).to(clip)
    return torch.cat([clip, share[..., None, None, None].expand_as(plane)], dim=-3)
