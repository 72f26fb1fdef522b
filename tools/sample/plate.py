"""The plate: the whole scene once, several samples per pixel of any picture taken from it."""

from __future__ import annotations

import numpy as np

from sample import tracer
from sample.noise import Array, tint
from sample.scene import things

WIDTH, HEIGHT = 2176, 1152


def _jitter(x: Array, y: Array, rng: np.random.Generator) -> Array:
    """Sixteen stratified points in each four-by-four tile, (4, N) in [0, 1)."""
    index = (np.mod(x, 4) + 4 * np.mod(y, 4)).astype(np.float32)
    index = np.mod(index * 7, 16)
    steps = (1 / 16, 0.618034, 0.754878, 0.569840)
    base = np.stack([np.mod(index * np.float32(a) + 0.5 / 16, 1) for a in steps])
    wobble = rng.random(base.shape, dtype=np.float32) - np.float32(0.5)
    return np.mod(base + wobble / 16, 1).astype(np.float32)


def render(scale: float = 1.0) -> Array:
    """The plate in display light, (3, H, W) in [0, 1] before gamma; ``scale`` below one for a quick look."""
    width, height = round(WIDTH * scale), round(HEIGHT * scale)
    scene, rng = things(), np.random.default_rng(3)
    out = np.empty((3, height, width), dtype=np.float32)
    band = max(1, 150_000 // width)
    for top in range(0, height, band):
        rows = min(band, height - top)
        yy, xx = np.mgrid[top : top + rows, 0:width].astype(np.float32).reshape(2, -1)
        x, y = xx + 0.5 - width / 2, yy + 0.5 - height / 2
        o, d = tracer.camera(x.astype(np.float32), y.astype(np.float32), width)
        light = tracer.radiance(scene, o, d, _jitter(xx, yy, rng))
        fall = 1 - 0.30 * ((x / width * 1.7) ** 2 + (y / width * 1.9) ** 2)
        out[:, top : top + rows] = _develop(light * fall.astype(np.float32)).reshape(3, rows, width)
    return out


def _develop(light: Array) -> Array:
    """A filmic curve: a soft shoulder, slightly deepened shadows."""
    x = np.maximum(light * tint(0.90, 0.88, 0.87), 0)
    out: Array = np.clip(x * (2.51 * x + 0.06) / (x * (2.43 * x + 0.64) + 0.16), 0, 1).astype(np.float32)
    return out
