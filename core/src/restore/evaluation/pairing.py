"""Which observed image belongs to which clean one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

from restore.builtin.datasets.images import Images
from restore.contracts import Dataset
from restore.errors import RequestError

# What benchmarks put behind a name: babyx2, baby_x2, baby-2x, img_001_SRF_2_LR, baby_bicubic.
_ENDING = re.compile(r"([._-]?(x\d+|\d+x)|[._-](lr|hr|gt|srf|sr|bicubic|\d+x?|matlab))+\Z", re.IGNORECASE)


@attrs.frozen
class Picked:
    """Some entries of a dataset, in a given order."""

    dataset: Dataset
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Tensor:
        """The entry at that place of the order."""
        return self.dataset[self.indices[index]]


def pair_up(clean: Dataset, folder: Path, observed: Dataset | None = None) -> Dataset:
    """The images (or clips) of a folder in the order of a clean dataset.

    An image belongs to the clean one of the same name, or of the same name without an ending such as ``x2``, ``_LR``.
    Where no name fits, the order decides, if there are equally many.

    Args:
        clean: clean images; those with ``name(index)`` are paired by name.
        folder: of the observed ones.
        observed: what is in the folder, with ``name(index)``; left out, its images.

    Raises:
        RequestError: the folder lacks some, has two for one, or names and numbers both differ.
    """
    side: Any = Images(folder, channels="native") if observed is None else observed
    there = [side.name(i) for i in range(len(side))]
    wanted = [clean.name(i) for i in range(len(clean))] if hasattr(clean, "name") else []
    found = [_candidates(name, there) for name in wanted]
    if not any(found):
        if len(there) != len(clean):
            raise RequestError(
                f"{folder} has {len(there)} images for {len(clean)} clean ones, and no names that tell which is which"
            )
        return side  # type: ignore[no-any-return]
    for name, candidates in zip(wanted, found, strict=True):
        if not candidates:
            raise RequestError(f"{folder} has no image for {name!r}")
        if len(candidates) > 1:
            names = ", ".join(there[i] for i in candidates)
            raise RequestError(f"{folder} has several images for {name!r}: {names}")
    return Picked(side, tuple(candidates[0] for candidates in found))


def _candidates(name: str, there: list[str]) -> list[int]:
    exact = [i for i, other in enumerate(there) if other == name]
    return exact or [i for i, other in enumerate(there) if _plain(other) == _plain(name)]


def _plain(name: str) -> str:
    return _ENDING.sub("", name) or name
