"""Every operator against its dense matrix: adjoint, data step, pseudo-inverse, gradients, dtypes, batches."""

from __future__ import annotations

import pickle
import warnings

import pytest
import torch
from restore.operators import (
    BoxDownsample,
    CircularBlur,
    CompressiveSensing,
    FrameSelection,
    FullBlur,
    Grey,
    Identity,
    Mask,
    Operator,
    Separable,
    Snapshot,
    VideoSensing,
    area_downsample,
    bicubic_downsample,
    blur,
    dense_matrix,
    frame_interpolation,
    frame_prediction,
    gaussian_downsample,
    stack,
    temporal_blur,
)
from restore.operators.kernels import disk, gaussian, motion_line
from restore.operators.structure import Iterative


def rand(*sizes, seed=0, dtype=torch.float64):
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def bits(*sizes, seed=0):
    return torch.rand(*sizes, generator=torch.Generator().manual_seed(seed)) > 0.5


class Shear(Operator):
    """No structure that anything knows: left to conjugate gradients, or to the dense solve where ``dense``."""

    def __init__(self, shape, dense):
        super().__init__(shape, shape)
        self.dense = dense

    def apply(self, x):
        return x + 0.7 * x.roll(1, -1) * torch.arange(x.shape[-2], dtype=x.dtype)[:, None]

    def back(self, y):
        return y + (0.7 * y * torch.arange(y.shape[-2], dtype=y.dtype)[:, None]).roll(-1, -1)

    def solver(self):
        return None if self.dense else Iterative(self)


S, ODD = (3, 2, 4, 4), (2, 3, 5, 7)

