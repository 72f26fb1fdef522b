"""What `restore eval --data` names: images, videos, or folders of frames."""

from __future__ import annotations

from pathlib import Path

from restore.builtin.datasets.frames import Frames
from restore.builtin.datasets.images import Images
from restore.builtin.datasets.stills import list_files
from restore.builtin.datasets.videos import Videos
from restore.contracts import Dataset
from restore.errors import RequestError
from restore.evaluation.clips import FirstFrames
from restore.media.probe import VIDEO_SUFFIXES


def open_data(path: Path, as_clips: bool = False) -> Dataset:
    """The clean (or observed) side in a folder or file.

    Videos, where there are some; else images, each by itself or, with ``as_clips``, every folder of them as a clip.

    Args:
        path: folder, searched recursively, or one file.
        as_clips: images are frames.

    Raises:
        RequestError: no such folder, nothing in it, or images and videos side by side.
    """
    videos = [p for p in list_files(path, VIDEO_SUFFIXES) if p.suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        return Frames(path, channels="native") if as_clips else Images(path, channels="native")
    if path.is_dir() and list_files(path):
        raise RequestError(f"{path} holds videos and images; name a folder that holds one kind")
    return Videos(path, channels="native")


def cut(dataset: Dataset, frames: int | None) -> Dataset:
    """Only the first frames of every clip, where a number is given.

    Raises:
        RequestError: the dataset's entries cannot be cut in time.
    """
    if frames is None:
        return dataset
    if not (hasattr(dataset, "shape") and hasattr(dataset, "read") and hasattr(dataset, "name")):
        raise RequestError(f"--frames cuts videos and folders of frames, not {type(dataset).__name__}")
    return FirstFrames(dataset, frames)
