"""UCF-101 (Soomro, Zamir, Shah, 2012; Sec. 3.3) from a folder of the official files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator

import av
import numpy as np
import torch
from PIL import Image
from restore import MediaError, RequestError
from torch import Tensor

from restore_videoonet.datasets.splits import Split, check_split, fixed_draw

_GROUP = re.compile(r"_g(\d+)_c\d+$")
# Of the training list of official split 1; the test list is test.
_GROUPS = {"train": range(8, 23), "validation": range(23, 26)}


class UCF101:
    """Stretches of consecutive frames, each reduced as a whole to a square (bilinear, in 8 bit).

    Args:
        root: folder that holds the official ``trainlist01.txt`` and ``testlist01.txt``, and the videos
            (``ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi``, ...), both at any depth.
        split: ``train``, groups 8 to 22 of the training list (7,953 videos); ``validation``, its groups 23 to 25
            (1,584); ``test``, the test list (3,783).
        count: only the first so many of them.
        frames: of a clip.
        size: of its frames, in pixels.
        official: the number of the official split, 1 to 3. Groups are as given above only in the first; in the others
            the last three groups of the training list are for validation.

    Raises:
        RequestError: no such folder or list, or videos of the list that are not there.
        MediaError: when reading, a video that cannot be decoded or is too short.
        ValueError: an unknown split, or a number out of its range.
    """

    def __init__(
        self,
        root: Path,
        split: Split = "train",
        count: int | None = None,
        frames: int = 4,
        size: int = 32,
        official: int = 1,
    ) -> None:
        check_split(split, count)
        if frames < 1 or size < 1 or official not in (1, 2, 3):
            raise ValueError(
                f"frames and size must be at least 1 and official 1, 2 or 3, got {frames}, {size} and {official}"
            )
        self.split, self.frames, self.size = split, frames, size
        self.paths = _paths(root, split, official)[:count]

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """The video's name, ``"v_Archery_g08_c01"``."""
        return self.paths[index].stem

    def __getitem__(self, index: int) -> Tensor:
        """One fixed stretch of the video, ``(frames, 3, size, size)`` float32 in [0, 1]."""
        return self.sample(index, fixed_draw(self.split, range(len(self))[index]))

    def sample(self, index: int, generator: torch.Generator) -> Tensor:
        """A stretch from a random frame on, ``(frames, 3, size, size)`` float32 in [0, 1]."""
        unit = float(torch.rand((), generator=generator, dtype=torch.float64))
        return _read(self.paths[index], unit, self.frames, self.size)


def _paths(root: Path, split: Split, official: int) -> list[Path]:
    name = f"{'test' if split == 'test' else 'train'}list{official:02d}.txt"
    lists = sorted(root.rglob(name)) if root.is_dir() else []
    if not lists:
        raise RequestError(f"there is no {name} under {root}; it comes with the official train/test splits")
    wanted = [line.split()[0] for line in lists[0].read_text(encoding="utf-8").splitlines() if line.strip()]
    if split != "test":
        groups = _groups(wanted, split, official, lists[0])
        wanted = [entry for entry in wanted if _group(entry, lists[0]) in groups]
    there = {path.name: path for path in sorted(root.rglob("v_*.avi"))}
    missing = [entry for entry in wanted if Path(entry).name not in there]
    if missing:
        raise RequestError(
            f"{len(missing)} of {len(wanted)} videos that {lists[0]} names are not under {root}: {missing[0]}, ..."
        )
    return [there[Path(entry).name] for entry in wanted]


def _group(entry: str, listed_in: Path) -> int:
    found = _GROUP.search(Path(entry).stem)
    if found is None:
        raise RequestError(f"{listed_in}: {entry!r} is no name of UCF-101, v_CLASS_g01_c01.avi")
    return int(found.group(1))


def _groups(wanted: list[str], split: Split, official: int, listed_in: Path) -> range | set[int]:
    if official == 1:
        return _GROUPS[split]
    groups = sorted({_group(entry, listed_in) for entry in wanted})
    return set(groups[-3:] if split == "validation" else groups[:-3])


def _read(path: Path, unit: float, frames: int, size: int) -> Tensor:
    """``frames`` consecutive frames, the first one ``unit`` in [0, 1) of the way through all that could be."""
    try:
        with av.open(str(path)) as container:
            stated = container.streams.video[0].frames
            found = list(_pictures(container, int(unit * (stated - frames + 1)) if stated >= frames else 0, frames))
        if len(found) < frames:
            # The header promised more than there is.
            with av.open(str(path)) as container:
                total = sum(1 for _ in container.decode(video=0))
            if total < frames:
                raise MediaError(f"{path} has {total} frames, fewer than {frames}; leave it out of the list")
            with av.open(str(path)) as container:
                found = list(_pictures(container, int(unit * (total - frames + 1)), frames))
    except (av.error.FFmpegError, IndexError) as error:
        raise MediaError(f"{path} cannot be decoded: {error}") from None
    resized = [np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)) for picture in found]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255


def _pictures(container: av.container.InputContainer, start: int, count: int) -> Iterator[Image.Image]:
    # AVI has no times to seek by; these videos are short.
    for number, frame in enumerate(container.decode(video=0)):
        if number >= start + count:
            return
        if number >= start:
            yield frame.to_image()