# name: (operator, the solve that the plan must name)
CASES = {
    "identity": (lambda: Identity(S), "tight frame"),
    "mask": (lambda: Mask(S, bits(*S)), "diagonal"),
    "mask-odd": (lambda: Mask(ODD, bits(5, 7)), "diagonal"),
    "mask-weights": (lambda: Mask(S, rand(3, 1, 4, 4)), "diagonal"),
    "frames": (lambda: FrameSelection(S, [2, 0]), "tight frame"),
    "interpolation": (lambda: frame_interpolation((5, 1, 3, 2), 2), "tight frame"),
    "prediction": (lambda: frame_prediction((5, 1, 3, 2), 0.5), "tight frame"),
    "grey": (lambda: Grey(ODD), "tight frame"),
    "box2": (lambda: BoxDownsample(S, 2), "tight frame"),
    "box3-left-over": (lambda: BoxDownsample(ODD, 3), "tight frame"),
    "box1": (lambda: BoxDownsample(S, 1), "tight frame"),
    "snapshot": (lambda: Snapshot(S, bits(3, 1, 4, 4)), "diagonal"),
    "separable": (lambda: Separable(ODD, {0: rand(3, 2), 2: rand(2, 5), 3: rand(7, 7)}), "kronecker"),
    "separable-rank": (lambda: Separable(ODD, {2: rand(4, 1) @ rand(1, 5), 1: rand(1, 3)}), "kronecker"),
    "separable-none": (lambda: Separable(ODD, {}), "kronecker"),
    # Blurs.
    "circular": (lambda: CircularBlur((2, 1, 5, 6), rand(3, 4)), "fft"),
    "circular-odd": (lambda: CircularBlur((2, 1, 7, 5), rand(2, 5)), "fft"),
    "circular-1x1": (lambda: CircularBlur((2, 1, 4, 3), rand(1, 1)), "fft"),
    "circular-singular": (lambda: CircularBlur((1, 2, 6, 4), torch.ones(1, 2) / 2), "fft"),
    "circular@circular": (lambda: CircularBlur(ODD, rand(3, 3)) @ (2 * CircularBlur(ODD, rand(2, 2)).T), "fft"),
    "full-disk": (lambda: FullBlur((2, 1, 5, 6), disk()), "bordered fft"),
    "full-random": (lambda: FullBlur((1, 2, 4, 7), rand(3, 2)), "bordered fft"),
    "full-large-kernel": (lambda: FullBlur((1, 1, 3, 6), rand(12, 12)), "bordered fft"),
    "full-line": (lambda: FullBlur((1, 2, 5, 4), motion_line(3, 0)), "kronecker"),
    "full-1x1": (lambda: FullBlur((1, 2, 5, 4), rand(1, 1)), "kronecker"),
    "valid-disk": (lambda: blur((1, 2, 7, 6), disk(), "valid"), "bordered fft"),
    "valid-gaussian": (lambda: blur((1, 1, 7, 6), torch.outer(gaussian(3, 1), gaussian(3, 1)), "valid"), "kronecker"),
    "full@full": (lambda: FullBlur((1, 1, 6, 6), rand(2, 3)) @ FullBlur((1, 1, 5, 4), rand(2, 3)), "bordered fft"),
    "temporal-full": (lambda: temporal_blur((4, 2, 3, 3), torch.full((4,), 0.25)), "kronecker"),
    "temporal-valid": (lambda: temporal_blur((4, 2, 3, 3), rand(3), "valid"), "kronecker"),
    "temporal-circular": (lambda: temporal_blur((5, 2, 3, 3), torch.full((4,), 0.25), "circular"), "kronecker"),
    "temporal@blur": (
        lambda: temporal_blur((3, 1, 6, 7), rand(2)) @ FullBlur((3, 1, 4, 5), rand(3, 3)),
        "plane by plane: bordered fft",
    ),
    "blur@grey": (lambda: FullBlur((1, 1, 4, 4), disk()) @ Grey((1, 3, 4, 4)), "bordered fft"),
    # Resampling.
    "bicubic": (lambda: bicubic_downsample((2, 1, 6, 9), 3), "kronecker"),
    "bicubic1": (lambda: bicubic_downsample((1, 1, 4, 5), 1), "kronecker"),
    "gaussian": (lambda: gaussian_downsample((1, 2, 8, 6), 2, size=7), "kronecker"),
    "area": (lambda: area_downsample((1, 1, 7, 5), (3, 2)), "kronecker"),
    "grey@bicubic": (lambda: Grey((2, 3, 2, 4)) @ bicubic_downsample((2, 3, 4, 8), 2), "kronecker"),
    # Compressive sensing.
    "sensing": (lambda: CompressiveSensing((2, 3, 4, 5), 0.3), "cholesky"),
    "sensing-structured": (lambda: CompressiveSensing((2, 3, 4, 5), 0.3, kind="structured"), "tight frame"),
    "sensing-structured-odd": (lambda: CompressiveSensing((1, 3, 3, 7), 0.5, kind="structured"), "tight frame"),
    "sensing@box": (lambda: CompressiveSensing((2, 1, 2, 2), 0.4) @ BoxDownsample((2, 1, 4, 4), 2), "cholesky"),
    "video-sensing": (lambda: VideoSensing((3, 2, 4, 5), 0.25), "time systems"),
    "video-sensing-structured": (lambda: VideoSensing((3, 2, 3, 5), 0.4, kind="structured"), "time systems"),
    "video-sensing-1": (lambda: VideoSensing((1, 2, 3, 3), 0.2), "time systems"),
    # Algebra.
    "scaled": (lambda: -2.5 * BoxDownsample(S, 2), "tight frame"),
    "scaled-kronecker": (lambda: 3 * Separable(S, {2: rand(3, 4)}), "kronecker"),
    "scaled-dense": (lambda: 0.5 * Shear((2, 1, 3, 3), True), "dense"),
    "transpose-box": (lambda: BoxDownsample(S, 2).T, "tight frame"),
    "transpose-kronecker": (lambda: Separable(S, {0: rand(5, 3), 3: rand(2, 4)}).T, "kronecker"),
    "transpose-snapshot": (lambda: Snapshot(S, bits(3, 1, 4, 4)).T, "diagonal"),
    "transpose-iterative": (lambda: Shear((2, 1, 3, 3), False).T, "conjugate gradients"),
    "transpose-scaled": (lambda: (3 * Separable(S, {2: rand(3, 4)})).T, "kronecker"),
    "box@mask": (lambda: BoxDownsample(S, 2) @ Mask(S, rand(*S)), "diagonal"),
    "grey@box": (lambda: Grey((2, 3, 2, 2)) @ BoxDownsample((2, 3, 4, 4), 2), "tight frame"),
    "mask@grey": (lambda: Mask((2, 1, 5, 7), bits(2, 1, 5, 7)) @ Grey(ODD), "diagonal"),
    "grey@mask": (lambda: Grey(ODD) @ Mask(ODD, rand(*ODD)), "diagonal"),
    "snapshot@mask": (lambda: Snapshot(S, rand(3, 1, 4, 4)) @ Mask(S, rand(*S, seed=1)), "diagonal"),
    "box@grey@mask": (
        lambda: 2 * BoxDownsample((2, 1, 5, 7), 2) @ (Grey(ODD) @ Mask(ODD, rand(5, 7))),
        "diagonal",
    ),
    "frames@mask": (lambda: FrameSelection(S, [0, 2]) @ Mask(S, bits(*S)), "diagonal"),
    "frames.T": (lambda: FrameSelection(S, [0, 2]).T, "tight frame"),
    "mask@frames.T": (lambda: Mask(S, rand(*S)) @ FrameSelection(S, [0, 2]).T, "diagonal"),
    "kronecker@box": (lambda: Separable((3, 2, 2, 2), {0: rand(2, 3)}) @ BoxDownsample(S, 2), "kronecker"),
    "dense@tight": (lambda: Shear((2, 1, 2, 2), True) @ BoxDownsample((2, 1, 4, 4), 2), "dense"),
    "cotight@dense": (lambda: BoxDownsample((2, 1, 4, 4), 2).T @ Shear((2, 1, 2, 2), True), "dense"),
    "time@planes": (
        lambda: Separable((3, 2, 3, 3), {0: rand(4, 3), 1: rand(1, 2)}) @ Mask((3, 2, 3, 3), rand(3, 3)),
        "plane by plane: diagonal",
    ),
    "planes@time": (
        lambda: Mask((2, 2, 3, 3), rand(3, 3)) @ Separable((3, 2, 3, 3), {0: rand(2, 3)}),
        "plane by plane: diagonal",
    ),
    "mask@separable": (lambda: Mask((1, 1, 3, 4), bits(3, 4)) @ Separable((1, 1, 4, 4), {2: rand(3, 4)}), "dense"),
    "stack-masks": (lambda: stack(Mask(S, bits(*S)), 2 * FrameSelection(S, [1])), "diagonal"),
    "stack-mixed": (lambda: stack(BoxDownsample((2, 1, 4, 4), 2), Shear((2, 1, 4, 4), True)), "dense"),
    "sum-masks": (lambda: Mask(S, rand(*S)) - 2 * Mask(S, rand(4, 4, seed=1)), "diagonal"),
    "sum-circular": (lambda: CircularBlur(ODD, rand(3, 3)) + 0.5 * CircularBlur(ODD, rand(1, 2)), "fft"),
    "sum": (lambda: Shear((1, 2, 3, 5), True) + Mask((1, 2, 3, 5), rand(3, 5)), "dense"),
    "dense": (lambda: Shear((1, 2, 3, 5), True), "dense"),
    "iterative": (lambda: Shear((1, 2, 3, 5), False), "conjugate gradients"),
}


