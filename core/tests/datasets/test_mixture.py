"""Several datasets as one."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest
import torch
from restore.builtin.datasets.mixture import mixture
from restore.contracts import Pair


class Clips:
    def __init__(self, value, count):
        self.value, self.count = value, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        return torch.full((2, 3, 4, 4), self.value + index / 1000)

    def name(self, index):
        return f"{self.value}:{index}"


class Drawn(Clips):
    def sample(self, index, generator):
        return self[index] + 1e-6 * torch.rand((), generator=generator)


class Both(Clips):
    def pair(self, index):
        return Pair(self[index] / 2, self[index])

    def sample_pair(self, index, generator):
        return Pair(self[index] / 4, self[index])


def test_shares_are_kept_and_every_entry_occurs_equally_often():
    both = mixture([Clips(0.0, 6), Clips(0.5, 10)], [3, 1])
    names = Counter(both.name(i) for i in range(len(both)))
    per_set = Counter(name.split(":")[0] for name in names.elements())
    assert per_set == {"0.0": 30, "0.5": 10}
    assert set(names.values()) == {5, 1}
    assert [both[i][0, 0, 0, 0].item() for i in (0, len(both) - 1)] == pytest.approx([0.0, 0.509])
    uneven = mixture([Clips(0.0, 4), Clips(0.5, 10)], [1, 1])
    assert Counter(uneven.name(i) for i in range(10)) == {"0.0:0": 3, "0.0:1": 2, "0.0:2": 3, "0.0:3": 2}
    with pytest.raises(IndexError):
        both[len(both)]


def test_left_to_itself_nothing_is_repeated():
    both = mixture([Clips(0.0, 3), Clips(0.5, 7)])
    assert len(both) == len({both.name(i) for i in range(10)}) == 10


def test_samples_are_drawn_where_there_is_something_to_draw():
    both = pickle.loads(pickle.dumps(mixture([Drawn(0.0, 2), Clips(0.5, 2)])))
    one, other = (both.sample(0, torch.Generator().manual_seed(s)) for s in (1, 2))
    assert not torch.equal(one, other)
    assert torch.equal(both.sample(3, torch.Generator()), both[3])
    assert not hasattr(both, "sample_pair")


def test_pairs_come_as_pairs():
    both = mixture([Both(0.0, 2), Both(0.5, 2)])
    assert torch.equal(both.observed[3], both[3] / 2)
    pair = both.sample_pair(3, torch.Generator())
    assert torch.equal(pair.target, both.sample(3, torch.Generator()))
    assert torch.equal(pair.observed, pair.target / 4)


@pytest.mark.parametrize(
    ("sets", "weights", "said"),
    [
        ([], None, "at least one"),
        ([Clips(0, 2)], [1, 2], "1 numbers"),
        ([Clips(0, 2), Clips(1, 2)], [1, 0], "above 0"),
        ([Clips(0, 2), Clips(1, 0)], None, "dataset 2 of the mixture is empty"),
        ([Clips(0, 2), Both(1, 2)], None, "dataset 2 brings pairs and dataset 1"),
    ],
)
def test_what_cannot_be_mixed(sets, weights, said):
    with pytest.raises(ValueError, match=said):
        mixture(sets, weights)
