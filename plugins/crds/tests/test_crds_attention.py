"""Neighborhood attention against a dense float64 reference, against natten, and warped against shifted windows."""

from __future__ import annotations

import pytest
import torch
from restore_crds.attention import blocks as block_module
from restore_crds.attention import guided_attention, neighborhood_attention, shifted_window_attention
from restore_crds.attention.blocks import block_attention


def dense(q, k, v, window, bias=None):
    """All scores, a mask of clamped windows, softmax: the definition. Also the mean of key less query, x then y."""
    _, height, width, _, depth = q.shape

    def along(length):
        i = torch.arange(length)
        start = (i - window // 2).clamp(0, length - window)[:, None]
        return (i >= start) & (i < start + window), i - i[:, None]

    (in_y, y), (in_x, x) = along(height), along(width)
    places = height * width
    inside = (in_y[:, None, :, None] & in_x[None, :, None, :]).reshape(places, places)
    y = y[:, None, :, None].expand(height, width, height, width).reshape(places, places)
    x = x[None, :, None, :].expand(height, width, height, width).reshape(places, places)
    scores = torch.einsum("nahd,nbhd->nhab", q.flatten(1, 2), k.flatten(1, 2))
    if bias is not None:
        scores = scores + bias[:, (y + window - 1).clamp(0, 2 * window - 2), (x + window - 1).clamp(0, 2 * window - 2)]
    share = torch.softmax((scores / depth**0.5).masked_fill(~inside, -torch.inf), dim=-1)
    out = torch.einsum("nhab,nbhd->nahd", share, v.flatten(1, 2)).unflatten(1, (height, width))
    mean = torch.einsum("nab,abc->nac", share.mean(1), torch.stack([x, y], -1).to(share))
    return out, mean.unflatten(1, (height, width))


def draw(height, width, heads=2, depth=4, values=4, dtype=torch.float64, seed=0, count=2):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    q, k = (normal(count, height, width, heads, depth).requires_grad_() for _ in range(2))
    return q, k, normal(count, height, width, heads, values).requires_grad_(), normal


@pytest.mark.parametrize(
    ("height", "width", "window", "heads", "block", "piece"),
    [
        (7, 7, 7, 2, 4, 1 << 18),  # the window is the picture
        (9, 13, 7, 2, 4, 1),  # odd sides, one row of blocks of one picture at a time
        (20, 23, 5, 2, 8, 1 << 12),
        (11, 10, 4, 1, 4, 1 << 18),  # an even window
        (5, 6, 1, 2, 4, 1 << 18),
        (30, 17, 13, 1, 4, 1 << 18),  # a window wider than three blocks
    ],
)
def test_as_dense_with_all_gradients(height, width, window, heads, block, piece, monkeypatch):
    monkeypatch.setitem(block_module.PIECE, "cpu", piece)
    q, k, v, normal = draw(height, width, heads, values=3)
    bias = normal(heads, 2 * window - 1, 2 * window - 1).requires_grad_()
    onward = [normal(*v.shape), normal(*v.shape[:3], 2)]
    expected = dense(q, k, v, window, bias)
    answer = block_attention(q, k, v, window, bias, True, block)
    for a, b in zip(answer, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    inputs = [q, k, v, bias]
    for a, b in zip(
        torch.autograd.grad(answer, inputs, onward), torch.autograd.grad(expected, inputs, onward), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_float32_without_bias_or_gradients_and_after_inference_mode():
    q, k, v, _ = draw(12, 18, dtype=torch.float32)
    with torch.inference_mode():
        answer = neighborhood_attention(q, k, v, 7)
    assert answer[1] is None
    torch.testing.assert_close(answer[0], dense(q, k, v, 7)[0], rtol=0, atol=2e-6)
    # What was kept from inference serves training too.
    neighborhood_attention(q, k, v, 7)[0].sum().backward()


def test_bfloat16_is_near():
    q, k, v, _ = draw(12, 18, dtype=torch.float32)
    short = neighborhood_attention(*(t.detach().bfloat16() for t in (q, k, v)), 7, offsets=True)
    wide = dense(q, k, v, 7)
    assert short[0].dtype == torch.bfloat16
    assert (short[0].float() - wide[0]).abs().max() < 0.05
    assert (short[1] - wide[1]).abs().max() < 0.05


@pytest.mark.parametrize("window", [3, 7])
def test_as_natten(window):
    natten = pytest.importorskip("natten", reason="natten is not installed")
    q, k, v, _ = draw(13, 20, heads=2, depth=8, values=8, dtype=torch.float32)
    q, k, v = (t.detach() for t in (q, k, v))
    ours, mean = neighborhood_attention(q, k, v, window, offsets=True, backend="torch")
    torch.testing.assert_close(ours, natten.na2d(q, k, v, kernel_size=window), rtol=0, atol=1e-5)
    theirs, their_mean = neighborhood_attention(q, k, v, window, offsets=True, backend="natten")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(mean, their_mean, rtol=0, atol=2e-5)


def test_natten_refuses_what_it_cannot_do():
    pytest.importorskip("natten", reason="natten is not installed")
    q, k, v, _ = draw(8, 8, dtype=torch.float32)
    with pytest.raises(ValueError, match="backward"):
        neighborhood_attention(q, k, v, 3, backend="natten")
    with pytest.raises(ValueError, match="bias"):
        neighborhood_attention(q.detach(), k.detach(), v.detach(), 3, torch.zeros(2, 5, 5), backend="natten")


def test_offset_of_a_peaked_attention():
    """Each query's own key lies 2 to the right and 1 up; borders too see it where it is in the window."""
    height, width, window = 9, 11, 7
    code = torch.randn(1, height, width, 1, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    code = 100 * code / code.norm(dim=-1, keepdim=True)
    keys = torch.roll(code, (-1, 2), dims=(1, 2))
    _, mean = neighborhood_attention(code, keys, keys, window, offsets=True)
    inner = mean[0, 4:-3, 3:-5]
    torch.testing.assert_close(inner, torch.tensor([2.0, -1.0], dtype=torch.float64).expand(inner.shape))


def test_warped_is_shifted_for_a_constant_integer_flow():
    q, k, v, normal = draw(20, 22)
    bias = normal(2, 9, 9)
    flow = torch.tensor([3.0, -2.0], dtype=torch.float64).view(1, 2, 1, 1).expand(2, 2, 20, 22)
    one, one_mean = guided_attention(q, k, v, flow, 5, bias, offsets=True)
    two, two_mean = shifted_window_attention(q, k, v, flow, 5, bias, offsets=True)
    inner = (slice(None), slice(4, -2), slice(2, -5))
    torch.testing.assert_close(one[inner], two[inner], rtol=0, atol=1e-10)
    torch.testing.assert_close(one_mean[inner], two_mean[inner], rtol=0, atol=1e-10)
    # Without flow both are plain neighborhood attention, borders and all.
    plain, mean = neighborhood_attention(q, k, v, 5, bias, offsets=True)
    still, still_mean = shifted_window_attention(q, k, v, 0 * flow, 5, bias, offsets=True)
    torch.testing.assert_close(still, plain, rtol=0, atol=1e-10)
    torch.testing.assert_close(still_mean, mean, rtol=0, atol=1e-10)


def test_no_copies_of_keys_for_every_query():
    """What is kept for the backward pass stays far below K * K copies of keys and values."""
    size, window, channels = 48, 7, 64
    q, k, v, _ = draw(size, size, heads=2, depth=32, values=32, dtype=torch.float32, count=1)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        neighborhood_attention(q, k, v, window)
    assert sum(kept) < 2 * window**2 * size**2 * channels * 4 / 5


@pytest.mark.parametrize(
    ("window", "bias", "match"), [(9, None, "9 does not lie within 8 x 9"), (3, torch.zeros(2, 3, 3), r"\(2, 5, 5\)")]
)
def test_says_what_does_not_fit(window, bias, match):
    q, k, v, _ = draw(8, 9)
    with pytest.raises(ValueError, match=match):
        neighborhood_attention(q, k, v, window, bias)