@pytest.fixture(params=list(CASES))
def case(request):
    make, solve = CASES[request.param]
    return make(), solve


def prox_residual(a, z, v, y, rho):
    b = a.adjoint(y) + rho * v
    return (a.adjoint(a(z)) + rho * z - b).norm() / b.norm()


def test_plan_names_the_solve(case):
    a, solve = case
    plan = a.plan(0.3)
    assert plan.solve == solve
    assert plan.exact == (solve != "conjugate gradients")
    assert plan.detail


def test_adjoint_and_shapes(case):
    a, _ = case
    x, y = rand(2, *a.shape.input), rand(2, *a.shape.output, seed=1)
    ax, aty = a(x), a.adjoint(y)
    assert ax.shape == y.shape
    assert aty.shape == x.shape
    assert abs((ax * y).sum() - (x * aty).sum()) < 1e-10 * ax.norm() * y.norm()
    matrix = dense_matrix(a)
    assert torch.allclose(matrix @ x.flatten(1).T, ax.flatten(1).T, atol=1e-12)
    assert torch.allclose(matrix.T, dense_matrix(a.T), atol=1e-12)


@pytest.mark.parametrize("rho", [0.3, 1e-3, 40.0])
def test_data_step(case, rho):
    a, _ = case
    v, y = rand(2, *a.shape.input), rand(2, *a.shape.output, seed=1)
    z = a.prox(v, y, rho)
    assert prox_residual(a, z, v, y, rho) < 1e-9
    m = dense_matrix(a)
    left = m.T @ m + rho * torch.eye(m.shape[1], dtype=m.dtype)
    exact = torch.linalg.solve(left, (m.T @ y.flatten(1).T + rho * v.flatten(1).T)).T
    assert torch.allclose(z.flatten(1), exact, rtol=1e-8, atol=1e-8)
    again = a.data_step(y, rho)
    assert torch.allclose(again(v), z, atol=1e-12)
    assert torch.allclose(again(z), a.prox(z, y, rho), atol=1e-12)
    solved = a.solve(v, rho)
    assert bool(solved.info.converged.all())
    assert torch.allclose(solved.x.flatten(1).T, torch.linalg.solve(left, v.flatten(1).T), rtol=1e-8, atol=1e-8)


