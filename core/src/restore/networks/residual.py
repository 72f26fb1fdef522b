"""Residual blocks without normalisation, as networks for video are built from them."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from restore.networks.skip import ResidualAdd

Activation = Literal["relu", "leaky"]


def activation(kind: Activation) -> nn.Module:
    """``relu``, or ``leaky``: LeakyReLU with slope 0.1.

    Raises:
        ValueError: neither.
    """
    if kind == "relu":
        return nn.ReLU()
    if kind == "leaky":
        return nn.LeakyReLU(0.1)
    raise ValueError(f"activation must be relu or leaky, got {kind!r}")


def kaiming(*modules: nn.Module) -> None:
    """Begin the convolutions in modules, which stand before leaky activations, so that values keep their size through
    them (He et al., 2015), and biases at zero. Torch's own beginning makes values smaller with every layer; a
    zero-initialised last layer then sees next to nothing, and learns slowly."""
    for layer in (inner for module in modules for inner in module.modules()):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=0.1)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class ResidualBlock(nn.Module):
    """``x + conv3(act(conv3(x)))``, with biases: ``2 * (9 c^2 + c)`` parameters.

    The convolutions begin at a tenth of Kaiming's normal initialisation, biases at zero, so that deep chains begin near
    the identity (Wang et al., ESRGAN, 2018, Sec. 3.1: "smaller initialization").

    Args:
        features: channels c.
        kind: the activation.
    """

    def __init__(self, features: int, kind: Activation = "relu") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.activation, self.add = activation(kind), ResidualAdd()
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, a=0, mode="fan_in")
            conv.weight.data.mul_(0.1)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same shape."""
        return self.add(x, self.conv2(self.activation(self.conv1(x))))  # type: ignore[no-any-return]


def residual_chain(features: int, blocks: int, kind: Activation = "relu") -> nn.Sequential:
    """``blocks`` residual blocks one after the other; none is the identity.

    Args:
        features: channels.
        blocks: how many, from 0.
        kind: the activation inside the blocks.
    """
    return nn.Sequential(*(ResidualBlock(features, kind) for _ in range(blocks)))


def residual_trunk(
    channels: int, features: int, blocks: int, kind: Activation = "leaky", inner: Activation = "relu"
) -> nn.Sequential:
    """conv3, activation, then residual blocks: what recurrent video networks carry their state through.

    Args:
        channels: of the input.
        features: of the output and of the blocks.
        blocks: how many residual blocks, from 0.
        kind: the activation after the first convolution.
        inner: the activation inside the blocks.
    """
    return nn.Sequential(
        nn.Conv2d(channels, features, 3, padding=1), activation(kind), residual_chain(features, blocks, inner)
    )
