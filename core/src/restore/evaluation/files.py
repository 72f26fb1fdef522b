"""Files against their clean reference, frame by frame and in step: luma PSNR and SSIM."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any, Generator, Iterator, Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from restore.errors import RequestError
from restore.functional.quality import psnr, ssim
from restore.functional.resize import quantize, resize
from restore.functional.similarity import WINDOW, ssim_maps
from restore.media.color import Picture
from restore.media.frame import Plane
from restore.media.image import read_image
from restore.media.probe import MediaInfo, probe
from restore.media.reader import VideoReader

PROTOCOL = {
    "plane": "luma as stored, studio range, rounded to 8 bit",
    "border": 0,
    "data_range": 255,
    "psnr": "10 log10(255^2 / mse) per frame, then the mean over frames; equal frames, infinite, are left out of it",
    "ssim": "11x11 Gaussian window, sigma 1.5, valid window (below 11 pixels: edges repeated); mean over frames",
    "bicubic": "the input's luma enlarged to the reference's size, MATLAB-compatible",
}


@attrs.frozen
class Shown:
    """One frame of a file, upright as a player shows it.

    Attributes:
        picture: one picture as stored.
        turns: quarter turns counter-clockwise that make it upright.
    """

    picture: Picture
    turns: int = 0

    def luma(self) -> Tensor:
        """Studio-range luma ``(1, 1, H, W)``, not rounded."""
        return torch.rot90(self.picture.channels("y"), self.turns, (-2, -1))

    def rgb(self) -> Plane:
        """Full-range RGB, ``(H, W, 3)`` uint8."""
        codes = (self.picture.channels("rgb")[0] * 255).round().clamp(0, 255).to(torch.uint8)
        return np.ascontiguousarray(torch.rot90(codes, self.turns, (-2, -1)).permute(1, 2, 0).cpu().numpy())


def _turns(info: MediaInfo) -> int:
    return round(info.rotation / 90) % 4


def shown_size(info: MediaInfo) -> tuple[int, int]:
    """Width and height in pixels of the upright picture."""
    return (info.height, info.width) if _turns(info) % 2 else (info.width, info.height)


def shown(path: Path) -> Generator[Shown, None, None]:
    """Every frame of a video in turn, or the one of an image. Only one is held at a time."""
    info = probe(path)
    if info.kind == "image":
        yield Shown(Picture.from_image(read_image(path)))
        return
    with VideoReader(path) as reader:
        for frame in reader:
            yield Shown(Picture.from_frames([frame]), _turns(info))


def in_step(reference: Path, others: Sequence[Path]) -> Iterator[tuple[Shown, ...]]:
    """The first frame of every file, then the second of every file, and so on: the reference's comes first.

    Each file is decoded once and one frame of each is held, however long they are.

    Raises:
        RequestError: sizes differ, said before anything is decoded, or numbers of frames do, said where one ends.
        MediaError: a file breaks.
    """
    width, height = shown_size(probe(reference))
    for path in others:
        size = shown_size(probe(path))
        if size != (width, height):
            sizes = f"{size[0]}x{size[1]} against {width}x{height}"
            raise RequestError(f"{path} and its reference {reference} differ in size: {sizes}")
    paths = (reference, *others)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(contextlib.closing(shown(path))) for path in paths]
        count = 0
        while True:
            step = [next(stream, None) for stream in streams]
            whole = tuple(frame for frame in step if frame is not None)
            if not whole:
                return
            if len(whole) < len(step):
                shorter, longer = (paths[[f is None for f in step].index(ended)] for ended in (True, False))
                raise RequestError(
                    f"{shorter} has {count} frames and {longer} has more; a reference must match frame by frame"
                )
            count += 1
            yield whole


def mean(values: Sequence[float]) -> float:
    """The mean of the finite values; infinite when none is: one equal frame must not turn all into infinity."""
    finite = [v for v in values if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else math.inf


def scores(a: Tensor, b: Tensor) -> tuple[float, float]:
    """PSNR in dB and SSIM of two planes ``(1, 1, H, W)``, rounded to 8 bit here.

    Below 11 pixels no SSIM window fits; the edges are then repeated.
    """
    # float32 does not hold n/255.
    a, b = quantize(a.double()), quantize(b.double())
    if min(a.shape[-2:]) < WINDOW:
        return psnr(a, b), ssim(a, b, padding="replicate")
    # The same number as quality.ssim gives, several times as fast: videos have many frames.
    luminance, structure = ssim_maps(a[0], b[0])
    return psnr(a, b), float((luminance * structure).mean())


@torch.inference_mode()
def compare(restored: Path, reference: Path, source: Path | None = None) -> dict[str, Any]:
    """Scores of a restored file, and of plain bicubic enlargement of what it was made from.

    Args:
        restored: image or video.
        reference: the clean one, of the same size and number of frames.
        source: what was restored; adds the baseline.

    Returns:
        ``psnr`` in dB and ``ssim``, means over frames, ``frames``, the ``protocol``; with ``source`` also
        ``bicubic_psnr``, ``bicubic_ssim`` and ``gain`` in dB.

    Raises:
        RequestError: sizes or numbers of frames differ.
    """
    found: list[tuple[float, float]] = []
    plain: list[tuple[float, float]] = []
    sources = iter(()) if source is None else shown(source)
    for clean, made in in_step(reference, [restored]):
        target = clean.luma()
        found.append(scores(made.luma(), target))
        low = next(sources, None)
        if low is not None:
            plain.append(scores(resize(low.luma(), size=(int(target.shape[-2]), int(target.shape[-1]))), target))
    result: dict[str, Any] = {"psnr": mean([p for p, _ in found]), "ssim": mean([s for _, s in found])}
    if plain:
        result |= {"bicubic_psnr": mean([p for p, _ in plain]), "bicubic_ssim": mean([s for _, s in plain])}
        result["gain"] = result["psnr"] - result["bicubic_psnr"]
    return {**result, "frames": len(found), "protocol": PROTOCOL}