def test_data_step_of_the_transpose(case):
    a, _ = case
    v, y = rand(2, *a.shape.output), rand(2, *a.shape.input, seed=1)
    assert prox_residual(a.T, a.T.prox(v, y, 0.2), v, y, 0.2) < 1e-9


def test_one_rho_per_sample(case):
    a, _ = case
    v, y = rand(3, *a.shape.input), rand(3, *a.shape.output, seed=1)
    rho = torch.tensor([0.1, 2.0, 0.1], dtype=torch.float64)
    z = a.prox(v, y, rho)
    for i in range(3):
        assert torch.allclose(z[i : i + 1], a.prox(v[i : i + 1], y[i : i + 1], float(rho[i])), atol=1e-9)


def test_moore_penrose(case):
    a, _ = case
    for op in (a, a.T):
        m = dense_matrix(op)
        units = torch.eye(op.shape.rows, dtype=torch.float64).view(-1, *op.shape.output)
        p = op.pinv(units).flatten(1).T
        assert (m @ p @ m - m).abs().max() < 1e-8
        assert (p @ m @ p - p).abs().max() < 1e-8 * max(1, p.abs().max())
        assert (m @ p - (m @ p).T).abs().max() < 1e-8
        assert (p @ m - (p @ m).T).abs().max() < 1e-8


def test_gradients(case):
    a, _ = case
    x = rand(2, *a.shape.input).requires_grad_()
    v = rand(2, *a.shape.input, seed=1).requires_grad_()
    y = rand(2, *a.shape.output, seed=2).requires_grad_()
    rho = torch.tensor([0.4, 0.9], dtype=torch.float64, requires_grad=True)
    one = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck
    assert check(a, x, fast_mode=True)
    assert check(a.adjoint, y, fast_mode=True)
    assert check(a.pinv, y, fast_mode=True, atol=1e-4)
    assert check(a.prox, (v, y, rho), fast_mode=True)
    assert check(a.prox, (v, y, one), fast_mode=True)
    (z,) = torch.autograd.grad(a.prox(v, y, one).square().sum(), v, create_graph=True)
    assert torch.isfinite(torch.autograd.grad(z.square().sum(), v)[0]).all()


def test_gradient_formulas(case):
    """grad_v = rho w, grad_y = A w, grad_rho = <w, v - z> with w = (A^T A + rho I)^-1 g, entry by entry."""
    a, _ = case
    v, y = rand(2, *a.shape.input).requires_grad_(), rand(2, *a.shape.output, seed=1).requires_grad_()
    rho = torch.tensor([0.4, 0.9], dtype=torch.float64, requires_grad=True)
    g = rand(2, *a.shape.input, seed=2)
    z = a.prox(v, y, rho)
    of_v, of_y, of_rho = torch.autograd.grad(z, (v, y, rho), g)
    m = dense_matrix(a)
    for i in range(2):
        weight = float(rho[i].detach())
        w = torch.linalg.solve(m.T @ m + weight * torch.eye(m.shape[1], dtype=m.dtype), g[i].flatten())
        assert torch.allclose(of_v[i].flatten(), weight * w, atol=1e-8)
        assert torch.allclose(of_y[i].flatten(), m @ w, atol=1e-8)
        assert torch.allclose(of_rho[i], w @ (v[i] - z[i]).flatten(), atol=1e-8)


