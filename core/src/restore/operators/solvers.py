"""What every data step shares: the weight rho, implicit differentiation, and conjugate gradients that do not lie."""

from __future__ import annotations

import warnings
from typing import Any, Callable

import attrs
import torch
from torch import Tensor

Rho = float | Tensor
Solve = Callable[[Tensor, Rho], Tensor]


class ToleranceWarning(UserWarning):
    """An iterative solve stopped before it reached its tolerance."""


@attrs.frozen
class SolveInfo:
    """How a solve went, sample by sample.

    Attributes:
        iterations: ``(B,)`` int64; 0 for a closed form.
        residual: ``(B,)`` true relative residual ``|b - M x| / |b|``.
        converged: ``(B,)`` bool.
    """

    iterations: Tensor
    residual: Tensor
    converged: Tensor


@attrs.frozen
class Solution:
    """A solution, shaped like the right-hand side, and how it was reached."""

    x: Tensor
    info: SolveInfo


def check_rho(rho: Rho, batch: int) -> Rho:
    """``rho`` as the solvers take it: a positive float, or a tensor of shape () or ``(batch,)``.

    Raises:
        ValueError: rho is not positive and finite, or holds neither one value nor one per sample.
    """
    if isinstance(rho, Tensor):
        if rho.ndim and rho.numel() == 1:
            rho = rho.reshape(())
        if rho.ndim and tuple(rho.shape) != (batch,):
            raise ValueError(f"rho needs one value or one per sample ({batch},), got shape {tuple(rho.shape)}")
        # Looking at values on an accelerator would stall it.
        if rho.device.type == "cpu" and not bool(((rho > 0) & torch.isfinite(rho)).all()):
            raise ValueError(f"rho must be above 0 and finite, got {rho.detach().tolist()}")
        return rho
    if not 0 < rho < float("inf"):
        raise ValueError(f"rho must be above 0 and finite, got {rho}")
    return float(rho)


def spread(rho: Rho, like: Tensor) -> Rho:
    """``rho`` so that it broadcasts over ``like``, whose first axis is the batch."""
    if not isinstance(rho, Tensor):
        return rho
    real = like.real if like.is_complex() else like
    rho = rho.to(dtype=real.dtype, device=real.device)
    return rho if rho.ndim == 0 else rho.view(-1, *[1] * (like.ndim - 1))


def each_value(rho: Rho, b: Tensor, solve: Callable[[Tensor, float], Tensor]) -> Tensor:
    """``solve(b, rho)`` for a factor that holds for one number: samples with equal rho are solved together."""
    if not isinstance(rho, Tensor) or rho.ndim == 0:
        return solve(b, float(rho))
    out = torch.empty_like(b)
    for value in sorted(set(rho.detach().tolist())):
        rows = (rho.detach() == value).nonzero().flatten().to(b.device)
        out[rows] = solve(b[rows], value)
    return out


