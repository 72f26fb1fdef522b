"""Several datasets as one, each with its share of the samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from restore.builtin.datasets.cutting import Shares
from restore.builtin.degradations.draw import check_range
from restore.contracts import Dataset, Pair


class Mixture:
    """Datasets side by side: of every pass over it, each makes up its share. The smallest number of entries is taken
    at which every entry of every dataset occurs; those of a dataset that is small for its share occur several times,
    equally often but for one. :func:`mixture` makes it.

    Args:
        datasets: at least one.
        weights: relative shares, above 0, one for each.
    """

    def __init__(self, datasets: list[Dataset], weights: list[float]) -> None:
        self.datasets, self.weights = list(datasets), list(weights)
        whole = sum(weights)
        total = max(len(d) * whole / w for d, w in zip(datasets, weights, strict=True))
        # A share of 0.1 is no exact number: what falls short of a whole entry by rounding alone is one.
        counts = [math.ceil(total * w / whole - 1e-9) for w in weights]
        self._shares, self._counts = Shares(counts), counts

    def __len__(self) -> int:
        return len(self._shares)

    def locate(self, index: int) -> tuple[int, int]:
        """The number of the dataset, and the entry of it, that an index means; IndexError outside."""
        number, rank = self._shares.locate(index)
        return number, rank * len(self.datasets[number]) // self._counts[number]

    def name(self, index: int) -> str:
        """What its dataset calls the entry."""
        number, entry = self.locate(index)
        dataset = self.datasets[number]
        return str(dataset.name(entry)) if hasattr(dataset, "name") else f"{number}/{entry}"

    def __getitem__(self, index: int) -> Tensor:
        """The entry, ``(T, C, H, W)`` in [0, 1]."""
        number, entry = self.locate(index)
        return self.datasets[number][entry]

    def sample(self, index: int, generator: torch.Generator) -> Tensor:
        """A random piece of the entry, or the entry itself where its dataset draws none."""
        number, entry = self.locate(index)
        dataset = self.datasets[number]
        if not hasattr(dataset, "sample"):
            return dataset[entry]
        drawn: Tensor = dataset.sample(entry, generator)
        return drawn


class _Observed:
    """The other side of a mixture of pairs."""

    def __init__(self, pairs: PairMixture) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Tensor:
        return self.pairs.pair(index).observed

    def qps(self, index: int) -> Tensor | None:
        """Of each frame, ``(T,)``; None where nobody knows."""
        return self.pairs.pair(index).qp


class PairMixture(Mixture):
    """A mixture of datasets that all bring both sides."""

    def pair(self, index: int) -> Pair:
        """Both sides of the entry, ``(T, C, H, W)`` each."""
        number, entry = self.locate(index)
        made: Pair = self.datasets[number].pair(entry)  # type: ignore[attr-defined]
        return made

    def sample_pair(self, index: int, generator: torch.Generator) -> Pair:
        """A random piece of both sides of the entry."""
        number, entry = self.locate(index)
        made: Pair = self.datasets[number].sample_pair(entry, generator)  # type: ignore[attr-defined]
        return made

    def sample(self, index: int, generator: torch.Generator) -> Tensor:
        """The target of ``sample_pair``."""
        return self.sample_pair(index, generator).target

    @property
    def observed(self) -> Dataset:
        """The observed side, in the order of this dataset."""
        return _Observed(self)


def mixture(datasets: list[Dataset], weights: list[float] | None = None) -> Mixture:
    """Several datasets as one, e.g. stills in motion and real videos. All must give clips of one size, which each of
    them is told by itself.

    Args:
        datasets: tables of their own, at least one. All bring clean clips, or all bring pairs.
        weights: shares of the samples relative to each other, above 0; left out, by how many entries each has.

    Raises:
        ValueError: no datasets, weights that do not fit, an empty dataset, or pairs beside clean clips.
    """
    if not datasets:
        raise ValueError('datasets must hold at least one, e.g. datasets = [{ use = "videos", root = "clips" }]')
    empty = [k for k, d in enumerate(datasets) if len(d) == 0]
    if empty:
        raise ValueError(f"dataset {empty[0] + 1} of the mixture is empty")
    shares = [float(len(d)) for d in datasets] if weights is None else [float(w) for w in weights]
    if len(shares) != len(datasets):
        raise ValueError(f"weights must be {len(datasets)} numbers, one for each dataset, got {len(shares)}")
    for share in shares:
        check_range("a weight", share, 0)
        if share == 0:
            raise ValueError("a weight must be above 0; leave the dataset out instead")
    pairs = [hasattr(d, "sample_pair") for d in datasets]
    if any(pairs) and not all(pairs):
        one, other = pairs.index(True) + 1, pairs.index(False) + 1
        raise ValueError(f"dataset {one} brings pairs and dataset {other} clean clips alone; a mixture is of one kind")
    return PairMixture(datasets, shares) if all(pairs) else Mixture(datasets, shares)
