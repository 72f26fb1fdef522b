"""Rays through the scene: what they meet and how bright it is."""

from __future__ import annotations

import numpy as np

from sample import materials, pictures
from sample.materials import Surface, unit
from sample.noise import Array, fbm2, mix, step, tint
from sample.scene import FAR, WALL, WINDOW, Thing, turn

NOTHING, TABLE, BACK, OUTSIDE = -1, -2, -3, -4
LAMP, LAMP_SIZE = tint(-5.2, 6.6, -5.5), 0.75
LAMP_LIGHT = tint(1.0, 0.70, 0.42) * 2.9
DUSK_LIGHT = tint(0.50, 0.52, 0.85) * 1.5
SIGN = (-2.15, 2.98, 2.6, 1.24)  # centre and size on the wall
PAGE = (-0.98, -1.02, 1.17, 1.3, -14.0)  # centre and size on the table, and yaw
CLOTH = (0.55, -0.5, 4.1, 2.7, 7.0)


def _local(x: Array, z: Array, place: tuple[float, float, float, float, float]) -> tuple[Array, Array]:
    c, s = np.cos(np.deg2rad(place[4])), np.sin(np.deg2rad(place[4]))
    dx, dz = x - np.float32(place[0]), z - np.float32(place[1])
    return np.float32(c) * dx + np.float32(s) * dz, np.float32(c) * dz - np.float32(s) * dx


def _opening(p: Array) -> Array:
    out: Array = (np.abs(p[0] - WINDOW[0]) < 1.75) & (np.abs(p[1] - WINDOW[1]) < 1.5)
    return out


def _span(thing: Thing, o: Array, d: Array) -> tuple[Array, Array]:
    q = o - thing.centre[:, None]
    b = (q * d).sum(axis=0)
    root = np.sqrt(np.maximum(b * b - (q * q).sum(axis=0) + np.float32(thing.bound**2), 0))
    return np.maximum(-b - root, 0), np.where(root > 0, -b + root, -1)


def _meet(thing: Thing, o: Array, d: Array, limit: Array) -> tuple[Array, Array, Array]:
    lo, hi = _span(thing, o, d)
    rays = np.flatnonzero((hi > lo) & (lo < limit))
    local_o = thing.rotation.T @ (o[:, rays] - thing.centre[:, None])
    t, part = thing.hit(local_o, thing.rotation.T @ d[:, rays], lo[rays], np.minimum(hi, limit)[rays])
    return rays, t, part


def trace(scene: list[Thing], o: Array, d: Array) -> tuple[Array, Array, Array]:
    """The first thing each ray meets: distance, index in the scene (or a plane's number), part."""
    down, back = d[1] < -1e-5, d[2] > 1e-5
    floor = np.where(down, -o[1] / np.where(down, d[1], -1), FAR)
    wall = np.where(back, (np.float32(WALL) - o[2]) / np.where(back, d[2], 1), FAR)
    wall = np.where(wall > 0, wall, FAR)
    best = np.minimum(floor, wall).astype(np.float32)
    which = np.where(floor <= wall, TABLE, BACK)
    which[(wall < floor) & _opening(o + d * np.minimum(wall, np.float32(1e3)))] = OUTSIDE
    which[best >= FAR] = NOTHING
    best[which == OUTSIDE] += np.float32(0.6)
    part = np.zeros(best.shape, dtype=np.int64)
    for k, thing in enumerate(scene):
        rays, t, piece = _meet(thing, o, d, best)
        nearer = t < best[rays]
        mine = rays[nearer]
        best[mine], which[mine], part[mine] = t[nearer], k, piece[nearer]
    return best, which, part


def lit(scene: list[Thing], p: Array, target: Array, wanted: Array) -> Array:
    """One where nothing stands between ``p`` and ``target``, zero elsewhere; only asked where ``wanted``."""
    out = wanted.astype(np.float32)
    way = target - p
    length = np.sqrt((way * way).sum(axis=0))
    d = way / length
    for thing in scene:
        live = np.flatnonzero(out > 0)
        if live.size == 0:
            break
        rays, t, _ = _meet(thing, p[:, live], d[:, live], length[live])
        out[live[rays[t < length[live][rays]]]] = 0
    return out


