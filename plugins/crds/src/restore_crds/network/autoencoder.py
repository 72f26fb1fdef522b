"""Encoder and decoder of CRDS, and the auto-encoder that they are pre-trained as (Sec. 3.2)."""

from __future__ import annotations

from typing import Literal

import torch
from restore import Halo, Traits
from restore.networks.residual import kaiming, residual_chain
from restore.pruning import Gate, PruneGraph, Slot, chain_gates
from torch import Tensor, nn

Stride = Literal[4, 2]
Upsampling = Literal["two-step", "one-step"]


class Encoder(nn.Module):
    """A frame to its latent representation.

    Args:
        features: channels.
        blocks: residual blocks.
        stride: pixels of a frame per place of its latent representation, along each side (paper: 4).
        planes: of a frame; a fourth is how coarsely it was coded.

    Raises:
        ValueError: another stride than 4 or 2.
    """

    def __init__(self, features: int, blocks: int, stride: Stride = 4, planes: int = 3) -> None:
        super().__init__()
        if stride not in (4, 2):
            raise ValueError(f"stride must be 4 or 2, got {stride}")
        self.reduce = nn.Sequential(
            nn.Conv2d(planes, features, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(features, features, 3, stride=stride // 2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(features, features, 3, padding=1),
            nn.LeakyReLU(0.1),
        )
        kaiming(self.reduce)
        self.body = residual_chain(features, blocks)
        self.reach = 1 + 2 + stride + 2 * stride * blocks

    def forward(self, frames: Tensor) -> Tensor:
        """``(N, planes, H, W)`` to ``(N, C, H / stride, W / stride)``."""
        return self.body(self.reduce(frames))  # type: ignore[no-any-return]

    def gates(self, path: str) -> tuple[Gate, ...]:
        """What can be pruned of it, at ``path``: its residual blocks."""
        return chain_gates(f"{path}.body", self.body)


class Decoder(nn.Module):
    """Two latent representations, of the worse and of the better version of a frame, to the better less the worse
    (Eq. 7). It begins at zero.

    Args:
        features: channels.
        blocks: residual blocks.
        upsampling: ``two-step``, a convolution and a shuffle for each doubling, and two convolutions at full size;
            ``one-step``, a convolution and a single shuffle, which costs a tenth.
        stride: of the encoder.

    Raises:
        ValueError: another upsampling.
    """

    def __init__(self, features: int, blocks: int, upsampling: Upsampling = "two-step", stride: Stride = 4) -> None:
        super().__init__()
        last: nn.Conv2d
        self.body = nn.Sequential(
            nn.Conv2d(2 * features, features, 3, padding=1), nn.LeakyReLU(0.1), residual_chain(features, blocks)
        )
        if upsampling == "two-step":
            last = nn.Conv2d(features, 3, 3, padding=1)
            doublings = [
                layer
                for _ in range(stride // 2)
                for layer in (nn.Conv2d(features, 4 * features, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(0.1))
            ]
            full = nn.Conv2d(features, features, 3, padding=1)
            self.enlarge = nn.Sequential(*doublings, full, nn.LeakyReLU(0.1), last)
            tail = stride + (stride // 2 if stride > 2 else 0) + 2
        elif upsampling == "one-step":
            last = nn.Conv2d(features, 3 * stride**2, 3, padding=1)
            self.enlarge = nn.Sequential(last, nn.PixelShuffle(stride))
            tail = stride
        else:
            raise ValueError(f"upsampling must be two-step or one-step, got {upsampling!r}")
        kaiming(self.body[0], self.enlarge)
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)
        self.reach = stride + 2 * stride * blocks + tail

    def forward(self, worse: Tensor, better: Tensor) -> Tensor:
        """Both ``(N, C, H / stride, W / stride)``, to ``(N, 3, H, W)``."""
        return self.enlarge(self.body(torch.cat([worse, better], dim=1)))  # type: ignore[no-any-return]

    def gates(self, path: str) -> tuple[Gate, ...]:
        """What can be pruned of it, at ``path``: its residual blocks and, of the two-step enlargement, all but the last
        convolution, in groups of four before a shuffle."""
        blocks = self.body[2]
        assert isinstance(blocks, nn.Sequential)
        convolutions = [f"{path}.enlarge.{i}" for i, m in enumerate(self.enlarge) if isinstance(m, nn.Conv2d)]
        groups = (4, 4, 1)  # one-step has none before its last convolution
        steps = zip(convolutions[:-1], convolutions[1:], groups, strict=False)
        enlarge = (Gate(conv, group=group, followers=(Slot(reader),)) for conv, reader, group in steps)
        return (*chain_gates(f"{path}.body.2", blocks), *enlarge)


def check_sides(clip: Tensor, stride: int, least: int) -> None:
    """Refuses what the encoder cannot divide.

    Raises:
        ValueError: sides that are no multiples of ``stride``, or below ``least``.
    """
    height, width = clip.shape[-2:]
    if height % stride or width % stride or min(height, width) < least:
        raise ValueError(
            f"frames must be at least {least} pixels high and wide, in multiples of {stride}; got {width}x{height}"
        )


class LatentAutoEncoder(nn.Module):
    """LDR-AE: of a compressed frame and a better version of it, it gives back the better one, by the difference that
    it reads off their latent representations (Eqs. 6, 7 and 10). Encoder and decoder are those of :class:`CRDS`.

    Args:
        features, encoder_blocks, decoder_blocks, upsampling, stride: as :class:`CRDS` has them.
    """

    def __init__(
        self,
        *,
        features: int = 64,
        encoder_blocks: int = 5,
        decoder_blocks: int = 3,
        upsampling: Upsampling = "two-step",
        stride: Stride = 4,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.encoder = Encoder(features, encoder_blocks, stride)
        self.decoder = Decoder(features, decoder_blocks, upsampling, stride)
        reach = self.encoder.reach + self.decoder.reach
        self.traits = Traits(multiple_of=stride, minimum=stride, halo=Halo(pixels=reach))

    def forward(self, clip: Tensor) -> Tensor:
        """``xh + D(E(xh), E(xh^s))``, not clamped.

        Args:
            clip: ``(B, T, 6, H, W)``, the compressed frames xh and then the better ones xh^s; or ``(B, T, 3, H, W)``,
                which stand for both.

        Returns:
            ``(B, T, 3, H, W)``.

        Raises:
            ValueError: sides that are no multiples of the stride, or other channels.
        """
        check_sides(clip, self.stride, self.stride)
        if clip.shape[2] not in (3, 6):
            raise ValueError(f"the auto-encoder takes clips of 3 channels or 6, got {clip.shape[2]}")
        frames = clip.flatten(0, 1)
        worse = frames[:, :3]
        latent = self.encoder(worse)
        better = self.encoder(frames[:, 3:]) if frames.shape[1] == 6 else latent
        return (worse + self.decoder(latent, better)).unflatten(0, clip.shape[:2])

    def prune_graph(self) -> PruneGraph:
        """Residual blocks of both, and the decoder's enlargement."""
        return PruneGraph((*self.encoder.gates("encoder"), *self.decoder.gates("decoder")))
