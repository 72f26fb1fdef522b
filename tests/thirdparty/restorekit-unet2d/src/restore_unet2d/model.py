"""The U-Net of the package ``unet`` behind the contract of a restorekit model."""

from __future__ import annotations

from typing import Literal

from restore import Halo, Traits
from torch import Tensor, nn
from unet import UNet2D


class ResidualUNet(nn.Module):
    """``x + unet(x)``; the last layer begins at zero, so that it starts from the picture itself.

    Args:
        levels: resolutions, each half of the one above.
        features: channels at full resolution; twice as many with every level.
        upsampling: ``conv``, transposed convolutions, or ``bilinear``.

    Raises:
        ValueError: fewer than two levels, or no features.
    """

    def __init__(
        self, levels: int = 3, *, features: int = 16, upsampling: Literal["conv", "bilinear"] = "conv"
    ) -> None:
        super().__init__()
        if levels < 2 or features < 1:
            raise ValueError(f"levels must be at least 2 and features at least 1, got {levels} and {features}")
        self.unet = UNet2D(
            in_channels=3, out_classes=3, num_encoding_blocks=levels, out_channels_first_layer=features,
            upsampling_type=upsampling, padding=1,
        )  # fmt: skip
        last = self.unet.classifier.conv_layer
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        # Two 3x3 convolutions at every level, down and up again; pooling cells; what bilinear interpolation adds.
        cell = 2 ** (levels - 1)
        reach = 7 * cell - 5 + (2 * cell - 2) * (upsampling == "bilinear")
        self.traits = Traits(channels="rgb", multiple_of=cell, halo=Halo(pixels=reach))

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, 3, H, W)`` in [0, 1] to the same shape."""
        frames = clip.flatten(0, 1)
        out: Tensor = frames + self.unet(frames)
        return out.unflatten(0, clip.shape[:2])
