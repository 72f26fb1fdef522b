"""Several versions of an image or video against one reference: every frame measured, some kept for a page."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Callable, Sequence

import attrs
import av
import torch

from restore.errors import MediaError
from restore.evaluation.compare_frames import (
    BUDGET,
    JPEG_QUALITY,
    LIMIT,
    ImageFormat,
    Selection,
    choose_format,
    encode,
)
from restore.evaluation.files import PROTOCOL, Shown, in_step, mean, scores, shown_size
from restore.media.probe import MediaInfo, open_container, picture_stream, probe

WORST = 8
_PROTOCOL = {"name": "luma-frames", **{k: v for k, v in PROTOCOL.items() if k != "bicubic"}}


@attrs.frozen
class Version:
    """One file of a comparison.

    Attributes:
        name: short, and different for each file of a comparison.
        info: what the file holds.
        size: bytes of the file.
        picture_size: bytes of the picture stream alone; of an image, the file's.
        psnr: of every frame, in dB, infinite where it equals the reference; empty for the reference itself.
        ssim: of every frame; empty for the reference.
    """

    name: str
    info: MediaInfo
    size: int
    picture_size: int
    psnr: list[float] = attrs.field(factory=list)
    ssim: list[float] = attrs.field(factory=list)

    @property
    def bit_rate(self) -> float | None:
        """Bits a second of the picture stream; None for an image or where the duration is unknown."""
        rate, frames = self.info.frame_rate, self.info.frames
        seconds = self.info.duration or (float(frames / rate) if rate and frames else None)
        return self.picture_size * 8 / seconds if seconds and self.info.kind == "video" else None

    def worst(self, count: int = WORST) -> list[int]:
        """Numbers of the frames of smallest PSNR, worst first; frames that are equal are not among them."""
        ranked = sorted((value, i) for i, value in enumerate(self.psnr) if math.isfinite(value))
        return [i for _, i in ranked[:count]]

    def facts(self) -> dict[str, Any]:
        """What the file is, for JSON: sizes in bytes, the bit rate in bits a second."""
        width, height = shown_size(self.info)
        rate = self.info.frame_rate
        return {
            "name": self.name, "kind": self.info.kind, "width": width, "height": height, "codec": self.info.codec,
            "container": self.info.container, "layout": self.info.layout.label, "size": self.size,
            "picture_size": self.picture_size, "bit_rate": self.bit_rate, "frame_rate": float(rate) if rate else None,
        }  # fmt: skip

    def document(self) -> dict[str, Any]:
        """Facts and numbers, for JSON."""
        frames = enumerate(zip(self.psnr, self.ssim, strict=True))
        return {
            **self.facts(),
            "psnr": mean(self.psnr), "ssim": mean(self.ssim), "psnr_min": min(self.psnr), "ssim_min": min(self.ssim),
            "equal_frames": sum(math.isinf(v) for v in self.psnr), "worst": self.worst(),
            "frames": [{"frame": i, "psnr": p, "ssim": s} for i, (p, s) in frames],
        }  # fmt: skip


@attrs.frozen
class Comparison:
    """All that a report shows.

    Attributes:
        reference: without numbers.
        versions: in the order asked for.
        frames: how many each file has.
        kept: for some frame numbers, rising, the encoded pictures: the reference's, then each version's.
        image_format: of the pictures in ``kept``.
        notes: what to know when reading the numbers, one sentence each.
        protocol: how the numbers were made.
    """

    reference: Version
    versions: tuple[Version, ...]
    frames: int
    kept: dict[int, tuple[bytes, ...]]
    image_format: ImageFormat
    notes: tuple[str, ...] = ()
    protocol: dict[str, Any] = attrs.field(factory=lambda: dict(_PROTOCOL))

    def document(self) -> dict[str, Any]:
        """As one JSON document: ``protocol``, ``reference``, ``frames``, ``results``, ``notes``."""
        return {
            "protocol": self.protocol,
            "reference": self.reference.facts(),
            "frames": self.frames,
            "results": [v.document() for v in self.versions],
            "notes": list(self.notes),
        }

    @property
    def image_words(self) -> str:
        """How the embedded pictures are coded, in words."""
        return "PNG, without loss" if self.image_format == "png" else f"JPEG, quality {JPEG_QUALITY}, 4:4:4"


@torch.inference_mode()
def compare_versions(
    reference: Path,
    paths: Sequence[Path],
    *,
    limit: int | None = None,
    images: bool = True,
    on_frame: Callable[[int], None] | None = None,
) -> Comparison:
    """Measures every frame of every version, decoding each file once, and keeps some frames' pictures.

    Args:
        reference: image or video.
        paths: versions of it with the same size and number of frames.
        limit: most frames whose pictures are kept; None keeps as many as a page of about 20 MB holds.
        images: False keeps none.
        on_frame: called with the number of each frame that is done.

    Raises:
        RequestError: a file cannot be read, or sizes or numbers of frames differ.
        MediaError: a file breaks.
    """
    versions = [_version(p, name) for p, name in zip((reference, *paths), labels([reference, *paths]), strict=True)]
    clean, made = versions[0], versions[1:]
    selection = Selection(len(made), limit or LIMIT, BUDGET if limit is None else None)
    expected = min(clean.info.frames or selection.limit, selection.limit) if clean.info.kind == "video" else 1
    image_format = choose_format(*shown_size(clean.info), len(versions), expected)
    count = 0
    for index, step in enumerate(in_step(reference, paths)):
        target = step[0].luma()
        for version, frame in zip(made, step[1:], strict=True):
            psnr, ssim = scores(frame.luma(), target)
            version.psnr.append(psnr)
            version.ssim.append(ssim)
        if images:
            selection.offer(index, [v.psnr[-1] for v in made], partial(_encode_all, step, image_format))
        count = index + 1
        if on_frame is not None:
            on_frame(index)
    return Comparison(clean, tuple(made), count, selection.kept, image_format, _notes(clean, made))


def _encode_all(step: Sequence[Shown], image_format: ImageFormat) -> tuple[bytes, ...]:
    return tuple(encode(frame.rgb(), image_format) for frame in step)


def labels(paths: Sequence[Path]) -> list[str]:
    """A short name for each path: its file name, with as many folders before it as tell it from the others."""
    names = []
    for i, path in enumerate(paths):
        others = [p for j, p in enumerate(paths) if j != i]
        depth = next(
            (d for d in range(1, len(path.parts) + 1) if all(p.parts[-d:] != path.parts[-d:] for p in others)), 0
        )
        same = sum(p == path for p in paths[:i])
        names.append("/".join(path.parts[-depth:]) if depth else f"{path.name} ({same + 1})")
    return names


def _version(path: Path, name: str) -> Version:
    info = probe(path)
    size = path.stat().st_size
    return Version(name, info, size, size if info.kind == "image" else _picture_size(path))


def _picture_size(path: Path) -> int:
    """Bytes of the picture stream, told by its packets: a container's own bit rate counts the sound as well."""
    with open_container(path) as container:
        stream = picture_stream(container, path)
        try:
            return sum(packet.size for packet in container.demux(stream))
        except (av.error.FFmpegError, OSError) as error:
            raise MediaError(f"{path} cannot be read to its end: {error}; copy or download it again") from error