def openness(scene: list[Thing], p: Array, n: Array) -> Array:
    """Ambient visibility from the distance fields around each point."""
    dark = np.zeros_like(p[0])
    for h, weight in ((0.07, 0.5), (0.2, 0.42), (0.5, 0.36)):
        q = p + n * np.float32(h)
        gap = np.minimum(q[1], np.abs(np.float32(WALL) - q[2]))
        for thing in scene:
            near = np.flatnonzero(((q - thing.centre[:, None]) ** 2).sum(axis=0) < (thing.bound + 0.3) ** 2)
            if near.size == 0:
                continue
            found = thing.distance(thing.rotation.T @ (q[:, near] - thing.centre[:, None]))
            if found is not None:
                gap[near] = np.minimum(gap[near], found)
        dark += np.float32(weight) * np.clip(1 - gap / h, 0, 1)
    return np.clip(1 - dark, 0.08, 1)


def room(d: Array) -> Array:
    """What a mirror sees of the room behind the camera."""
    up = d[1]
    out = mix(tint(0.07, 0.05, 0.04), tint(0.16, 0.14, 0.15), np.clip(up * 0.5 + 0.5, 0, 1))
    lamp = np.maximum((d * unit(LAMP)).sum(axis=0), 0)
    out = out + tint(1.0, 0.75, 0.45) * (5.0 * step(0.984, 0.992, lamp) + 0.35 * lamp**12)
    x, y = d[0] / np.maximum(-d[2], 1e-3), d[1] / np.maximum(-d[2], 1e-3)
    pane = step(0.55, 0.5, np.abs(x - 0.95)) * step(0.5, 0.45, np.abs(y - 0.75)) * (d[2] < 0)
    cross = step(0.02, 0.04, np.abs(x - 0.95)) * step(0.02, 0.04, np.abs(y - 0.75))
    return out + tint(0.75, 0.85, 1.1) * pane * cross


def outside(p: Array) -> Array:
    """The view from the window."""
    u, v = (p[0] - WINDOW[0]) / 4.4 + 0.5, 0.5 - (p[1] - WINDOW[1]) / 3.8
    return pictures.sample(pictures.harbour(), u, v) * np.float32(0.8)


def _table(p: Array) -> Surface:
    out = materials.table(p[0], p[2])
    for place, skin, tiles in ((CLOTH, materials.cloth, False), (PAGE, materials.paper, True)):
        a, b = _local(p[0], p[2], place)
        ragged = 0.03 * (fbm2(a * 15, b * 15, 2) - 0.5) if not tiles else np.zeros_like(a)
        on = np.flatnonzero((np.abs(a) < place[2] / 2 + ragged) & (np.abs(b) < place[3] / 2 + ragged))
        if on.size == 0:
            continue
        u, v = a[on], b[on]
        spread = skin(u / place[2] + 0.5, 0.5 - v / place[3]) if tiles else skin(u, v)
        _paste(out, on, spread)
    return out


def _wall(p: Array) -> Surface:
    out = materials.bricks(p[0], p[1])
    u, v = (p[0] - SIGN[0]) / SIGN[2] + 0.5, 0.5 - (p[1] - SIGN[1]) / SIGN[3]
    on = np.flatnonzero((u > 0) & (u < 1) & (v > 0) & (v < 1))
    if on.size:
        _paste(out, on, materials.enamel(u[on], v[on]))
    rim = np.maximum(np.abs(p[0] - SIGN[0]) - SIGN[2] / 2, np.abs(p[1] - SIGN[1] + 0.04) - SIGN[3] / 2)
    out.albedo = out.albedo * np.where((rim > 0) & (rim < 0.07), np.float32(0.45), np.float32(1))
    return out


def _paste(out: Surface, on: Array, part: Surface) -> None:
    for name in ("albedo", "normal", "mirror", "rough"):
        field = getattr(out, name).copy()
        field[..., on] = getattr(part, name)
        setattr(out, name, field)


def surfaces(scene: list[Thing], p: Array, which: Array, part: Array) -> Surface:
    """The surfaces at the points ``p`` that rays have met."""
    n = p.shape[1]
    out = materials.made(np.zeros((3, n), np.float32), np.ones((3, n), np.float32))
    for k in np.unique(which):
        mine = np.flatnonzero(which == k)
        if k in (NOTHING, OUTSIDE):
            continue
        if k == TABLE:
            found = _table(p[:, mine])
        elif k == BACK:
            found = _wall(p[:, mine])
        else:
            thing = scene[k]
            found = thing.surface(thing.rotation.T @ (p[:, mine] - thing.centre[:, None]), part[mine])
            found.normal = thing.rotation @ found.normal
        _paste(out, mine, found)
    return out


def _gloss(s: Surface, d: Array, way: Array) -> Array:
    half = unit(way - d)
    power = 2 / np.maximum(s.rough, 0.08) ** 3
    peak = np.maximum((s.normal * half).sum(axis=0), 0) ** power * (power + 8) / 25
    return s.mirror * np.minimum(peak, 60)


