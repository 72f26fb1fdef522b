"""SpyNet: optical flow from coarse to fine (Ranjan and Black, CVPR 2017)."""

from __future__ import annotations

import re
from typing import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.functional.flow import warp

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# `basic_module` (BasicSR, mmediting), `moduleBasic` and `netBasic` (the PyTorch port of the published weights).
_PUBLISHED = re.compile(
    r"(?:basic_module|moduleBasic|netBasic)\.(\d+)\.(?:basic_module|moduleBasic|netBasic)\.(\d+)(\.conv)?\.(\w+)"
)


class SpyNet(nn.Module):
    """Flow between two pictures: at each level of a pyramid a small network corrects the flow of the level above.

    Args:
        levels: of the pyramid; the coarsest is ``2^(levels - 1)`` times smaller. 6 in the published network.
        widths: channels between the five 7x7 convolutions of a level, (32, 64, 32, 16) in the published network:
            240,050 parameters a level, 1,440,300 in all.
        zero_init: the last convolution of every level begins at zero, and so does the flow: for training without the
            published weights.

    Raises:
        ValueError: ``levels`` below 1, or ``widths`` empty or below 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, levels: int = 6, widths: Sequence[int] = (32, 64, 32, 16), zero_init: bool = False) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels must be at least 1, got {levels}")
        if not widths or min(widths) < 1:
            raise ValueError(f"widths must be numbers of channels, got {tuple(widths)}")
        self.levels = nn.ModuleList(_level(widths) for _ in range(levels))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        for level in self.levels if zero_init else ():
            for parameter in level[-1].parameters():  # type: ignore[index]
                nn.init.zeros_(parameter)

    def forward(self, reference: Tensor, supporting: Tensor) -> Tensor:
        """The flow from ``reference`` to ``supporting``: ``warp(supporting, flow)`` resembles ``reference``.

        Args:
            reference, supporting: ``(N, 3, H, W)``, RGB in [0, 1], any size: inside they are resized to multiples of
                ``2^(levels - 1)``, bilinearly.

        Returns:
            ``(N, 2, H, W)``: x, then y, in pixels.
        """
        height, width = reference.shape[-2:]
        unit = 2 ** (len(self.levels) - 1)
        inner = tuple(-(-n // unit) * unit for n in (height, width))
        both = torch.cat([reference, supporting])
        if inner != (height, width):
            both = F.interpolate(both, size=inner, mode="bilinear", align_corners=False)
        flow = self._flow((both - self.mean) / self.std)
        if inner == (height, width):
            return flow
        flow = F.interpolate(flow, size=(height, width), mode="bilinear", align_corners=False)
        return flow * flow.new_tensor([width / inner[1], height / inner[0]]).view(1, 2, 1, 1)

    def _flow(self, both: Tensor) -> Tensor:
        """The flow between the halves of a batch ``(2N, 3, h, w)`` of normalised pictures."""
        pyramid = [both]
        for _ in range(len(self.levels) - 1):
            pyramid.append(F.avg_pool2d(pyramid[-1], 2))
        coarsest = pyramid[-1]
        flow = coarsest.new_zeros(coarsest.shape[0] // 2, 2, *coarsest.shape[-2:])
        for index, level in enumerate(self.levels):
            reference, supporting = pyramid[-1 - index].chunk(2)
            if index:
                flow = 2 * F.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=True)
            flow = flow + level(torch.cat([reference, warp(supporting, flow), flow], dim=1))
        return flow

    def translate_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's tensors under this network's names; see :func:`translate_spynet`."""
        return translate_spynet(tensors)


def _level(widths: Sequence[int]) -> nn.Sequential:
    """Five 7x7 convolutions with ReLU between them, from two pictures and a flow to the flow's correction."""
    layers: list[nn.Module] = []
    for before, after in zip((8, *widths), (*widths, 2), strict=True):
        layers += [nn.Conv2d(before, after, 7, padding=3), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def translate_spynet(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Published SpyNet weights under the names of :class:`SpyNet`.

    Known are the names of BasicSR (``basic_module.0.basic_module.2.weight``), of mmediting
    (``basic_module.0.basic_module.1.conv.weight``) and of the PyTorch port (``moduleBasic.0.moduleBasic.2.weight``).
    The constants ``mean`` and ``std`` that such files hold are left out; all else is given back as it is.

    Args:
        tensors: of a file, by name.
        prefix: where in the file the flow network lies, such as ``"spynet."``; the result has it too.
    """
    result = {}
    for name, value in tensors.items():
        tail = name[len(prefix) :] if name.startswith(prefix) else ""
        if tail in ("mean", "std"):
            continue
        match = _PUBLISHED.fullmatch(tail)
        if match:
            level, layer, wrapped, kind = match.groups()
            # mmediting counts convolutions; the others count the ReLUs between them too.
            name = f"{prefix}levels.{level}.{2 * int(layer) if wrapped else layer}.{kind}"
        result[name] = value
    return result
