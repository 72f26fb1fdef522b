"""Activation, normalisation and recurrence of the paper's networks (Sec. 3.2, Fig. 2)."""

from __future__ import annotations

from typing import Callable, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Normalization = Literal["published", "instance", "pixel", "none"]
Recurrence = Literal["none", "forward", "bidirectional"]

# Of the standard deviation, in the published normalisation.
EPSILON = 1e-3


def elu_like(x: Tensor) -> Tensor:
    """``softplus(2x + 2)/2 - 1`` (Gulrajani et al., 2017): about x above 0, and -1 far below; 0.0635 at 0."""
    return F.softplus(x + 1, beta=2.0) - 1


class PublishedNorm(nn.Module):
    """What the published code calls instance normalisation: mean and standard deviation over all of T, H, W and C of a
    sample, one scale and one offset for all channels, ``gamma (x - mean)/(std + 1e-3) + beta``.

    A window or a tile has other statistics than the whole: its answer is not that of the whole.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(()))
        self.beta = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, C, H, W)`` to the same shape."""
        centred = x - x.mean(dim=(1, 2, 3, 4), keepdim=True)
        # A sample without any contrast has the variance 0, whose root has no derivative.
        variance = centred.square().mean(dim=(1, 2, 3, 4), keepdim=True).clamp_min(1e-12)
        return torch.addcmul(self.beta, centred, self.gamma / (variance.sqrt() + EPSILON))


class InstanceNorm(nn.Module):
    """Instance normalisation proper (Ulyanov et al., 2016): over H and W of every channel of every frame, with a scale
    and an offset for each channel; 1e-5 is added to the variance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, C, H, W)`` to the same shape."""
        # torch refuses frames of one pixel in training, although their answer is known.
        if x.shape[-2:].numel() == 1:
            return self.norm.bias.view(1, 1, -1, 1, 1).expand_as(x)
        out: Tensor = self.norm(x.flatten(0, 1))
        return out.unflatten(0, x.shape[:2])


class PixelNorm(nn.Module):
    """Layer normalisation over the channels of every pixel by itself: nothing but the pixel counts, so that windows and
    tiles agree with the whole."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, C, H, W)`` to the same shape."""
        out: Tensor = self.norm(x.movedim(2, -1))
        return out.movedim(-1, 2)


def normalization(kind: Normalization, channels: int) -> nn.Module:
    """The layer that a recipe names; it keeps the shape ``(B, T, C, H, W)``.

    Raises:
        ValueError: an unknown kind.
    """
    made: dict[str, Callable[[], nn.Module]] = {
        "published": PublishedNorm,
        "instance": lambda: InstanceNorm(channels),
        "pixel": lambda: PixelNorm(channels),
        "none": nn.Identity,
    }
    if kind not in made:
        raise ValueError(f"normalization must be one of {', '.join(made)}, got {kind!r}")
    return made[kind]()


class ConvMinimalRNN(nn.Module):
    """The convolutional MinimalRNN (Chen, 2017), its input taken as it is: ``g_t = sigmoid(K*x_t + b + R*h_{t-1})``,
    ``h_t = (1 - g_t) h_{t-1} + g_t x_t``, ``h`` before the first frame 0.

    Both directions run at once, as groups of one convolution; what does not wait for the frame before, ``K*x_t + b``,
    is one convolution over all frames.

    Args:
        channels: of the input, and of each direction.
        kernel: odd side of both kernels.
        bidirectional: another cell reads the frames from the last to the first, and its states come behind the first
            one's: twice the channels.
    """

    def __init__(self, channels: int, kernel: int, bidirectional: bool = True) -> None:
        super().__init__()
        self.channels, self.directions = channels, 1 + bidirectional
        every = channels * self.directions
        self.input = nn.Conv2d(channels, every, kernel, padding=kernel // 2)
        self.recurrent = nn.Conv2d(every, every, kernel, padding=kernel // 2, groups=self.directions, bias=False)
        for weight in self.input.weight.chunk(self.directions):
            nn.init.xavier_uniform_(weight)
        for weight in self.recurrent.weight.chunk(self.directions):
            nn.init.orthogonal_(weight)
        assert self.input.bias is not None
        nn.init.zeros_(self.input.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, C, H, W)`` to the states, ``(B, T, directions C, H, W)``."""
        gates = self.input(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        x = self._both_ways(x, x) if self.directions == 2 else x
        gates = self._both_ways(*gates.chunk(2, dim=2)) if self.directions == 2 else gates
        states: list[Tensor] = []
        for frame, gate in zip(x.unbind(1), gates.unbind(1), strict=True):
            # Before the first frame the state is 0, and so is what the recurrent kernel makes of it.
            opened = torch.sigmoid(gate + self.recurrent(states[-1]) if states else gate).to(frame.dtype)
            states.append(torch.lerp(states[-1], frame, opened) if states else opened * frame)
        out = torch.stack(states, dim=1)
        return self._both_ways(*out.chunk(2, dim=2)) if self.directions == 2 else out

    @staticmethod
    def _both_ways(forward: Tensor, backward: Tensor) -> Tensor:
        """Side by side, the second one's frames in the opposite order."""
        return torch.cat([forward, backward.flip(1)], dim=2)
