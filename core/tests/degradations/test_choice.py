"""One of several degradations a sample."""

from __future__ import annotations

import pytest
import torch
from restore.builtin.degradations.bicubic import Bicubic
from restore.builtin.degradations.choice import Choice
from restore.builtin.degradations.codec import Codec
from restore.builtin.degradations.noise import Rounding
from restore.contracts import Pair, Step


class Times:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, clean, step):
        return Pair(clean * self.factor, clean)


def step(seed=0):
    return Step(generator=torch.Generator().manual_seed(seed))


def test_each_sample_draws_its_own_and_keeps_its_place():
    clean = torch.arange(1.0, 401).view(400, 1, 1, 1, 1)
    choice = Choice([Times(1), Times(2), Times(4)], [1, 3, 0], every="sample")
    pair = choice(clean, step(3))
    factors = pair.observed / clean
    assert set(factors.flatten().tolist()) == {1.0, 2.0}
    assert 250 < int((factors == 2).sum()) < 350
    assert torch.equal(pair.target, clean)
    assert torch.equal(pair.observed, choice(clean, step(3)).observed)
    assert not torch.equal(pair.observed, choice(clean, step(4)).observed)


def test_two_codecs_meet_in_one_batch():
    clean = torch.rand(8, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    parts = [Codec("x264", qp=45), Codec("x265", qp=20)]
    pair = Choice(parts, every="sample")(clean, step(1))
    alone = [part(clean, step()).observed for part in parts]
    drawn = [[torch.equal(pair.observed[i], side[i]) for side in alone] for i in range(8)]
    assert all(sum(which) == 1 for which in drawn)
    assert {tuple(which) for which in drawn} == {(True, False), (False, True)}


def test_operators_are_kept_a_sample():
    clean = torch.rand(3, 1, 3, 8, 8, dtype=torch.float64)
    pair = Choice([Bicubic(2), Bicubic(2)], every="sample")(clean, step())
    assert pair.operator is not None
    assert torch.allclose(pair.operator(pair.target), pair.observed)
    assert Choice([Bicubic(2), Bicubic(2)], every="sample")(clean, step()).operator is not None
    assert Choice([Rounding()], every="sample")(clean, step()).operator is None


def test_shapes_that_cannot_be_stacked_are_named():
    clean = torch.rand(8, 1, 3, 16, 16)
    with pytest.raises(ValueError, match="two samples have the shapes"):
        Choice([Bicubic(2), Bicubic(4)], every="sample")(clean, step())
    with pytest.raises(ValueError, match="every must be batch or sample"):
        Choice([Bicubic(2)], every="clip")
