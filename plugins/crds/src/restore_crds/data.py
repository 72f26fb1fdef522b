"""The two datasets of CRDS as they are published: raw videos and the same coded by HM at QP 37 (splits: MFQE 2.0's
repository; the LDV dataset's page)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from restore import Dataset, Pair, RequestError
from restore.builtin.datasets.frames import Frames
from restore.builtin.datasets.mixture import mixture
from restore.builtin.datasets.paired import Paired
from restore.builtin.datasets.raw import Raw
from restore.builtin.datasets.videos import Videos
from torch import Tensor

from restore_crds.degradations import LEVELS, check_levels, drawn_levels, hybrid

Split = Literal["train", "test"]

MFQE_TEST = (
    "Traffic", "PeopleOnStreet", "Kimono", "ParkScene", "Cactus", "BQTerrace", "BasketballDrive", "RaceHorses",
    "BQMall", "PartyScene", "BasketballDrill", "BQSquare", "BlowingBubbles", "BasketballPass", "FourPeople", "Johnny",
    "KristenAndSara",
)  # fmt: skip
"""The JCT-VC sequences that test on MFQE 2.0: 18 videos, since RaceHorses occurs in classes C and D."""

# What is coded, and what it was coded from, in the archives of NTIRE 2022's track 1. The 255 training videos of CRDS
# are that challenge's 240 for training and 15 for validation.
LDV_ARCHIVES: dict[str, tuple[tuple[str, str], ...]] = {
    "train": (("train_gt", "train_QP37"), ("track1_val_gt", "validation_track1")),
    "test": (("track1_test_gt", "test_track1"),),
}


def mfqe(
    root: Path,
    split: Split,
    qp: int = 37,
    length: int | None = None,
    patch: int | None = None,
    augment: bool = True,
    coded: str = "HM16.5_LDP",
) -> Dataset:
    """MFQE 2.0 as pairs (Guan et al., 2019): raw YUV files and what HM made of them.

    The folder is the published one: ``train_108`` and ``test_18``, each with ``raw/*.yuv`` and
    ``HM16.5_LDP/QP37/*.yuv`` of the same names, ``BasketballPass_416x240_500.yuv``. One that has ``raw`` and
    ``HM16.5_LDP`` directly is split by name: the 18 JCT-VC sequences test, all others train. Luma is the files' own:
    all are read with the matrix that the protocol ``mfqe`` takes luma by, whatever their size.

    Args:
        root: the folder.
        split: ``train`` or ``test``.
        qp: of the coded side.
        length: frames of an entry; left out, whole videos.
        patch: side of square patches in pixels.
        augment: random flips, quarter turns and time reversal.
        coded: folder of the coded side; below it lies ``QP37``.

    Raises:
        RequestError: a folder or a file of one side is missing, or sizes do not fit.
        ValueError: an unknown split.
    """
    _check(split)
    split_folder = root / {"train": "train_108", "test": "test_18"}[split]
    base, patterns = split_folder, {}
    if not split_folder.is_dir():
        if not (root / "raw").is_dir():
            raise RequestError(f"{root} has neither {split_folder.name}/raw nor raw: it is not laid out like MFQE 2.0")
        base = root
        names = [f"{name}_*" for name in MFQE_TEST]
        patterns = {"include": names} if split == "test" else {"exclude": names}
    sides: list[Any] = []
    for folder in (base / "raw", base / coded / f"QP{qp}"):
        if not folder.is_dir():
            raise RequestError(f"folder {folder} does not exist; MFQE 2.0 at QP {qp} needs it")
        sides.append(Raw(folder, matrix="bt601", **patterns))
    return Paired(sides[0], sides[1], length, patch, augment)


def ldv(root: Path, split: Split, length: int | None = None, patch: int | None = None, augment: bool = True) -> Dataset:
    """LDV 2.0 as pairs (Yang et al., NTIRE 2022, track 1: HM 16.20, low delay P, QP 37).

    The folder holds the unpacked archives: ``train_gt``, ``train_QP37``, ``track1_val_gt`` and ``validation_track1``
    train (240 + 15 videos), ``track1_test_gt`` and ``test_track1`` test (15). In each lie ``001.mkv`` and so on, or a
    folder of PNG frames for each video, as the challenge scores them.

    Args:
        root: the folder.
        split: ``train`` or ``test``.
        length: frames of an entry; left out, whole videos.
        patch: side of square patches in pixels.
        augment: random flips, quarter turns and time reversal.

    Raises:
        RequestError: an archive, or a video of one side, is missing, or sizes do not fit.
        ValueError: an unknown split.
    """
    _check(split)
    parts: list[Dataset] = []
    for names in LDV_ARCHIVES[split]:
        sides = [_videos(root / name) for name in names]
        parts.append(Paired(sides[0], sides[1], length, patch, augment))
    return parts[0] if len(parts) == 1 else mixture(parts)


def _videos(folder: Path) -> Any:
    if not folder.is_dir():
        raise RequestError(f"folder {folder} does not exist; LDV 2.0 of NTIRE 2022's track 1 unpacks to it")
    holds_images = any(folder.rglob("*.png"))
    return Frames(folder) if holds_images else Videos(folder)


def _check(split: str) -> None:
    if split not in ("train", "test"):
        raise ValueError(f"split must be train or test, got {split!r}")


class LevelPairs:
    """Pairs for the LDR-AE out of data that brings both sides: what ``crds:levels`` is for degradations.

    Args:
        pairs: a dataset of pairs of one size, such as ``crds:mfqe`` or ``core:paired``.
        levels: alpha_s to draw from, each from 0 to 1.

    Raises:
        ValueError: a dataset without pairs, no levels, or one outside [0, 1].
    """

    def __init__(self, pairs: Dataset, levels: tuple[float, ...] = LEVELS) -> None:
        if not hasattr(pairs, "sample_pair"):
            raise ValueError(f"pairs needs a dataset that brings both sides, {type(pairs).__name__} brings one")
        check_levels(levels)
        self.pairs, self.levels = pairs, tuple(levels)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Tensor:
        return self.pairs[index]

    def name(self, index: int) -> str:
        """What the dataset calls the entry."""
        name = getattr(self.pairs, "name", None)
        return str(index) if name is None else str(name(index))

    def sample(self, index: int, generator: torch.Generator) -> Tensor:
        """The target of ``sample_pair``."""
        return self.sample_pair(index, generator).target

    def sample_pair(self, index: int, generator: torch.Generator) -> Pair:
        """A random piece: observed ``xh`` and ``xh^s``, ``(T, 2C, h, w)``, and the clean ``(T, C, h, w)``."""
        made = self.pairs.sample_pair(index, generator)  # type: ignore[attr-defined]
        return self._with_level(made, self.levels[drawn_levels(len(self.levels), 1, generator)[0]])

    def pair(self, index: int) -> Pair:
        """Whole frames; the levels take turns from entry to entry."""
        made = self.pairs.pair(index)  # type: ignore[attr-defined]
        return self._with_level(made, self.levels[index % len(self.levels)])

    @property
    def observed(self) -> Dataset:
        """The observed side, in the order of this dataset."""
        return ObservedSide(self)

    @staticmethod
    def _with_level(pair: Pair, alpha: float) -> Pair:
        return Pair(torch.cat([pair.observed, hybrid(pair.observed, pair.target, alpha)], dim=-3), pair.target)


class ObservedSide:
    """The observed sides of a dataset's pairs.

    Args:
        pairs: has ``pair(index)``.
    """

    def __init__(self, pairs: LevelPairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Tensor:
        return self.pairs.pair(index).observed
