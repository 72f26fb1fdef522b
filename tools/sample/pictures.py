"""Flat artwork drawn with Pillow: the dial, the sign, the printed page, the spines and the view from the window."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sample.noise import Array, fbm2

Colour = tuple[int, int, int]


def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _linear(picture: Image.Image) -> Array:
    x = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    return np.ascontiguousarray((x**2.2).transpose(2, 0, 1))


def sample(picture: Array, u: Array, v: Array) -> Array:
    """The picture (3, H, W) at u to the right and v downwards, both in [0, 1], bilinear."""
    _, height, width = picture.shape
    x = np.clip(u * width - 0.5, 0, width - 1.001)
    y = np.clip(v * height - 0.5, 0, height - 1.001)
    i, j = x.astype(np.int64), y.astype(np.int64)
    a, b = x - i, y - j
    top = picture[:, j, i] * (1 - a) + picture[:, j, i + 1] * a
    low = picture[:, j + 1, i] * (1 - a) + picture[:, j + 1, i + 1] * a
    out: Array = (top * (1 - b) + low * b).astype(np.float32)
    return out


def _hand(draw: ImageDraw.ImageDraw, turn: float, length: float, width: float, ink: Colour) -> None:
    c, s = math.sin(2 * math.pi * turn), -math.cos(2 * math.pi * turn)
    points = [(-0.16, 0.5), (-0.16, -0.5), (0.72, -1.0), (1.0, 0.0), (0.72, 1.0)]
    place = [(600 + length * a * c - width * b * s, 600 + length * a * s + width * b * c) for a, b in points]
    draw.polygon(place, fill=ink)


@lru_cache
def dial() -> Array:
    """The clock's face: numerals, sixty ticks, fine engraved rings, hands at eight minutes past ten."""
    picture = Image.new("RGB", (1200, 1200), (240, 230, 205))
    draw = ImageDraw.Draw(picture)
    for radius in range(40, 300, 13):
        draw.ellipse((600 - radius, 600 - radius, 600 + radius, 600 + radius), outline=(176, 160, 126), width=4)
    ink = (38, 34, 40)
    for radius, width in ((580, 8), (522, 5), (312, 6)):
        draw.ellipse((600 - radius, 600 - radius, 600 + radius, 600 + radius), outline=ink, width=width)
    for tick in range(60):
        c, s = math.sin(math.pi * tick / 30), -math.cos(math.pi * tick / 30)
        inner, width = (496, 17) if tick % 5 == 0 else (530, 8)
        draw.line((600 + inner * c, 600 + inner * s, 600 + 574 * c, 600 + 574 * s), fill=ink, width=width)
    for hour in range(1, 13):
        c, s = math.sin(math.pi * hour / 6), -math.cos(math.pi * hour / 6)
        place = (600 + 412 * c, 600 + 412 * s)
        draw.text(place, str(hour), font=_font(128), fill=ink, anchor="mm", stroke_width=4, stroke_fill=ink)
    draw.rectangle((440, 730, 760, 806), fill=(240, 230, 205))
    draw.text((600, 768), "MERIDIAN", font=_font(60), fill=(150, 40, 30), anchor="mm", stroke_width=1)
    _hand(draw, (10 + 8 / 60) / 12, 330, 24, ink)
    _hand(draw, 8.5 / 60, 480, 17, ink)
    _hand(draw, 36 / 60, 470, 6, (190, 40, 28))
    draw.ellipse((572, 572, 628, 628), fill=(190, 140, 60))
    return _linear(picture)


@lru_cache
def sign() -> Array:
    """An enamel sign, white on blue."""
    picture = Image.new("RGB", (1300, 620), (22, 62, 104))
    draw = ImageDraw.Draw(picture)
    white = (238, 234, 220)
    draw.rounded_rectangle((26, 26, 1274, 594), 50, outline=white, width=11)
    draw.rounded_rectangle((50, 50, 1250, 570), 36, outline=white, width=4)
    draw.text((650, 180), "HARBOUR", font=_font(205), fill=white, anchor="mm", stroke_width=5)
    draw.text((650, 338), "COFFEE ROOMS", font=_font(102), fill=(244, 196, 92), anchor="mm", stroke_width=2)
    draw.line((160, 414, 1140, 414), fill=white, width=6)
    draw.text((650, 466), "FRESH BREAD DAILY 7 TO 19 h", font=_font(66), fill=white, anchor="mm", stroke_width=1)
    draw.text((650, 530), "ropes - charts - lamps - sundries", font=_font(44), fill=white, anchor="mm")
    return _linear(picture)


