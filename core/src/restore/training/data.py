"""The order of training samples: a pure function of the seed, so that a resumed run sees what an unbroken one would."""

from __future__ import annotations

import signal
from typing import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from restore.contracts import Dataset
from restore.functional.seeding import seeded


class Samples(TorchDataset[Tensor]):
    """Sample number ``k`` of a run: which clip, and every random choice in it, follow from the seed and ``k``.

    Args:
        dataset: clean clips; those with ``sample(index, generator)`` cut and augment at random.
        seed: of the run.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def __getitem__(self, k: int) -> Tensor:
        epoch, position = divmod(k, len(self.dataset))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, torch.randperm(len(self.dataset), generator=seeded(self.seed, 1, epoch))
        index = int(self._order[position])
        if hasattr(self.dataset, "sample"):
            sample = self.dataset.sample(index, seeded(self.seed, 2, k))
            assert isinstance(sample, Tensor)
            return sample
        return self.dataset[index]


class _Span(Sampler[int]):
    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))

    def __len__(self) -> int:
        return self.stop - self.start


def batches(dataset: Dataset, seed: int, batch: int, start: int, stop: int, workers: int = 0) -> DataLoader[Tensor]:
    """Batches ``start`` to ``stop`` of a run, ``(batch, T, C, H, W)`` each."""
    samples = Samples(dataset, seed)
    span = _Span(start * batch, stop * batch)
    return DataLoader(
        samples,
        batch_size=batch,
        sampler=span,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_leave_interrupts,
    )


def _leave_interrupts(_: int) -> None:
    """Ctrl-C reaches every process of the terminal; the training loop decides what happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
