"""SwinIR: Liang et al., SwinIR: Image Restoration Using Swin Transformer, ICCVW 2021."""

from __future__ import annotations

from typing import Mapping, Sequence

import torch
import torch.nn.functional as F
from restore import Halo, Traits
from torch import Tensor, nn

from restore_eco.networks.parts import (
    TAIL_REACH,
    RangeShift,
    Upsampler,
    check_at_least_one,
    check_scale,
    conv3,
    shift_of,
    translated,
)

TAIL_FEATURES = 64


def windows_of(x: Tensor, window: int) -> Tensor:
    """``(N, H, W, C)`` to ``(N * windows, window*window, C)``, row by row."""
    count, height, width, channels = x.shape
    cut = x.view(count, height // window, window, width // window, window, channels)
    return cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)


def image_of(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """The way back to ``(N, H, W, C)``."""
    cut = windows.view(-1, height // window, width // window, window, window, windows.shape[-1])
    return cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, windows.shape[-1])


def shift_mask(height: int, width: int, window: int, shift: int, device: torch.device | None = None) -> Tensor:
    """Which pixels of a shifted window may see each other: ``(windows, window^2, window^2)``, False where the image's
    edge runs between them, as the shift is a cyclic one (Swin Transformer, Fig. 4)."""
    labels = []
    for side in (height, width):
        label = torch.zeros(side, dtype=torch.long, device=device)
        label[side - window :] = 1
        label[side - shift :] = 2
        labels.append(label)
    regions = 3 * labels[0][:, None] + labels[1][None, :]
    flat = windows_of(regions[None, :, :, None], window).squeeze(-1)
    return flat[:, :, None] == flat[:, None, :]


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, with a learned bias for every relative position (Eq. 2).

    Args:
        features: channels.
        heads: divide ``features``.
        window: side.
    """

    relative: Tensor

    def __init__(self, features: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(features, 3 * features), nn.Linear(features, features)
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        offset = place[:, :, None] - place[:, None, :] + window - 1
        self.register_buffer("relative", offset[0] * (2 * window - 1) + offset[1], persistent=False)

    def forward(self, x: Tensor, allowed: Tensor | None) -> Tensor:
        """``(N * windows, window^2, C)`` to the same shape; ``allowed`` is :func:`shift_mask`'s, or None for all."""
        count, length, channels = x.shape
        q, k, v = self.qkv(x).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.bias[self.relative.flatten()].view(1, length, length, self.heads).permute(0, 3, 1, 2).to(q.dtype)
        if allowed is not None:
            bias = bias.masked_fill(~allowed[:, None], float("-inf")).repeat(count // len(allowed), 1, 1, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).reshape(count, length, channels))


class TransformerLayer(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))`` (Eqs. 3, 4), the windows moved by half where ``shift``.

    Args:
        features, heads, window: of the attention.
        hidden: of the MLP.
        shift: pixels that the windows are moved by.
        drop_path: chance that a sample skips a branch in training.
    """

    def __init__(self, features: int, heads: int, window: int, hidden: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attention = WindowAttention(features, heads, window)
        self.fc1, self.fc2 = nn.Linear(features, hidden), nn.Linear(hidden, features)
        self.window, self.shift, self.drop_path = window, shift, drop_path

    def _kept(self, branch: Tensor) -> Tensor:
        if not self.training or not self.drop_path:
            return branch
        keep = 1 - self.drop_path
        return branch * branch.new_empty(len(branch), 1, 1, 1).bernoulli_(keep) / keep

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape; ``allowed`` is :func:`shift_mask`'s for moved windows."""
        height, width = x.shape[1:3]
        y = self.norm1(x)
        if self.shift:
            y = y.roll((-self.shift, -self.shift), (1, 2))
        y = self.attention(windows_of(y, self.window), allowed if self.shift else None)
        y = image_of(y, self.window, height, width)
        if self.shift:
            y = y.roll((self.shift, self.shift), (1, 2))
        x = x + self._kept(y)
        return x + self._kept(self.fc2(F.gelu(self.fc1(self.norm2(x)))))


class TransformerBlock(nn.Module):
    """RSTB: transformer layers, every second one with moved windows, a convolution, and a skip (Fig. 2a)."""

    def __init__(self, features: int, heads: int, window: int, hidden: int, drop_paths: Sequence[float]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(features, heads, window, hidden, window // 2 * (i % 2), p)
            for i, p in enumerate(drop_paths)
        )
        self.conv = conv3(features, features)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape."""
        y = x
        for layer in self.layers:
            y = layer(y, allowed)
        return x + self.conv(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Tail(nn.Module):
    """What depends on the scale: a convolution to 64 channels, pixel shuffles, the last convolution."""

    def __init__(self, scale: int, features: int) -> None:
        super().__init__()
        self.before, self.activation = conv3(features, TAIL_FEATURES), nn.LeakyReLU()
        self.upsample, self.last = Upsampler(scale, TAIL_FEATURES), conv3(TAIL_FEATURES, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, 3, scale*H, scale*W)``."""
        return self.last(self.upsample(self.activation(self.before(x))))


def reach(depths: Sequence[int], window: int) -> int:
    """Pixels to every side that an output pixel depends on: the worst place of a pixel in its window, followed back
    through convolutions (one pixel each) and windows (all of the one it lies in)."""
    worst = 0
    for place in range(window):
        low, high = place - TAIL_REACH - 2, place + TAIL_REACH + 2
        for depth in reversed(depths):
            low, high = low - 1, high + 1
            for layer in reversed(range(depth)):
                shift = window // 2 * (layer % 2)
                low = (low - shift) // window * window + shift
                high = (high - shift) // window * window + window - 1 + shift
        worst = max(worst, place - low + 1, high + 1 - place)
    return worst


class SwinIR(nn.Module):
    """Super-resolution of RGB by attention in windows, the residual of a shallow convolution; the up-sampler is the
    classical one (``pixelshuffle``).

    The defaults are the paper's "small" size, as in ECO's Table 2(a): 1,087,727 parameters at scale 2. Weights in the
    official layout, which is BasicSR's too, load as they are; they bring their value range of [0, 1] with them.

    Args:
        scale: output pixels per input pixel along each side: 2, 3, 4 or 8.
        features: channels of the transformer.
        depths: transformer layers in each block.
        heads: of the attention; divide ``features``.
        window: side of a window, even.
        mlp_ratio: hidden channels of the MLP per channel.
        drop_path: chance, rising linearly from 0 over the layers, that a sample skips a branch in training.

    Raises:
        ValueError: another scale, a number below 1, an odd window, heads that do not divide the features, or a
            ``drop_path`` outside [0, 1).
    """

    def __init__(
        self,
        scale: int = 2,
        *,
        features: int = 60,
        depths: tuple[int, ...] = (6, 6, 6, 6),
        heads: int = 6,
        window: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        check_scale(scale)
        check_at_least_one(features=features, heads=heads, depths=min(depths, default=0), window=window)
        if window % 2 or features % heads or not 0 <= drop_path < 1:
            raise ValueError(
                f"window must be even, heads divide features, drop_path lie in [0, 1), got window = {window}, "
                f"features = {features}, heads = {heads}, drop_path = {drop_path}"
            )
        self.window = window
        halo = Halo(pixels=reach(depths, window))
        self.traits = Traits(scale=scale, channels="rgb", halo=halo, multiple_of=window, minimum=window)
        self.shift = RangeShift()
        self.head = conv3(3, features)
        self.norm_in, self.norm_out = nn.LayerNorm(features), nn.LayerNorm(features)
        rates = iter(drop_path * i / max(1, sum(depths) - 1) for i in range(sum(depths)))
        hidden = int(features * mlp_ratio)
        self.body = nn.ModuleList(
            TransformerBlock(features, heads, window, hidden, [next(rates) for _ in range(depth)]) for depth in depths
        )
        self.body_end = conv3(features, features)
        self.tail = Tail(scale, features)
        self.apply(_initialise)

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, 3, H, W)`` in [0, 1], sides multiples of the window, to ``(B, T, 3, scale*H, scale*W)``; not
        clamped."""
        head = self.head(self.shift.inward(clip.flatten(0, 1)))
        height, width = clip.shape[-2:]
        allowed = shift_mask(height, width, self.window, self.window // 2, clip.device)
        x = self.norm_in(head.permute(0, 2, 3, 1))
        for block in self.body:
            x = block(x, allowed)
        x = self.body_end(self.norm_out(x).permute(0, 3, 1, 2))
        return self.shift.outward(self.tail(head + x)).unflatten(0, clip.shape[:2])

    def translate_weights(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of the official SwinIR or of BasicSR under this network's names; others as they are."""
        if "conv_first.weight" not in tensors:
            return tensors
        layer, new = r"layers\.(\d+)\.residual_group\.blocks\.(\d+)\.", r"body.\1.layers.\2."
        table = [
            (r".*\.(?:relative_position_index|attn_mask)", ""),
            (r"conv_first\.(\w+)", r"head.\1"),
            (r"patch_embed\.norm\.(\w+)", r"norm_in.\1"),
            (layer + r"attn\.relative_position_bias_table", new + "attention.bias"),
            (layer + r"attn\.(qkv|proj)\.(\w+)", new + r"attention.\3.\4"),
            (layer + r"mlp\.(fc1|fc2)\.(\w+)", new + r"\3.\4"),
            (layer + r"(norm1|norm2)\.(\w+)", new + r"\3.\4"),
            (r"layers\.(\d+)\.conv\.(\w+)", r"body.\1.conv.\2"),
            (r"norm\.(\w+)", r"norm_out.\1"),
            (r"conv_after_body\.(\w+)", r"body_end.\1"),
            (r"conv_before_upsample\.0\.(\w+)", r"tail.before.\1"),
            (r"upsample\.(.+)", r"tail.upsample.\1"),
            (r"conv_last\.(\w+)", r"tail.last.\1"),
        ]
        return translated(tensors, table) | shift_of(tensors, 1)


def _initialise(module: nn.Module) -> None:
    """As the official code: small linear layers without bias; convolutions stay as torch makes them."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, WindowAttention):
        nn.init.trunc_normal_(module.bias, std=0.02)