@lru_cache
def page() -> Array:
    """A printed tide table."""
    picture = Image.new("RGB", (900, 1000), (238, 230, 212))
    draw = ImageDraw.Draw(picture)
    ink = (44, 42, 50)
    draw.text((450, 90), "TIDE TABLE", font=_font(118), fill=(150, 36, 30), anchor="mm", stroke_width=3)
    draw.line((70, 164, 830, 164), fill=ink, width=7)
    rng = np.random.default_rng(5)
    for row in range(11):
        y = 220 + row * 68
        if row % 2:
            draw.rectangle((60, y - 34, 840, y + 34), fill=(216, 216, 208))
        high, low = rng.uniform(4.2, 6.9), rng.uniform(0.4, 1.9)
        hour, minute = int(rng.integers(0, 12)), int(rng.integers(0, 60))
        cells = (f"{row + 1:02d}", f"{hour:02d}:{minute:02d}", f"{high:.1f} m", f"{hour + 6:02d}:{minute:02d}")
        for x, text in zip((110, 270, 470, 650, 800), (*cells, f"{low:.1f}"), strict=True):
            draw.text((x, y), text, font=_font(58), fill=ink, anchor="mm", stroke_width=1)
    return _linear(picture)


@lru_cache
def spine(title: str, cloth: Colour, foil: Colour) -> Array:
    """A book's spine, seven times as wide as high."""
    picture = Image.new("RGB", (1400, 200), cloth)
    draw = ImageDraw.Draw(picture)
    for x, width in ((40, 16), (66, 6), (256, 8), (1136, 8), (1328, 6), (1344, 16)):
        draw.rectangle((x, 0, x + width, 200), fill=foil)
    draw.text((700, 100), title, font=_font(68), fill=foil, anchor="mm", stroke_width=2)
    for x in (110, 164, 218, 1182, 1236, 1290):
        draw.polygon([(x, 60), (x + 24, 100), (x, 140), (x - 24, 100)], outline=foil, width=6)
    return _linear(picture)


def _bokeh(view: Array, rng: np.random.Generator) -> None:
    height, width = view.shape[1:]
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float32)
    for k in range(46):
        radius = rng.uniform(9, 21)
        cx = rng.uniform(0, width)
        cy = height * (0.56 + 0.03 * rng.standard_normal()) if k < 30 else rng.uniform(0.6, 0.95) * height
        warm = rng.random()
        colour = np.array([1.0, 0.42 + 0.42 * warm, 0.1 + 0.45 * warm * warm], dtype=np.float32)
        distance = np.hypot(xx - cx, (yy - cy) * (1.0 if k < 30 else 1.7))
        disc = np.clip((radius - distance) / 2.5, 0, 1) * (0.65 + 0.35 * (distance / radius) ** 3)
        view += colour[:, None, None] * disc * np.float32(rng.uniform(0.25, 1.1) * (1.0 if k < 30 else 0.3))


@lru_cache
def harbour() -> Array:
    """The harbour at dusk behind the window, out of focus."""
    height, width = 680, 800
    v, u = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    v, u = v.astype(np.float32), u.astype(np.float32)
    glow = np.exp(-(((v - 0.58) / 0.17) ** 2))[None]
    top, band = (np.array(c, dtype=np.float32)[:, None, None] for c in ((0.06, 0.13, 0.36), (1.25, 0.42, 0.10)))
    sky = top * (0.55 + 0.8 * v[None]) + band * glow * (0.35 + 0.85 * np.exp(-(((u - 0.3) / 0.35) ** 2)))[None]
    cloud = np.clip(fbm2(u * 4, v * 14, 4) * 2.2 - 0.95, 0, 1) * np.clip(1 - np.abs(v - 0.3) * 2.6, 0, 1)
    sky = sky + np.array([0.42, 0.17, 0.14], dtype=np.float32)[:, None, None] * cloud[None]
    ridge = 0.53 - 0.09 * fbm2(u * 3.1 + 4, v * 0, 3) + 0.05 * u
    sky = np.where((v > ridge)[None], sky * 0.22, sky)
    mirror = np.clip(2 * 0.585 - v[:, 0], 0, 1) * (height - 1)
    water = sky[:, mirror.astype(np.int64)] * np.array([0.55, 0.6, 0.72], dtype=np.float32)[:, None, None]
    view = np.where((v > 0.585)[None], water * (0.75 + 0.5 * fbm2(u * 5, v * 40, 3))[None], sky)
    mask = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(mask)
    for x, tall in ((90, 300), (250, 210), (330, 340), (520, 260), (600, 330), (720, 230)):
        draw.line((x, 440 - tall, x, 440), fill=255, width=7)
        draw.polygon([(x - 70, 405), (x + 75, 400), (x + 52, 440), (x - 50, 440)], fill=255)
    boats = np.asarray(mask, dtype=np.float32)[None] / 255
    view = view * (1 - 0.85 * boats) + boats * 0.012
    view = _blur(view.astype(np.float32), 8)
    _bokeh(view, np.random.default_rng(11))
    return _blur(view, 1.5)


def _blur(layers: Array, radius: float) -> Array:
    """Gaussian blur of (3, H, W) with mirrored borders."""
    pad = int(4 * radius)
    x = np.pad(layers, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    fy, fx = np.fft.fftfreq(x.shape[1])[:, None], np.fft.rfftfreq(x.shape[2])[None]
    gain = np.exp(-2 * (math.pi * radius) ** 2 * (fx**2 + fy**2))
    y = np.fft.irfft2(np.fft.rfft2(x) * gain, s=x.shape[1:])
    return np.maximum(y[:, pad:-pad, pad:-pad], 0).astype(np.float32)
