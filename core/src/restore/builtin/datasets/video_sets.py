"""The folders of REDS and Vimeo-90K, with the splits that video super-resolution is measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from restore.builtin.datasets.cutting import Clips, Shape, Window, check_window
from restore.builtin.datasets.frames import Frames
from restore.builtin.datasets.stills import image_size, read_pixels
from restore.errors import MediaError, RequestError

REDS4 = ("000", "011", "015", "020")


class REDS(Frames):
    """REDS (Nah et al., CVPRW 2019): 240 clips of 100 frames of 1280x720 for training, 30 for validation, as folders
    of PNG files under ``train_sharp`` and ``val_sharp``, or those under ``train`` and ``val``.

    Four clips of the training part are the test set of the literature, "REDS4" (Wang et al., EDVR, 2019). Scores on
    them are those of RGB, all frames, no border.

    Args:
        root: the folder that holds these.
        split: ``train``, the training part without REDS4 (236 clips); ``reds4``; ``val``, the 30 others.
        length, patch, augment, cache_mb: as in :class:`restore.builtin.datasets.frames.Frames`.

    Raises:
        RequestError: the folders are not there, or hold nothing that fits.
    """

    def __init__(
        self,
        root: Path,
        split: Literal["train", "reds4", "val"] = "train",
        length: int | None = None,
        patch: int | None = None,
        augment: bool = True,
        cache_mb: int = 2048,
    ) -> None:
        part = "val" if split == "val" else "train"
        places = [root / f"{part}_sharp", root / part / f"{part}_sharp"]
        folder = next((p for p in places if p.is_dir()), None)
        if folder is None:
            raise RequestError(
                f"REDS has a folder {part}_sharp of numbered clips (000, 001, ...); there is neither {places[0]} "
                f"nor {places[1]}"
            )
        include = list(REDS4) if split == "reds4" else None
        exclude = list(REDS4) if split == "train" else None
        super().__init__(folder, length, patch, augment, include, exclude, cache_mb=cache_mb)
        if split == "reds4" and len(self.names) < len(REDS4):
            missing = ", ".join(sorted(set(REDS4) - set(self.names)))
            raise RequestError(f"{folder} lacks {missing} of REDS4 ({', '.join(REDS4)})")


class Vimeo90K(Clips):
    """The septuplets of Vimeo-90K (Xue et al., IJCV 2019): seven frames each, ``sequences/00001/0001/im1.png`` to
    ``im7.png``, and lists of them. Only what the list names is looked at, and only when it is read.

    With ``mirror`` a clip runs forth and back, 1 to 7 and 7 to 1, so that recurrent networks see 14 frames (BasicVSR,
    SSL). The literature scores the middle frame alone, the mean of both answers to it: the metric
    ``ssl_prune:middle-frame``.

    Args:
        root: the folder that holds ``sequences`` and the lists.
        split: ``train`` reads ``sep_trainlist.txt``, ``test`` reads ``sep_testlist.txt``.
        list_file: another list: one septuplet a line, such as ``00001/0266``.
        patch: side of the square patches in pixels; frames have 448x256.
        mirror: 14 frames instead of 7.
        augment: the eight symmetries of the square, and time reversal.

    Raises:
        RequestError: no such folder or list, or nothing in it.
        MediaError: when reading, a frame that is missing, damaged or of another size.
    """

    def __init__(
        self,
        root: Path,
        split: Literal["train", "test"] = "train",
        list_file: Path | None = None,
        patch: int | None = None,
        mirror: bool = True,
        augment: bool = True,
    ) -> None:
        check_window(None, patch)
        folder = root / "sequences"
        if not folder.is_dir():
            raise RequestError(f"Vimeo-90K has a folder sequences and lists beside it; there is no {folder}")
        names = _listed(list_file or root / f"sep_{split}list.txt")
        self.folder, self.mirror = folder, mirror
        size = image_size(_septuplet(folder / names[0])[0])
        # 90,000 septuplets: all are taken to be of the first one's size until they are read.
        self._size = size
        super().__init__(f"under {root}", names, [(7, *size)] * len(names), None, patch, augment)

    def _read(self, clip: int, window: Window) -> Tensor:
        frames = []
        for path in _septuplet(self.folder / self.names[clip]):
            frame = read_pixels(path)
            if tuple(frame.shape[1:]) != self._size:
                raise MediaError(f"{path} is not {self._size[1]}x{self._size[0]} as the first septuplet is")
            frames.append(window.cut(frame))
        return torch.stack(frames).float() / 255

    def _mirrored(self, clip: Tensor) -> Tensor:
        return torch.cat([clip, clip.flip(0)]) if self.mirror else clip

    def __getitem__(self, index: int) -> Tensor:
        """The septuplet, ``(14, 3, H, W)`` or ``(7, 3, H, W)`` float32 in [0, 1]."""
        return self._mirrored(super().__getitem__(index))

    def sample(self, index: int, generator: torch.Generator) -> Tensor:
        """A random patch of it, of as many frames."""
        return self._mirrored(super().sample(index, generator))

    def shape(self, index: int) -> Shape:
        """Frames, height and width of an entry."""
        frames, height, width = super().shape(index)
        return (2 * frames if self.mirror else frames), height, width

    def read(self, index: int, window: Window) -> Tensor:
        """A window of an entry, not turned."""
        clip = self._mirrored(self._read(self._shares.locate(index)[0], window))
        return clip[window.start : window.start + window.frames]


def _listed(path: Path) -> list[str]:
    """The septuplets that a list names."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError:
        raise RequestError(
            f"the list of septuplets {path} cannot be read; it has one a line, such as 00001/0266"
        ) from None
    if not names:
        raise RequestError(f"{path} names no septuplet")
    return names


def _septuplet(folder: Path) -> list[Path]:
    return [folder / f"im{k}.png" for k in range(1, 8)]
