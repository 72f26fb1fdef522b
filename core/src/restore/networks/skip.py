"""The addition at the end of a residual branch, which a pruned branch may reach with fewer channels than the skip."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def is_channels_last(x: Tensor) -> bool:
    """Whether ``(N, C, H, W)`` lies in memory with the channels of a pixel side by side, and in no other way."""
    return x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _by_product(x: Tensor) -> bool:
    # On a CPU, a product with a matrix of ones and zeros is the quicker way to move interleaved channels, and as exact.
    # A GPU may round factors to TF32.
    return x.device.type == "cpu" and is_channels_last(x)


def _indicator(kept: Tensor, width: int, like: Tensor) -> Tensor:
    """``(kept, width)``: a one in each row."""
    return nn.functional.one_hot(kept, width).to(like.dtype)


def gather_channels(x: Tensor, kept: Tensor, dim: int = 1) -> Tensor:
    """``x[kept]`` along the channels, in the memory layout of ``x``.

    Args:
        x: ``(N, C, H, W)``, or any shape with the channels at ``dim``.
        kept: ``(K,)`` int64, indices of channels.
        dim: of the channels.
    """
    if dim % x.ndim == 1 and _by_product(x):
        pixels = x.permute(0, 2, 3, 1)
        return (pixels @ _indicator(kept, x.shape[1], x).t()).permute(0, 3, 1, 2)
    return x.index_select(dim, kept)


def add_channels(x: Tensor, kept: Tensor, branch: Tensor, scale: float = 1.0) -> Tensor:
    """``y = x; y[kept] += scale * branch``; ``x`` stays as it is.

    Args:
        x: ``(N, C, H, W)``.
        kept: ``(K,)`` int64, where the channels of ``branch`` belong.
        branch: ``(N, K, H, W)``.
        scale: factor of the branch.
    """
    dtype = torch.promote_types(x.dtype, branch.dtype)  # autocast may have made one of them half
    x, branch = x.to(dtype), branch.to(dtype)
    if not _by_product(x):
        return x.index_add(1, kept, branch, alpha=scale)
    flat = branch.permute(0, 2, 3, 1).reshape(-1, branch.shape[1])
    pixels = x.permute(0, 2, 3, 1)
    summed = torch.addmm(pixels.reshape(-1, x.shape[1]), flat, _indicator(kept, x.shape[1], x), alpha=scale)
    return summed.view(pixels.shape).permute(0, 3, 1, 2)


class ResidualAdd(nn.Module):
    """``x + scale * branch``. Where the branch was pruned, its channels are added to those that they stand for and all
    others of the skip pass as they are (SSL's residual sparsity connection: Xia et al., CVPR 2023, Sec. 3.2).

    Attributes:
        kept: ``(K,)`` int64, the skip's channels that the branch reaches; None: all of them, in order.

    Args:
        scale: factor of the branch.
    """

    kept: Tensor | None

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        # Not part of the state: weights keep the names they have without pruning.
        self.register_buffer("kept", None, persistent=False)

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        """``(N, C, H, W)`` and ``(N, K, H, W)`` to ``(N, C, H, W)``."""
        if self.kept is not None:
            return add_channels(x, self.kept, branch, self.scale)
        return x + (branch if self.scale == 1 else branch * self.scale)