class _Implicit(torch.autograd.Function):
    """``h = (M + rho I)^-1 b`` for a symmetric M, whose gradient is one more solve and keeps at most ``h``."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, rho: Tensor, solve: Solve) -> Tensor:
        h = solve(b, rho)
        ctx.solve = solve
        ctx.save_for_backward(rho, h if ctx.needs_input_grad[1] else None)
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rho, h = ctx.saved_tensors
        w = implicit_solve(ctx.solve, gradients[0], rho)
        of_rho = None
        if h is not None:
            of_rho = -(w * h).flatten(1).sum(1)
            of_rho = (of_rho if rho.ndim else of_rho.sum()).to(rho)
        return w, of_rho, None


def implicit_solve(solve: Solve, b: Tensor, rho: Rho) -> Tensor:
    """``solve(b, rho)``, differentiable in both without differentiating the solver (implicit function theorem).

    Args:
        solve: ``(b, rho)`` to ``(M + rho I)^-1 b`` with M symmetric positive semi-definite; needs no gradients itself.
        b: ``(B, ...)``.
        rho: a float, or a tensor () or ``(B,)``.

    Returns:
        like ``b``; its backward is this same function, so higher orders work.
    """
    if not (b.requires_grad or (isinstance(rho, Tensor) and rho.requires_grad)):
        return solve(b, rho)
    weight = rho if isinstance(rho, Tensor) else torch.tensor(rho, dtype=torch.float64)
    result: Tensor = _Implicit.apply(b, weight, solve)  # type: ignore[no-untyped-call]
    return result


class _Linear(torch.autograd.Function):
    """A linear map whose backward is its adjoint, not a differentiation of how it was computed."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, forward: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.maps = forward, back
        return forward(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        forward, back = ctx.maps
        return linear_map(back, forward, gradients[0]), None, None


def linear_map(forward: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    """``forward(y)``, differentiable through ``back``, its adjoint; neither needs gradients of its own."""
    if not y.requires_grad:
        return forward(y)
    result: Tensor = _Linear.apply(y, forward, back)  # type: ignore[no-untyped-call]
    return result


def tolerance(dtype: torch.dtype) -> float:
    """The relative residual that a solve of this dtype is asked for: 1e-12 in float64, 1e-6 in float32."""
    return 1e-12 if dtype == torch.float64 else max(1e-6, 8 * torch.finfo(dtype).eps)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


def _norm(a: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(a.flatten(1), dim=1)
    return size


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    b: Tensor,
    tol: float | None = None,
    max_iter: int = 1000,
    precondition: Callable[[Tensor], Tensor] | None = None,
    what: str = "the operator",
) -> Solution:
    """Preconditioned conjugate gradients (Hestenes and Stiefel, 1952) for a batch of systems ``M x = b``, from 0.

    Every sample stops for itself: a finished one is frozen while the others go on. For a singular M and a consistent
    ``b`` the answer is the one of least norm.

    Args:
        apply: ``(B, ...)`` to M applied to each sample, M symmetric positive semi-definite.
        b: ``(B, ...)``.
        tol: relative residual to reach; by default that of :func:`tolerance`.
        max_iter: most steps.
        precondition: an approximation of ``M^-1``, symmetric positive definite.
        what: names the problem in the warning.

    Returns:
        the solutions, with iterations, true residuals and convergence per sample. A sample that missed its tolerance is
        also told of by a :class:`ToleranceWarning`.
    """
    tol = tolerance(b.dtype) if tol is None else tol
    precondition = precondition or (lambda r: r)
    size = _norm(b)
    x, r = torch.zeros_like(b), b.clone()
    p = z = precondition(r)
    rz = _dot(r, z)
    iterations = torch.zeros(len(b), dtype=torch.int64, device=b.device)
    active = size > 0
    for _ in range(max_iter):
        if not bool(active.any()):
            break
        q = apply(p)
        curvature = _dot(p, q)
        active = active & (curvature > 0)
        alpha = spread(torch.where(active, rz / curvature, torch.zeros_like(rz)), b)
        x, r = x + alpha * p, r - alpha * q
        iterations += active
        # Half the tolerance: rounding lets the recursion run ahead of the true residual.
        active = active & (_norm(r) > tol / 2 * size)
        z = precondition(r)
        rz, before = _dot(r, z), rz
        p = z + spread(torch.where(active, rz / before, torch.zeros_like(rz)), b) * p
    residual = _norm(b - apply(x)) / torch.where(size > 0, size, torch.ones_like(size))
    converged = residual <= tol
    if not bool(converged.all()):
        missed = int((~converged).sum())
        warnings.warn(
            f"{what}: conjugate gradients missed the relative residual {tol:.0e} in {missed} of {len(b)} samples "
            f"(worst {float(residual.max()):.1e} after {int(iterations.max())} steps)",
            ToleranceWarning,
            stacklevel=2,
        )
    return Solution(x, SolveInfo(iterations, residual, converged))
