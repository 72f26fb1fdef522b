"""Where one scene ends and the next begins, told from small copies of the frames."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Callable

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

_SIZE = (36, 64)
_BINS = 32
# On twelve real clips (tears_of_steel and others, 240 to 640 pixels wide) neighbours within a scene change by at most
# 0.15 and correlate by 0.88 or more, explosions included; the two cuts there change by 0.18 and 0.28 and correlate by
# 0.19 and 0.37.
_CHANGE = 0.04  # mean absolute difference, of luma in [0, 1]
_ABOVE = 3.0  # times the recent level
_ALIKE = 0.65  # correlation of structure
_RECENT = 8
# Structure fainter than this is none: so the end of a fade to black is not taken for another picture.
_FAINT = 0.03**2
FLASH = 3


# Less of the picture than this, seen in both frames, tells nothing of a cut.
_ENOUGH = 0.1

# First frame, frames, height and width to what of them is seen: bool, broadcasting to ``(frames, C, H, W)``; None: all.
Seen = Callable[[int, int, int, int], "Tensor | None"]


@attrs.frozen
class Small:
    """A small copy of a frame.

    Attributes:
        luma: ``(h, w)``, the mean of what is seen.
        share: ``(h, w)`` in [0, 1], how much is.
    """

    luma: Tensor
    share: Tensor


def reduced(luma: Tensor, seen: Tensor | None = None) -> list[Small]:
    """Small copies of ``(N, 1, H, W)`` on the CPU, by averaging; of what is ``seen``, as :data:`Seen` gives it."""
    luma = luma.float()
    if seen is None:
        return [Small(f, torch.ones(_SIZE)) for f in F.adaptive_avg_pool2d(luma, _SIZE)[:, 0].cpu()]
    weight = seen.to(luma.device).all(1, keepdim=True).to(luma.dtype).expand_as(luma)
    share = F.adaptive_avg_pool2d(weight, _SIZE)
    mean = F.adaptive_avg_pool2d(luma * weight, _SIZE) / share.clamp_min(1e-6)
    return [Small(*both) for both in zip(mean[:, 0].cpu(), share[:, 0].cpu(), strict=True)]


def common(a: Small, b: Small) -> Tensor | None:
    """How much each place says of a change from one to the other, ``(h, w)`` with sum 1; None if all say too little."""
    weight = torch.minimum(a.share, b.share)
    return weight / weight.sum() if float(weight.mean()) >= _ENOUGH else None


def change(a: Small, b: Small, weight: Tensor) -> float:
    """How much two reduced frames differ, mean absolute difference; ``weight`` as :func:`common` gives it."""
    return float((weight * (a.luma - b.luma).abs()).sum())


def alike(a: Small, b: Small, weight: Tensor) -> bool:
    """Whether two reduced frames show the same picture, whatever its brightness and contrast."""
    x, y = (f.luma - (weight * f.luma).sum() for f in (a, b))
    xy, xx, yy = ((weight * product).sum() + _FAINT for product in (x * y, x * x, y * y))
    levels = 0.5 * float((_levels(a, weight) - _levels(b, weight)).abs().sum())
    # Where hardly a level is shared, the structure must agree the better.
    return float(xy / (xx * yy).sqrt()) >= _ALIKE + (0.15 if levels > 0.6 else 0.0)


def _levels(frame: Small, weight: Tensor) -> Tensor:
    """The histogram of its levels, of sum 1."""
    bins = (frame.luma * _BINS).long().clamp(0, _BINS - 1)
    return torch.bincount(bins.flatten(), weight.flatten(), _BINS)


class CutFinder:
    """Tells, frame by frame, whether a scene begins.

    A scene begins where a frame differs from the one before by far more than has been usual, and shows another picture:
    a fade changes little at a time, and a flash leaves the picture's structure. A flash that hides the picture is told
    from a cut by what follows: within ``patience`` frames the picture is back.

    Args:
        patience: frames to wait where a cut is suspected; 0 decides at once.
        seen: what of the frames is there to be looked at; None: all. What is missing, and what takes its place, is no
            part of the picture: holes that come and go are no cuts.
    """

    def __init__(self, patience: int = FLASH, seen: Seen | None = None) -> None:
        self.patience, self._seen = patience, seen
        self.cuts: set[int] = set()
        self.decided = 0
        self._count = 0
        self._frames: deque[Small] = deque()  # from the last decided one on
        self._levels: deque[float] = deque(maxlen=_RECENT)

    def push(self, luma: Tensor) -> None:
        """The next frames, studio-range luma ``(N, 1, H, W)``. ``decided`` frames are then known; the numbers of those
        that begin a scene (never 0) are in ``cuts``."""
        frames, _, height, width = luma.shape
        self._frames.extend(reduced(luma, self._seen and self._seen(self._count, frames, height, width)))
        self._count += frames
        self._judge(ended=False)

    def finish(self) -> None:
        """No more frames: all are decided."""
        self._judge(ended=True)

    def _judge(self, ended: bool) -> None:
        if self.decided == 0 and self._frames:
            self.decided = 1
        while len(self._frames) > 1:
            before, frame = self._frames[0], self._frames[1]
            weight = common(before, frame)
            if weight is None:
                self._forward(1)
                continue
            amount = change(before, frame, weight)
            usual = median(self._levels) if self._levels else 0.0
            if amount > max(_CHANGE, _ABOVE * usual) and not alike(before, frame, weight):
                if len(self._frames) < 2 + self.patience and not ended:
                    return
                back = self._back(before)
                if back:
                    self._forward(back)
                    continue
                self.cuts.add(self.decided)
                self._levels.clear()
            else:
                self._levels.append(amount)
            self._forward(1)

    def _back(self, before: Small) -> int:
        """After how many frames the picture before a flash is there again; 0: it is not."""
        for k in range(2, min(2 + self.patience, len(self._frames))):
            weight = common(before, self._frames[k])
            if weight is None:
                continue
            if alike(before, self._frames[k], weight) and change(before, self._frames[k], weight) < 2 * _CHANGE:
                return k
        return 0

    def _forward(self, count: int) -> None:
        for _ in range(count):
            self._frames.popleft()
        self.decided += count
