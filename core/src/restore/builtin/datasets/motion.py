"""Pictures that move along smooth paths: similarity transforms over time, sampling, soft-edged pieces, optical flow.

Positions are ``(..., 2)`` tensors ``(x, y)`` in pixels, x to the right, y down; pixel centres are whole numbers.
"""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

# A picture seen through less than this shares its pixel with another: it has no one motion.
_ALONE = 0.99


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """A number in [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def smooth_path(frames: int, speed: float, generator: torch.Generator) -> Tensor:
    """A random walk without jerks, ``(frames,)`` float64, beginning at 0.

    The velocity is a constant plus two slow sinusoids (periods of 12 to 48 frames), each normally distributed;
    ``speed`` is the constant's standard deviation per frame. Its character does not depend on how many frames are asked
    for.
    """
    normal = torch.randn(3, generator=generator, dtype=torch.float64)
    period, phase = torch.rand(2, 2, generator=generator, dtype=torch.float64)
    time = torch.arange(frames, dtype=torch.float64)
    turns = time[:, None] / (12 + 36 * period) + phase
    velocity = speed * (normal[0] + 0.5 * (normal[1:] * torch.sin(2 * math.pi * turns)).sum(dim=1))
    return torch.cumsum(velocity, 0) - velocity[0]


@attrs.frozen(eq=False)
class Motion:
    """Where a picture's points are seen: frame ``t`` shows at ``x`` the point ``matrix[t] @ x + offset[t]``.

    Attributes:
        matrix: ``(T, 2, 2)`` float64.
        offset: ``(T, 2)`` float64.
    """

    matrix: Tensor
    offset: Tensor

    @classmethod
    def similarity(cls, scale: Tensor, angle: Tensor, shown: Tensor, point: Tensor) -> Motion:
        """``point`` (2,) of the picture is seen at ``shown`` (T, 2), around it the picture is turned by ``angle`` (T,)
        radians and ``scale`` (T,) of its pixels lie in one of the frame's."""
        cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
        matrix = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
        return cls(matrix, point - (matrix @ shown[..., None])[..., 0])

    def source(self, seen: Tensor) -> Tensor:
        """Points of the picture for positions ``(T, ..., 2)`` in the frames."""
        shape = (seen.shape[0],) + (1,) * (seen.ndim - 2) + (2,)
        flat = seen.flatten(1, -2)
        return (flat @ self.matrix.transpose(1, 2)).reshape(seen.shape) + self.offset.reshape(shape)

    def position(self, source: Tensor) -> Tensor:
        """The inverse of :meth:`source`."""
        shape = (source.shape[0],) + (1,) * (source.ndim - 2) + (2,)
        flat = (source - self.offset.reshape(shape)).flatten(1, -2)
        inverse: Tensor = torch.linalg.inv(self.matrix)
        return (flat @ inverse.transpose(1, 2)).reshape(source.shape)

    def __getitem__(self, which: slice) -> Motion:
        return Motion(self.matrix[which], self.offset[which])


def spline(picture: Tensor) -> Tensor:
    """The coefficients of the cubic spline through the pixels of ``(C, h, w)``, mirrored at the edges (Unser, IEEE
    Signal Processing Magazine 1999). Between pixels it follows a photograph better than Keys' kernel, which blurs more
    the farther from a pixel it samples: a moving picture would shimmer."""
    pole = math.sqrt(3) - 2
    reach = min(16, *(side - 1 for side in picture.shape[-2:]))
    kernel = math.sqrt(3) * pole ** torch.arange(-reach, reach + 1, dtype=torch.float64).abs()
    line = (kernel / kernel.sum()).to(picture.dtype)
    out = picture[:, None]
    out = conv2d(pad(out, (reach, reach, 0, 0), mode="reflect"), line[None, None, None, :])
    return conv2d(pad(out, (0, 0, reach, reach), mode="reflect"), line[None, None, :, None])[:, 0]


def sample_spline(coefficients: Tensor, points: Tensor) -> Tensor:
    """The spline with ``coefficients`` ``(C, h, w)`` of :func:`spline` at ``points`` ``(N, 2)``: ``(C, N)``.

    Outside, the edge is repeated. There is no low-pass: sample no coarser than the picture's own grid.
    """
    height, width = coefficients.shape[-2:]
    rows = coefficients.permute(1, 2, 0).reshape(height * width, -1).contiguous()
    base = points.floor()
    weight = _b_spline((points - base).to(coefficients.dtype))
    tap = base.long()[..., None] + torch.arange(-1, 3)
    column, row = tap[:, 0].clamp(0, width - 1), tap[:, 1].clamp(0, height - 1) * width
    out = torch.zeros(points.shape[0], rows.shape[1], dtype=coefficients.dtype)
    for j in range(4):
        line = torch.zeros_like(out)
        for i in range(4):
            line.addcmul_(rows.index_select(0, row[:, j] + column[:, i]), weight[:, 0, i, None])
        out.addcmul_(line, weight[:, 1, j, None])
    return out.t()


def _b_spline(f: Tensor) -> Tensor:
    """Weights of the four pixels around, ``(..., 4)``, at the fraction ``f`` in [0, 1) after the second."""
    g = 1 - f
    return torch.stack([g**3, 4 - 6 * f**2 + 3 * f**3, 4 - 6 * g**2 + 3 * g**3, f**3], -1) / 6


