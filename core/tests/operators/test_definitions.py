"""What the operators are: numbers from the papers, shapes, errors."""

from __future__ import annotations

import pytest
import torch
from restore.functional.resize import resize
from restore.operators import (
    BoxDownsample,
    CircularBlur,
    CompressiveSensing,
    FrameSelection,
    FullBlur,
    Grey,
    Mask,
    Separable,
    Snapshot,
    VideoSensing,
    area_downsample,
    bicubic_downsample,
    blur,
    conjugate_gradients,
    frame_interpolation,
    frame_prediction,
    gaussian_downsample,
    scale,
    stack,
    temporal_blur,
)
from restore.operators.kernels import disk, gaussian, motion_legacy, motion_line, toeplitz
from restore.operators.solvers import ToleranceWarning

S = (4, 3, 14, 14)


def clip(*sizes):
    return torch.rand(*sizes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_box_downsampling_leaves_rows_over():
    x = clip(1, *S)
    y = BoxDownsample(S, 4)(x)
    assert y.shape == (1, 4, 3, 3, 3)
    assert torch.allclose(y[0, 1, 2, 2, 0], x[0, 1, 2, 8:12, 0:4].mean())
    up = BoxDownsample(S, 4).pinv(y)
    assert torch.allclose(up[..., :12, :12], y.repeat_interleave(4, -1).repeat_interleave(4, -2))
    assert (up[..., 12:, :] == 0).all()


def test_frames():
    assert frame_interpolation((9, 1, 2, 2), 2).frames == (0, 2, 4, 6)
    assert frame_interpolation((9, 1, 2, 2), 4).frames == (0, 4)
    assert frame_interpolation((4, 1, 2, 2), 4).frames == (0,)
    assert [len(frame_prediction((9, 1, 2, 2), p).frames) for p in (0.75, 0.5, 0.25)] == [3, 5, 7]
    assert [len(frame_prediction((4, 1, 2, 2), p).frames) for p in (0.75, 0.5, 0.25)] == [1, 2, 3]


def test_grey_is_bt601():
    assert Grey((1, 3, 1, 1))(torch.tensor([1.0, 0, 0]).view(1, 1, 3, 1, 1)).item() == pytest.approx(0.299)
    assert Grey((1, 3, 1, 1)).gram == pytest.approx(0.446966)


def test_kernels():
    k = disk()
    assert (k > 0).sum() == 12
    assert torch.allclose(k[k > 0], torch.full((12,), 1 / 12, dtype=torch.float64))
    assert k[0, 0] == k[3, 3] == 0
    for angle in range(0, 360, 7):
        line = motion_line(7, angle)
        assert (line > 0).sum() == 7
        assert torch.allclose(line, line.flip(0, 1))
    assert (motion_line(7, 0)[3] > 0).all()
    assert (motion_line(7, 45).fliplr().diagonal() > 0).all()
    assert (motion_line(7, 90)[:, 3] > 0).all()
    kinds = {tuple(motion_legacy(a / 8).flatten().tolist()) for a in range(8 * 360)}
    assert len(kinds) == 16
    assert {sum(v > 0 for v in k) for k in kinds} == {2, 3}
    assert motion_legacy(0)[2].tolist() == [pytest.approx(1 / 3)] * 3
    assert gaussian(13, 1.6).sum() == pytest.approx(1)


def test_blurs_are_convolutions_not_correlations():
    impulse = torch.zeros(1, 1, 1, 5, 6, dtype=torch.float64)
    impulse[..., 2, 3] = 1
    kernel = clip(2, 3)
    assert torch.allclose(FullBlur((1, 1, 5, 6), kernel)(impulse)[0, 0, 0, 2:4, 3:6], kernel)
    assert torch.allclose(CircularBlur((1, 1, 5, 6), kernel)(impulse)[0, 0, 0, 1:3, 2:5], kernel)
    x = clip(1, 1, 1, 5, 6)
    whole = FullBlur((1, 1, 5, 6), kernel)(x)
    assert torch.allclose(blur((1, 1, 5, 6), kernel, "valid")(x), whole[..., 1:5, 2:6])
    large = clip(12, 12)
    expected = torch.nn.functional.conv2d(x[0], large.flip(0, 1)[None, None], padding=11)
    assert torch.allclose(FullBlur((1, 1, 5, 6), large)(x)[0], expected)


def test_temporal_blur_adds_frames():
    x = clip(1, *S)
    y = temporal_blur(S, torch.full((4,), 0.25))(x)
    assert y.shape[1] == 7
    assert torch.allclose(y[:, 3], x.mean(1))
    assert torch.allclose(y[:, 0], x[:, 0] / 4)


@pytest.mark.parametrize(
    "operator",
    [
        FullBlur((1, 1, 20, 24), disk()),
        FullBlur((1, 1, 20, 24), motion_line(7, 30)),
        FullBlur((1, 1, 20, 24), motion_legacy(100)),
        temporal_blur((4, 1, 4, 4), torch.full((4,), 0.25)),
    ],
)
def test_a_full_blur_is_undone(operator):
    x = clip(1, *operator.shape.input)
    error = (operator.pinv(operator(x)) - x).square().mean()
    assert error < 1e-14
    assert operator.pinv(operator(x).float()).dtype == torch.float32


def test_a_large_border_is_iterated(monkeypatch):
    monkeypatch.setattr("restore.operators.convolution.BORDER_LIMIT", 10)
    a, exact = FullBlur((1, 1, 16, 17), disk()), FullBlur((1, 1, 16, 17), disk())
    assert not a.plan(0.3).exact
    monkeypatch.setattr("restore.operators.convolution.BORDER_LIMIT", 1000)
    assert exact.plan(0.3).exact
    x, v = clip(2, 1, 1, 16, 17), clip(2, 1, 1, 16, 17) - 0.5
    rho = torch.tensor([0.3, 0.05], dtype=torch.float64, requires_grad=True)
    assert torch.allclose(a.prox(v, a(x), rho), exact.prox(v, a(x), rho), atol=1e-10)
    assert torch.allclose(a.pinv(a(x)), x, atol=1e-8)
    (of_a,), (of_exact,) = (torch.autograd.grad(o.prox(v, a(x), rho).square().sum(), rho) for o in (a, exact))
    assert torch.allclose(of_a, of_exact, rtol=1e-8)


@pytest.mark.parametrize(("size", "rows", "per_frame"), [((9, 1, 14, 14), 176, 20), ((4, 3, 16, 16), 307, 26)])
def test_numbers_of_compressive_measurements(size, rows, per_frame):
    a, b = CompressiveSensing(size), VideoSensing(size)
    frames, channels, height, width = size
    assert a.shape.output == (rows,)
    assert b.shape.output == (channels * height * width + (frames - 1) * channels * per_frame,)
    phi = a.rows.matrix
    assert phi.std() == pytest.approx(rows**-0.5, rel=0.01)
    assert torch.equal(CompressiveSensing(size, seed=0).rows.matrix, phi)
    assert not torch.equal(CompressiveSensing(size, seed=1).rows.matrix, phi)


def test_video_sensing_measures_the_first_frame_and_changes():
    a, x = VideoSensing((3, 2, 4, 5), 0.25), clip(1, 3, 2, 4, 5)
    y = a(x)
    assert torch.equal(y[0, :40].view(2, 4, 5), x[0, 0])
    phi = a.rows.matrix.double()
    changes = y[0, 40:].view(2, 2, 5)
    assert torch.allclose(changes[1, 0], phi @ (x[0, 2, 0] - x[0, 1, 0]).flatten())
    still = x[:, :1].expand(1, 3, 2, 4, 5)
    assert torch.allclose(a.pinv(a(still))[0, 0], still[0, 0])


def test_compressive_sensing_of_large_clips_needs_no_matrix():
    a, b = CompressiveSensing((2, 3, 120, 161)), VideoSensing((2, 1, 120, 161))
    assert (a.plan().solve, b.plan().solve) == ("tight frame", "time systems")
    assert "Hartley" in b.plan().detail
    for op in (a, b):
        x, v = clip(1, *op.shape.input), clip(1, *op.shape.input) - 0.3
        y = op(x)
        z = op.prox(v, y, 0.3)
        assert (op.adjoint(op(z) - y) + 0.3 * (z - v)).norm() < 1e-10 * v.norm()
    assert y.shape[1] == 120 * 161 + round(0.1 * 120 * 161)
    norms = a(x.new_ones(1, 2, 3, 120, 161)).norm() / x.new_ones(2 * 3 * 120 * 161).norm()
    assert norms == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(("height", "width", "factor"), [(12, 16, 4), (9, 6, 3), (400, 8, 2)])
def test_bicubic_is_matlabs(height, width, factor):
    x = clip(1, 1, 2, height, width)
    for border in ("mirror", "replicate"):
        a = bicubic_downsample((1, 2, height, width), factor, border)
        assert torch.allclose(a(x), resize(x, 1 / factor, border=border), atol=1e-13)
        y = a(x) - 0.5
        assert torch.allclose((a(x) * y).sum(), (x * a.adjoint(y)).sum(), rtol=1e-12)


@pytest.mark.parametrize("border", ["reflect", "mirror", "replicate", "circular", "zero"])
def test_gaussian_blur_and_stride(border):
    x = clip(1, 1, 1, 12, 16)
    window = torch.outer(gaussian(7, 1.6), gaussian(7, 1.6))[None, None]
    if border == "mirror":
        wide = torch.cat([x.flip(-1), x, x.flip(-1)], -1)
        wide = torch.cat([wide.flip(-2), wide, wide.flip(-2)], -2)[..., 9:-9, 13:-13]
    else:
        mode = {"zero": "constant"}.get(border, border)
        wide = torch.nn.functional.pad(x[0], (3, 3, 3, 3), mode=mode)[None]
    expected = torch.nn.functional.conv2d(wide[0], window)[..., ::4, ::4]
    assert torch.allclose(gaussian_downsample((1, 1, 12, 16), 4, size=7, border=border)(x)[0], expected)


def test_area_means():
    x = clip(1, 1, 1, 14, 14)
    assert torch.allclose(area_downsample((1, 1, 14, 14), (7, 2))(x)[0, 0, 0, 0, 0], x[0, 0, 0, :2, :7].mean())
    third = area_downsample((1, 1, 14, 14), (3, 3))(x)
    assert third.mean() == pytest.approx(x.mean().item())
    rows = torch.tensor([1, 1, 1, 1, 2 / 3]).double() * 3 / 14
    assert torch.allclose(third[0, 0, 0, 0, 0], rows @ x[0, 0, 0, :5, :5] @ rows)


def test_a_data_step_computes_constants_once(monkeypatch):
    a = FullBlur((2, 1, 6, 6), disk())
    y, v = clip(2, *a.shape.output), clip(2, *a.shape.input)
    step = a.data_step(y, 0.3)
    step(v)
    calls = []
    monkeypatch.setattr(FullBlur, "back", lambda self, t: calls.append("back"))
    monkeypatch.setattr(torch.linalg, "cholesky", lambda t: calls.append("cholesky"))
    step(v)
    assert calls == []


def test_algebra_simplifies():
    m = Mask(S, clip(14, 14) > 0.5)
    assert isinstance(m @ m, Mask)
    assert isinstance(2 * m @ (3 * m), Mask)
    box = BoxDownsample(S, 2)
    assert ((2 * box) @ (3 * m)).factor == 2
    assert (2 * box @ (3 * box.T)).factor == 6
    assert isinstance(m - m, Mask)
    assert (-box).gram == box.gram
    d = clip(1, *S)
    assert torch.equal((2 * box).squared(d), 4 * box.squared(d))
    assert torch.equal((2 * FrameSelection(S, [1])).cosquared(d[:, :1]), 4 * FrameSelection(S, [1]).cosquared(d[:, :1]))
    assert FrameSelection((2, 3, 14, 14), [1]).merged(FrameSelection(S, [0, 3])).frames == (3,)
    separable = Separable(S, {2: clip(7, 14)}) @ Grey(S).T
    assert isinstance(separable, Separable)
    assert m.T.T is m
    assert stack(m) is m
    y = stack(m, BoxDownsample(S, 2))(clip(2, *S))
    parts = stack(m, BoxDownsample(S, 2)).split(y)
    assert [tuple(p.shape) for p in parts] == [(2, *S), (2, 4, 3, 7, 7)]


def test_a_mask_per_sample():
    masks = clip(3, 1, 1, 4, 5) > 0.5
    a = Mask((2, 3, 4, 5), masks)
    x, v = clip(3, 2, 3, 4, 5), clip(3, 2, 3, 4, 5)
    single = Mask((2, 3, 4, 5), masks[1])
    assert torch.equal(a.prox(v, a(x), 0.2)[1:2], single.prox(v[1:2], single(x[1:2]), 0.2))
    both = BoxDownsample((2, 3, 4, 5), 2) @ a
    assert both.plan().solve == "diagonal"
    alone = BoxDownsample((2, 3, 4, 5), 2) @ single
    assert torch.allclose(both.prox(v, both(x), 0.2)[1:2], alone.prox(v[1:2], alone(x[1:2]), 0.2))
    with pytest.raises(ValueError, match="must have the shape"):
        a(x[:2])


def test_conjugate_gradients_say_what_they_did():
    diagonal = torch.tensor([[1.0, 2, 3, 4], [1, 1, 1, 1], [1, 2, 3, 4]], dtype=torch.float64)
    b = torch.tensor([[1.0, 1, 1, 1], [5, 6, 7, 8], [0, 0, 0, 0]], dtype=torch.float64)
    solved = conjugate_gradients(lambda p: diagonal * p, b)
    assert torch.allclose(solved.x, b / diagonal)
    assert solved.info.iterations.tolist() == [4, 1, 0]
    assert solved.info.converged.all()
    with pytest.warns(ToleranceWarning, match="1 of 3 samples"):
        short = conjugate_gradients(lambda p: diagonal * p, b, max_iter=2)
    assert short.info.converged.tolist() == [False, True, True]
    assert torch.allclose(short.x[1], b[1])
    with pytest.warns(ToleranceWarning):
        assert not conjugate_gradients(lambda p: -p, b[:1]).info.converged.any()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Mask(S, torch.ones(13, 14)), r"must have that size.*got \(13, 14\)"),
        (lambda: Mask(S, torch.full((14, 14), float("nan"))), "finite"),
        (lambda: Mask((3, 14, 14), torch.ones(14, 14)), r"\(T, C, H, W\), got \(3, 14, 14\)"),
        (lambda: BoxDownsample(S, 0), "between 1 and the smaller side of 14x14, got 0"),
        (lambda: BoxDownsample(S, 15), "got 15"),
        (lambda: FrameSelection(S, [4]), r"from 0 to 3.*got \[4\]"),
        (lambda: FrameSelection(S, [1, 1]), "distinct"),
        (lambda: FrameSelection(S, []), "at least one"),
        (lambda: frame_interpolation(S, 5), "got 5"),
        (lambda: frame_prediction(S, 1.0), r"\[0, 1\), got 1.0"),
        (lambda: Grey((1, 1, 4, 4)), "1 channels need as many weights"),
        (lambda: Snapshot(S, torch.ones(3, 1, 14, 14)), "codes for clips"),
        (lambda: Separable(S, {2: torch.ones(3, 3)}), r"axis 2.*\(3, 3\)"),
        (lambda: CircularBlur(S, torch.ones(15, 1)), "no larger than the frame 14x14, got 15x1"),
        (lambda: blur(S, torch.ones(15, 1), "valid"), "got 15x1"),
        (lambda: blur(S, torch.ones(3, 3), "same"), "'full', 'valid' or 'circular', got 'same'"),
        (lambda: FullBlur(S, torch.zeros(3, 3)), "not 0"),
        (lambda: FullBlur(S, torch.ones(3)), r"matrix of finite numbers, got the shape \(3,\)"),
        (lambda: toeplitz(3, torch.ones(4), "valid"), "4 taps do not fit into 3 samples"),
        (lambda: bicubic_downsample(S, 0), "at least 1, got 0"),
        (lambda: bicubic_downsample(S, 4), "4 does not divide frames of 14x14; crop them to 12x12"),
        (lambda: gaussian_downsample(S, 2, sigma=-1), "sigma above 0"),
        (lambda: gaussian_downsample(S, 2, size=4), "odd size, got 4"),
        (lambda: gaussian_downsample(S, 2, border="none"), "border must be"),
        (lambda: area_downsample(S, (15, 3)), "14x14, got 15x3"),
        (lambda: CompressiveSensing(S, 0), r"\(0, 1\], got 0"),
        (lambda: VideoSensing(S, 1.5), "got 1.5"),
        (lambda: VideoSensing(S, kind="fast"), "'gaussian' or 'structured', got 'fast'"),
        (lambda: disk(0), "size of at least 1"),
        (lambda: disk(4, 0.1), "radius 0.1"),
        (lambda: gaussian(3, 0), "above 0"),
        (lambda: motion_line(4), "odd length"),
        (lambda: scale(Grey(S), 0), "other than 0, got 0"),
        (lambda: Grey(S) @ Grey(S), r"gives \(4, 1, 14, 14\), the second takes \(4, 3, 14, 14\)"),
        (lambda: Grey(S) + BoxDownsample(S, 2), "the same sizes"),
        (lambda: stack(Grey(S), Grey((1, 3, 14, 14))), "the same clips"),
        (lambda: Grey(S)(torch.zeros(2, 4, 3, 14, 13)), r"\(B, 4, 3, 14, 14\), got \(2, 4, 3, 14, 13\)"),
        (lambda: Grey(S)(torch.zeros(2, *S, dtype=torch.int64)), "floating point, got torch.int64"),
        (lambda: Grey(S).adjoint(torch.zeros(2, *S)), r"measurement must have the shape \(B, 4, 1, 14, 14\)"),
        (lambda: Grey(S).prox(torch.zeros(1, *S), torch.zeros(2, 4, 1, 14, 14), 1.0), r"point v.*\(2, 4, 3, 14, 14\)"),
        (lambda: Grey(S).prox(torch.zeros(2, *S), torch.zeros(2, 4, 1, 14, 14), 0.0), "above 0 and finite, got 0"),
        (
            lambda: Grey(S).prox(torch.zeros(2, *S), torch.zeros(2, 4, 1, 14, 14), torch.ones(3)),
            r"\(2,\), got shape \(3,\)",
        ),
        (lambda: Grey(S).prox(torch.zeros(2, *S), torch.zeros(2, 4, 1, 14, 14), torch.tensor([1, -1.0])), "above 0"),
    ],
)
def test_what_cannot_be_done(make, said):
    with pytest.raises(ValueError, match=said):
        make()
