"""RCAN: Zhang et al., Image Super-Resolution Using Very Deep Residual Channel Attention Networks, ECCV 2018."""

from __future__ import annotations

from typing import Mapping

from restore import Halo, Traits
from restore.networks.skip import ResidualAdd
from restore.pruning import PruneGraph, residual_gates
from torch import Tensor, nn

from restore_eco.networks.edsr import Tail
from restore_eco.networks.parts import (
    TAIL_REACH,
    RangeShift,
    check_at_least_one,
    check_scale,
    conv3,
    shift_of,
    tail_gates,
    translated,
)


class ChannelAttention(nn.Module):
    """Channels scaled by gates in (0, 1) that come from their means over the whole image (Eqs. 10-12).

    Args:
        features: channels.
        reduction: features per channel of the bottleneck.
    """

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(features, features // reduction, 1)
        self.activation = nn.ReLU()
        self.expand = nn.Conv2d(features // reduction, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same shape."""
        return x * self.expand(self.activation(self.reduce(self.squeeze(x)))).sigmoid()


class AttentionBlock(nn.Module):
    """RCAB: ``x + attention(conv(ReLU(conv(x))))`` (Fig. 4)."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3(features, features), conv3(features, features)
        self.activation = nn.ReLU()
        self.attention = ChannelAttention(features, reduction)
        self.add = ResidualAdd()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same shape."""
        out: Tensor = self.add(x, self.attention(self.conv2(self.activation(self.conv1(x)))))
        return out


class ResidualGroup(nn.Module):
    """Attention blocks and a convolution, with a skip around them (Eq. 6)."""

    def __init__(self, blocks: int, features: int, reduction: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AttentionBlock(features, reduction) for _ in range(blocks))
        self.end = conv3(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same shape."""
        y = x
        for block in self.blocks:
            y = block(y)
        return x + self.end(y)


class RCAN(nn.Module):
    """Super-resolution of RGB by residual groups of attention blocks (Fig. 2).

    Channel attention looks at the whole image. Weights in the official code's layout and in BasicSR's load as they are.

    Args:
        scale: output pixels per input pixel along each side: 2, 3, 4 or 8.
        groups: residual groups (paper: 10).
        blocks: attention blocks in each (paper: 20).
        features: channels (paper: 64).
        reduction: of the attention's bottleneck (paper: 16); divides ``features``.

    Raises:
        ValueError: another scale, a number below 1, or a reduction that does not divide ``features``.
    """

    def __init__(
        self, scale: int = 2, *, groups: int = 10, blocks: int = 20, features: int = 64, reduction: int = 16
    ) -> None:
        super().__init__()
        check_scale(scale)
        check_at_least_one(groups=groups, blocks=blocks, features=features, reduction=reduction)
        if features % reduction:
            raise ValueError(f"reduction must divide features, got {reduction} and {features}")
        halo = Halo(pixels=groups * (2 * blocks + 1) + 2 + TAIL_REACH)
        self.traits = Traits(scale=scale, channels="rgb", halo=halo, global_context=True)
        self.shift = RangeShift()
        self.head = conv3(3, features)
        self.body = nn.ModuleList(ResidualGroup(blocks, features, reduction) for _ in range(groups))
        self.body_end = conv3(features, features)
        self.tail = Tail(scale, features)

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, 3, H, W)`` in [0, 1] to ``(B, T, 3, scale*H, scale*W)``, not clamped."""
        head = x = self.head(self.shift.inward(clip.flatten(0, 1)))
        for group in self.body:
            x = group(x)
        out = self.shift.outward(self.tail(head + self.body_end(x)))
        return out.unflatten(0, clip.shape[:2])

    def prune_graph(self) -> PruneGraph:
        """Residual blocks and up-sampler; the attention of a channel of zeros is taken out with it."""
        squeeze = ("attention.reduce", "attention.expand")
        blocks = [f"body.{g}.blocks.{b}" for g, group in enumerate(self.body) for b in range(len(group.blocks))]
        gates = [gate for block in blocks for gate in residual_gates(block, squeeze)]
        return PruneGraph(gates=(*gates, *tail_gates(self.traits.scale)), fixed=("head", "body_end", "tail.last"))

    def translate_weights(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of the official RCAN or of BasicSR under this network's names; others as they are."""
        group: ResidualGroup = self.body[0]
        block = r"body.\1.blocks.\2."
        if "head.0.weight" in tensors:
            inner = r"body\.(\d+)\.body\.(\d+)\.body\."
            table = [
                (r"(?:sub|add)_mean\..*", ""),
                (r"head\.0\.(\w+)", r"head.\1"),
                (rf"body\.{len(self.body)}\.(\w+)", r"body_end.\1"),
                (rf"body\.(\d+)\.body\.{len(group.blocks)}\.(\w+)", r"body.\1.end.\2"),
                (inner + r"0\.(\w+)", block + r"conv1.\3"),
                (inner + r"2\.(\w+)", block + r"conv2.\3"),
                (inner + r"3\.conv_du\.0\.(\w+)", block + r"attention.reduce.\3"),
                (inner + r"3\.conv_du\.2\.(\w+)", block + r"attention.expand.\3"),
                (r"tail\.0\.(.+)", r"tail.upsample.\1"),
                (r"tail\.1\.(\w+)", r"tail.last.\1"),
            ]
        elif "conv_first.weight" in tensors:
            inner = r"body\.(\d+)\.residual_group\.(\d+)\.rcab\."
            table = [
                (r"conv_first\.(\w+)", r"head.\1"),
                (r"conv_after_body\.(\w+)", r"body_end.\1"),
                (r"body\.(\d+)\.conv\.(\w+)", r"body.\1.end.\2"),
                (inner + r"0\.(\w+)", block + r"conv1.\3"),
                (inner + r"2\.(\w+)", block + r"conv2.\3"),
                (inner + r"3\.attention\.1\.(\w+)", block + r"attention.reduce.\3"),
                (inner + r"3\.attention\.3\.(\w+)", block + r"attention.expand.\3"),
                (r"upsample\.(.+)", r"tail.upsample.\1"),
                (r"conv_last\.(\w+)", r"tail.last.\1"),
            ]
        else:
            return tensors
        return translated(tensors, table) | shift_of(tensors, 255)
