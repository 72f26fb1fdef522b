"""What the surfaces are made of: colour, gloss and relief, as functions of the place on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sample import pictures
from sample.noise import Array, cell, fbm2, fbm3, mix, step, tint
from sample.shapes import spiral

Relief = Callable[[Array, Array], Array]


@dataclass
class Surface:
    """A surface at N points: linear colour, unit normal, mirror reflectance (all (3, N)) and roughness (N)."""

    albedo: Array
    normal: Array
    mirror: Array
    rough: Array


def unit(v: Array) -> Array:
    """The columns of ``v`` (3, N) at length one."""
    return v / np.sqrt((v * v).sum(axis=0) + np.float32(1e-12))


def made(albedo: Array, normal: Array, mirror: Array | float = 0.04, rough: Array | float = 0.6) -> Surface:
    """A surface with its scalars spread over all points."""
    n = normal.shape[1]
    colour = np.broadcast_to(albedo, (3, n)).astype(np.float32)
    shine = np.broadcast_to(np.asarray(mirror, dtype=np.float32), (3, n))
    return Surface(colour, unit(normal), shine, np.broadcast_to(np.float32(rough), (n,)))


def slopes(relief: Relief, u: Array, v: Array) -> tuple[Array, Array]:
    """The gradient of a relief by forward differences."""
    h, e = relief(u, v), np.float32(0.004)
    return (relief(u + e, v) - h) / e, (relief(u, v + e) - h) / e


def _planks(x: Array, z: Array) -> tuple[Array, Array, Array]:
    row = np.floor(z / 0.95 + 0.35)
    edge = np.abs((z / 0.95 + 0.35 - row) - 0.5) * 0.95
    shift = 40 * cell(row, row * 0, 3)
    warp = fbm2(x * 0.35 + shift, z * 1.6, 3)
    rings = 0.5 + 0.5 * np.sin(6.283 * (z * 3.2 + 5.5 * warp + 0.12 * fbm2(x * 2 + shift, z * 14, 3)))
    pores = fbm2(x * 2.2 + shift, z * 46, 4)
    return rings * 0.55 + pores * 0.75, cell(row, row * 0, 9), step(0.475, 0.452, edge)


def table(x: Array, z: Array) -> Surface:
    """The varnished planks of the table."""
    grain, plank, whole = _planks(x, z)
    dark, light = tint(0.075, 0.028, 0.012), tint(0.38, 0.175, 0.07)
    albedo = mix(dark, light, np.clip(grain * 0.95 - 0.12 + 0.3 * (plank - 0.5), 0, 1)) * (0.12 + 0.88 * whole)

    def relief(u: Array, v: Array) -> Array:
        return 0.004 * fbm2(u * 2.2, v * 46, 3) + 0.012 * fbm2(u * 1.4, v * 1.1, 2)

    du, dv = slopes(relief, x, z)
    normal = np.stack([-du, np.ones_like(x), -dv])
    return made(albedo, normal, 0.045, 0.12 + 0.22 * grain)


def cloth(x: Array, z: Array) -> Surface:
    """A chequered woven cloth; one thread is about a fortieth of a unit."""
    threads = np.float32(30.0)
    a, b = x * threads, z * threads
    over = np.mod(np.floor(a) + np.floor(b), 2) < 0.5
    across = np.where(over, np.mod(a, 1), np.mod(b, 1)) - 0.5
    along = np.where(over, np.mod(b, 1), np.mod(a, 1)) - 0.5
    band_a, band_b = np.mod(np.floor(a), 18) < 9, np.mod(np.floor(b), 18) < 9
    blue, white = tint(0.035, 0.085, 0.20), tint(0.66, 0.63, 0.56)
    albedo = np.where(np.where(over, band_a, band_b), blue, white)
    round_off = 1 - 1.7 * across**2 - 0.9 * along**2
    albedo = albedo * round_off * (0.82 + 0.36 * fbm2(a * 0.9, b * 0.9, 3))
    tilt_a, tilt_b = np.where(over, across, along * 0.6), np.where(over, along * 0.6, across)
    du, dv = slopes(lambda u, v: 0.05 * fbm2(u * 1.1 + 3, v * 1.3, 2), x, z)
    return made(albedo, np.stack([tilt_a * 0.9 - du, np.ones_like(x), tilt_b * 0.9 - dv]), 0.0, 0.9)


def paper(u: Array, v: Array) -> Surface:
    """The printed page lying on the table, u and v in [0, 1]."""
    normal = np.stack([0.05 * np.sin(7 * u), np.ones_like(u), 0.03 * np.cos(5 * v)])
    return made(pictures.sample(pictures.page(), u, v), normal, 0.01, 0.8)


def _wall_relief(x: Array, y: Array) -> tuple[Array, Array, Array]:
    wobble = np.float32(0.03)
    u = x + wobble * (fbm2(x * 5, y * 5, 3) - 0.5)
    v = y + wobble * (fbm2(x * 5 + 31, y * 5, 3) - 0.5)
    row = np.floor(v / 0.26)
    across = u / 0.78 + 0.5 * np.mod(row, 2)
    column = np.floor(across)
    inset = np.minimum(0.39 - np.abs(across - column - 0.5) * 0.78, 0.13 - np.abs(v / 0.26 - row - 0.5) * 0.26)
    return step(0.012, 0.03, inset), row, column


def bricks(x: Array, y: Array) -> Surface:
    """A brick wall with mortar joints."""
    face, row, column = _wall_relief(x, y)
    tone, hue = cell(column, row, 1), cell(column, row, 2)
    fine = fbm2(x * 16, y * 16, 4, 0.65)
    clay = mix(tint(0.20, 0.058, 0.032), tint(0.46, 0.19, 0.10), np.clip(tone * 0.8 + 0.1, 0, 1))
    clay = mix(clay, tint(0.24, 0.15, 0.12), np.where(hue > 0.72, np.float32(0.7), np.float32(0.12)))
    clay = clay * (0.45 + 1.1 * fine)
    mortar = tint(0.40, 0.36, 0.31) * (0.5 + 0.9 * fbm2(x * 30, y * 30, 3))
    stain = 0.75 + 0.5 * fbm2(x * 0.9, y * 0.7, 3)

    def relief(u: Array, v: Array) -> Array:
        return 0.016 * _wall_relief(u, v)[0] + 0.016 * fbm2(u * 16, v * 16, 4, 0.65)

    du, dv = slopes(relief, x, y)
    normal = np.stack([-du, -dv, -np.ones_like(x)])
    return made(mix(mortar, clay, face) * stain, normal, 0.0, 0.95)


def enamel(u: Array, v: Array) -> Surface:
    """The enamel sign, u and v in [0, 1]."""
    albedo = pictures.sample(pictures.sign(), u, v)
    edge = np.minimum(np.minimum(u, 1 - u) * 2.6, np.minimum(v, 1 - v) * 1.24)
    rust = step(0.735, 0.78, fbm2(u * 9, v * 5, 4) + 0.34 * step(0.10, 0.0, edge))
    albedo = mix(albedo, tint(0.14, 0.055, 0.025), rust)
    bulge = np.stack([(u - 0.5) * 0.10, (0.5 - v) * 0.10, -np.ones_like(u)])
    return made(albedo, bulge, 0.045 * (1 - rust), 0.14 + 0.6 * rust)


def book(p: Array, n: Array, half: tuple[float, float, float], picture: Array) -> Surface:
    """A bound book lying flat, its spine towards -z."""
    front = n[2] < -0.6
    spine = pictures.sample(picture, p[0] / (2 * half[0]) + 0.5, 0.5 - p[1] / (2 * half[1]))
    boards = picture[:, 100, 20][:, None]
    pages = (np.abs(n[0]) > 0.6) & (np.abs(p[1]) < half[1] - 0.03)
    sheet = tint(0.72, 0.62, 0.44) * (0.7 + 0.4 * np.sin(p[1] * 330) * fbm2(p[2] * 2, p[1] * 90, 2))
    albedo = np.where(front, spine, np.where(pages, sheet, boards))
    weave = 0.86 + 0.28 * fbm3(p, 42.0, 2)
    bend = np.where(front, p[1] / half[1] * 0.7, 0)
    gilt = np.where(front & (spine.sum(axis=0) > boards.sum() + 0.45), np.float32(0.35), np.float32(0.03))
    normal = np.stack([n[0], n[1] + bend, n[2]])
    return made(albedo * weave, normal, gilt * np.clip(albedo * 1.6, 0.1, 1), 0.4)


def stoneware(p: Array, n: Array) -> Surface:
    """The mug: cream glaze with blue bands and speckles; coffee inside."""
    r, y = np.hypot(p[0], p[2]), p[1]
    cream, blue = tint(0.72, 0.66, 0.54), tint(0.05, 0.13, 0.26)
    bands = np.maximum(step(0.05, 0.035, np.abs(y - 0.76)), step(0.012, 0.006, np.abs(np.abs(y - 0.76) - 0.08)))
    angle = np.arctan2(p[2], p[0]) * 9 / np.pi
    lattice = np.abs(np.mod(angle + y * 5.2, 1) - 0.5), np.abs(np.mod(angle - y * 5.2, 1) - 0.5)
    net = step(0.09, 0.05, np.minimum(*lattice)) * step(0.62, 0.6, y) * step(0.13, 0.15, y)
    lower = step(0.012, 0.006, np.minimum(np.abs(y - 0.12), np.abs(y - 0.635)))
    paint = np.where((r > 0.4) & (r < 0.46), np.maximum(np.maximum(bands, net), lower), 0)
    albedo = mix(cream, blue, paint * (0.8 + 0.2 * fbm3(p, 9, 2)))
    albedo = albedo * (1 - 0.6 * step(0.80, 0.86, fbm3(p, 45, 1)))
    coffee = (r < 0.386) & (y < 0.79)
    albedo = np.where(coffee, tint(0.03, 0.012, 0.005), albedo)
    return made(albedo, n, 0.05, 0.10)


def timepiece(p: Array, n: Array) -> Surface:
    """The alarm clock: dial, brass rim and bells, green lacquer."""
    r = np.hypot(p[0], p[1])
    dial = (r < 0.872) & (p[2] < -0.2) & (p[2] > -0.3)
    face = pictures.sample(pictures.dial(), p[0] / 1.76 + 0.5, 0.5 - p[1] / 1.76)
    green = tint(0.018, 0.105, 0.095) * (0.9 + 0.2 * fbm3(p, 5, 2))
    lacquer = (r < 1.02) & (p[2] > -0.24)
    brass = tint(0.11, 0.06, 0.016) * (0.75 + 0.5 * fbm3(p, 22, 3))
    albedo = np.where(dial, face, np.where(lacquer, green, brass))
    metal = tint(0.78, 0.52, 0.22)
    mirror = np.where(dial, np.float32(0.015), np.where(lacquer, np.float32(0.05), metal))
    rough = np.where(dial, np.float32(0.5), np.where(lacquer, np.float32(0.12), np.float32(0.16)))
    ripple = np.stack([fbm3(p, 17, 2), fbm3(p[::-1], 17, 2), fbm3(-p, 17, 2)]) - 0.5
    return made(albedo, n + 0.05 * ripple, mirror, rough)


def apple_skin(p: Array, n: Array) -> Surface:
    """Red and yellow streaks with pale dots; a brown stalk."""
    angle = np.arctan2(p[2], p[0])
    streak = fbm2(angle * 9 + 40, p[1] * 1.3, 4, 0.7)
    side = fbm3(p, 1.7, 2) + 0.25 * np.cos(angle + 0.6)
    albedo = mix(tint(0.42, 0.20, 0.03), tint(0.36, 0.018, 0.016), step(0.10, 0.66, streak * 0.55 + side * 0.5))
    albedo = mix(albedo, tint(0.62, 0.48, 0.22), 0.5 * step(0.80, 0.86, fbm3(p, 42, 1)))
    albedo = np.where((p[1] > 0.27) & (np.hypot(p[0], p[2]) < 0.1), tint(0.09, 0.05, 0.02), albedo)
    return made(albedo, n, 0.045, 0.2)


def lemon_skin(p: Array, n: Array) -> Surface:
    """Yellow peel with pores."""
    e = np.float32(0.006)
    pores = fbm3(p, 24, 2)
    rise = np.stack([fbm3(p + tint(*(e * np.eye(3)[k])), 24, 2) - pores for k in range(3)]) / e
    return made(tint(0.78, 0.52, 0.03) * (0.55 + 0.75 * pores), n - 0.022 * rise, 0.045, 0.3)


def hemp(p: Array, n: Array) -> Surface:
    """The rope's three strands of fibre."""
    _, length, angle = spiral(p)
    phase = 1.5 * angle + 11.0 * length
    fibre = fbm2(length * 9 + angle * 2, angle * 5 - length * 30, 3)
    groove = 0.4 + 0.6 * step(0.05, 0.55, np.abs(np.cos(phase)))
    albedo = tint(0.46, 0.31, 0.15) * groove * (0.45 + 1.1 * fibre)
    return made(albedo, n + 0.25 * (fbm3(p, 40, 2) - 0.5), 0.0, 0.9)