def test_float32_stays_float32_and_agrees(case):
    a, _ = case
    v, y = rand(2, *a.shape.input), rand(2, *a.shape.output, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for f in (lambda v, y: a(v), lambda v, y: a.adjoint(y), lambda v, y: a.prox(v, y, 0.3)):
            small, large = f(v.float(), y.float()), f(v, y)
            assert small.dtype == torch.float32
            assert (small - large).norm() <= 2e-5 * large.norm()
        assert a.pinv(y.float()).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_floats(case, dtype):
    a, _ = case
    v, y = rand(2, *a.shape.input) / 4, rand(2, *a.shape.output, seed=1) / 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for f in (lambda v, y: a(v), lambda v, y: a.adjoint(y), lambda v, y: a.prox(v, y, 2.0)):
            small, large = f(v.to(dtype), y.to(dtype)), f(v, y)
            assert small.dtype == dtype
            assert (small - large).norm() <= 0.1 * large.norm()


def test_samples_do_not_touch_each_other(case):
    a, _ = case
    v, y = rand(3, *a.shape.input), rand(3, *a.shape.output, seed=1)
    v[1], y[1] = 0, 0
    for f in (lambda v, y: a(v), lambda v, y: a.adjoint(y), lambda v, y: a.pinv(y), lambda v, y: a.prox(v, y, 0.3)):
        together = f(v, y)
        assert torch.isfinite(together).all()
        for i in range(3):
            assert torch.allclose(together[i : i + 1], f(v[i : i + 1], y[i : i + 1]), rtol=1e-8, atol=1e-8)
    assert (a.prox(v, y, 0.3)[1] == 0).all()


def test_inference_first_then_training(case):
    """What is kept under inference_mode serves a backward later."""
    a, _ = case
    v, y = rand(2, *a.shape.input), rand(2, *a.shape.output, seed=1)
    x = v.clone().requires_grad_()
    with torch.inference_mode():
        a(v), a.adjoint(y), a.pinv(y), a.prox(v, y, 0.3)
    (a.prox(x, a(x), 0.3).square().sum() + a.pinv(a(x)).sum() + a.adjoint(a(x)).sum()).backward()
    assert torch.isfinite(x.grad).all()


LARGE = {
    "box3-left-over": lambda: BoxDownsample((2, 3, 110, 131), 3),
    "box2": lambda: BoxDownsample((2, 3, 110, 132), 2),
    "bicubic-blocks": lambda: bicubic_downsample((1, 1, 8, 1600), 4),
    "bands": lambda: Separable((1, 1, 600, 2), {2: torch.eye(600, dtype=torch.float64).roll(3, 0)[:590]}),
    "kernel-7": lambda: FullBlur((1, 2, 9, 6), rand(7, 6)),
    "kernel-1x7": lambda: FullBlur((1, 2, 5, 9), rand(1, 7)),
}


@pytest.mark.parametrize("name", list(LARGE))
def test_shortcuts_of_larger_clips(name):
    """Against the same operator built of its factors' matrices, or of shifts."""
    a = LARGE[name]()
    x, y = rand(1, *a.shape.input), rand(1, *a.shape.output, seed=1)
    if isinstance(a, FullBlur):
        expected = torch.zeros_like(y)
        for i, row in enumerate(a.kernel):
            for j, tap in enumerate(row):
                expected[..., i : i + x.shape[-2], j : j + x.shape[-1]] += tap * x
    else:
        expected = x
        for axis, m in a.factors().items():
            expected = torch.tensordot(expected, m, dims=([axis + 1], [1])).movedim(-1, axis + 1)
    assert torch.allclose(a(x), expected, atol=1e-12)
    assert abs((a(x) * y).sum() - (x * a.adjoint(y)).sum()) < 1e-10 * a(x).norm() * y.norm()
    assert prox_residual(a, a.prox(x, y, 0.3), x, y, 0.3) < 1e-9


def test_pickles_small(case):
    a, _ = case
    if not type(a).__module__.startswith("restore") or "Shear" in repr(a):
        pytest.skip("the toy operator of this file cannot be imported by name")
    a.prox(rand(1, *a.shape.input).float(), rand(1, *a.shape.output).float(), 0.3)
    again = pickle.loads(pickle.dumps(a))
    x = rand(1, *a.shape.input)
    assert torch.equal(again(x), a(x))
    assert torch.equal(again.pinv(a(x)), a.pinv(a(x)))
