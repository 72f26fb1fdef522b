"""The still life: what stands where, and the rays' way to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from sample import materials, pictures, shapes
from sample.materials import Surface, unit
from sample.noise import Array, tint

WALL = 2.2
WINDOW = (2.45, 2.9)  # centre of the opening on the wall; it is 3.5 wide and 3 high
FAR = np.float32(1e6)


class Thing(Protocol):
    """Something inside a bounding sphere, with rays and points in its own coordinates."""

    centre: Array
    rotation: Array
    bound: float

    def hit(self, o: Array, d: Array, lo: Array, hi: Array) -> tuple[Array, Array]:
        """Distances along the rays (FAR where missed) and which part was hit."""
        ...

    def surface(self, p: Array, part: Array) -> Surface:
        """The surface at points that were hit."""
        ...

    def distance(self, p: Array) -> Array | None:
        """Signed distance, or None if the thing has no volume."""
        ...


def turn(yaw: float, pitch: float = 0.0) -> Array:
    """A rotation about y, then about x, in degrees."""
    a, b = np.deg2rad(yaw), np.deg2rad(pitch)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return (about_y @ about_x).astype(np.float32)


@dataclass
class Solid:
    """A thing given by its signed distance, found by sphere tracing."""

    centre: Array
    rotation: Array
    bound: float
    shape: Callable[[Array], Array]
    skin: Callable[[Array, Array], Surface]

    def hit(self, o: Array, d: Array, lo: Array, hi: Array) -> tuple[Array, Array]:
        """Sphere tracing with the finished rays taken out."""
        out = np.full(lo.shape, FAR, dtype=np.float32)
        live, t = np.arange(lo.size), lo.copy()
        for _ in range(90):
            gap = self.shape(o[:, live] + d[:, live] * t).astype(np.float32)
            near = gap < 0.0012
            out[live[near]] = t[near]
            t = t + gap * np.float32(0.95)
            keep = ~near & (t < hi[live])
            live, t = live[keep], t[keep]
            if live.size == 0:
                break
        return out, np.zeros(lo.shape, dtype=np.int64)

    def surface(self, p: Array, part: Array) -> Surface:
        """The skin with the normal from central differences on a tetrahedron."""
        normal = np.zeros_like(p)
        for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
            k = tint(*corner)
            normal += k * self.shape(p + k * np.float32(0.0015))
        return self.skin(p, unit(normal))

    def distance(self, p: Array) -> Array | None:
        """The shape itself."""
        return self.shape(p).astype(np.float32)


@dataclass
class Foliage:
    """Flat pointed leaves, each with a stalk end, an axis, a side and a size."""

    centre: Array
    rotation: Array
    bound: float
    leaves: list[tuple[Array, Array, Array, float, float]] = field(default_factory=list)

    def _place(self, p: Array, k: int) -> tuple[Array, Array]:
        root, axis, side, length, _ = self.leaves[k]
        q = p - root[:, None]
        return (axis[:, None] * q).sum(axis=0) / length, (side[:, None] * q).sum(axis=0) / length

    def hit(self, o: Array, d: Array, lo: Array, hi: Array) -> tuple[Array, Array]:
        """The nearest leaf whose outline holds the point where the ray crosses its plane."""
        out = np.full(lo.shape, FAR, dtype=np.float32)
        part = np.zeros(lo.shape, dtype=np.int64)
        for k, (root, axis, side, _, _) in enumerate(self.leaves):
            normal = np.cross(axis, side)[:, None]
            slope = (normal * d).sum(axis=0)
            t = (normal * (root[:, None] - o)).sum(axis=0) / np.where(np.abs(slope) < 1e-5, np.float32(1e-5), slope)
            u, v = self._place(o + d * t, k)
            inside = (u > 0) & (u < 1) & (t > lo) & (t < np.minimum(out, hi))
            width = 0.62 * np.clip(u, 0, 1) ** 0.55 * np.clip(1 - u, 0, 1) ** 0.85
            inside &= np.abs(v) < width * (1 + 0.05 * np.sin(u * 60))
            out[inside], part[inside] = t[inside], k
        return out, part

    def surface(self, p: Array, part: Array) -> Surface:
        """Leaf colours; the halves of a leaf are bent up along its rib."""
        albedo, normal = np.zeros_like(p), np.zeros_like(p)
        for k, (_, axis, side, _, hue) in enumerate(self.leaves):
            mine = np.flatnonzero(part == k)
            if mine.size == 0:
                continue
            u, v = self._place(p[:, mine], k)
            v = v * np.float32(3.2)
            albedo[:, mine], veins = materials.leaf(u, v, np.full_like(u, hue))
            up = np.cross(axis, side)
            up = up if up[1] > 0 else -up
            fold = side[:, None] * (-0.55 * np.sign(v) - 0.3 * v)
            normal[:, mine] = up[:, None] + fold + axis[:, None] * (0.7 * (u - 0.5) + 0.12 * veins)
        return materials.made(albedo, normal, 0.04, 0.32)

    def distance(self, p: Array) -> Array | None:
        """Leaves have no volume."""
        return None


def _at(x: float, y: float, z: float) -> Array:
    return np.array([x, y, z], dtype=np.float32)


def _plant(centre: Array) -> Foliage:
    rng = np.random.default_rng(77)
    leaves = []
    for k in range(74):
        angle, rise = 2.4 * k, 0.05 + 1.5 * ((k + 0.5) / 74) ** 0.9
        spread = 0.55 * np.sin(np.pi * min(1.0, (rise + 0.35) / 2.1)) * rng.uniform(0.25, 1.0)
        root = np.array([spread * np.cos(angle), rise, spread * np.sin(angle)])
        lift = rng.uniform(-0.25, 0.75) + 0.5 * (rise > 1.2)
        axis = np.array([np.cos(angle), lift, np.sin(angle)]) + 0.3 * rng.standard_normal(3)
        axis /= np.linalg.norm(axis)
        side = np.cross(axis, [0, 1, 0]) + 0.35 * rng.standard_normal(3)
        side -= axis * (side @ axis)
        side /= np.linalg.norm(side)
        size = rng.uniform(0.5, 0.85) * (1.1 - 0.25 * rise)
        place = tuple(v.astype(np.float32) for v in (root, axis, side))
        leaves.append((place[0], place[1], place[2], float(size), float(rng.random())))
    return Foliage(centre, turn(0), 2.3, leaves)


def _book(place: Array, yaw: float, half: tuple[float, float, float], picture: Array) -> Solid:
    shape = partial(shapes.box, half=half, radius=0.035)
    skin = partial(materials.book, half=half, picture=picture)
    return Solid(place, turn(yaw), float(np.linalg.norm(half)), shape, skin)


def things() -> list[Thing]:
    """Everything that stands on the table or hangs on the wall with a volume."""
    red, blue, ochre = (104, 26, 28), (30, 52, 74), (150, 106, 44)
    gold, cream = (222, 178, 92), (236, 224, 196)
    low = pictures.spine("LIGHTHOUSE KEEPER", red, gold)
    middle = pictures.spine("KNOTS AND HITCHES", blue, cream)
    top = pictures.spine("GARDEN BY THE SEA", ochre, (52, 30, 20))
    out: list[Thing] = [
        _book(_at(-2.55, 0.2, 0.55), 5, (1.35, 0.195, 0.85), low),
        _book(_at(-2.6, 0.565, 0.55), -4, (1.26, 0.165, 0.8), middle),
        _book(_at(-2.52, 0.905, 0.6), 8, (1.16, 0.17, 0.75), top),
        Solid(_at(-2.75, 1.08, 0.6), turn(20), 1.15, shapes.mug, materials.stoneware),
        Solid(_at(-0.1, 1.14, 0.35), turn(-10, -3), 1.85, shapes.clock, materials.timepiece),
        Solid(_at(1.05, 0.42, -0.35), turn(30), 0.7, shapes.apple, materials.apple_skin),
        Solid(_at(1.75, 0.42, 0.35), turn(200, 8), 0.7, shapes.apple, materials.apple_skin),
        Solid(_at(0.5, 0.32, -1.25), turn(-24), 0.6, shapes.lemon, materials.lemon_skin),
        Solid(_at(2.75, 0.0, -0.75), turn(40), 1.5, shapes.rope, materials.hemp),
        Solid(_at(3.35, 0.0, 1.15), turn(0), 1.5, shapes.pot, materials.terracotta),
        _plant(_at(3.35, 1.1, 1.15)),
        Solid(_at(WINDOW[0], WINDOW[1], WALL), turn(0), 3.0, shapes.frame, materials.painted),
    ]
    return out
