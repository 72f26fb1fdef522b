"""Signed distances of the things on the table, in the coordinates of each thing; points are (3, N)."""

from __future__ import annotations

import numpy as np

from sample.noise import Array

SPIRAL_START, SPIRAL_PITCH, SPIRAL_TURNS, ROPE = 0.26, 0.235, 3.6, 0.125


def box(p: Array, half: tuple[float, float, float], radius: float = 0.0) -> Array:
    """A box with rounded edges, centred on the origin."""
    q = np.abs(p) - (np.array(half, dtype=np.float32)[:, None] - np.float32(radius))
    outside = np.sqrt((np.maximum(q, 0) ** 2).sum(axis=0))
    return outside + np.minimum(q.max(axis=0), 0) - np.float32(radius)


def tube(radial: Array, axial: Array, radius: float, half: float, rounding: float = 0.0) -> Array:
    """A capped cylinder from its radial and axial coordinates."""
    a, b = radial - np.float32(radius - rounding), np.abs(axial) - np.float32(half - rounding)
    outside = np.sqrt(np.maximum(a, 0) ** 2 + np.maximum(b, 0) ** 2)
    return outside + np.minimum(np.maximum(a, b), 0) - np.float32(rounding)


def capsule(p: Array, a: tuple[float, float, float], b: tuple[float, float, float], radius: float) -> Array:
    """A rod with round ends."""
    start, end = (np.array(v, dtype=np.float32)[:, None] for v in (a, b))
    along = end - start
    h = np.clip(((p - start) * along).sum(axis=0) / (along**2).sum(), 0, 1)
    return np.sqrt(((p - start - along * h) ** 2).sum(axis=0)) - np.float32(radius)


def _smooth_min(a: Array, b: Array, k: float) -> Array:
    h = np.clip(0.5 + 0.5 * (b - a) / np.float32(k), 0, 1)
    return b + (a - b) * h - np.float32(k) * h * (1 - h)


def mug(p: Array) -> Array:
    """A mug with its foot at y = 0, its handle to the right, and coffee in it."""
    r = np.hypot(p[0], p[2])
    y = p[1] - np.float32(0.48)
    wall = np.maximum(tube(r, y, 0.44, 0.48, 0.05), -tube(r, y - 0.12, 0.385, 0.5, 0.05))
    coffee = tube(r, y - 0.12, 0.39, 0.18)
    q = np.hypot((p[0] - 0.45) * 1.0, (y + 0.02) * 0.92) - np.float32(0.25)
    handle = np.hypot(q, p[2] * 0.8) - np.float32(0.055)
    outside = np.maximum(handle, 0.41 - r)
    return np.minimum(_smooth_min(wall, outside, 0.05), coffee)


def clock(p: Array) -> Array:
    """An alarm clock with two bells, its dial towards -z and its centre at the origin."""
    r = np.hypot(p[0], p[1])
    body = tube(r, p[2], 1.0, 0.32, 0.08)
    body = np.maximum(body, -tube(r, p[2] + 0.42, 0.87, 0.2))
    rim = np.hypot(r - 0.93, p[2] + 0.3) - np.float32(0.065)
    out = _smooth_min(body, rim, 0.03)
    x = np.abs(p[0])
    q = np.stack([x - 0.56, p[1] - 1.02, p[2]])
    up = (0.5 * q[0] + 0.866 * q[1]).astype(np.float32)
    ball = np.sqrt((q**2).sum(axis=0)) - np.float32(0.38)
    out = np.minimum(out, np.maximum(np.abs(ball) - np.float32(0.03), -up + 0.04))
    mirrored = np.stack([x, p[1], p[2]])
    for a, b, radius in (
        ((0.5, 0.86, 0.0), (0.76, 1.48, 0.0), 0.045),
        ((0.62, -0.7, 0.0), (0.85, -1.1, -0.05), 0.08),
        ((0.0, 0.9, 0.0), (0.0, 1.32, 0.0), 0.03),
        ((0.0, 1.32, 0.0), (0.12, 1.32, 0.0), 0.07),
        ((0.76, 1.46, 0.0), (0.6, 1.66, 0.0), 0.035),
        ((0.6, 1.66, 0.0), (0.0, 1.74, 0.0), 0.035),
    ):
        out = np.minimum(out, capsule(mirrored, a, b, radius))
    return out


