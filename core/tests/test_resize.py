"""The resize against MATLAB: by formula, and against files that MATLAB wrote."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from restore.functional.color import rgb_to_y
from restore.functional.resize import quantize, resize, taps


def cubic(x):
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def dense(n_in, n_out, scale, border="mirror"):
    """The matrix of one pass, from the formula alone: every input sample, however far, with its kernel value."""
    shrink = min(1.0, scale)
    matrix = np.zeros((n_out, n_in))
    for j in range(n_out):
        u = (j + 0.5) / scale - 0.5
        reach = int(4 / shrink) + 4
        for i in range(int(u) - reach, int(u) + reach + 1):
            if border == "mirror":
                k = i % (2 * n_in)
                k = 2 * n_in - 1 - k if k >= n_in else k
            else:
                k = min(max(i, 0), n_in - 1)
            matrix[j, k] += shrink * cubic(shrink * (u - i))
    return matrix / matrix.sum(axis=1, keepdims=True)


def random(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("border", ["mirror", "replicate"])
@pytest.mark.parametrize("scale", [2, 3, 4, 8, 1, 1.5, 0.5, 1 / 3, 0.25, 0.125, 0.7, 0.37])
@pytest.mark.parametrize("size", [(24, 24), (17, 31), (9, 5)])
def test_equals_the_dense_formula(size, scale, border):
    x = random(*size)
    out = resize(x, scale, border=border)
    height, width = (int(np.ceil(scale * side - 1e-9)) for side in size)
    expected = dense(size[0], height, scale, border) @ x.numpy() @ dense(size[1], width, scale, border).T
    assert out.shape == (height, width)
    assert np.abs(out.numpy() - expected).max() < 1e-13


def test_the_weights_that_matlab_prints():
    index, weight = taps(16, 32, 2.0)
    assert weight[10].tolist() == pytest.approx([-0.0234375, 0.2265625, 0.8671875, -0.0703125], abs=1e-15)
    assert index[10].tolist() == [3, 4, 5, 6]
    index, weight = taps(16, 8, 0.5)
    half = [-0.01171875, -0.03515625, 0.11328125, 0.43359375]
    assert weight[4].tolist() == pytest.approx([*half, *half[::-1]], abs=1e-15)
    assert index[4].tolist() == [5, 6, 7, 8, 9, 10, 11, 12]


def test_small_vectors_by_hand():
    # imresize([0 0 1 1], 0.5): mirrored, the taps of the first sample see 1 1 0 | 0 0 1 1 | 1.
    out = resize(torch.tensor([[0.0, 0, 1, 1]], dtype=torch.float64).repeat(4, 1), 0.5)[0]
    a, b, c, d = -0.01171875, -0.03515625, 0.11328125, 0.43359375
    first = 0 * c + 0 * d + 0 * d + c * 1 + b * 1 + a * 1 + b * 0 + a * 1
    assert out.tolist() == pytest.approx([first, 1 - first], abs=1e-12)
    # Without antialiasing the kernel is not widened: samples at 0.5 and 2.5.
    out = resize(torch.tensor([[0.0, 0, 1, 1]], dtype=torch.float64).repeat(4, 1), 0.5, antialias=False)[0]
    assert out.tolist() == pytest.approx([-0.0625, 1.0625])


@pytest.mark.parametrize("scale", [2, 0.5, 1 / 3, 0.13, 1.7])
@pytest.mark.parametrize("border", ["mirror", "replicate"])
def test_partition_of_unity(scale, border):
    index, weight = taps(23, int(np.ceil(23 * scale)), scale, border=border)
    assert torch.allclose(weight.sum(dim=1), torch.ones(len(weight), dtype=torch.float64), atol=1e-14)
    assert 0 <= int(index.min()) <= int(index.max()) < 23
    constant = torch.full((23, 19), 0.3, dtype=torch.float64)
    assert torch.allclose(resize(constant, scale, border=border), torch.tensor(0.3, dtype=torch.float64), atol=1e-14)


def test_straight_lines_stay_straight_inside():
    x = torch.arange(20, dtype=torch.float64).expand(20, 20)
    out = resize(x, 3)[30, 12:-12]
    assert torch.allclose(out, (torch.arange(60, dtype=torch.float64)[12:-12] + 0.5) / 3 - 0.5, atol=1e-12)


def test_borders_are_mirrored_with_the_edge_repeated():
    x = random(10, 10)
    wide = torch.cat([x.flip(0), x, x.flip(0)])
    wide = torch.cat([wide.flip(1), wide, wide.flip(1)], dim=1)
    for scale, n in ((2, 20), (0.5, 5)):
        whole = resize(wide, scale)
        assert torch.allclose(resize(x, scale), whole[n : 2 * n, n : 2 * n], atol=1e-13)


def test_one_pixel_and_tiny_images():
    assert torch.allclose(resize(torch.full((1, 1), 0.7), 4), torch.tensor(0.7))
    assert resize(random(1, 5), 0.5).shape == (1, 3)
    for bad in ({"size": (0, 3)}, {}):
        with pytest.raises(ValueError, match="size|pixel"):
            resize(random(4, 4), **bad)


def test_rows_come_before_columns_when_each_pass_is_rounded():
    x = quantize(random(32, 32))
    out = resize(x, 0.25, rounding="each-pass")
    assert torch.equal(out, quantize(_rows(quantize(_rows(x)).T).T))
    assert not torch.equal(out, quantize(_rows(quantize(_rows(x.T)).T)))


def _rows(x):
    return torch.from_numpy(dense(x.shape[0], x.shape[0] // 4, 0.25)) @ x


def test_the_axis_with_the_smaller_factor_goes_first():
    x = quantize(random(16, 32))
    out = resize(x, size=(12, 8), rounding="each-pass")
    columns = quantize(x @ torch.from_numpy(dense(32, 8, 0.25)).T)
    assert torch.equal(out, quantize(torch.from_numpy(dense(16, 12, 0.75)) @ columns))


def test_rounding_is_half_away_from_zero_and_clamped():
    levels = torch.tensor([-0.2, 0.5 / 255, 1.5 / 255, 2.5 / 255, 254.5 / 255, 1.2], dtype=torch.float64)
    assert (quantize(levels) * 255).round().tolist() == [0, 1, 2, 3, 255, 255]
    assert (quantize(torch.tensor([0.5]), 65535) * 65535).round().item() == 32768


def test_an_offset_moves_the_samples():
    x = random(12, 12)
    assert torch.allclose(resize(x, 1, offset=(0.0, 1.0))[:, :-3], x[:, 1:-2], atol=1e-13)
    assert torch.allclose(resize(x, 1, offset=(2.0, 0.0))[:-4], x[2:-2], atol=1e-13)


def test_a_grid_may_be_cut():
    x = random(9, 9)
    assert torch.allclose(resize(x, 2, size=(7, 11)), resize(x, 2)[:7, :11], atol=1e-15)


@pytest.mark.parametrize("scale", [2, 0.5, 1 / 3])
def test_gradients(scale):
    x = random(1, 2, 7, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: resize(t, scale), (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_the_inputs_own(dtype):
    out = resize(random(3, 2, 8, 8).to(dtype), 2)
    assert (out.dtype, out.shape) == (dtype, (3, 2, 16, 16))


# --- against MATLAB ---------------------------------------------------------------------------------------------------


def image(path):
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return torch.from_numpy(pixels.astype(np.float64) / 255).permute(2, 0, 1)


def crop(x, *multiples):
    for m in multiples:
        x = x[..., : x.shape[-2] // m * m, : x.shape[-1] // m * m]
    return x


def codes(x):
    return (x * 255).round().to(torch.uint8)


@pytest.mark.shared
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["bird", "butterfly", "head", "woman"])
def test_float64_files_of_matlab(shared_data, name, scale):
    folder = shared_data / "sr_benchmarks"
    # The script that made them crops to a multiple of 2, then of 3, then of 4.
    clean = crop(image(folder / "Set5" / "HR" / f"{name}.png"), *range(2, scale + 1))
    with np.load(folder / "matlab_golden" / "float64_y" / f"{name}_x{scale}.npz") as golden:
        small = torch.from_numpy(golden["im_l_y"])
        assert float((resize(rgb_to_y(clean)[0], 1 / scale) * 255 - small).abs().max()) < 1e-9
        if "im_b_y" in golden:
            assert float((resize(small, scale) - torch.from_numpy(golden["im_b_y"])).abs().max()) < 1e-9


@pytest.mark.shared
def test_uint8_file_rounds_after_each_pass(shared_data):
    folder = shared_data / "sr_benchmarks" / "matlab_golden" / "uint8_rgb"
    clean, small = image(folder / "calendar_01_hr.png"), image(folder / "calendar_01_lr_x4.png")
    assert torch.equal(codes(resize(clean, 0.25, rounding="each-pass")), codes(small))
    assert not torch.equal(codes(resize(clean, 0.25, rounding="end")), codes(small))


@pytest.mark.shared
def test_file_made_in_double_rounds_at_the_end(shared_data):
    folder = shared_data / "sr_benchmarks"
    clean = image(folder / "Set14" / "HR" / "baboon.png")
    small = image(folder / "matlab_golden" / "double_then_uint8" / "baboon_lr_x4.png")
    assert torch.equal(codes(resize(clean, 0.25, rounding="end")), codes(small))


@pytest.mark.shared
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_set5_of_older_matlab_replicates_borders(shared_data, scale):
    folder = shared_data / "sr_benchmarks" / "Set5"
    for path in sorted((folder / "HR").glob("*.png")):
        clean = crop(image(path), scale)
        small = image(folder / "LR_bicubic_matlab" / f"X{scale}" / path.name)
        made = resize(clean, 1 / scale, border="replicate", rounding="each-pass")
        assert torch.equal(codes(made), codes(small)), path.name
