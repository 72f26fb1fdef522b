"""ECO's pairs against its equations, around every kind of degradation."""

from __future__ import annotations

import pytest
import torch
from restore import Pair, Prediction, RestoreError, Step, Traits
from restore.builtin.degradations.bicubic import Bicubic
from restore.builtin.degradations.chain import Chain
from restore.builtin.degradations.inpainting import Inpainting
from restore.builtin.degradations.jpeg import JPEG
from restore.builtin.degradations.noise import GaussianNoise
from restore.builtin.losses.pixel import L1
from restore.builtin.schedules.basic import Constant, Linear
from restore.contracts import plain_degradation
from restore.functional.blend import blend
from restore.functional.resize import resize
from restore.functional.seeding import seeded
from restore.teachers import FrozenModel
from restore_eco.centroid import Centroid, Distill, Residual, noise_free, real_world
from restore_eco.mixup import Mixup
from torch import nn

torch.set_num_threads(1)


class Toy(nn.Module):
    """Enlarges, and blurs by a random kernel; channels apart."""

    def __init__(self, scale=2, seed=0, channels="rgb"):
        super().__init__()
        self.traits = Traits(scale=scale, channels=channels)
        kernel = torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(seed)).double()
        self.kernel = nn.Parameter(kernel / kernel.sum() * 1.4)

    def forward(self, clip):
        """Values above 1 come out, as of any network."""
        larger = resize(clip, self.traits.scale)
        flat = larger.flatten(0, 2)[:, None]
        return nn.functional.conv2d(flat, self.kernel, padding=1).view_as(larger)


def clean(*shape, seed=0):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def step(iteration=0, total=100, seed=5):
    return Step(iteration, total, seeded(seed))


CLIPS = clean(2, 3, 3, 16, 12)
# A linear one, noise, a random mask, several random ones in a row, one that is not linear, and one that crops.
BASES = {
    "bicubic": (lambda: Bicubic(2), 2, CLIPS),
    "noise": (lambda: GaussianNoise((0.05, 0.2)), 1, CLIPS),
    "mask": (Inpainting, 1, CLIPS),
    "chain": (lambda: Chain([Inpainting(), Bicubic(2), GaussianNoise(0.1)]), 2, CLIPS),
    "jpeg": (lambda: JPEG((20, 80)), 1, CLIPS),
    "crop": (lambda: Chain([GaussianNoise(0.1), Bicubic(2)]), 2, clean(2, 1, 3, 17, 13)),
}
ALL = pytest.mark.parametrize("name", BASES)


def setting(name):
    make, scale, clips = BASES[name]
    return make(), FrozenModel(Toy(scale)), clips


def equal(one: Pair, other: Pair):
    assert torch.equal(one.observed, other.observed)
    assert torch.equal(one.target, other.target)


def loss(model, pair):
    return L1()(Prediction(model(pair.observed)), pair, step())


def eight_bits(x):
    return torch.floor(x.clamp(0, 1) * 255 + 0.5) / 255


def parts(name):
    """D(y), me and D(me) by hand; D draws over a cropped clip what it would over the whole one cut to that size."""
    base, teacher, clips = setting(name)
    height, width = base(clips, step()).target.shape[-2:]
    clips = clips[..., :height, :width]
    real = base(clips, step())
    centroid = eight_bits(teacher.network(real.observed).detach())
    return clips, real, centroid, base(centroid, step())


@ALL
def test_clean_weight_1_is_the_vanilla_loss(name):
    base, teacher, _ = setting(name)
    clips, real, *_ = parts(name)
    pair = Centroid(base, teacher, Constant(1.0))(clips, step())
    equal(pair, real)
    model = Toy(teacher.traits.scale, seed=9)
    assert torch.equal(loss(model, pair), (model(real.observed) - clips).abs().mean())


@ALL
@pytest.mark.parametrize("make", [lambda b, t: Centroid(b, t, Constant(0.0)), noise_free])
def test_clean_weight_0_is_equation_11(name, make):
    base, teacher, clips = setting(name)
    _, _, centroid, synthetic = parts(name)
    pair = make(base, teacher)(clips, step())
    assert torch.equal(pair.target, centroid)
    assert torch.equal(pair.observed, synthetic.observed)
    model = Toy(teacher.traits.scale, seed=9)
    expected = (centroid - model(synthetic.observed)).abs().mean()
    assert torch.equal(loss(model, pair), expected)


@ALL
def test_in_between_is_equation_14(name):
    base, teacher, clips = setting(name)
    whole, real, centroid, synthetic = parts(name)
    pair = Centroid(base, teacher, Constant(0.3))(clips, step())
    assert torch.allclose(pair.target, 0.3 * whole + 0.7 * centroid, atol=1e-15)
    assert torch.allclose(pair.observed, 0.3 * real.observed + 0.7 * synthetic.observed, atol=1e-15)