@attrs.frozen(eq=False)
class Blob:
    """A soft-edged star-shaped outline ``r(phi) = radius (1 + sum_k a_k cos(k phi + p_k))``, k = 1, 2, ...

    Attributes:
        centre: ``(2,)`` in the picture.
        radius: in the picture's pixels.
        amplitude, phase: ``(K,)`` of the harmonics; amplitudes sum to less than 1.
        softness: width of the edge in pixels.
    """

    centre: Tensor
    radius: float
    amplitude: Tensor
    phase: Tensor
    softness: float

    @classmethod
    def draw(cls, centre: Tensor, radius: float, generator: torch.Generator) -> Blob:
        """A random outline that stays within 1.6 times the radius."""
        amplitude = torch.rand(4, generator=generator, dtype=torch.float64) * torch.tensor([0.1, 0.3, 0.12, 0.08])
        phase = 2 * math.pi * torch.rand(4, generator=generator, dtype=torch.float64)
        return cls(centre, radius, amplitude, phase, uniform(1.5, 3.0, generator))

    def opacity(self, points: Tensor) -> Tensor:
        """In [0, 1] for points ``(..., 2)`` of the picture: ``(...)``."""
        away = points - self.centre
        opacity = torch.zeros(points.shape[:-1], dtype=points.dtype)
        near = away.square().sum(-1) < (1.6 * self.radius + self.softness) ** 2
        opacity[near] = self._near(away[near])
        return opacity

    def _near(self, away: Tensor) -> Tensor:
        distance = away.norm(dim=-1)
        order = torch.arange(1, 1 + len(self.phase), dtype=torch.float64)
        turn = torch.atan2(away[..., 1], away[..., 0])[..., None] * order + self.phase
        outline = self.radius * (1 + (self.amplitude * torch.cos(turn)).sum(-1))
        # The outline leans against the circle: divide by its slope, or the edge would be wider there.
        slope = self.radius * (self.amplitude * order * torch.sin(turn)).sum(-1) / outline
        inside = (outline - distance) / torch.sqrt(1 + slope**2) / self.softness + 0.5
        inside = inside.clamp(0, 1)
        smooth: Tensor = inside.square() * (3 - 2 * inside)
        return smooth


@attrs.frozen(eq=False)
class Layer:
    """A picture in motion, ``(C, h, w)`` as :func:`spline` gives it; without an outline it fills the frame."""

    picture: Tensor
    motion: Motion
    outline: Blob | None = None


@attrs.frozen
class Scene:
    """Layers from back to front; the first fills the frame.

    Attributes:
        layers: at least one.
        frames, height, width: of the clip.
    """

    layers: tuple[Layer, ...]
    frames: int
    height: int
    width: int

    def grid(self, frames: int) -> Tensor:
        """The pixels' positions, ``(frames, H, W, 2)``."""
        y, x = torch.meshgrid(
            torch.arange(self.height, dtype=torch.float64), torch.arange(self.width, dtype=torch.float64), indexing="ij"
        )
        return torch.stack([x, y], -1).expand(frames, -1, -1, -1)

    def render(self) -> Tensor:
        """The clip, ``(T, C, H, W)`` float32 in [0, 1]."""
        frames = []
        for t in range(self.frames):
            seen, out = self.grid(1), None
            for layer in self.layers:
                points = layer.motion[t : t + 1].source(seen).reshape(-1, 2)
                if out is None:
                    out = sample_spline(layer.picture, points)
                    continue
                assert layer.outline is not None
                opacity = layer.outline.opacity(points)
                (where,) = torch.nonzero(opacity, as_tuple=True)
                cover = opacity[where].float()
                out[:, where] = out[:, where] * (1 - cover) + sample_spline(layer.picture, points[where]) * cover
            assert out is not None
            frames.append(out.reshape(-1, self.height, self.width))
        return torch.stack(frames).clamp(0, 1)

    def shares(self, seen: Tensor, start: int) -> Tensor:
        """How much each layer gives to positions ``(T', H, W, 2)`` of the frames from ``start`` on: ``(L, T', H, W)``,
        summing to one."""
        shares = [torch.ones(seen.shape[:-1], dtype=torch.float64)]
        for layer in self.layers[1:]:
            assert layer.outline is not None
            opacity = layer.outline.opacity(layer.motion[start : start + len(seen)].source(seen))
            shares = [s * (1 - opacity) for s in shares] + [opacity]
        return torch.stack(shares)

    def flow(self) -> tuple[Tensor, Tensor]:
        """True motion from every frame to the next.

        Returns:
            ``(flow, valid)``: flow ``(T-1, 2, H, W)`` float32, x then y, in pixels: what frame t shows at p is at
            ``p + flow`` in frame t + 1. Where layers mix it is the motion of the one that gives most. valid
            ``(T-1, 1, H, W)`` bool: one layer alone is seen at p, and the same one alone there, inside the frame.
        """
        steps = self.frames - 1
        here = self.grid(steps)
        shares = self.shares(here, 0)
        most, which = shares.max(dim=0)
        there = here.clone()
        for number, layer in enumerate(self.layers):
            moved = layer.motion[1:].position(layer.motion[:-1].source(here))
            there = torch.where((which == number)[..., None], moved, there)
        after = self.shares(there, 1).gather(0, which[None])[0]
        edge = torch.tensor([self.width - 1.0, self.height - 1.0], dtype=torch.float64)
        inside = ((there >= 0) & (there <= edge)).all(dim=-1)
        valid = (most > _ALONE) & (after > _ALONE) & inside
        return (there - here).permute(0, 3, 1, 2).float(), valid[:, None]
