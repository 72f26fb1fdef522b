"""Samples to floats and back: identities bit for bit, matrices and siting against numbers worked out by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from restore.media.chroma import downsample_chroma, phase, resize_chroma, upsample_chroma
from restore.media.color import Picture, float_to_planes, planes_to_float, rgb_to_yuv, yuv_to_rgb
from restore.media.frame import ColorInfo, PixelLayout, VideoFrame
from restore.media.image import ImageFile

YUV420 = PixelLayout("yuv", 8, (1, 1))
# Colour bars, 100 %: white, yellow, cyan, green, magenta, red, blue, black.
BARS = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)]
# 8-bit limited codes of red, green and blue as the standards' own tables and test slides give them.
KNOWN = {
    ("bt601", "limited"): {(1, 0, 0): (81, 90, 240), (0, 1, 0): (145, 54, 34), (0, 0, 1): (41, 240, 110)},
    ("bt709", "limited"): {(1, 0, 0): (63, 102, 240), (0, 1, 0): (173, 42, 26), (0, 0, 1): (32, 240, 118)},
    ("bt2020", "limited"): {(1, 0, 0): (74, 97, 240), (0, 1, 0): (164, 47, 25), (0, 0, 1): (29, 240, 119)},
    ("bt601", "full"): {(1, 0, 0): (76, 85, 255), (0, 1, 0): (150, 44, 21), (0, 0, 1): (29, 255, 107)},
    ("bt709", "full"): {(1, 0, 0): (54, 99, 255), (0, 1, 0): (182, 30, 12), (0, 0, 1): (18, 255, 116)},
    ("bt2020", "full"): {(1, 0, 0): (67, 92, 255), (0, 1, 0): (173, 36, 11), (0, 0, 1): (15, 255, 118)},
}
WEIGHTS = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722), "bt2020": (0.2627, 0.678, 0.0593)}


def frame(layout, color, planes):
    return VideoFrame(planes, 0, 1, Fraction(1, 25), layout, color)


def codes_by_hand(rgb, matrix, span, depth):
    """Rec. BT.709 section 3 and JFIF, in exact arithmetic order, independent of the code under test."""
    kr, kg, kb = WEIGHTS[matrix]
    r, g, b = rgb
    y = kr * r + kg * g + kb * b
    cb, cr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    unit = 2 ** (depth - 8)
    if span == "limited":
        return [(219 * y + 16) * unit, (224 * cb + 128) * unit, (224 * cr + 128) * unit]
    top = 2**depth - 1
    return [y * top, cb * top + 2 ** (depth - 1), cr * top + 2 ** (depth - 1)]


@pytest.mark.parametrize("span", ["limited", "full"])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("depth", [8, 10])
def test_colour_bars(matrix, span, depth):
    layout = PixelLayout("yuv", depth, (0, 0))
    color = ColorInfo(matrix=matrix, range=span)
    top = 2**depth - 1
    hand = np.array([codes_by_hand(c, matrix, span, depth) for c in BARS])
    planes = tuple(np.clip(np.floor(hand[:, k] + 0.5), 0, top).astype(layout.dtype)[None] for k in range(3))
    if depth == 8:
        for rgb, known in KNOWN[matrix, span].items():
            assert all(abs(int(p[0, BARS.index(rgb)]) - want) <= 1 for p, want in zip(planes, known, strict=True))
    picture = Picture.from_frames([frame(layout, color, planes)])
    rgb = picture.channels("rgb")[0, :, 0].T.numpy()
    assert np.abs(rgb - np.array(BARS)).max() < 2.0 / (219 * 2 ** (depth - 8))
    # From exact RGB back to the codes: the nearest ones.
    exact = torch.tensor(BARS, dtype=torch.float32).T[None, :, None]
    back = float_to_planes(rgb_to_yuv(exact, matrix), layout, color)[0]
    for got, want in zip(back, planes, strict=True):
        assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
    y, cb, cr = rgb_to_yuv(exact, matrix)
    torch.testing.assert_close(yuv_to_rgb(y, cb, cr, matrix), exact, atol=1e-6, rtol=0)


def test_bt709_red_is_not_read_as_bt601():
    red = tuple(np.full((2, 2), v, np.uint8) for v in (63, 102, 240))
    layout = PixelLayout("yuv", 8, (0, 0))
    right = Picture.from_frames([frame(layout, ColorInfo("bt709"), red)]).channels("rgb")[0, :, 0, 0] * 255
    wrong = Picture.from_frames([frame(layout, ColorInfo("bt601"), red)]).channels("rgb")[0, :, 0, 0] * 255
    assert (right - torch.tensor([255.0, 0, 0])).abs().max() < 1.6
    assert abs(wrong[0].item() - 233) < 1.6


def test_luma_is_studio_range_whatever_the_file():
    ramp = np.arange(256, dtype=np.uint8)[None]
    gray = PixelLayout("gray")
    limited = Picture.from_frames([frame(gray, ColorInfo(range="limited"), (ramp,))]).channels("y") * 255
    full = Picture.from_frames([frame(gray, ColorInfo(range="full"), (ramp,))]).channels("y") * 255
    torch.testing.assert_close(limited[0, 0, 0], torch.arange(256.0))
    torch.testing.assert_close(full[0, 0, 0, [0, 255]], torch.tensor([16.0, 235.0]))
    ten = PixelLayout("gray", 10)
    y = Picture.from_frames([frame(ten, ColorInfo(range="limited"), (np.array([[64, 940, 1023]], np.uint16),))])
    torch.testing.assert_close(y.channels("y")[0, 0, 0] * 255, torch.tensor([16.0, 235.0, 255.75]))


@pytest.mark.parametrize("span", ["limited", "full"])
@pytest.mark.parametrize(
    "pix_fmt",
    [
        "yuv420p",
        "yuv422p10le",
        "yuv444p12le",
        "yuv444p16le",
        "gray",
        "gray16le",
        "gbrp",
        "gbrp10le",
        "yuva420p",
        "gbrap16le",
        "yuv411p",
    ],
)
def test_planes_come_back_bit_for_bit(clips, pix_fmt, span):
    layout = PixelLayout.from_pix_fmt(pix_fmt)
    color = ColorInfo("rgb" if layout.kind == "rgb" else "bt709", span)
    batch = [clips.random(layout, 35, 37, seed) for seed in range(2)]
    assert len(planes_to_float(batch, layout, color)) == len(batch[0])
    picture = Picture.from_frames([frame(layout, color, p) for p in batch])
    for which in ("y", "rgb"):
        same = picture.channels(which)
        out = picture.with_channels(which, same, same.clone(), 1).to_planes(layout, color)
        assert len(out) == 2
        for got, want in zip(out, batch, strict=True):
            for a, b in zip(got, want, strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)


def test_every_16_bit_code_survives():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    layout = PixelLayout("yuv", 16, (0, 0))
    for span in ("limited", "full"):
        color = ColorInfo("bt709", span)
        back = Picture.from_frames([frame(layout, color, (every, every, every))]).to_planes(layout, color)[0]
        assert all(np.array_equal(p, every) for p in back)


@pytest.mark.parametrize(
    ("siting", "want"),
    [
        ("left", (0.5, 0)),
        ("center", (0.5, 0.5)),
        ("topleft", (0, 0)),
        ("top", (0, 0.5)),
        ("bottomleft", (1, 0)),
        ("bottom", (1, 0.5)),
    ],
)
@pytest.mark.parametrize("size", [(32, 40), (33, 41)])
def test_a_chroma_ramp_upsamples_to_the_exact_ramp(siting, want, size):
    height, width = size
    assert phase(siting, (1, 1)) == want
    rows = want[0] + 2 * torch.arange(-(-height // 2), dtype=torch.float64)
    columns = want[1] + 2 * torch.arange(-(-width // 2), dtype=torch.float64)
    chroma = (0.01 * rows[:, None] - 0.007 * columns[None]).expand(1, 1, -1, -1)
    ramp = 0.01 * torch.arange(height, dtype=torch.float64)[:, None] - 0.007 * torch.arange(width, dtype=torch.float64)
    up = upsample_chroma(chroma, size, (1, 1), siting)
    assert up.shape[-2:] == size
    inside = (slice(6, -6), slice(6, -6))
    torch.testing.assert_close(up[0, 0][inside], ramp[inside], atol=1e-9, rtol=0)
    down = downsample_chroma(ramp[None, None], (1, 1), siting)
    assert down.shape == chroma.shape
    torch.testing.assert_close(down[0, 0, 4:-4, 4:-4], chroma[0, 0, 4:-4, 4:-4], atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("siting", "sub", "out_sub", "scale"),
    [
        ("left", (1, 1), (1, 1), 2),
        ("topleft", (1, 1), (1, 1), 4),
        ("left", (1, 1), (0, 0), 2),
        ("center", (0, 1), (0, 1), 3),
        ("left", (0, 2), (0, 1), 1),
    ],
)
def test_resized_chroma_stays_where_luma_is(siting, sub, out_sub, scale):
    height, width = 33, 45
    p_in, p_out = phase(siting, sub), phase(siting, out_sub)

    def positions(n, axis, s, p):
        return p[axis] + (1 << s[axis]) * torch.arange(-(-n // (1 << s[axis])), dtype=torch.float64)

    rows, columns = positions(height, 0, sub, p_in), positions(width, 1, sub, p_in)
    chroma = (0.01 * rows[:, None] + 0.02 * columns[None])[None, None]
    out = resize_chroma(chroma, (height * scale, width * scale), sub, out_sub, siting, scale=scale)
    to_in = [(positions(n * scale, axis, out_sub, p_out) + 0.5) / scale - 0.5 for axis, n in ((0, height), (1, width))]
    want = 0.01 * to_in[0][:, None] + 0.02 * to_in[1][None]
    assert out.shape[-2:] == want.shape
    crop = 8 * scale
    torch.testing.assert_close(out[0, 0, crop:-crop, crop:-crop], want[crop:-crop, crop:-crop], atol=1e-9, rtol=0)


def test_luma_model_at_scale_two_keeps_flat_colour(clips):
    color = ColorInfo("bt709", "limited", siting="left")
    planes = tuple(np.full(s, v, np.uint8) for s, v in zip(YUV420.shapes(17, 19), (100, 90, 200), strict=True))
    picture = Picture.from_frames([frame(YUV420, color, planes)])
    y = picture.channels("y")
    out = picture.with_channels("y", y, y.repeat_interleave(2, -1).repeat_interleave(2, -2), 2)
    assert out.size == (34, 38)
    got = out.to_planes(YUV420, color)[0]
    assert [p.shape for p in got] == [(34, 38), (17, 19), (17, 19)]
    assert [set(p.ravel().tolist()) for p in got] == [{100}, {90}, {200}]
    full = out.to_planes(PixelLayout("yuv", 10, (0, 0)), color)[0]
    assert [p.shape for p in full] == [(34, 38)] * 3
    assert [set(p.ravel().tolist()) for p in full] == [{400}, {360}, {800}]


def test_rgb_model_changes_what_it_changes_and_nothing_else(clips):
    color = ColorInfo("bt709", "limited")
    planes = clips.smooth(YUV420, 16, 16, 0)
    picture = Picture.from_frames([frame(YUV420, color, planes)])
    rgb = picture.channels("rgb")
    out = picture.with_channels("rgb", rgb, rgb + 10 / 219, 1).to_planes(YUV420, color)[0]
    np.testing.assert_array_equal(out[0], planes[0] + 10)
    np.testing.assert_array_equal(out[1], planes[1])
    doubled = picture.with_channels("rgb", rgb, rgb.repeat_interleave(2, -1).repeat_interleave(2, -2), 2)
    assert doubled.size == (32, 32)
    assert doubled.subsampling == (1, 1)


def test_gray_and_rgb_video_become_yuv_when_the_encoder_wants_it():
    plain = np.full((4, 6), 77, np.uint8)
    gray = Picture.from_frames([frame(PixelLayout("gray"), ColorInfo(range="limited"), (plain,))])
    planes = gray.to_planes(YUV420, ColorInfo(range="limited"))[0]
    assert [(p.shape, int(p[0, 0])) for p in planes] == [((4, 6), 77), ((2, 3), 128), ((2, 3), 128)]
    red = tuple(np.full((4, 6), v, np.uint8) for v in (255, 0, 0))
    rgb = Picture.from_frames([frame(PixelLayout("rgb"), ColorInfo("rgb", "full"), red)])
    assert [int(p[0, 0]) for p in rgb.to_planes(YUV420, ColorInfo("bt709", "limited"))[0]] == [63, 102, 240]


@pytest.mark.parametrize("kind", ["gray", "rgb"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_images_pass_through_models_of_both_kinds(kind, depth, alpha):
    rng = np.random.default_rng(0)
    dtype = np.uint8 if depth == 8 else np.uint16
    pixels = rng.integers(0, 2**depth, (9, 7, 1 if kind == "gray" else 3)).astype(dtype)
    image = ImageFile(pixels, kind, pixels[..., 0].copy() if alpha else None, depth, icc=b"profile")
    picture = Picture.from_image(image)
    assert picture.channels("y").shape == (1, 1, 9, 7)
    assert picture.channels("rgb").shape == (1, 3, 9, 7)
    for which in ("y", "rgb"):
        same = picture.channels(which)
        out = picture.with_channels(which, same, same, 1).to_image(image)
        np.testing.assert_array_equal(out.pixels, pixels)
        assert out.icc == b"profile"
        larger = same.repeat_interleave(3, -1).repeat_interleave(3, -2)
        big = picture.with_channels(which, same, larger, 3).to_image(image)
        assert big.pixels.shape == (27, 21, pixels.shape[2])
        assert (big.alpha is not None) == alpha
        if alpha:
            np.testing.assert_array_equal(out.alpha, image.alpha)
            assert big.alpha.shape == (27, 21)


def test_image_luma_is_matlabs():
    image = ImageFile(np.array([[[255, 0, 0], [0, 255, 0], [255, 255, 255]]], np.uint8), "rgb")
    y = Picture.from_image(image).channels("y")[0, 0, 0] * 255
    torch.testing.assert_close(y, torch.tensor([81.481, 144.553, 235.0]), atol=1e-3, rtol=0)


def test_a_batch_can_be_cut():
    planes = [tuple(np.full(s, k, np.uint8) for s in YUV420.shapes(4, 4)) for k in range(5)]
    picture = Picture.from_frames([frame(YUV420, ColorInfo(), p) for p in planes])
    assert len(picture) == 5
    assert [int(p[0][0, 0]) for p in picture[2:4].to_planes(YUV420, ColorInfo())] == [2, 3]
