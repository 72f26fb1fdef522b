"""Encoder and decoder of CRDS, and the auto-encoder that they are pre-trained as (Sec. 3.2)."""

from __future__ import annotations

from typing import Literal

import torch
from restore import Halo, Traits
from restore.networks.residual import residual_chain
from restore.pruning import Gate, PruneGraph, Slot, chain_gates
from torch import Tensor, nn

STRIDE = 4  # pixels of a frame per place of its latent representation

Upsampling = Literal["two-step", "one-step"]


class Encoder(nn.Module):
    """A frame to its latent representation, a quarter of its size along each side.

    Args:
        features: channels.
        blocks: residual blocks.
    """

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(3, features, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(features, features, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(features, features, 3, padding=1),
            nn.LeakyReLU(0.1),
        )
        self.body = residual_chain(features, blocks)
        self.reach = 1 + 2 + STRIDE + 2 * STRIDE * blocks

    def forward(self, frames: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to ``(N, C, H / 4, W / 4)``."""
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
            ``one-step``, a convolution and a shuffle by four, which costs a tenth.

    Raises:
        ValueError: another upsampling.
    """

    def __init__(self, features: int, blocks: int, upsampling: Upsampling = "two-step") -> None:
        super().__init__()
        last: nn.Conv2d
        self.body = nn.Sequential(
            nn.Conv2d(2 * features, features, 3, padding=1), nn.LeakyReLU(0.1), residual_chain(features, blocks)
        )
        if upsampling == "two-step":
            last = nn.Conv2d(features, 3, 3, padding=1)
            doublings = [
                layer
                for _ in range(2)
                for layer in (nn.Conv2d(features, 4 * features, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(0.1))
            ]
            full = nn.Conv2d(features, features, 3, padding=1)
            self.enlarge = nn.Sequential(*doublings, full, nn.LeakyReLU(0.1), last)
            tail = STRIDE + STRIDE // 2 + 2
        elif upsampling == "one-step":
            last = nn.Conv2d(features, 3 * STRIDE**2, 3, padding=1)
            self.enlarge = nn.Sequential(last, nn.PixelShuffle(STRIDE))
            tail = STRIDE
        else:
            raise ValueError(f"upsampling must be two-step or one-step, got {upsampling!r}")
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)
        self.reach = STRIDE + 2 * STRIDE * blocks + tail

    def forward(self, worse: Tensor, better: Tensor) -> Tensor:
        """Both ``(N, C, H / 4, W / 4)``, to ``(N, 3, H, W)``."""
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


def check_sides(clip: Tensor, least: int = STRIDE) -> None:
    """Refuses what the encoder cannot divide.

    Raises:
        ValueError: sides that are no multiples of 4, or below ``least``.
    """
    height, width = clip.shape[-2:]
    if height % STRIDE or width % STRIDE or min(height, width) < least:
        raise ValueError(
            f"frames must be at least {least} pixels high and wide, in multiples of {STRIDE}; got {width}x{height}"
        )


class LatentAutoEncoder(nn.Module):
    """LDR-AE: of a compressed frame and a better version of it, it gives back the better one, by the difference that
    it reads off their latent representations (Eqs. 6, 7 and 10). Encoder and decoder are those of :class:`CRDS`.

    Args:
        features, encoder_blocks, decoder_blocks, upsampling: as :class:`CRDS` has them.
    """

    def __init__(
        self,
        *,
        features: int = 64,
        encoder_blocks: int = 5,
        decoder_blocks: int = 3,
        upsampling: Upsampling = "two-step",
    ) -> None:
        super().__init__()
        self.encoder = Encoder(features, encoder_blocks)
        self.decoder = Decoder(features, decoder_blocks, upsampling)
        reach = self.encoder.reach + self.decoder.reach
        self.traits = Traits(multiple_of=STRIDE, minimum=STRIDE, halo=Halo(pixels=reach))

    def forward(self, clip: Tensor) -> Tensor:
        """``xh + D(E(xh), E(xh^s))``, not clamped.

        Args:
            clip: ``(B, T, 6, H, W)``, the compressed frames xh and then the better ones xh^s; or ``(B, T, 3, H, W)``,
                which stand for both.

        Returns:
            ``(B, T, 3, H, W)``.

        Raises:
            ValueError: sides that are no multiples of 4, or other channels.
        """
        check_sides(clip)
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
