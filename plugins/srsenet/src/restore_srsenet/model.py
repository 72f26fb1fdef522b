"""The network of "An Effective Single-Image Super-Resolution Model Using Squeeze-and-Excitation Networks"
(Mei, Li, Luyao, Wang, Jiang, 2018), Sec. III and Fig. 2.

Where figure, text and the authors' code disagree, the defaults follow the code, except that the eight blocks have
weights of their own as drawn; ``share_blocks`` is what the code did.
"""

from __future__ import annotations

from typing import Literal

import torch
from restore import Halo, Traits
from restore.networks.skip import ResidualAdd
from restore.pruning import Gate, PruneGraph, Slot, Stream, residual_gates
from torch import Tensor, nn

SLOPE = 0.2
# What of a block reads the skip, or works on the second convolution's channels one by one.
_READERS: tuple[tuple[str, Literal["in", "out"]], ...] = (("conv1", "in"), ("se.reduce", "in"), ("se.expand", "out"))


class SqueezeExcite(nn.Module):
    """Channel gates from the global mean (Sec. III-B, Fig. 3): mean, FC, LeakyReLU, FC, sigmoid, scale.

    Args:
        features: channels.
        hidden: width of the bottleneck.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(features, hidden)
        self.activation = nn.LeakyReLU(SLOPE)
        self.expand = nn.Linear(hidden, features)

    def gate(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to gates ``(N, C, 1, 1)`` in (0, 1)."""
        squeezed = x.mean(dim=(-2, -1))
        return torch.sigmoid(self.expand(self.activation(self.reduce(squeezed))))[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` scaled channel by channel."""
        return x * self.gate(x)


class SrSEBlock(nn.Module):
    """conv, LeakyReLU, conv, squeeze-and-excitation, plus the input (Fig. 2).

    Args:
        features: channels.
        se_hidden: width of the squeeze bottleneck.
        second_activation: a LeakyReLU after the second convolution, as Fig. 2 draws and the code does not.
    """

    def __init__(self, features: int, se_hidden: int, second_activation: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.se = SqueezeExcite(features, se_hidden)
        self.activation = nn.LeakyReLU(SLOPE)
        self.second_activation = second_activation
        self.add = ResidualAdd()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same shape."""
        y = self.conv2(self.activation(self.conv1(x)))
        if self.second_activation:
            y = self.activation(y)
        out: Tensor = self.add(x, self.se(y))
        return out


class SrSENet(nn.Module):
    """Luma super-resolution in one step: ``T_I(x) + conv(T_F(blocks(conv(x))))``.

    An output pixel sees ``2*blocks + 2`` input pixels to every side, and through the squeeze the whole image.

    Args:
        scale: output pixels per input pixel along each side; any whole number from 1 (the paper: 2, 4, 8).
        blocks: residual blocks (paper: 8).
        features: channels of the trunk (paper: 64).
        se_hidden: width of the squeeze bottleneck; 16 in the authors' code, 4 for the text's "reduction ratio 16".
        share_blocks: one block used ``blocks`` times, as in the authors' code.
        fig2_activations: the two activations that Fig. 2 draws and the code lacks: after the first convolution, and
            after the second one of each block.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(
        self,
        scale: int = 2,
        *,
        blocks: int = 8,
        features: int = 64,
        se_hidden: int = 16,
        share_blocks: bool = False,
        fig2_activations: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("scale", scale), ("blocks", blocks), ("features", features), ("se_hidden", se_hidden)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        # k = 2r - (r mod 2), stride r, padding r//2 gives exactly r*h rows; k = 2r, as in the code, only for even r.
        kernel, padding = 2 * scale - scale % 2, scale // 2
        self.traits = Traits(scale=scale, channels="y", halo=Halo(pixels=2 * blocks + 2), global_context=True)
        self.fig2_activations = fig2_activations
        self.activation = nn.LeakyReLU(SLOPE)
        self.conv_in = nn.Conv2d(1, features, 3, padding=1, bias=False)
        block = SrSEBlock(features, se_hidden, fig2_activations)
        others = (SrSEBlock(features, se_hidden, fig2_activations) for _ in range(blocks - 1))
        # A shared block is registered once, so that its weights are counted and stored once.
        self.blocks = nn.ModuleList([block] if share_blocks else [block, *others])
        self.repeats = blocks if share_blocks else 1
        self.upsample_features = nn.ConvTranspose2d(features, features, kernel, scale, padding, bias=False)
        self.conv_out = nn.Conv2d(features, 1, 3, padding=1, bias=False)
        self.upsample_image = nn.ConvTranspose2d(1, 1, kernel, scale, padding, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.orthogonal_(module.weight)

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, 1, H, W)`` studio-range luma in [16, 235]/255 to ``(B, T, 1, scale*H, scale*W)``, not clamped."""
        frames = clip.flatten(0, 1)
        x = self.conv_in(frames)
        if self.fig2_activations:
            x = self.activation(x)
        for _ in range(self.repeats):
            for block in self.blocks:
                x = block(x)
        residual = self.conv_out(self.activation(self.upsample_features(x)))
        return (self.upsample_image(frames) + residual).unflatten(0, clip.shape[:2])

    def prune_graph(self) -> PruneGraph:
        """All but the first convolution's outputs and the enlarged image. The squeeze of a channel of zeros is 0, and
        LeakyReLU keeps 0, so that all of it is exact. A shared block has one set of gates for all its uses."""
        blocks = [f"blocks.{i}" for i in range(len(self.blocks))]
        squeeze = ("se.reduce", "se.expand")
        gates = [gate for block in blocks for gate in residual_gates(block, squeeze)]
        readers = [Slot(f"{b}.{layer}", side) for b in blocks for layer, side in _READERS]
        writers = [Slot("conv_in", "out"), *(Slot(f"{b}.conv2", "out") for b in blocks)]
        return PruneGraph(
            gates=(*gates, Gate("upsample_features", followers=(Slot("conv_out"),))),
            streams=(Stream("trunk", tuple(writers), (*readers, Slot("upsample_features"))),),
            fixed=("upsample_image",),
        )


def official(scale: int = 2) -> SrSENet:
    """The network as the authors' code runs it: one block used eight times (142,560 parameters at scale 2)."""
    return SrSENet(scale, share_blocks=True)
