"""Checks of linear operators, in float64: the adjoint, the data step and the pseudo-inverse are exact, and can be
derived. They look at an operator, or at the one that a degradation's pair carries."""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch import Tensor

from restore.contracts import LinearOperator
from restore.testing.conformance import NotApplicableError, check, fail
from restore.testing.kinds.degradation import degraded
from restore.testing.sample import Sample, finite

# The dense matrix is made column by column.
MOST_COLUMNS = 2048
RHO = 0.3
_ADJOINT = "adjoint must be the exact transpose of what __call__ does: padding becomes cropping, sums become copies, "
_ADJOINT += "correlation becomes convolution; torch.func.vjp of __call__ shows what it should give"


def operator_of(component: Any, sample: Sample, dtype: torch.dtype = torch.float64) -> tuple[Any, Tensor]:
    """The operator and a clip that it takes; NotApplicableError where the pair has none."""
    clean = sample.clip().to(dtype)
    if isinstance(component, LinearOperator):
        return component, clean
    pair = degraded(component, clean, sample)
    if pair.operator is None:
        raise NotApplicableError("the pair carries no operator")
    return pair.operator, pair.target


def parts(operator: Any, y: Tensor) -> list[Tensor]:
    """Each sample's measurement, flat."""
    split = getattr(operator, "split", None)
    return [p.flatten() for p in (split(y) if split is not None else y.unbind(0))]


def dot(a: Tensor, b: Tensor) -> float:
    """The inner product over everything."""
    return float((a * b).sum())


def relative(difference: Tensor, *sizes: Tensor) -> float:
    """The norm of a difference against the largest of these norms."""
    return float(difference.norm()) / max([float(s.norm()) for s in sizes] + [1e-30])


@check("operator", "linear: A(a x + b x') = a A x + b A x', to 1e-10", shapes=True)
def linear(component: Any, sample: Sample) -> None:
    """No clamp, no rounding, no offset."""
    operator, clean = operator_of(component, sample)
    a, b = operator(clean), operator(sample.noise(clean))
    error = relative(operator(2 * clean - 3 * sample.noise(clean)) - (2 * a - 3 * b), a, b)
    if not error < 1e-10:
        fail(
            f"they differ by {error:.3g} relative",
            "no clamp, rounding or constant inside the operator; the degradation around it may have them",
        )


@check("operator", "<A x, y> = <x, A* y>, to 1e-10 relative", shapes=True)
def adjoint(component: Any, sample: Sample) -> None:
    """With random x and y."""
    operator, clean = operator_of(component, sample)
    left, right, error = _inner_products(operator, clean, sample)
    if not error < 1e-10:
        hint = " (the sign is flipped)" if abs(left + right) < 1e-10 * abs(left) else ""
        # One number for several samples may hide a factor; with random y a constant ratio in all of them does not.
        fail(f"<A x, y> = {left:.6g}, <x, A* y> = {right:.6g}{hint}; {error:.3g} relative", _ADJOINT)


def _inner_products(operator: Any, clean: Tensor, sample: Sample) -> tuple[float, float, float]:
    """``<A x, y>``, ``<x, A* y>``, and their difference against ``|A x| |y|``."""
    x = sample.noise(clean)
    ax = operator(x)
    y = sample.noise(ax, seed=2)
    aty = operator.adjoint(y)
    if aty.shape != x.shape:
        fail(f"A* gives {tuple(aty.shape)} for clips of {tuple(x.shape)}", _ADJOINT)
    left, right = dot(ax, y), dot(x, aty)
    return left, right, abs(left - right) / max(float(ax.norm() * y.norm()), 1e-30)


def solvable(component: Any, sample: Sample) -> tuple[Any, Tensor]:
    """As :func:`operator_of`; NotApplicableError where the adjoint is wrong: what is solved with it then means nothing,
    and conjugate gradients would look for it for minutes."""
    operator, clean = operator_of(component, sample)
    error = _inner_products(operator, clean, sample)[2]
    if not error < 1e-6:
        raise NotApplicableError(
            f"its adjoint is {error:.3g} relative wrong, which operator.adjoint says: mend that first"
        )
    return operator, clean


