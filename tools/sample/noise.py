"""Lattice noise: the source of everything irregular in the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]  # float32 but for indices and masks

_RNG = np.random.default_rng(20240611)
_SIDE = 256
_TABLE2 = _RNG.random(_SIDE * _SIDE, dtype=np.float32)
_SIDE3 = 64
_TABLE3 = _RNG.random(_SIDE3**3, dtype=np.float32)


def _fade(f: Array) -> Array:
    return f * f * (3 - 2 * f)


def value2(x: Array, y: Array) -> Array:
    """Smooth noise in [0, 1] over the plane, one lattice cell per unit."""
    fx, fy = np.floor(x), np.floor(y)
    a, b = _fade(x - fx), _fade(y - fy)
    i, j = fx.astype(np.int64) & (_SIDE - 1), fy.astype(np.int64) & (_SIDE - 1)
    i1 = (i + 1) & (_SIDE - 1)
    row, row1 = j * _SIDE, ((j + 1) & (_SIDE - 1)) * _SIDE
    top = _TABLE2[row + i] * (1 - a) + _TABLE2[row + i1] * a
    low = _TABLE2[row1 + i] * (1 - a) + _TABLE2[row1 + i1] * a
    return top * (1 - b) + low * b


def value3(x: Array, y: Array, z: Array) -> Array:
    """Smooth noise in [0, 1] in space, one lattice cell per unit."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    a, b, c = _fade(x - fx), _fade(y - fy), _fade(z - fz)
    mask = _SIDE3 - 1
    i, j, k = (f.astype(np.int64) & mask for f in (fx, fy, fz))
    out = np.zeros_like(a)
    for dz in (0, 1):
        for dy in (0, 1):
            base = (((k + dz) & mask) * _SIDE3 + ((j + dy) & mask)) * _SIDE3
            line = _TABLE3[base + i] * (1 - a) + _TABLE3[base + ((i + 1) & mask)] * a
            out += line * (b if dy else 1 - b) * (c if dz else 1 - c)
    return out


def fbm2(x: Array, y: Array, octaves: int = 4, gain: float = 0.5) -> Array:
    """Fractal sum of ``value2``, in [0, 1] with mean about one half."""
    total, weight, amplitude = np.zeros_like(x), 0.0, 1.0
    for octave in range(octaves):
        f = np.float32(2.03**octave)
        total += np.float32(amplitude) * value2(x * f + 17.3 * octave, y * f - 9.1 * octave)
        weight += amplitude
        amplitude *= gain
    return total / np.float32(weight)


def fbm3(p: Array, frequency: float, octaves: int = 4, gain: float = 0.5) -> Array:
    """Fractal sum of ``value3`` at the points ``p`` of shape (3, N), in [0, 1]."""
    total, weight, amplitude = np.zeros_like(p[0]), 0.0, 1.0
    for octave in range(octaves):
        f = np.float32(frequency * 2.03**octave)
        total += np.float32(amplitude) * value3(p[0] * f + 5.2 * octave, p[1] * f + 1.7 * octave, p[2] * f)
        weight += amplitude
        amplitude *= gain
    return total / np.float32(weight)


def cell(i: Array, j: Array, salt: int = 0) -> Array:
    """One number in [0, 1) for each integer cell, without interpolation."""
    a = (i.astype(np.int64) * 7 + salt * 31) & (_SIDE - 1)
    b = (j.astype(np.int64) * 13 + salt * 57) & (_SIDE - 1)
    return _TABLE2[b * _SIDE + a]


def step(lo: float, hi: float, x: Array) -> Array:
    """Smooth rise from zero at ``lo`` to one at ``hi`` (or a fall, where ``hi < lo``)."""
    return _fade(np.clip((x - np.float32(lo)) / np.float32(hi - lo), 0, 1))


def mix(a: Array, b: Array, k: Array) -> Array:
    """From ``a`` to ``b`` as ``k`` goes from zero to one."""
    return a + (b - a) * k


def tint(*rgb: float) -> Array:
    """A colour as a (3, 1) column, in linear light."""
    return np.array(rgb, dtype=np.float32)[:, None]
