"""EDSR and its baseline: Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017."""

from __future__ import annotations

from typing import Mapping

from restore import Halo, Traits
from restore.networks.skip import ResidualAdd
from restore.pruning import PruneGraph, Slot, Stream, residual_gates
from torch import Tensor, nn

from restore_eco.networks.parts import (
    DIV2K_MEAN,
    TAIL_REACH,
    RangeShift,
    Upsampler,
    check_at_least_one,
    check_scale,
    conv3,
    shift_of,
    tail_gates,
    translated,
)


class ResidualBlock(nn.Module):
    """``x + res_scale * conv(ReLU(conv(x)))``, without normalisation (Fig. 2c).

    Args:
        features: channels.
        res_scale: of the branch; 0.1 steadies the wide network (Sec. 3.3).
    """

    def __init__(self, features: int, res_scale: float) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3(features, features), conv3(features, features)
        self.activation = nn.ReLU()
        self.add = ResidualAdd(res_scale)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same shape."""
        out: Tensor = self.add(x, self.conv2(self.activation(self.conv1(x))))
        return out


class Tail(nn.Module):
    """Enlarging, and the last convolution to RGB: what depends on the scale, and is left out when a network of one
    scale starts from another's weights."""

    def __init__(self, scale: int, features: int) -> None:
        super().__init__()
        self.upsample, self.last = Upsampler(scale, features), conv3(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, 3, scale*H, scale*W)``."""
        return self.last(self.upsample(x))


class EDSR(nn.Module):
    """Super-resolution of RGB: ``tail(h + body(h))`` with ``h = head(255 * (x - mean))`` (Fig. 3).

    Weights in the official code's layout (``head.0``, ``body.0.body.0``, ``tail.0.0``, ``sub_mean``) and in BasicSR's
    (``conv_first``, ``body.0.conv1``, ``upsample.0``) load as they are.

    Args:
        scale: output pixels per input pixel along each side: 2, 3, 4 or 8.
        blocks: residual blocks (paper: 32; baseline 16).
        features: channels (paper: 256; baseline 64).
        res_scale: factor of every residual branch (paper: 0.1; baseline 1).
        mean: of R, G, B in the training data, taken off the input and added to the output; [0, 0, 0] for targets that
            are no pictures.

    Raises:
        ValueError: another scale, or a number below 1.
    """

    def __init__(
        self,
        scale: int = 2,
        *,
        blocks: int = 32,
        features: int = 256,
        res_scale: float = 0.1,
        mean: tuple[float, float, float] = DIV2K_MEAN,
    ) -> None:
        super().__init__()
        check_scale(scale)
        check_at_least_one(blocks=blocks, features=features)
        self.traits = Traits(scale=scale, channels="rgb", halo=Halo(pixels=2 * blocks + 2 + TAIL_REACH))
        self.shift = RangeShift(mean)
        self.head = conv3(3, features)
        self.body = nn.ModuleList(ResidualBlock(features, res_scale) for _ in range(blocks))
        self.body_end = conv3(features, features)
        self.tail = Tail(scale, features)

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, 3, H, W)`` in [0, 1] to ``(B, T, 3, scale*H, scale*W)``, not clamped."""
        head = x = self.head(self.shift.inward(clip.flatten(0, 1)))
        for block in self.body:
            x = block(x)
        out = self.shift.outward(self.tail(head + self.body_end(x)))
        return out.unflatten(0, clip.shape[:2])

    def prune_graph(self) -> PruneGraph:
        """Residual blocks and up-sampler. Head, the convolution that ends the body, and the last one stay; the long
        skip keeps all channels unless they are aligned."""
        blocks = [f"body.{i}" for i in range(len(self.body))]
        gates = [gate for block in blocks for gate in residual_gates(block)]
        writers = [Slot("head", "out"), *(Slot(f"{b}.conv2", "out") for b in blocks), Slot("body_end", "out")]
        readers = [*(Slot(f"{b}.conv1") for b in blocks), Slot("body_end"), Slot("tail.upsample.0")]
        return PruneGraph(
            gates=(*gates, *tail_gates(self.traits.scale)),
            streams=(Stream("trunk", tuple(writers), tuple(readers)),),
            fixed=("tail.last",),
        )

    def translate_weights(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of the official EDSR-PyTorch or of BasicSR under this network's names; others as they are."""
        if "head.0.weight" in tensors:
            table = [
                (r"(?:sub|add)_mean\..*", ""),
                (r"head\.0\.(\w+)", r"head.\1"),
                (rf"body\.{len(self.body)}\.(\w+)", r"body_end.\1"),
                (r"body\.(\d+)\.body\.0\.(\w+)", r"body.\1.conv1.\2"),
                (r"body\.(\d+)\.body\.2\.(\w+)", r"body.\1.conv2.\2"),
                (r"tail\.0\.(.+)", r"tail.upsample.\1"),
                (r"tail\.1\.(\w+)", r"tail.last.\1"),
            ]
        elif "conv_first.weight" in tensors:
            table = [
                (r"conv_first\.(\w+)", r"head.\1"),
                (r"conv_after_body\.(\w+)", r"body_end.\1"),
                (r"upsample\.(.+)", r"tail.upsample.\1"),
                (r"conv_last\.(\w+)", r"tail.last.\1"),
            ]
        else:
            return tensors
        return translated(tensors, table) | shift_of(tensors, 255)


def edsr_baseline(
    scale: int = 2, *, blocks: int = 16, features: int = 64, mean: tuple[float, float, float] = DIV2K_MEAN
) -> EDSR:
    """EDSR with 16 residual blocks of 64 channels, unscaled: 1,369,859 parameters at scale 2."""
    return EDSR(scale, blocks=blocks, features=features, res_scale=1.0, mean=mean)