def _rates_differ(one: Fraction | None, other: Fraction | None) -> bool:
    # Averages over a file's rounded timestamps waver by less than what tells 29.97 from 30.
    if not one or not other:
        return bool(one) != bool(other)
    return abs(one / other - 1) > Fraction(7, 10_000)


def _notes(reference: Version, versions: Sequence[Version]) -> tuple[str, ...]:
    notes = []
    for version in versions:
        here, there = version.info, reference.info
        if here.layout.kind != "rgb" and there.layout.kind != "rgb" and here.color.matrix != there.color.matrix:
            ours, theirs = (f"{c.color.matrix}{', a guess' * ('matrix' in c.color.guessed)}" for c in (here, there))
            notes.append(
                f"{version.name} is read as {ours}, the reference as {theirs}: where both are right, luma differs for "
                "that reason alone; where one is wrong, the colours shown do"
            )
        elif (here.layout.kind == "rgb") != (there.layout.kind == "rgb"):
            notes.append(f"{version.name} and the reference are not both RGB: luma of RGB is BT.601's")
        if _rates_differ(here.frame_rate, there.frame_rate):
            notes.append(f"{version.name} has another frame rate than the reference; frames are compared by number")
    if any(v.info.transfer != "sdr" for v in (reference, *versions)):
        notes.append("HDR is shown without tone mapping and looks flat; the numbers are not affected")
    if any(v.info.layout.bit_depth > 8 for v in (reference, *versions)):
        notes.append("more than 8 bits are rounded to 8 for the numbers and for the pictures")
    return tuple(notes)
