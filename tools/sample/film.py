"""From the plate to files: camera movement, BT.709 conversion, encoding, and the damage to be repaired."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from restore.functional.resize import resize

from sample.noise import Array

Planes = tuple[Array, Array, Array]  # Y', Cb, Cr in 8-bit levels
FRAMES, RATE, SIZE = 48, 24, (480, 272)
STILL, STILL_BOX = (480, 360), (420.0, 0.0, 1956.0, 1152.0)
# Left-sited chroma: a small picture's chroma sample k lies at small luma column 2k, which is large luma column
# 4k + 0.5, which is large chroma column 2k + 0.25; halving without an offset would take it at 2k + 0.5.
CHROMA_OFFSET = (0.0, -0.25)
TAGS = {"flags": "+bitexact", "chroma_sample_location": "left"}


def window(index: int) -> tuple[float, float, float, float]:
    """What frame ``index`` shows of the plate: a slow pan to the right with a slight zoom in."""
    t = index / (FRAMES - 1)
    ease = 0.35 * t + 0.65 * t * t * (3 - 2 * t)
    width = 1800 - 150 * ease
    height = width * SIZE[1] / SIZE[0]
    centre_x, centre_y = 935 + 340 * ease, 562 + 24 * ease
    return centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2


def shoot(plate: Array, box: tuple[float, float, float, float], size: tuple[int, int]) -> Array:
    """A picture of part of the plate: light averaged over each pixel, then gamma; (3, H, W) in [0, 1]."""
    layers = [Image.fromarray(c).resize(size, Image.Resampling.BILINEAR, box=box) for c in plate]
    light = np.stack([np.asarray(layer, dtype=np.float32) for layer in layers])
    return np.clip(light, 0, 1) ** np.float32(1 / 2.2)


def to_planes(rgb: Array) -> Planes:
    """R'G'B' in [0, 1] to 8-bit limited-range BT.709 4:2:0, chroma sited left (H.273, matrix 1)."""
    r, g, b = rgb.astype(np.float64)
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    chroma = []
    for difference in ((b - luma) / 1.8556, (r - luma) / 1.5748):
        rows = (difference[0::2] + difference[1::2]) / 2
        padded = np.pad(rows, ((0, 0), (1, 1)), mode="edge")
        left, middle, right = padded[:, 0:-2:2], padded[:, 1:-1:2], padded[:, 2::2]
        chroma.append((left + 2 * middle + right) / 4)
    levels = [16 + 219 * luma, 128 + 224 * chroma[0], 128 + 224 * chroma[1]]
    y, cb, cr = (np.clip(np.floor(p + 0.5), 0, 255).astype(np.float32) for p in levels)
    return y, cb, cr


def halve(planes: Planes) -> Planes:
    """Each plane at half the size by MATLAB's bicubic with antialiasing, chroma kept left-sited, one rounding."""
    y, cb, cr = (
        resize(torch.from_numpy(p).double() / 255, 0.5, offset=offset, rounding="end").numpy() * 255
        for p, offset in zip(planes, ((0.0, 0.0), CHROMA_OFFSET, CHROMA_OFFSET), strict=True)
    )
    return y.round().astype(np.float32), cb.round().astype(np.float32), cr.round().astype(np.float32)


def _frame(planes: Planes, index: int) -> av.VideoFrame:
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), dtype=np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    frame.pts, frame.time_base = index, Fraction(1, RATE)
    frame.colorspace, frame.color_range = 1, 1
    return frame


def _chime(rate: int = 48000, seconds: float = 2.0) -> av.AudioFrame:
    """Two soft notes, a fourth apart."""
    t = np.arange(round(rate * seconds)) / rate
    sound = np.zeros_like(t)
    for start, pitch in ((0.1, 659.26), (0.75, 880.0)):
        s = np.maximum(t - start, 0)
        for partial, level, decay in ((1.0, 1.0, 2.6), (2.0, 0.28, 4.5), (2.76, 0.16, 7.0), (5.4, 0.05, 14.0)):
            sound += level * np.exp(-decay * s) * np.sin(2 * np.pi * pitch * partial * s) * (1 - np.exp(-s * 300))
    sound *= np.clip((seconds - t) / 0.15, 0, 1)
    samples = np.round(sound * 0.09 * 32767).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    return frame


def write(path: Path, frames: list[Planes], codec: str, options: dict[str, str], sound: bool = False) -> None:
    """A Matroska file with BT.709 limited-range tags, with the chime if ``sound``."""
    height, width = frames[0][0].shape
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as out:
        video = out.add_stream(codec, rate=RATE, options={**options, **TAGS})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        context = video.codec_context
        context.time_base = Fraction(1, RATE)
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
        context.thread_count = 1
        audio = out.add_stream("flac", rate=48000) if sound else None
        if audio is not None:
            audio.codec_context.layout, audio.codec_context.format = "mono", "s16"
            out.mux(audio.encode(_chime()))
            out.mux(audio.encode(None))
        for index, planes in enumerate(frames):
            out.mux(video.encode(_frame(planes, index)))
        out.mux(video.encode(None))


def read(path: Path) -> list[Planes]:
    """The decoded planes of a clip."""
    out: list[Planes] = []
    with av.open(str(path)) as clip:
        for frame in clip.decode(video=0):
            planes = []
            for plane in frame.planes:
                rows = np.frombuffer(bytes(plane), dtype=np.uint8).reshape(plane.height, plane.line_size)
                planes.append(rows[:, : plane.width].astype(np.float32))
            out.append((planes[0], planes[1], planes[2]))
    return out


def stills(plate: Array, reference: Path, damaged: Path) -> None:
    """The single picture and its half-size version, as PNG."""
    levels = np.floor(shoot(plate, STILL_BOX, STILL) * 255 + 0.5)
    small = resize(torch.from_numpy(levels).double() / 255, 0.5, rounding="end").numpy() * 255
    for path, picture in ((reference, levels), (damaged, small.round())):
        Image.fromarray(picture.astype(np.uint8).transpose(1, 2, 0)).save(path, optimize=True)


def psnr(a: Array, b: Array) -> float:
    """Peak signal-to-noise ratio of two planes in 8-bit levels."""
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def doubled(plane: Array) -> Array:
    """A luma plane at twice the size by bicubic interpolation, rounded."""
    return resize(torch.from_numpy(plane).double() / 255, 2.0, rounding="end").numpy() * 255
