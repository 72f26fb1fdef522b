"""Small files with pictures that move, for examples of datasets. Each function returns the folder it wrote into."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from restore.testing.sample import Sample


def _pictures(frames: int, height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    """``(T, H, W, 3)``."""
    clip = Sample().clip(seed, (1, frames, 3, height, width))[0]
    pixels: npt.NDArray[np.uint8] = (clip * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return pixels


def write_images(folder: Path, count: int = 3, height: int = 40, width: int = 48) -> Path:
    """PNG files ``0.png``, ``1.png``, ... of unlike pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        Image.fromarray(_pictures(1, height, width, k)[0]).save(folder / f"{k}.png")
    return folder


def write_frames(folder: Path, clips: int = 2, frames: int = 5, height: int = 40, width: int = 48) -> Path:
    """A folder of PNG frames for each clip, ``a/0.png``, ``a/1.png``, ..."""
    for k in range(clips):
        inside = folder / chr(ord("a") + k)
        inside.mkdir(parents=True, exist_ok=True)
        for t, picture in enumerate(_pictures(frames, height, width, k)):
            Image.fromarray(picture).save(inside / f"{t}.png")
    return folder


def write_video(folder: Path, frames: int = 8, height: int = 40, width: int = 48) -> Path:
    """One lossless ``clip.mkv`` (FFV1) at 25 frames per second."""
    folder.mkdir(parents=True, exist_ok=True)
    with av.open(str(folder / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for picture in _pictures(frames, height, width, 0):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return folder
