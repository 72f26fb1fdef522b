"""Video files: random clips, decoded from the key frame before them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Sequence

import attrs
import torch
from torch import Tensor

from restore.builtin.datasets.cache import ByteCache
from restore.builtin.datasets.cutting import Clips, Shape, Window, check_window
from restore.builtin.datasets.seeking import FrameIndex, index_frames, read_frames
from restore.builtin.datasets.stills import list_files, wanted
from restore.errors import MediaError, RequestError
from restore.media.color import Picture
from restore.media.frame import VideoFrame
from restore.media.probe import VIDEO_SUFFIXES, MediaInfo, probe
from restore.media.quantizers import frame_qps


class Videos(Clips):
    """Video files under a folder, searched recursively, every file a clip.

    ``dataset[i]`` gives whole frames: all of the file, or with ``length`` one stretch of it. ``dataset.sample(i,
    generator)`` cuts ``length`` frames anywhere in the file, and with ``patch`` the same square of each. Only what lies
    between the key frame before and the last frame wanted is decoded; frame k is the one that decoding everything
    gives. Matrix, range and chroma siting are those of the file; pixels lie as coded, rotation stays a tag.

    The number of entries counts what the files hold side by side. MP4 and MOV state how many frames they have; of other
    files the packets are read once at the start, without decoding (VP8 and AVI are decoded).

    Args:
        root: folder, or one video.
        length: frames of an entry; left out, whole videos, which for long ones is more than memory holds.
        patch: side of the square patches, in pixels.
        augment: random flips, quarter turns and time reversal.
        include, exclude: patterns on the path below ``root``, e.g. ``"*.mkv"``.
        channels: ``rgb``, grey video is repeated; ``native``, grey video keeps its one channel.
        cache_mb: decoded frames are kept in memory, as coded, up to this many megabytes.

    Raises:
        RequestError: no such folder, nothing in it that fits, a file that is no video, interlaced or HDR.
        MediaError: when reading, a frame that cannot be decoded, or fewer of them than the container states.
    """

    def __init__(
        self,
        root: Path,
        length: int | None = None,
        patch: int | None = None,
        augment: bool = True,
        include: list[str] | None = None,
        exclude: list[str] | None = None,
        channels: Literal["rgb", "native"] = "rgb",
        cache_mb: int = 2048,
    ) -> None:
        check_window(length, patch)
        self.channels = channels
        files = [p for p in list_files(root, VIDEO_SUFFIXES) if wanted(p, root, include, exclude)]
        if not files:
            raise RequestError(f"there is no video under {root}" + " that fits" * bool(include or exclude))
        self.infos = [_checked(p) for p in files]
        names = [p.relative_to(root).with_suffix("").as_posix() if p != root else p.stem for p in files]
        self._indices: dict[int, FrameIndex] = {}
        self._qps: dict[int, list[float] | None] = {}
        self._cache: ByteCache[VideoFrame] = ByteCache(cache_mb * 2**20)
        shapes = [(self._frames(n, i), i.height, i.width) for n, i in enumerate(self.infos)]
        super().__init__(f"under {root}", names, shapes, length, patch, augment)

    def _frames(self, clip: int, info: MediaInfo) -> int:
        # Only MP4 counts its frames. Matroska's head gives a duration that is often wrong, so packets are counted.
        stated = info.frames if "mov" in info.container.split(",") else None
        return stated or self._index(clip, info).count

    def _index(self, clip: int, info: MediaInfo) -> FrameIndex:
        found = self._indices.get(clip)
        if found is None:
            found = self._indices[clip] = index_frames(info)
        return found

    def _exact(self, clip: int) -> Shape:
        info = self.infos[clip]
        count = self._index(clip, info).count
        if count < (self.length or 1):
            raise MediaError(
                f"{info.path} holds {count} frames and states {info.frames}; entries have {self.length}: "
                "leave it out with exclude"
            )
        return count, info.height, info.width

    def _read(self, clip: int, window: Window) -> Tensor:
        numbers = range(window.start, window.start + window.frames)
        found = {k: self._cache.get((clip, k)) for k in numbers}
        missing = [k for k, frame in found.items() if frame is None]
        if missing:
            info = self.infos[clip]
            for frame in read_frames(info, self._index(clip, info), missing[0], missing[-1] + 1):
                self._cache.put((clip, frame.index), frame, sum(p.nbytes for p in frame.planes))
                if frame.index in found:
                    found[frame.index] = frame
        clip_rgb = window_rgb([f for f in found.values() if f is not None], window)
        return clip_rgb[:, :1] if self.channels == "native" and self.infos[clip].layout.kind == "gray" else clip_rgb

    def read_qps(self, clip: int, window: Window) -> Tensor | None:
        """What the window's frames were coded with, ``(T,)``, not turned; see :func:`frame_qps`."""
        if clip not in self._qps:
            self._qps[clip] = frame_qps(self.infos[clip].path)
        found = self._qps[clip]
        if found is None or len(found) < window.start + window.frames:
            return None
        return torch.tensor(found[window.start : window.start + window.frames])

    def qps(self, index: int) -> Tensor | None:
        """Of each frame of an entry, ``(T,)``; None where nobody knows."""
        clip, start = self._segment(index)
        shape = self._exact(clip)
        return self.read_qps(clip, Window.whole(shape, start, self.length or shape[0]))


def _checked(path: Path) -> MediaInfo:
    info = probe(path)
    trouble = "a still image" if info.kind == "image" else "interlaced" if info.interlaced else ""
    if info.transfer != "sdr":
        trouble = f"HDR ({info.transfer}), which is not what [0, 1] means here"
    if trouble:
        raise RequestError(f"{path} is {trouble}; convert it first or leave it out with exclude")
    return info


def window_rgb(frames: Sequence[VideoFrame], window: Window) -> Tensor:
    """The window of every frame, ``(T, 3, h, w)`` in [0, 1]. Only what lies in it is converted, with as much around it
    as bicubic chroma reaches, so that the result is that of the whole frame."""
    height, width = frames[0].planes[0].shape
    down, across = frames[0].layout.subsampling
    top, bottom = _around(window.top, window.top + window.height, height, down)
    left, right = _around(window.left, window.left + window.width, width, across)
    shapes = frames[0].layout.shapes(height, width)
    parts = []
    for frame in frames:
        planes = []
        for plane, shape in zip(frame.planes, shapes, strict=True):
            v, h = (0, 0) if shape == (height, width) else (down, across)
            planes.append(plane[top >> v : -(-bottom >> v), left >> h : -(-right >> h)])
        parts.append(attrs.evolve(frame, planes=tuple(planes)))
    rgb = Picture.from_frames(parts).channels("rgb")
    inner = attrs.evolve(window, top=window.top - top, left=window.left - left)
    return inner.cut(rgb).clamp(0, 1)


def _around(start: int, stop: int, size: int, shift: int) -> tuple[int, int]:
    """An interval widened by four chroma samples and to whole ones, inside the picture."""
    reach = 4 << shift
    start, stop = start - reach, stop + reach
    return max(0, start >> shift << shift), min(size, -(-stop >> shift) << shift)
