"""The least that each problem needs, written by hand: no checks, no shapes but the one at hand, factors made before.

Each function gives ``forward(x)``, ``adjoint(y)``, ``pinv(y)`` and ``prox(v, y, rho)`` for float32 clips of one shape
and one rho: what a specialist would write for this very problem, and what a general operator is measured against.
"""

from __future__ import annotations

from typing import Callable

import torch
import torch.nn.functional as F
from restore.operators import (
    BoxDownsample,
    CircularBlur,
    CompressiveSensing,
    FrameSelection,
    FullBlur,
    Grey,
    Mask,
    Operator,
    Separable,
    Snapshot,
    VideoSensing,
)
from restore.operators.rows import GaussianRows
from torch import Tensor

Actions = dict[str, Callable[..., Tensor]]


def mask(op: Mask, rho: float) -> Actions:
    """Element by element."""
    m = op.mask.float()
    return {
        "forward": lambda x: m * x,
        "adjoint": lambda y: m * y,
        "pinv": lambda y: m * y,
        "prox": lambda v, y, rho: (m * y + rho * v) / (m + rho),
    }


def frames(op: FrameSelection, rho: float) -> Actions:
    """Slices."""
    total, kept = op.shape.input[0], op.frames
    step = kept[1] - kept[0] if len(kept) > 1 else 1
    part = slice(0, kept[-1] + 1, step)

    def back(y: Tensor) -> Tensor:
        x = y.new_zeros(len(y), total, *y.shape[2:])
        x[:, part] = y
        return x

    def prox(v: Tensor, y: Tensor, rho: float) -> Tensor:
        z = v.clone()
        z[:, part] = (y + rho * v[:, part]) / (1 + rho)
        return z

    return {"forward": lambda x: x[:, part].clone(), "adjoint": back, "pinv": back, "prox": prox}


def box(op: BoxDownsample, rho: float) -> Actions:
    """Pooling there, repetition back."""
    s = op.factor
    shape = op.shape.input

    def pool(x: Tensor) -> Tensor:
        return F.avg_pool2d(x.flatten(0, 2).unsqueeze(1), s).view(*x.shape[:3], *op.low)

    def repeat(y: Tensor) -> Tensor:
        return y.repeat_interleave(s, -1).repeat_interleave(s, -2).view(len(y), *shape)

    return {
        "forward": pool,
        "adjoint": lambda y: repeat(y / s**2),
        "pinv": repeat,
        "prox": lambda v, y, rho: v + repeat((y - pool(v)) / (1 + rho * s**2)),
    }


def grey(op: Grey, rho: float) -> Actions:
    """A weighted sum of channels."""
    w = torch.tensor(op.weights).view(-1, 1, 1)
    c = float((w * w).sum())
    return {
        "forward": lambda x: (w * x).sum(2, keepdim=True),
        "adjoint": lambda y: w * y,
        "pinv": lambda y: w / c * y,
        "prox": lambda v, y, rho: v + w * ((y - (w * v).sum(2, keepdim=True)) / (c + rho)),
    }


def snapshot(op: Snapshot, rho: float) -> Actions:
    """A coded sum over time."""
    m = op.codes.float()
    d = (m * m).sum(0, keepdim=True)
    inverse = torch.where(d > 0, 1 / d, torch.zeros_like(d))
    return {
        "forward": lambda x: (m * x).sum(1, keepdim=True),
        "adjoint": lambda y: m * y,
        "pinv": lambda y: m * (y * inverse),
        "prox": lambda v, y, rho: v + m * ((y - (m * v).sum(1, keepdim=True)) / (d + rho)),
    }


def separable(op: Separable, rho: float) -> Actions:
    """Products with the matrices of the axes, and with their singular vectors."""
    if set(op.matrices) == {0}:
        return temporal(op.matrices[0], rho)
    rows, columns = op.matrices[2], op.matrices[3]
    (u1, s1, v1), (u2, s2, v2) = (torch.linalg.svd(m, full_matrices=False) for m in (rows, columns))
    s = s1[:, None] * s2[None, :]
    down, gain, pinv = (t.float() for t in (s * s / (s * s + rho), s / (s * s + rho), 1 / s))
    r, c, u1, v1, u2, v2 = (m.float() for m in (rows, columns, u1, v1, u2, v2))

    return {
        "forward": lambda x: (r @ x) @ c.T,
        "adjoint": lambda y: r.T @ (y @ c),
        "pinv": lambda y: v1.T @ ((pinv * (u1.T @ y @ u2)) @ v2),
        "prox": lambda v, y, rho: v + v1.T @ ((gain * (u1.T @ y @ u2) - down * (v1 @ (v @ v2.T))) @ v2),
    }


