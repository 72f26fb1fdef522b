"""Values at the iterations that papers name."""

from __future__ import annotations

import attrs
import pytest
import torch
from restore.build import Builder
from restore.contracts import Schedule, Step
from restore.convert import convert
from restore.document import parse
from restore.errors import RequestError
from restore.functional.blend import blend
from restore.functional.seeding import seeded


@pytest.fixture
def schedule(registry):
    def make(toml: str):
        document = parse(f"x = {toml}", "s.toml")
        return convert(document.data["x"], Schedule, document.root.child("x"), Builder(registry).special)

    return make


def values(schedule, iterations, total):
    return [schedule(Step(i, total)) for i in iterations]


def test_a_bare_number_is_a_constant_and_text_that_is_none_is_refused(schedule):
    assert values(schedule("3"), [0, 7], 8) == [3, 3]
    assert schedule('"25/255"')(Step()) == pytest.approx(25 / 255)
    with pytest.raises(RequestError, match="s.toml:1: x: needs a schedule: a number or a table"):
        schedule("true")
    with pytest.raises(RequestError, match="no schedule 'liner'; did you mean"):
        schedule('{ use = "liner" }')


def test_ecos_sigmoid_has_flat_ends(schedule):
    eco = schedule('{ use = "sigmoid-clip" }')
    assert values(eco, [0, 260, 500, 740, 1000], 1000) == pytest.approx([0, 0, 0.5, 1, 1])
    # 1.2 * (sigmoid(x) - 1/2) = 1/2 at x = ln 11, that is tau = 1/2 + ln(11) / 10 = 0.7398.
    assert 0 < eco(Step(262, 1000)) < 0.01
    assert 0.99 < eco(Step(738, 1000)) < 1
    assert eco(Step(600, 1000)) == pytest.approx(0.5 + 1.2 * (0.7310585786 - 0.5))
    later = schedule('{ use = "sigmoid-clip", shift = 1 }')
    assert later(Step(600, 1000)) == pytest.approx(0.5)


def test_ssls_ramp_is_full_after_exactly_5000_iterations(schedule):
    ramp = schedule('{ use = "ramp", end = 0.1, increment = 1e-4, every = 5 }')
    assert values(ramp, [0, 4, 5, 4995, 5000, 9000], 9) == pytest.approx([0, 0, 1e-4, 0.0999, 0.1, 0.1], abs=1e-12)
    assert ramp(Step(5000, 9)) == 0.1
    assert ramp(Step(4999, 9)) < 0.1
    down = schedule('{ use = "ramp", start = 1, end = 0, increment = 0.4 }')
    assert values(down, range(4), 9) == pytest.approx([1, 0.6, 0.2, 0])


def test_the_ladder_has_equal_rungs_or_milestones_or_draws(schedule):
    ladder = schedule('{ use = "ladder", values = [0, 0.25, 0.5, 0.75] }')
    assert values(ladder, [0, 1, 2, 3, 4, 5, 6, 7, 8], 8) == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 0.75]
    stepped = schedule('{ use = "ladder", values = [1, 0], milestones = [3] }')
    assert values(stepped, [2, 3, 99], 8) == [1, 0, 0]
    drawn = schedule('{ use = "ladder", values = [0, 0.25, 0.5, 0.75], random = true }')
    draws = [drawn(Step(0, 1, seeded(k))) for k in range(400)]
    assert set(draws) == {0, 0.25, 0.5, 0.75}
    assert min(draws.count(v) for v in set(draws)) > 60
    assert drawn(Step(0, 1, seeded(3))) == drawn(Step(5, 9, seeded(3)))


def test_cosine_restarts_at_the_top(schedule):
    cosine = schedule('{ use = "cosine", start = 2, end = 1, periods = [4, 8], restart_factor = 0.5 }')
    # The second period begins at 2 * 0.5 = 1, the third at 0.5: below its end it rises.
    assert values(cosine, [0, 2, 4, 8, 12], 99) == pytest.approx([2, 1.5, 1, 1, 0.5])
    plain = schedule('{ use = "cosine", start = 2, end = 1, periods = [4] }')
    assert values(plain, [0, 3, 4, 6, 8], 99) == pytest.approx([2, 1.5 - 0.5 * 0.5**0.5, 2, 1.5, 2])


def test_the_others(schedule):
    assert values(schedule('{ use = "step", start = 8, every = 25, end = 1.5 }'), [24, 25, 50, 75], 9) == [8, 4, 2, 1.5]
    assert values(schedule('{ use = "polynomial", start = 4, end = 0, power = 2 }'), [0, 5, 10], 10) == [4, 1, 0]
    assert values(schedule('{ use = "linear", start = 0, end = 1, iterations = 4 }'), [0, 1, 4, 9], 10) == [
        0,
        0.25,
        1,
        1,
    ]
    warm = schedule('{ use = "warmup", schedule = { use = "multistep", start = 8, milestones = [3] }, iterations = 4 }')
    assert values(warm, [0, 2, 3, 4], 10) == pytest.approx([2, 6, 0.8, 0.8])


def test_a_chain_gives_each_schedule_a_clock_of_its_own(schedule):
    chain = schedule(
        '{ use = "chain", iterations = [4, 2], schedules = [{ use = "linear", start = 0, end = 1 }, 5, '
        '{ use = "linear", start = 1, end = 0 }] }'
    )
    assert values(chain, range(10), 10) == pytest.approx([0, 0.25, 0.5, 0.75, 5, 5, 1, 0.75, 0.5, 0.25])
    with pytest.raises(RequestError, match="iterations must be 1 lengths"):
        schedule('{ use = "chain", iterations = [], schedules = [1, 2] }')


def test_blending_weighs_the_clean_side():
    clean, other = torch.ones(2, 1, 1, 1, 1), torch.zeros(2, 1, 1, 1, 1)
    assert blend(clean, other, 0.25).flatten().tolist() == [0.25, 0.25]
    assert blend(clean, other, torch.tensor([1.0, 0.25]).view(2, 1, 1, 1, 1)).flatten().tolist() == [1, 0.25]
    spoilt = torch.full_like(clean, float("nan"))
    assert torch.equal(blend(clean, spoilt, 1), clean)
    assert torch.equal(blend(spoilt, clean, 0.0), clean)
    with pytest.raises(ValueError, match="only equal shapes"):
        blend(clean, other[:1], 0.5)


def test_progress_is_that_of_the_clock():
    assert attrs.evolve(Step(3, 4), iteration=9).progress == 1
