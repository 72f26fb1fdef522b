"""A batch whose samples have different operators equals its samples one by one."""

from __future__ import annotations

import pytest
import torch
from restore import LinearOperator
from restore.operators import (
    BoxDownsample,
    CompressiveSensing,
    FullBlur,
    Grey,
    Mask,
    Mixed,
    VideoSensing,
    frame_interpolation,
    frame_prediction,
    temporal_blur,
)
from restore.operators.kernels import disk, motion_legacy

S = (4, 3, 8, 8)


def rand(*sizes, seed=0):
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problems():
    return [
        Mask(S, rand(*S) > 0),
        BoxDownsample(S, 2),
        CompressiveSensing(S),
        Mask(S, rand(8, 8, seed=1)),
        VideoSensing(S),
        FullBlur(S, disk()),
        BoxDownsample(S, 2),
        temporal_blur(S, torch.full((4,), 0.25)),
        frame_interpolation(S, 2),
        frame_prediction(S, 0.5),
        Grey(S),
    ]


def test_every_sample_is_its_own_problem():
    ops = problems()
    a = Mixed(ops)
    assert isinstance(a, LinearOperator)
    assert a.ragged
    assert len(a.groups) == len(ops) - 2  # the masks, and the boxes
    x, v = rand(len(ops), *S), rand(len(ops), *S, seed=1)
    rho = torch.linspace(0.1, 2, len(ops), dtype=torch.float64)
    y = a(x)
    assert y.shape == (sum(o.shape.rows for o in ops),)
    parts = a.split(y)
    back, inverse, z = a.adjoint(y), a.pinv(y), a.prox(v, y, rho)
    step = a.data_step(y, 0.3)(v)
    for i, op in enumerate(ops):
        xi, vi = x[i : i + 1], v[i : i + 1]
        yi = op(xi)
        assert torch.allclose(parts[i], yi[0], atol=1e-12)
        assert torch.allclose(back[i], op.adjoint(yi)[0], atol=1e-12)
        assert torch.allclose(inverse[i], op.pinv(yi)[0], atol=1e-9)
        assert torch.allclose(z[i], op.prox(vi, yi, float(rho[i]))[0], atol=1e-10)
        assert torch.allclose(step[i], op.prox(vi, yi, 0.3)[0], atol=1e-10)
    assert torch.equal(a.join(parts), y)
    assert [p.solve for p in a.plan(0.3)] == [o.plan(0.3).solve for o in ops]
    assert abs((y * y).sum() - (x * back).sum()) < 1e-10 * y.norm() * x.norm() * 10


def test_equal_ranges_stay_clips():
    ops = [FullBlur(S, motion_legacy(angle)) for angle in (0, 100, 200)]
    a = Mixed(ops)
    x = rand(3, *S)
    y = a(x)
    assert y.shape == (3, 4, 3, 10, 10)
    assert torch.allclose(y[1:2], ops[1](x[1:2]))
    assert torch.allclose(a.pinv(y), x, atol=1e-8)
    assert torch.equal(a.join(a.split(y)), y)


def test_products():
    blurs = Mixed([FullBlur(S, motion_legacy(angle)) for angle in (0, 100)])
    x = rand(2, *S)
    grey = Grey((4, 3, 10, 10))
    assert torch.allclose((grey @ blurs)(x), grey(blurs(x)))
    assert torch.allclose((blurs @ Mask(S, rand(8, 8)))(x), blurs(rand(8, 8) * x))
    two = blurs @ Mixed([Mask(S, rand(8, 8)), Mask(S, rand(8, 8, seed=1))])
    assert torch.allclose(two(x)[1], blurs(rand(8, 8, seed=1) * x)[1])


def test_gradients_reach_everything():
    a = Mixed([BoxDownsample((1, 1, 4, 4), 2), Mask((1, 1, 4, 4), rand(4, 4)), BoxDownsample((1, 1, 4, 4), 2)])
    x, v = rand(3, 1, 1, 4, 4).requires_grad_(), rand(3, 1, 1, 4, 4).requires_grad_()
    rho = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, v, rho: a.prox(v, a(x), rho), (x, v, rho), fast_mode=True)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Mixed([]), "at least one"),
        (lambda: Mixed([Grey(S), Grey((1, 3, 8, 8))]), "the same clips"),
        (lambda: Mixed([Mask(S, rand(2, *S))]), "made for 2 samples"),
        (lambda: Mixed(problems())(rand(3, *S)), r"the clips must have the shape \(11, 4, 3, 8, 8\), got \(3, 4"),
        (lambda: Mixed([Grey(S)]).adjoint(rand(7)), r"measurement must have the shape \(1, 4, 1, 8, 8\), got \(7,\)"),
        (lambda: Mixed([Grey(S)]).prox(rand(1, *S), rand(1, 4, 1, 8, 8), -1.0), "above 0"),
    ],
)
def test_what_cannot_be_done(make, said):
    with pytest.raises(ValueError, match=said):
        make()
