"""Chains and choices: order, targets, operators, and how recipes write them."""

from __future__ import annotations

import pytest
import torch
from restore.build import Builder
from restore.builtin.degradations.bicubic import Bicubic
from restore.builtin.degradations.chain import Chain, is_per_frame, settle
from restore.builtin.degradations.choice import Choice
from restore.builtin.degradations.codec import Codec
from restore.builtin.degradations.jpeg import JPEG
from restore.builtin.degradations.noise import GaussianNoise, Rounding
from restore.contracts import Pair, Step
from restore.document import parse
from restore.errors import RequestError
from restore.plugins import registry
from restore.recipe import Use


def step(seed=0):
    return Step(generator=torch.Generator().manual_seed(seed))


class Times:
    def __init__(self, factor, operator=None):
        self.factor, self.operator = factor, operator

    def __call__(self, clean, step):
        return Pair(clean * self.factor, clean, self.operator)


class Plus:
    def __call__(self, clean, step):
        return Pair(clean + 1, clean)


class Named:
    def __init__(self, name):
        self.name = name

    def __matmul__(self, other):
        return Named(f"{self.name} @ {other.name}")


class Rewrites:
    def __call__(self, clean, step):
        return Pair(clean, clean * 0)


def test_order_matters_and_is_kept():
    clean = torch.rand(1, 2, 3, 4, 4)
    assert torch.equal(Chain([Times(2), Plus()])(clean, step()).observed, clean * 2 + 1)
    assert torch.equal(Chain([Plus(), Times(2)])(clean, step()).observed, (clean + 1) * 2)
    assert Chain([Plus(), Times(2)])(clean, step()).target is clean


def test_steps_draw_from_one_generator_one_after_the_other():
    clean = torch.full((1, 1, 1, 32, 32), 0.5)
    made = Chain([GaussianNoise(0.1), GaussianNoise(0.1)])(clean, step()).observed - 0.5
    assert made.std().item() == pytest.approx(0.1 * 2**0.5, rel=0.1)  # not the same noise twice


def test_later_crops_crop_the_target():
    clean = torch.rand(1, 1, 3, 27, 34)
    pair = Chain([Bicubic(2), Bicubic(3)])(clean, step())
    assert pair.observed.shape[-2:] == (4, 5)
    assert torch.equal(pair.target, clean[..., :24, :30])
    pair = Chain([GaussianNoise(0.1), Bicubic(4)])(clean, step())
    assert torch.equal(pair.target, clean[..., :24, :32])  # clean, not noisy


def test_a_later_step_may_not_change_the_target():
    clean = torch.rand(1, 1, 3, 8, 8)
    assert Chain([Rewrites(), Plus()])(clean, step()).target.abs().max() == 0
    with pytest.raises(ValueError, match=r"step 2 \(Rewrites\) changes the target"):
        Chain([Plus(), Rewrites()])(clean, step())

    class Odd:
        def __call__(self, clean, step):
            return Pair(clean[..., :3, :], clean[..., :3, :])

    with pytest.raises(ValueError, match="crops 24 pixels to 3, which are no whole pixels of the target's 9"):
        Chain([Stretched(), Odd()])(torch.rand(1, 1, 3, 9, 8), step())


class Stretched:
    """Nine clean rows observed as 24."""

    def __call__(self, clean, step):
        return Pair(torch.rand(*clean.shape[:3], 24, 8), clean)


def test_the_operator_of_the_chain():
    clean = torch.rand(1, 1, 1, 8, 8)
    a, b = Named("a"), Named("b")
    assert Chain([Times(2, a), Rounding()])(clean, step()).operator is a
    assert Chain([Times(2, a), Times(3, b)])(clean, step()).operator.name == "b @ a"
    assert Chain([Times(2, a), Bicubic(2)])(clean, step()).operator is None
    assert Chain([Rounding(), Times(2, a)])(clean, step()).operator is None


def test_the_operator_of_two_scalings_is_their_product():
    clean = torch.rand(2, 1, 3, 24, 36, dtype=torch.float64)
    pair = Chain([Bicubic(2), GaussianNoise(0), Bicubic(3)])(clean, step())
    assert torch.allclose(pair.operator(pair.target), pair.observed)


def test_choice_follows_its_weights_and_its_seed():
    clean = torch.ones(1, 1, 1, 1, 1)
    choice = Choice([Times(1), Times(2), Times(3)], [1, 3, 0])
    drawn = [choice(clean, step(s)).observed.item() for s in range(200)]
    assert drawn == [choice(clean, step(s)).observed.item() for s in range(200)]
    assert 110 < drawn.count(2) < 180
    assert drawn.count(3) == 0
    assert {settle(choice, torch.Generator().manual_seed(s)).factor for s in range(50)} == {1, 2}


def test_what_is_independent_per_frame():
    assert is_per_frame(Chain([Bicubic(2), GaussianNoise(0.1), JPEG(30)]))
    assert not is_per_frame(Chain([JPEG(30), Codec(qp=30)]))
    assert not is_per_frame(Choice([JPEG(30), Times(2)]))


SECOND_ORDER = """
use = "chain"

[[steps]]
use = "gaussian-noise"
sigma = ["1/255", "25/255"]

[[steps]]
use = "choice"
weights = [1, 1]
among = [
    { use = "jpeg", quality = [30, 95] },
    { use = "chain", steps = [{ use = "poisson-noise", peak = 100 }, { use = "jpeg", quality = 20 }] },
]

[[steps]]
use = "bicubic"
scale = 2

[[steps]]
use = "codec"
codec = "x264"
crf = [20, 35]
preset = "ultrafast"
"""


def built(text):
    document = parse(text, "pipeline.toml", ())
    data = {k: v for k, v in document.data.items() if k != "use"}
    return Builder(registry()).build("degradation", Use(document.data["use"], data, document.root))


def test_a_second_order_pipeline_in_toml():
    chain = built(SECOND_ORDER)
    clean = torch.rand(2, 3, 3, 16, 18)
    pair = chain(clean, step(5))
    assert pair.observed.shape == (2, 3, 3, 8, 9)
    assert torch.equal(pair.target, clean)
    assert torch.equal(pair.observed, chain(clean, step(5)).observed)
    assert not torch.equal(pair.observed, chain(clean, step(6)).observed)
    fixed = chain.settled(torch.Generator().manual_seed(1))
    assert isinstance(fixed.steps[0].sigma, float)
    assert fixed.steps[3].crf == pytest.approx(27.5, abs=7.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('use = "chain"\nsteps = []', "steps must hold at least one degradation"),
        ('use = "chain"', "core:chain needs 'steps'"),
        ('use = "chain"\nsteps = [{ use = "jpeg", quality = 200 }]', "quality must be from 1 to 100, got 200"),
        ('use = "chain"\nsteps = [{ use = "jpg", quality = 20 }]', "no degradation 'jpg'"),
        ('use = "chain"\nsteps = [{ use = "jpeg", qality = 20 }]', "has no parameter 'qality'"),
        ('use = "codec"\nqp = 52', "qp must be from 0 to 51, got 52"),
        ('use = "codec"\ncodec = "x266"\nqp = 30', "must be 'x264' or 'x265', got 'x266'"),
        ('use = "choice"\namong = ["rounding"]\nweights = [1, 2]', "weights must be 1 numbers"),
    ],
)
def test_mistakes_are_named_with_their_place(text, said):
    with pytest.raises(RequestError, match="pipeline.toml") as error:
        built(text)
    assert said in str(error.value)