def terracotta(p: Array, n: Array) -> Surface:
    """The flower pot with lime stains, soil on top."""
    lime = step(0.45, 0.75, fbm3(p * tint(1, 0.5, 1), 3.5, 4))
    albedo = mix(tint(0.44, 0.155, 0.07), tint(0.52, 0.38, 0.29), 0.6 * lime) * (0.7 + 0.6 * fbm3(p, 18, 3))
    soil = (np.hypot(p[0], p[2]) < 0.575) & (p[1] < 1.1) & (p[1] > 0.9)
    albedo = np.where(soil, tint(0.03, 0.02, 0.013) * (0.5 + fbm3(p, 25, 3)), albedo)
    return made(albedo, n + 0.12 * (fbm3(p, 30, 2) - 0.5), 0.01, 0.8)


def painted(p: Array, n: Array) -> Surface:
    """Off-white paint on the window's wood."""
    flow = fbm2(p[0] * 3 + p[1] * 3, p[2] * 20 + p[0] * 2, 3)
    chip = step(0.70, 0.73, fbm3(p, 9, 4))
    albedo = mix(tint(0.55, 0.52, 0.46) * (0.8 + 0.3 * flow), tint(0.16, 0.10, 0.06), chip)
    return made(albedo, n + 0.06 * (fbm3(p, 14, 2) - 0.5), 0.03, 0.4)


def leaf(u: Array, v: Array, hue: Array) -> tuple[Array, Array]:
    """A leaf's colour and its vein pattern; u from stalk to tip, v across in [-1, 1]."""
    rib = step(0.09, 0.03, np.abs(v))
    veins = step(0.20, 0.06, np.abs(np.mod(u * 7 - np.abs(v) * 1.6, 1) - 0.5))
    pattern = np.maximum(rib, 0.55 * veins)
    base = mix(tint(0.035, 0.12, 0.022), tint(0.15, 0.27, 0.045), hue)
    mottle = 0.75 + 0.5 * fbm2(u * 9 + hue * 50, v * 6, 3)
    return mix(base * mottle, tint(0.26, 0.36, 0.12), 0.6 * pattern), pattern