@ALL
def test_the_synthetic_pair_is_consistent_and_that_of_distillation_is_not(name):
    base, teacher, clips = setting(name)
    pair = noise_free(base, teacher)(clips, step())
    assert torch.equal(base(pair.target, step()).observed, pair.observed)
    distilled = Distill(base, teacher)(clips, step())
    _, real, centroid, _ = parts(name)
    assert torch.equal(distilled.observed, base(clips, step()).observed if name != "crop" else real.observed)
    assert torch.equal(distilled.target, centroid)
    assert not torch.allclose(base(distilled.target, step()).observed, distilled.observed, atol=1e-3)
    assert distilled.operator is None


@pytest.mark.parametrize("name", ["noise", "mask", "jpeg"])
def test_without_a_generator_torch_s_own_is_replayed(name):
    base, teacher, clips = setting(name)
    torch.manual_seed(3)
    pair = noise_free(base, teacher)(clips, Step(0, 1))
    after = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(base(pair.target, Step(0, 1)).observed, pair.observed)
    assert torch.equal(torch.rand(3), after), "one draw was taken, not two"


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_what_comes_next_does_not_depend_on_the_weight(weight):
    base, teacher, clips = setting("noise")
    now = step()
    Centroid(base, teacher, Constant(weight))(clips, now)
    other = step()
    base(clips, other)
    assert torch.equal(torch.rand(3, generator=now.generator), torch.rand(3, generator=other.generator))


def test_the_operator_explains_the_blended_pair():
    for name in ("bicubic", "mask"):
        base, teacher, clips = setting(name)
        pair = Centroid(base, teacher, Constant(0.4))(clips, step())
        assert torch.allclose(pair.operator(pair.target), pair.observed, atol=1e-12), name


def test_blending_commutes_with_bicubic_before_rounding():
    y, me = clean(1, 2, 3, 24, 20), clean(1, 2, 3, 24, 20, seed=1)
    exact, rounded = Bicubic(2), Bicubic(2, rounding="each-pass")

    def both(d):
        inside = d(blend(y, me, 0.35), step()).observed
        return (inside - blend(d(y, step()).observed, d(me, step()).observed, 0.35)).abs().max()

    assert both(exact) < 1e-14
    assert both(rounded) > 1e-4


def test_the_default_schedule_is_the_published_one():
    base, teacher, clips = setting("bicubic")
    _, real, centroid, synthetic = parts("bicubic")
    eco = Centroid(base, teacher)
    for iteration in (0, 100, 259):
        assert torch.equal(eco(clips, step(iteration, 1000)).target, centroid), iteration
    assert not torch.equal(eco(clips, step(263, 1000)).target, centroid)
    half = eco(clips, step(500, 1000))
    assert torch.allclose(half.target, (clips + centroid) / 2, atol=1e-15)
    assert torch.allclose(half.observed, (real.observed + synthetic.observed) / 2, atol=1e-15)
    assert not torch.equal(eco(clips, step(737, 1000)).target, clips)
    for iteration in (741, 1000):
        equal(eco(clips, step(iteration, 1000)), real)


def test_a_linear_schedule_and_one_that_leaves_the_interval():
    base, teacher, clips = setting("bicubic")
    _, _, centroid, _ = parts("bicubic")
    eco = Centroid(base, teacher, Linear(0.0, 1.0))
    assert torch.allclose(eco(clips, step(25, 100)).target, 0.25 * clips + 0.75 * centroid, atol=1e-15)
    with pytest.raises(ValueError, match=r"clean_weight must lie in \[0, 1\], its schedule gives 2"):
        Centroid(base, teacher, Constant(2.0))(clips, step())


def test_the_teacher_is_not_asked_where_it_does_not_count():
    base, teacher, clips = setting("bicubic")
    calls = []
    teacher.network.register_forward_hook(lambda *_: calls.append(1))
    Centroid(base, teacher, Constant(1.0))(clips, step())
    assert not calls
    Centroid(base, teacher, Constant(0.9))(clips, step())
    assert len(calls) == 1


@pytest.mark.parametrize("bits", [0, 8, 10])
def test_bits_of_the_teacher(bits):
    base, teacher, clips = setting("bicubic")
    answer = teacher.network(base(clips, step()).observed).detach()
    assert float(answer.max()) > 1
    target = noise_free(base, teacher, teacher_bits=bits)(clips, step()).target
    levels = 2**bits - 1
    expected = torch.floor(answer.clamp(0, 1) * levels + 0.5) / levels if bits else answer
    assert torch.equal(target, expected)


def test_re_degrading_keeps_what_is_not_linear_consistent():
    base, teacher, clips = setting("jpeg")
    _, _, centroid, _ = parts("jpeg")
    pair = Centroid(base, teacher, Constant(0.5), mode="re-degrade")(clips, step())
    assert torch.equal(pair.target, blend(clips, centroid, 0.5))
    assert torch.equal(base(pair.target, step()).observed, pair.observed)
    blended = Centroid(base, teacher, Constant(0.5))(clips, step())
    assert torch.equal(blended.target, pair.target)
    assert not torch.allclose(base(blended.target, step()).observed, blended.observed, atol=1e-3)


