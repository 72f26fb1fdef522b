"""The order of training samples: a pure function of the seed, so that a resumed run sees what an unbroken one would,
and any number of devices what a single one would."""

from __future__ import annotations

import signal
from typing import Any, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, default_collate
from torch.utils.data import Dataset as TorchDataset

from restore.contracts import Dataset
from restore.errors import RequestError
from restore.functional.quantizer import UNKNOWN
from restore.functional.seeding import seeded

Sample = Tensor | tuple[Tensor, Tensor, Tensor]
"""A clean clip; or the observed and the clean one, and the QP of each observed frame, below 0 where nobody knows."""


class Samples(TorchDataset[Sample]):
    """Sample number ``k`` of a run: which clip, and every random choice in it, follow from the seed and ``k``.

    Args:
        dataset: clean clips; those with ``sample(index, generator)`` cut and augment at random.
        seed: of the run.
        pairs: take both sides, by ``sample_pair(index, generator)``.
    """

    def __init__(self, dataset: Dataset, seed: int, pairs: bool = False) -> None:
        self.dataset, self.seed, self.pairs = dataset, seed, pairs
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def index(self, k: int) -> int:
        """The entry of the dataset that sample ``k`` is cut from."""
        epoch, position = divmod(k, len(self.dataset))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, torch.randperm(len(self.dataset), generator=seeded(self.seed, 1, epoch))
        return int(self._order[position])

    def name(self, k: int) -> str:
        """What the dataset calls the entry of sample ``k``."""
        index = self.index(k)
        return str(self.dataset.name(index)) if hasattr(self.dataset, "name") else str(index)

    def __getitem__(self, k: int) -> Sample:
        index = self.index(k)
        if self.pairs:
            pair = self.dataset.sample_pair(index, seeded(self.seed, 2, k))  # type: ignore[attr-defined]
            qp = pair.qp
            return pair.observed, pair.target, torch.full((len(pair.observed),), UNKNOWN) if qp is None else qp
        if hasattr(self.dataset, "sample"):
            sample = self.dataset.sample(index, seeded(self.seed, 2, k))
            assert isinstance(sample, Tensor)
            return sample
        return self.dataset[index]


class _Span(Sampler[int]):
    """The samples of one device: of every part of every batch its share, side by side."""

    def __init__(self, first: int, iterations: int, batch: int, parts: int, rank: int, devices: int) -> None:
        self.first, self.iterations, self.batch = first, iterations, batch
        self.parts, self.rank, self.devices = parts, rank, devices
        self.share = batch // (parts * devices)

    def __iter__(self) -> Iterator[int]:
        for iteration in range(self.iterations):
            for part in range(self.parts):
                begin = self.first + iteration * self.batch + (part * self.devices + self.rank) * self.share
                yield from range(begin, begin + self.share)

    def __len__(self) -> int:
        return self.iterations * self.parts * self.share


def batches(
    dataset: Dataset,
    seed: int,
    batch: int,
    start: int,
    stop: int,
    workers: int = 0,
    *,
    first: int | None = None,
    parts: int = 1,
    rank: int = 0,
    devices: int = 1,
    pairs: bool = False,
    pin: bool = False,
) -> DataLoader[Sample]:
    """Batches ``start`` to ``stop`` of a run, or one device's share of them, ``(clips, T, C, H, W)`` each.

    Args:
        dataset: clips.
        seed: of the run.
        batch: clips a step, over all devices and parts.
        start: first iteration.
        stop: the one after the last.
        workers: processes that load.
        first: number of the first sample; left out, as if all iterations before had this batch.
        parts: that each batch comes in.
        rank: which device.
        devices: how many share a batch.
        pairs: give the observed and the clean side.
        pin: put batches where a GPU reads them fastest.
    """
    begin = start * batch if first is None else first
    return DataLoader(
        Samples(dataset, seed, pairs),
        batch_size=batch // (parts * devices),
        sampler=_Span(begin, stop - start, batch, parts, rank, devices),
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_leave_interrupts,
        collate_fn=_collate,
        pin_memory=pin,
    )


def _collate(samples: list[Any]) -> Any:
    clips = [s[1] if isinstance(s, tuple) else s for s in samples]
    shapes = {tuple(clip.shape) for clip in clips}
    if len(shapes) > 1:
        raise RequestError(
            f"the clips of one batch differ in size: {' and '.join(map(str, sorted(shapes)[:2]))} (frames, channels, "
            "height, width); give the data a patch (and length), or train with batch = 1"
        )
    return default_collate(samples)


def _leave_interrupts(_: int) -> None:
    """Ctrl-C reaches every process of the terminal; the training loop decides what happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