def direct(s: Surface, p: Array, d: Array, shade: tuple[Array, Array], ambient: Array) -> Array:
    """Light from the lamp, from the window and from all around, sent back along ``-d``."""
    key = unit(LAMP - p)
    dusk = tint(WINDOW[0], WINDOW[1], WALL) - p
    reach = np.float32(9) / (4 + (dusk * dusk).sum(axis=0))
    dusk = unit(dusk)
    pool = np.exp(-(((p[0] + 0.6) / 4.2) ** 2) - ((p[1] - 0.7) / 3.0) ** 2)
    lamp = np.maximum((s.normal * key).sum(axis=0), 0) * shade[0] * (0.12 + 0.88 * pool)
    facing = np.clip(dusk[2] * 1.2 + 0.1, 0, 1)
    pane = np.maximum((s.normal * dusk).sum(axis=0) * 0.8 + 0.2, 0) * shade[1] * reach * facing
    sky = mix(tint(0.095, 0.06, 0.04), tint(0.13, 0.13, 0.18), np.clip(s.normal[1] * 0.5 + 0.5, 0, 1))
    front = tint(0.07, 0.065, 0.075) * np.maximum(-s.normal[2], 0)
    out = s.albedo * (LAMP_LIGHT * lamp + DUSK_LIGHT * pane + (sky + front) * ambient)
    return out + LAMP_LIGHT * _gloss(s, d, key) * lamp * 0.5 + DUSK_LIGHT * _gloss(s, d, dusk) * pane * 0.3


def _reflected(scene: list[Thing], s: Surface, p: Array, d: Array, jitter: Array) -> Array:
    n = unit(s.normal + (jitter - 0.5) * (s.rough**2 * 1.1))
    r = unit(d - 2 * n * (d * n).sum(axis=0))
    start = p + s.normal * np.float32(0.02)
    t, which, part = trace(scene, start, r)
    q = start + r * np.minimum(t, np.float32(50))
    met = surfaces(scene, q, which, part)
    flat = np.ones_like(t)
    out = direct(met, q, r, (flat * 0.7, flat * 0.6), flat * 0.6)
    out = np.where(which == OUTSIDE, outside(q), out)
    return np.where(which == NOTHING, room(r), out)


def radiance(scene: list[Thing], o: Array, d: Array, jitter: Array) -> Array:
    """Linear light along the rays; ``jitter`` (4, N) in [0, 1] places the samples on the lights."""
    t, which, part = trace(scene, o, d)
    p = o + d * t
    s = surfaces(scene, p, which, part)
    off = p + s.normal * np.float32(0.012)
    solid = which != OUTSIDE
    angle, height = jitter[0] * np.float32(2 * np.pi), jitter[1] * 2 - 1
    ring = np.sqrt(1 - height**2)
    bulb = LAMP + np.float32(LAMP_SIZE) * np.stack([ring * np.cos(angle), height, ring * np.sin(angle)])
    pane = tint(WINDOW[0] - 1.7, WINDOW[1] - 1.4, WALL - 0.2) + np.stack(
        [jitter[2] * 3.4, jitter[3] * 2.8, np.zeros_like(t)]
    )
    shade = (
        lit(scene, off, bulb, solid & ((s.normal * (LAMP - p)).sum(axis=0) > 0)),
        lit(scene[:-1], off, pane, solid & (p[2] < WALL - 0.05)),
    )
    colour = direct(s, p, d, shade, openness(scene, off, s.normal))
    shiny = np.flatnonzero(solid & (s.mirror.max(axis=0) > 0.03) & (s.rough < 0.45))
    if shiny.size:
        glint = materials.Surface(*(getattr(s, f)[..., shiny] for f in ("albedo", "normal", "mirror", "rough")))
        graze = np.clip(1 + (d[:, shiny] * glint.normal).sum(axis=0), 0, 1) ** 5
        amount = glint.mirror + (1 - glint.mirror) * graze * (1 - glint.rough)
        bounce = _reflected(scene, glint, p[:, shiny], d[:, shiny], jitter[[1, 2, 3]][:, shiny])
        colour[:, shiny] += amount * bounce
    return np.where(solid, colour, outside(p))


def camera(x: Array, y: Array, width: int) -> tuple[Array, Array]:
    """Rays through the points (x, y) of a picture ``width`` wide; (0, 0) is its centre, y downwards."""
    eye = tint(0.15, 4.0, -10.6)
    d = unit(np.stack([x * (8.5 / 10.9 / width), -y * (8.5 / 10.9 / width), np.ones_like(x)]))
    return np.broadcast_to(eye, d.shape), turn(0, 12.6) @ d
