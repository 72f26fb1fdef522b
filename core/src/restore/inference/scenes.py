"""Where one scene ends and the next begins, told from small copies of the frames."""

from __future__ import annotations

from collections import deque
from statistics import median

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


def reduced(luma: Tensor) -> Tensor:
    """``(N, 1, H, W)`` to small copies ``(N, h, w)`` on the CPU, by averaging."""
    return F.adaptive_avg_pool2d(luma.float(), _SIZE)[:, 0].cpu()


def change(a: Tensor, b: Tensor) -> float:
    """How much two reduced frames differ, mean absolute difference."""
    return float((a - b).abs().mean())


def alike(a: Tensor, b: Tensor) -> bool:
    """Whether two reduced frames show the same picture, whatever its brightness and contrast."""
    x, y = a - a.mean(), b - b.mean()
    floor = _FAINT * a.numel()
    correlation = float(((x * y).sum() + floor) / (((x * x).sum() + floor) * ((y * y).sum() + floor)).sqrt())
    first, second = (torch.histc(f, _BINS, 0, 1) / f.numel() for f in (a, b))
    levels = 0.5 * float((first - second).abs().sum())
    # Where hardly a level is shared, the structure must agree the better.
    return correlation >= _ALIKE + (0.15 if levels > 0.6 else 0.0)


class CutFinder:
    """Tells, frame by frame, whether a scene begins.

    A scene begins where a frame differs from the one before by far more than has been usual, and shows another picture:
    a fade changes little at a time, and a flash leaves the picture's structure. A flash that hides the picture is told
    from a cut by what follows: within ``patience`` frames the picture is back.

    Args:
        patience: frames to wait where a cut is suspected; 0 decides at once.
    """

    def __init__(self, patience: int = FLASH) -> None:
        self.patience = patience
        self.cuts: set[int] = set()
        self.decided = 0
        self._frames: deque[Tensor] = deque()  # from the last decided one on
        self._levels: deque[float] = deque(maxlen=_RECENT)

    def push(self, luma: Tensor) -> None:
        """The next frames, studio-range luma ``(N, 1, H, W)``. ``decided`` frames are then known; the numbers of those
        that begin a scene (never 0) are in ``cuts``."""
        self._frames.extend(reduced(luma))
        self._judge(ended=False)

    def finish(self) -> None:
        """No more frames: all are decided."""
        self._judge(ended=True)

    def _judge(self, ended: bool) -> None:
        if self.decided == 0 and self._frames:
            self.decided = 1
        while len(self._frames) > 1:
            before, frame = self._frames[0], self._frames[1]
            amount = change(before, frame)
            usual = median(self._levels) if self._levels else 0.0
            if amount > max(_CHANGE, _ABOVE * usual) and not alike(before, frame):
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

    def _back(self, before: Tensor) -> int:
        """After how many frames the picture before a flash is there again; 0: it is not."""
        for k in range(2, min(2 + self.patience, len(self._frames))):
            if alike(before, self._frames[k]) and change(before, self._frames[k]) < 2 * _CHANGE:
                return k
        return 0

    def _forward(self, count: int) -> None:
        for _ in range(count):
            self._frames.popleft()
        self.decided += count
