"""The network that the prior and the data step share in kind (Sec. 3.2, Fig. 2)."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from restore_videoonet.networks.parts import ConvMinimalRNN, Normalization, Recurrence, elu_like, normalization


class _Layer(nn.Module):
    """Convolution of every frame, normalisation, activation."""

    def __init__(self, inputs: int, filters: int, kernel: int, kind: Normalization) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, filters, kernel, padding=kernel // 2)
        self.norm = normalization(kind, filters)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, C, H, W)`` to ``(B, T, filters, H, W)``."""
        return elu_like(self.norm(self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])))


class EncoderDecoder(nn.Module):
    """Three layers of convolution, normalisation and activation on every frame; if asked for, a recurrence over the
    frames; one linear (transposed) convolution.

    Args:
        inputs: channels in.
        outputs: channels out.
        filters: of all layers but the last.
        encoder_kernel: odd side of the convolutions and of the recurrence.
        decoder_kernel: odd side of the last.
        recurrence: ``none``, the paper's CNN; ``bidirectional``, its BCRNN; ``forward``, from the first frame on.
        kind: of the normalisation.
        unshuffle: the layers work at so many times less height and width, blocks of pixels as channels; 1: as
            published.
        zero: the last layer begins at 0.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        filters: int,
        encoder_kernel: int,
        decoder_kernel: int,
        recurrence: Recurrence = "bidirectional",
        kind: Normalization = "published",
        unshuffle: int = 1,
        zero: bool = False,
    ) -> None:
        super().__init__()
        self.unshuffle = unshuffle
        widths = [inputs * unshuffle**2, filters, filters, filters]
        self.encoder = nn.ModuleList(_Layer(a, b, encoder_kernel, kind) for a, b in itertools.pairwise(widths))
        self.recurrence = (
            None if recurrence == "none" else ConvMinimalRNN(filters, encoder_kernel, recurrence == "bidirectional")
        )
        features = filters * (2 if recurrence == "bidirectional" else 1)
        # A transposed convolution of stride 1 is a convolution with its kernel turned by half a circle: learned, the
        # two are one, and this one is faster.
        self.decoder = nn.Conv2d(features, outputs * unshuffle**2, decoder_kernel, padding=decoder_kernel // 2)
        # Keras' defaults, which the published code keeps.
        for module in [*(layer.conv for layer in self.encoder), self.decoder]:
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        if zero:
            nn.init.zeros_(self.decoder.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, inputs, H, W)`` to ``(B, T, outputs, H, W)``."""
        height, width = x.shape[-2:]
        factor = self.unshuffle
        if factor > 1:
            frames = F.pad(x.flatten(0, 1), (0, -width % factor, 0, -height % factor), mode="replicate")
            x = F.pixel_unshuffle(frames, factor).unflatten(0, x.shape[:2])
        for layer in self.encoder:
            x = layer(x)
        if self.recurrence is not None:
            x = self.recurrence(x)
        out: Tensor = self.decoder(x.flatten(0, 1))
        if factor > 1:
            out = F.pixel_shuffle(out, factor)[..., :height, :width]
        return out.unflatten(0, x.shape[:2])

    @property
    def reach(self) -> int:
        """Pixels to every side that reach an output pixel within its frame; more through the recurrence."""
        kernels = [layer.conv.kernel_size[0] for layer in self.encoder] + [self.decoder.kernel_size[0]]
        if self.recurrence is not None:
            kernels.append(self.recurrence.input.kernel_size[0])
        return self.unshuffle * (sum(k // 2 for k in kernels) + (self.unshuffle > 1))
