"""How much of its correction each place of a frame gets: what coding has hardly touched is left alone. Not in the
paper."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from restore.functional.color import rgb_to_y
from torch import Tensor, nn

BLOCK = 8
# Blocks along each side of the surroundings that a place is judged by: 168 pixels.
WINDOW = 21
DIAGONALS = 14
# Factors are taken to this power outside of training.
CAUTION = 2
HIDDEN = 16
# A coefficient below this, in grey levels of 255, was most likely quantised to nothing.
NOTHING = 0.5


class Strength(nn.Module):
    """A factor from 0 to 2 for every pixel, read off the frame itself, for a network that sees no more than what coding
    left takes fine texture of good video for noise, and would make it worse.

    Quantisation shows in the cosine transform of blocks, as codecs have it: what is measured of luma is how large the
    coefficients of each diagonal are, from low frequencies to high ones, and how many are next to nothing; in blocks
    that lie where a codec's do, and in blocks half a block aside. Means over 21 x 21 blocks around a place, and those
    over the whole frame, go to a network of one hidden layer, and the lower answer counts. Trained last, with all else
    frozen; it begins at 1 everywhere. Outside of training factors are squared: content unlike that of training is often
    read wrongly, and harm to good video is worse than a smaller gain.
    """

    basis: Tensor
    diagonals: Tensor
    centre: Tensor

    def __init__(self) -> None:
        super().__init__()
        last = nn.Conv2d(HIDDEN, 1, 1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.head = nn.Sequential(nn.Conv2d(4 * DIAGONALS, HIDDEN, 1), nn.LeakyReLU(0.1), last)
        basis, diagonals = _transform()
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("diagonals", diagonals, persistent=False)
        self.register_buffer("centre", _centre(), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """``(N, 3, H, W)`` RGB in [0, 1] to ``(N, 1, H, W)``, in the frames' floating point type."""
        height, width = frames.shape[-2:]
        with torch.autocast(frames.device.type, enabled=False):  # short floats cannot tell a coefficient from nothing
            seen = self._seen(frames)
            # A clear sky looks like what coding left of it; the rest of the frame knows better.
            factor = torch.minimum(self._factor(_around(seen)), self._factor(seen.mean((-2, -1), keepdim=True)))
            if not self.training:
                factor = (factor**CAUTION).clamp(max=2)
            factor = F.interpolate(factor, scale_factor=BLOCK, mode="bilinear", align_corners=False)
        return factor[..., :height, :width].to(frames.dtype)

    def measure(self, frames: Tensor) -> Tensor:
        """What is known of each block's surroundings, ``(N, 56, h, w)``, h and w blocks (at least 2) along the sides;
        about -1 to 1."""
        return self._known(_around(self._seen(frames)))

    def _factor(self, around: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.head(self._known(around).to(self.basis.dtype)))

    def _seen(self, frames: Tensor) -> Tensor:
        """Of each block, both grids' statistics, ``(N, 56, h, w)``."""
        luma = 255 * rgb_to_y(frames.to(self.basis.dtype))
        height, width = luma.shape[-2:]
        luma = F.pad(luma, (0, _missing(width), 0, _missing(height)), mode="replicate")
        half = BLOCK // 2
        aligned, aside = self._blocks(luma), self._blocks(luma[..., half:-half, half:-half])
        return torch.cat([aligned, F.pad(aside, (0, 1, 0, 1), mode="replicate")], dim=1)

    def _known(self, around: Tensor) -> Tensor:
        """Means of statistics as the network takes them: sizes by their logarithms, all about -1 to 1."""
        size, nothing = around.unflatten(1, (2, 2, DIAGONALS)).unbind(2)
        measured = torch.stack([((size + 1e-3).log() - self.centre[0]) / 0.6, (nothing - self.centre[1]) / 0.15], dim=2)
        return measured.flatten(1, 3)

    def _blocks(self, luma: Tensor) -> Tensor:
        """Of each block and diagonal, the mean size of its coefficients, and the share of them that are nothing."""
        coefficients = F.conv2d(luma, self.basis, stride=BLOCK).abs()
        both = torch.stack([coefficients, (coefficients < NOTHING).to(luma)], dim=1)
        return torch.einsum("dc,nkchw->nkdhw", self.diagonals, both).flatten(1, 2)


def _around(seen: Tensor) -> Tensor:
    """Means over the blocks around each block."""
    return F.avg_pool2d(seen, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)


def _missing(length: int) -> int:
    """Pixels up to whole blocks, two at least."""
    return max(2 * BLOCK, -(-length // BLOCK) * BLOCK) - length


def _transform() -> tuple[Tensor, Tensor]:
    """The orthonormal cosine transform of a block, ``(64, 1, 8, 8)``, and the mean over diagonals, ``(14, 64)``."""
    k = torch.arange(BLOCK, dtype=torch.float64)
    cosines = 0.5 * torch.cos(math.pi * (2 * k + 1) * k[:, None] / (2 * BLOCK))
    cosines[0] /= math.sqrt(2)
    basis = torch.einsum("ux,vy->uvxy", cosines, cosines).reshape(BLOCK * BLOCK, 1, BLOCK, BLOCK)
    diagonal = (k[:, None] + k).flatten()
    mean = torch.stack([(diagonal == d).double() / (diagonal == d).sum() for d in range(1, DIAGONALS + 1)])
    return basis.float(), mean.float()


def _centre() -> Tensor:
    """About the means of what is measured in coded video, ``(2, 14, 1, 1)``, so that the network sees numbers around
    nought: a power law for the logarithms of sizes, a line for shares."""
    d = torch.arange(DIAGONALS) / (DIAGONALS - 1)
    return torch.stack([3.8 - 4.8 * d**0.75, 0.75 * d])[..., None, None]
