"""Which entries are for training, validation and test."""

from __future__ import annotations

from typing import Literal

import torch
from restore.functional.seeding import seeded

Split = Literal["train", "validation", "test"]

# The published code seeds the draws of the three parts with 123, 124 and 125.
SEED = 123
OFFSETS = {"train": 0, "validation": 1, "test": 2}


def check_split(split: str, count: int | None) -> None:
    """ValueError for an unknown part of the data, or fewer than one entry of it."""
    if split not in OFFSETS:
        raise ValueError(f"split must be one of {', '.join(OFFSETS)}, got {split!r}")
    if count is not None and count < 1:
        raise ValueError(f"count must be at least 1, got {count}")


def chosen(total: int, split: Split, count: int | None, held_out: float = 0.1) -> list[int]:
    """Numbers of the entries of a part: of ``total`` training entries a random tenth is for validation, as published;
    a test set is taken whole. ``count``: only the first so many."""
    if split == "test":
        entries = list(range(total))
    else:
        order = torch.randperm(total, generator=seeded(SEED)).tolist()
        kept = total - round(held_out * total)
        entries = order[:kept] if split == "train" else order[kept:]
    return entries[:count]


def fixed_draw(split: Split, index: int) -> torch.Generator:
    """The draws of entry ``index`` where it is read without a generator."""
    return seeded(SEED + OFFSETS[split], index)