def normal_residual(operator: Any, z: Tensor, v: Tensor, y: Tensor, rho: float | Tensor) -> float:
    """``|A*(A z - y) + rho (z - v)|`` relative to ``|A* y + rho v|``."""
    weight = rho.view(-1, 1, 1, 1, 1) if isinstance(rho, Tensor) and rho.ndim else rho
    aty = operator.adjoint(y)
    return relative(operator.adjoint(operator(z)) - aty + weight * (z - v), aty + weight * v)


@check("operator", "prox(v, y, rho) = argmin 1/2 |A z - y|^2 + rho/2 |z - v|^2, its gradient below 1e-9", shapes=True)
def prox(component: Any, sample: Sample) -> None:
    """For a small and a large rho, and one rho for each sample."""
    operator, clean = solvable(component, sample)
    v = sample.noise(clean)
    y = sample.noise(operator(clean), seed=2)
    each = torch.linspace(0.1, 2.0, clean.shape[0], dtype=clean.dtype, device=clean.device)
    values: list[float | Tensor] = [RHO, 1e-2, 25.0, each]
    for rho in values:
        z = operator.prox(v, y, rho)
        error = normal_residual(operator, z, v, y, rho)
        if not error < 1e-9:
            said = "one per sample" if isinstance(rho, Tensor) else f"{rho:g}"
            hint = _other_rho(operator, z, v, y, rho)
            fail(
                f"rho = {said}: A*(A z - y) + rho (z - v) is {error:.3g} relative, not 0{hint}",
                "solve (A* A + rho I) z = A* y + rho v",
            )


def _other_rho(operator: Any, z: Tensor, v: Tensor, y: Tensor, rho: float | Tensor) -> str:
    """Whether the answer would be right for another rho or another sign."""
    others = {"2 rho": 2 * rho, "rho / 2": rho / 2, "1 / rho": 1 / rho, "rho squared": rho * rho}
    for name, other in others.items():
        if normal_residual(operator, z, v, y, other) < 1e-6:
            return f"; it would be for {name}"
    return "; it would be for -y" if normal_residual(operator, z, v, -y, rho) < 1e-6 else ""


@check("operator", "the four Moore-Penrose conditions hold, to 1e-8", shapes=True)
def pinv(component: Any, sample: Sample) -> None:
    """``A A+ A = A``, ``A+ A A+ = A+``, and both products symmetric, on random vectors."""
    operator, clean = solvable(component, sample)
    x, other = sample.noise(clean), sample.noise(clean, seed=3)
    ax = operator(x)
    y, b = sample.noise(ax, seed=2), sample.noise(ax, seed=4)
    py, pb = operator.pinv(y), operator.pinv(b)
    papx, papo = operator.pinv(ax), operator.pinv(operator(other))
    asymmetry = abs(dot(operator(py), b) - dot(y, operator(pb))) / max(float(y.norm() * b.norm()), 1e-30)
    cosymmetry = abs(dot(papx, other) - dot(x, papo)) / max(float(x.norm() * other.norm()), 1e-30)
    errors = {
        "A A+ A = A": relative(operator(papx) - ax, ax),
        "A+ A A+ = A+": relative(operator.pinv(operator(py)) - py, py),
        "A A+ symmetric": asymmetry,
        "A+ A symmetric": cosymmetry,
    }
    broken = {name: e for name, e in errors.items() if not e < 1e-8}
    if broken:
        found = ", ".join(f"{name}: off by {e:.3g}" for name, e in broken.items())
        fail(
            found,
            "pinv is the least-squares answer of least norm: A* (A A*)^-1 y with full row rank, zero singular values "
            "left at zero",
        )


@check("operator", "the operator equals its own dense matrix: applied, transposed, and in the data step")
def dense(component: Any, sample: Sample) -> None:
    """The matrix of every sample, column by column, on a small clip."""
    operator, clean = operator_of(component, sample)
    count = clean[0].numel()
    if count > MOST_COLUMNS:
        raise NotApplicableError(f"{count} columns are too many for a dense matrix; give the kit smaller shapes")
    matrices = _matrices(operator, clean)
    x = sample.noise(clean)
    ax = operator(x)
    y = sample.noise(ax, seed=2)
    mend = "every sample has its own matrix, that of the unit clips; nothing may mix samples or depend on values"
    _compare("A x", parts(operator, ax), [m @ v for m, v in zip(matrices, x.flatten(1), strict=True)], mend)
    flat = parts(operator, y)
    transposed = [m.T @ v for m, v in zip(matrices, flat, strict=True)]
    _compare("A* y", list(operator.adjoint(y).flatten(1)), transposed, _ADJOINT)
    eye = torch.eye(count, dtype=clean.dtype, device=clean.device)
    exact = [
        torch.linalg.solve(m.T @ m + RHO * eye, t + RHO * v)
        for m, t, v in zip(matrices, transposed, x.flatten(1), strict=True)
    ]
    _compare(
        "prox",
        list(operator.prox(x, y, RHO).flatten(1)),
        exact,
        "solve (A* A + rho I) z = A* y + rho v",
        tolerance=1e-8,
    )