def apple(p: Array) -> Array:
    """An apple of radius about 0.45 around the origin, its stalk up."""
    r = np.hypot(p[0], p[2])
    body = np.hypot(np.hypot(r - 0.14, p[1] * 1.02), 0.02) - np.float32(0.33) - 0.03 * p[1]
    angle = np.arctan2(p[2], p[0])
    body = body + 0.008 * np.cos(5 * angle) * np.clip(-p[1] * 3, 0, 1)
    return np.minimum(body * 0.9, capsule(p, (0.0, 0.2, 0.0), (0.06, 0.52, 0.02), 0.022))


def lemon(p: Array) -> Array:
    """A lemon lying along x."""
    r = np.hypot(p[1], p[2])
    belly = (np.hypot(p[0] / 1.32, r) - np.float32(0.32)) * 0.85
    tip = np.hypot((p[0] - 0.43) * 0.75, r) - np.float32(0.085)
    return _smooth_min(belly, tip, 0.09)


def spiral(p: Array) -> tuple[Array, Array, Array]:
    """The nearest turn of the coil of rope: distance to its axis, length along it, angle around it."""
    r, theta = np.hypot(p[0], p[2]), np.arctan2(p[2], p[0]) / np.float32(2 * np.pi)
    best: list[Array] | None = None
    guess = np.round((r - SPIRAL_START) / SPIRAL_PITCH - theta)
    guess = np.clip(guess, np.ceil(-theta), np.floor(SPIRAL_TURNS - theta))
    for shift in (-1, 0, 1):
        free = theta + guess + shift
        turns = np.clip(free, 0, SPIRAL_TURNS)
        radius = SPIRAL_START + SPIRAL_PITCH * turns
        past = 2 * radius * np.minimum(np.abs(free - turns) * np.pi, 1)  # beyond an end: along the chord
        dr = np.hypot(r - radius, past) * np.where(r < radius, -1, 1)
        dy = p[1] - (ROPE + 0.17 * (SPIRAL_TURNS - turns))
        found = [np.hypot(dr, dy), turns, np.arctan2(dy, dr)]
        if best is None:
            best = found
        else:
            nearer = found[0] < best[0]
            best = [np.where(nearer, a, b) for a, b in zip(found, best, strict=True)]
    assert best is not None
    length = 2 * np.pi * (SPIRAL_START * best[1] + SPIRAL_PITCH * best[1] ** 2 / 2)
    return best[0], length.astype(np.float32), best[2]


def rope(p: Array) -> Array:
    """A coil of three-stranded rope, the foot at y = 0."""
    distance, length, angle = spiral(p)
    strand = np.abs(np.cos(1.5 * angle + 11.0 * length))
    return (distance - np.float32(ROPE) + 0.04 * (1 - strand)) * 0.62


def pot(p: Array) -> Array:
    """A terracotta pot of height 1.2 with its foot at y = 0, filled with soil."""
    r, y = np.hypot(p[0], p[2]), p[1]
    taper = r - (0.5 + 0.14 * (y - 0.5))
    body = np.maximum(taper, np.abs(y - 0.5) - 0.5)
    rim = tube(r, y - 1.05, 0.68, 0.15, 0.03)
    hollow = tube(r, y - 1.2, 0.57, 0.2)
    return np.maximum(np.minimum(body, rim), -hollow) * 0.95


def frame(p: Array) -> Array:
    """The window's frame, bars and sill around the origin; the opening is 3.5 wide and 3 high."""
    outer, depth = np.float32(0.13), np.abs(p[2]) - np.float32(0.16)
    x, y = np.abs(p[0]), np.abs(p[1])
    ring = np.abs(np.maximum(x - 1.75, y - 1.5)) - outer
    bars = np.minimum(x, np.abs(p[1] - 0.35)) - np.float32(0.055)
    bars = np.maximum(bars, np.abs(p[2] - 0.03) - np.float32(0.06))
    bars = np.maximum(bars, np.maximum(x - 1.75, y - 1.5))
    sill = box(p - np.array([[0], [-1.62], [-0.12]], dtype=np.float32), (2.05, 0.07, 0.3), 0.03)
    return np.minimum(np.minimum(np.maximum(ring, depth), bars), sill)
