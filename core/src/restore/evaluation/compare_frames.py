"""Which frames of a comparison go into its page, chosen while the videos are decoded once."""

from __future__ import annotations

import io
from bisect import insort
from typing import Callable, Literal, Sequence

import attrs
from PIL import Image

from restore.media.frame import Plane

ImageFormat = Literal["png", "jpeg"]
JPEG_QUALITY = 95
# Bytes of images in a page of 20 MB: base64 makes four of three, and the numbers need some room as well.
BUDGET = 14_000_000
LIMIT = 240
_PNG_SHARE = 0.6  # of the raw bytes; photographs need about as much


def choose_format(width: int, height: int, files: int, frames: int) -> ImageFormat:
    """PNG where ``frames`` frames of ``files`` files will probably fit into a page without loss, else JPEG."""
    return "png" if width * height * 3 * _PNG_SHARE * files * frames <= BUDGET else "jpeg"


def encode(pixels: Plane, kind: ImageFormat) -> bytes:
    """RGB ``(H, W, 3)`` uint8 as a PNG, or as a JPEG of quality 95 whose chroma is not subsampled."""
    buffer = io.BytesIO()
    options = {} if kind == "png" else {"quality": JPEG_QUALITY, "subsampling": 0}
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()


@attrs.define
class Selection:
    """Keeps all frames while they fit, else the worst of every version and evenly spaced ones.

    How many frames will come is not known, so both sets thin out as they grow: the spacing doubles and the quota of
    worst frames shrinks, whichever set is larger. A frame let go is never wanted again, so nothing is decoded twice,
    and memory stays within the budget and one frame.

    Attributes:
        versions: how many numbers come with each frame.
        limit: most frames that are kept, at least 1.
        budget: most bytes that are kept; None sets no bound. One frame is kept whatever its size.
        kept: the encoded images of each kept frame, by frame number.
    """

    versions: int
    limit: int = LIMIT
    budget: int | None = BUDGET
    kept: dict[int, tuple[bytes, ...]] = attrs.field(factory=dict, init=False)
    _stride: int = attrs.field(default=1, init=False)  # 0: none for being evenly spaced
    _quota: int = attrs.field(init=False)
    _worst: list[list[tuple[float, int]]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._quota = max(1, self.limit // (2 * self.versions))
        self._worst = [[] for _ in range(self.versions)]

    def offer(self, index: int, scores: Sequence[float], make: Callable[[], tuple[bytes, ...]]) -> None:
        """The next frame.

        Args:
            index: its number; numbers must rise.
            scores: one for each version, smaller is worse.
            make: encodes its images; called only if the frame is wanted.
        """
        for worst, score in zip(self._worst, scores, strict=False):
            insort(worst, (score, index))
        self._trim()
        if self._wanted(index):
            self.kept[index] = make()
        while not self._fits():
            self._shrink()

    def _spaced(self, index: int) -> bool:
        return self._stride > 0 and index % self._stride == 0

    def _wanted(self, index: int) -> bool:
        return self._spaced(index) or any(index == i for worst in self._worst for _, i in worst)

    def _trim(self) -> None:
        for worst in self._worst:
            del worst[self._quota :]
        self.kept = {i: images for i, images in self.kept.items() if self._wanted(i)}

    def _fits(self) -> bool:
        size = sum(len(image) for images in self.kept.values() for image in images)
        return len(self.kept) <= 1 or (len(self.kept) <= self.limit and (self.budget is None or size <= self.budget))

    def _shrink(self) -> None:
        spaced = sum(self._spaced(i) for i in self.kept)
        if spaced > max(1, len(self.kept) - spaced):
            self._stride *= 2
        elif self._quota > 1:
            self._quota -= 1
        elif self._stride > 0:
            self._stride = 0
        else:
            self._worst.pop()
        self._trim()