def _matrices(operator: Any, clean: Tensor) -> list[Tensor]:
    columns: list[list[Tensor]] = []
    for k in range(clean[0].numel()):
        unit = torch.zeros_like(clean)
        unit.flatten(1)[:, k] = 1
        columns.append(parts(operator, operator(unit)))
    return [torch.stack([c[i] for c in columns], dim=1) for i in range(len(clean))]


def _compare(what: str, got: list[Tensor], wanted: list[Tensor], mend: str, tolerance: float = 1e-10) -> None:
    for number, (a, b) in enumerate(zip(got, wanted, strict=True)):
        error = relative(a - b, b)
        if not error < tolerance:
            fail(f"{what} of sample {number} is {error:.3g} relative away from the dense matrix's", mend)


@check("operator", "gradients reach x, y, v and rho, and are those of finite differences")
def gradients(component: Any, sample: Sample) -> None:
    """torch.autograd.gradcheck."""
    operator, clean = solvable(component, sample)
    v = sample.noise(clean)
    y = sample.noise(operator(clean).detach(), seed=2)
    rho = torch.full((clean.shape[0],), RHO, dtype=clean.dtype, device=clean.device)
    cases: list[tuple[str, Callable[[Tensor], Tensor], Tensor]] = [
        ("A x by x", operator, v),
        ("A* y by y", operator.adjoint, y),
        ("prox by v", lambda t: operator.prox(t, y, rho), v),
        ("prox by y", lambda t: operator.prox(v, t, rho), y),
        ("prox by rho", lambda t: operator.prox(v, y, t), rho),
    ]
    for name, function, point in cases:
        point = point.detach().clone().requires_grad_()
        try:
            torch.autograd.gradcheck(function, point, fast_mode=True)
        except (RuntimeError, ValueError) as error:
            lines = str(error).strip().splitlines()
            fail(
                f"{name}: {lines[0] if lines else type(error).__name__}",
                "use differentiable torch operations on the arguments (no .item(), .numpy(), .detach()); an iterative "
                "solver needs implicit differentiation",
            )


@check("operator", "float32 stays float32, on its device, and agrees with float64 to 1e-4")
def dtype(component: Any, sample: Sample) -> None:
    """A, A*, and the data step."""
    operator, clean = solvable(component, sample)
    v = sample.noise(clean)
    y = sample.noise(operator(clean), seed=2)
    cases: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "A x": lambda v, y: operator(v),
        "A* y": lambda v, y: operator.adjoint(y),
        "A+ y": lambda v, y: operator.pinv(y),
        "prox": lambda v, y: operator.prox(v, y, RHO),
    }
    for name, function in cases.items():
        short, wide = function(v.float(), y.float()), function(v, y)
        if short.dtype != torch.float32 or short.device != clean.device or not finite(short):
            fail(
                f"{name} of float32 on {clean.device} is {short.dtype} on {short.device}",
                "convert masks and kernels to the argument: weight.to(x)",
            )
        error = relative(short.double() - wide, wide)
        # A pseudo-inverse magnifies rounding by the operator's condition, which nobody promised.
        if name != "A+ y" and not error < 1e-4:
            fail(f"{name} in float32 is {error:.3g} relative away from float64", "form no A* A where a factor would do")


@check("operator", "`plan()` names the solve that a data step uses", devices=False)
def plan(component: Any, sample: Sample) -> None:
    """It says something, and whether that is exact."""
    operator, _ = operator_of(component, sample)
    method = getattr(operator, "plan", None)
    if method is None:
        raise NotApplicableError("the operator has no plan(); subclasses of restore.operators.Operator do")
    said = method()
    for one in said if isinstance(said, (list, tuple)) else [said]:
        if not getattr(one, "solve", "") or not getattr(one, "detail", ""):
            fail(
                f"plan() says {one!r}", "name the solve and what is known of the operator (Plan(solve, exact, detail))"
            )