def test_sampling_takes_whole_pairs_as_often_as_the_weight_says():
    base, teacher = Bicubic(2), FrozenModel(Toy(2))
    clips = clean(400, 1, 3, 4, 4)
    real, synthetic = base(clips, step()), noise_free(base, teacher)(clips, step())
    pair = Centroid(base, teacher, Constant(0.3), sample_pairs=True)(clips, step())
    taken = [torch.equal(a, b) for a, b in zip(pair.target, real.target, strict=True)]
    assert 80 < sum(taken) < 160
    for i, was_real in enumerate(taken):
        source = real if was_real else synthetic
        assert torch.equal(pair.target[i], source.target[i])
        assert torch.equal(pair.observed[i], source.observed[i])


def test_noise_is_added_once_and_after_blending():
    base, teacher, clips = setting("bicubic")
    noisy = real_world(base, teacher, Constant(0.5), sigma=0.1)
    pair, quiet = noisy(clips, step()), Centroid(base, teacher, Constant(0.5))(clips, step())
    noise = pair.observed - quiet.observed
    assert torch.equal(pair.target, quiet.target), "the teacher saw no noise"
    assert float(noise.std()) == pytest.approx(0.1, rel=0.1), "a blend of two draws would have 0.071"
    measured = plain_degradation(noisy)(clips, step())
    assert torch.equal(measured.target, clips)
    assert float((measured.observed - base(clips, step()).observed).std()) == pytest.approx(0.1, rel=0.1)
    from restore.build import schema

    assert schema(real_world)["sigma"].default == pytest.approx(10 / 255)


def test_what_is_measured_is_the_plain_degradation():
    base, teacher, _ = setting("bicubic")
    for made in (Centroid(base, teacher), Distill(base, teacher), Mixup(Centroid(base, teacher))):
        assert plain_degradation(made) is base


def test_the_residual_is_what_the_teacher_misses():
    base, teacher, clips = setting("bicubic")
    _, real, centroid, _ = parts("bicubic")
    pair = Residual(base, teacher, magnitude=False)(clips, step())
    assert torch.equal(pair.observed, real.observed)
    assert torch.allclose(2 * pair.target - 1, clips - centroid, atol=1e-15)
    assert torch.equal(Residual(base, teacher)(clips, step()).target, (clips - centroid).abs())


def test_luma_models_get_luma():
    base = Bicubic(2)
    y = clean(2, 1, 1, 16, 16)
    pair = noise_free(base, FrozenModel(Toy(2, channels="y")))(y, step())
    assert pair.target.shape == y.shape
    with pytest.raises(RestoreError, match="luma"):
        noise_free(base, FrozenModel(Toy(2)))(y, step())


def test_a_teacher_of_another_scale_is_refused():
    base, _, clips = setting("bicubic")
    with pytest.raises(RestoreError, match="trained to undo this degradation"):
        noise_free(base, FrozenModel(Toy(3)))(clips, step())


def test_wrong_parameters_are_refused():
    base, teacher, _ = setting("bicubic")
    with pytest.raises(ValueError, match="mode must be"):
        Centroid(base, teacher, mode="redegrade")
    with pytest.raises(ValueError, match="whole pairs"):
        Centroid(base, teacher, sample_pairs=True, mode="re-degrade")
    with pytest.raises(ValueError, match="teacher_bits"):
        Centroid(base, teacher, teacher_bits=17)


def test_mixup_mixes_both_sides_alike_with_another_sample():
    base, clips = Bicubic(2), clean(6, 1, 3, 8, 8)
    plain, pair = base(clips, step()), Mixup(base)(clips, step())
    moved = 0
    for i in range(6):
        found = []
        for j in range(6):
            line = plain.target[i] - plain.target[j]
            w = 1.0 if j == i else float(((pair.target[i] - plain.target[j]) * line).sum() / line.square().sum())
            if torch.allclose(pair.target[i], w * plain.target[i] + (1 - w) * plain.target[j], atol=1e-10):
                found.append((j, w))
        assert len(found) == 1, "it is a blend with one other"
        j, w = found[0]
        assert 0 <= w <= 1
        assert torch.allclose(pair.observed[i], w * plain.observed[i] + (1 - w) * plain.observed[j], atol=1e-10)
        moved += j != i
    assert moved >= 3
    assert pair.operator is None
    equal(Mixup(base, probability=0.0)(clips, step()), plain)
    equal(Mixup(base)(clips[:1], step()), base(clips[:1], step()))


def test_mixup_and_eco_go_together():
    base, teacher, clips = setting("chain")
    pair = Mixup(Centroid(base, teacher, Constant(0.5)))(clips, step())
    assert pair.target.shape == clips.shape
    inside = Centroid(Mixup(base), teacher, Constant(0.0))(clips, step())
    assert torch.equal(base(inside.target, step()).observed, inside.observed), "synthetic pairs are not mixed twice"