def temporal(m: Tensor, rho: float) -> Actions:
    """Products with matrices over time."""
    eye = torch.eye(m.shape[1], dtype=m.dtype)
    inverse = torch.linalg.inv(m.T @ m + rho * eye)
    pinv, of_y, of_v, a = (t.float() for t in (torch.linalg.pinv(m), inverse @ m.T, rho * inverse, m))

    def times(matrix: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: (matrix @ x.flatten(2)).view(len(x), -1, *x.shape[2:])

    return {
        "forward": times(a),
        "adjoint": times(a.T),
        "pinv": times(pinv),
        "prox": lambda v, y, rho: times(of_y)(y) + times(of_v)(v),
    }


def circular(op: CircularBlur, rho: float) -> Actions:
    """A division in the Fourier basis."""
    size = op.shape.input[2:]
    k = op.transfer.to(torch.complex64)
    power = op.transfer.abs().square()
    kept = op.transfer.abs() > 1e-10 * op.transfer.abs().max()
    inverse = torch.where(kept, 1 / op.transfer, torch.zeros_like(op.transfer)).to(torch.complex64)
    of_y, of_v = (op.transfer.conj() / (power + rho)).to(torch.complex64), (rho / (power + rho)).float()
    there, back = torch.fft.rfft2, torch.fft.irfft2
    return {
        "forward": lambda x: back(there(x) * k, s=size),
        "adjoint": lambda y: back(there(y) * k.conj(), s=size),
        "pinv": lambda y: back(there(y) * inverse, s=size),
        "prox": lambda v, y, rho: back(of_y * there(y) + of_v * there(v), s=size),
    }


def full(op: FullBlur, rho: float) -> Actions:
    """A grouped convolution; conjugate gradients with a circulant preconditioner to 1e-6 (1e-5 for the inverse)."""
    height, width = op.shape.input[2:]
    kernel = op.kernel.float()
    kh, kw = kernel.shape
    count = op.shape.input[0] * op.shape.input[1]
    flipped, straight = (k.expand(count, 1, kh, kw).contiguous() for k in (kernel.flip(0, 1), kernel))
    power = op.transfer.abs().square().float()

    def conv(x: Tensor, k: Tensor, padding: tuple[int, int]) -> Tensor:
        planes = x.flatten(0, 2).unsqueeze(0)
        if max(padding) > 3:
            planes, padding = F.pad(planes, (padding[1], padding[1], padding[0], padding[0])), (0, 0)
        out = F.conv2d(planes, k, padding=padding, groups=count)
        return out.view(*x.shape[:3], *out.shape[2:])

    def forward(x: Tensor) -> Tensor:
        return conv(x, flipped, (kh - 1, kw - 1))

    def back(y: Tensor) -> Tensor:
        return conv(y, straight, (0, 0))

    def solve(b: Tensor, rho: float, floor: float, tol: float, most: int) -> Tensor:
        def precondition(r: Tensor) -> Tensor:
            return torch.fft.irfft2(torch.fft.rfft2(r, s=op.grid) / (power + floor), s=op.grid)[..., :height, :width]

        x, r = torch.zeros_like(b), b
        p = z = precondition(r)
        rz, goal = (r * z).sum(), tol * b.norm()
        for _ in range(most):
            q = back(forward(p)) + rho * p
            alpha = rz / (p * q).sum()
            x, r = x + alpha * p, r - alpha * q
            if r.norm() <= goal:
                break
            z = precondition(r)
            rz, before = (r * z).sum(), rz
            p = z + rz / before * p
        return x

    return {
        "forward": forward,
        "adjoint": back,
        "pinv": lambda y: solve(back(y), 0.0, 1e-5, 1e-5, 200),
        "prox": lambda v, y, rho: solve(back(y) + rho * v, rho, rho, 1e-6, 50),
    }


def sensing(op: CompressiveSensing, rho: float) -> Actions:
    """A Cholesky factor of the Gram matrix, or a structured transform with ``A A^T = c I``."""
    shape = op.shape.input
    if not isinstance(op.rows, GaussianRows):
        rows, c = op.rows, op.rows.gram or 1.0

        def back(y: Tensor) -> Tensor:
            return rows.back(y).view(-1, *shape)

        return {
            "forward": lambda x: rows.apply(x.flatten(1)),
            "adjoint": back,
            "pinv": lambda y: back(y / c),
            "prox": lambda v, y, rho: v + back((y - rows.apply(v.flatten(1))) / (c + rho)),
        }
    phi = op.rows.matrix
    gram = phi @ phi.T
    eye = torch.eye(len(gram))
    with_rho, without = torch.linalg.cholesky(gram + rho * eye), torch.linalg.cholesky(gram)

    def solved(r: Tensor, factor: Tensor) -> Tensor:
        return (torch.cholesky_solve(r.T, factor).T @ phi).view(-1, *shape)

    return {
        "forward": lambda x: x.flatten(1) @ phi.T,
        "adjoint": lambda y: (y @ phi).view(-1, *shape),
        "pinv": lambda y: solved(y, without),
        "prox": lambda v, y, rho: v + solved(y - v.flatten(1) @ phi.T, with_rho),
    }


def video_sensing(op: VideoSensing, rho: float) -> Actions:
    """T x T systems, one per singular vector of Phi (one in all for structured rows); inverses made before."""
    rows, (frames, channels, height, width) = op.rows, op.shape.input
    first = channels * height * width
    d = torch.eye(frames, dtype=torch.float64).diff(dim=0)
    corner = torch.zeros(frames, frames, dtype=torch.float64)
    corner[0, 0] = 1
    if isinstance(rows, GaussianRows):
        _, s, vh = torch.linalg.svd(rows.matrix.double(), full_matrices=False)
        values, v1 = s * s, vh.float()

        def there(x: Tensor) -> Tensor:
            return x @ v1.T

        def here(q: Tensor) -> Tensor:
            return q @ v1
    else:
        scale = (rows.gram or 1.0) ** 0.5
        values = torch.tensor([rows.gram], dtype=torch.float64)

        def there(x: Tensor) -> Tensor:
            return rows.apply(x) / scale

        def here(q: Tensor) -> Tensor:
            return rows.back(q) / scale

    systems = corner + values[:, None, None] * (d.T @ d)
    eye = torch.eye(frames, dtype=torch.float64)
    off = 1 / (corner.diagonal() + rho)
    # (m, T, T); what is off the row space taken away at once.
    with_rho = (torch.linalg.inv(systems + rho * eye) - torch.diag(off)).float()
    without = (torch.linalg.inv(systems) - corner).float()
    off, known = off.float().view(-1, 1, 1), corner.diagonal().float().view(-1, 1, 1)

    def forward(x: Tensor) -> Tensor:
        return torch.cat([x[:, 0].flatten(1), rows.apply((x[:, 1:] - x[:, :-1]).flatten(3)).flatten(1)], 1)

    def back(y: Tensor) -> Tensor:
        wide = rows.back(y[:, first:].view(len(y), frames - 1, channels, rows.m))
        x = y.new_zeros(len(y), frames, channels, height * width)
        x[:, 0] = y[:, :first].view(len(y), channels, -1)
        x[:, :-1] -= wide
        x[:, 1:] += wide
        return x

    def divide(b: Tensor, inverses: Tensor, rest: Tensor) -> Tensor:
        q = there(b)
        if len(inverses) == 1:
            solved = (inverses @ q.flatten(2)).view(q.shape)
        else:
            solved = (
                (inverses @ q.permute(3, 1, 0, 2).flatten(2)).view(-1, frames, len(b), channels).permute(2, 1, 3, 0)
            )
        return (b * rest + here(solved)).view(-1, *op.shape.input)

    return {
        "forward": forward,
        "adjoint": lambda y: back(y).view(-1, *op.shape.input),
        "pinv": lambda y: divide(back(y), without, known),
        "prox": lambda v, y, rho: divide(back(y) + rho * v.flatten(3), with_rho, off),
    }


def actions(operator: Operator, rho: float) -> Actions | None:
    """The hand-written solve of an operator; ``None`` where there is none."""
    writers: dict[type, Callable[..., Actions]] = {
        Mask: mask,
        FrameSelection: frames,
        BoxDownsample: box,
        Grey: grey,
        Snapshot: snapshot,
        Separable: separable,
        CircularBlur: circular,
        FullBlur: full,
        CompressiveSensing: sensing,
        VideoSensing: video_sensing,
    }
    if type(operator) in writers:
        return writers[type(operator)](operator, rho)
    if type(operator.T) is FullBlur:
        turned = full(operator.T, rho)  # type: ignore[arg-type]
        return {"forward": turned["adjoint"], "adjoint": turned["forward"]}
    return None
