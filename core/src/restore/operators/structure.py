"""What is known of an operator, and the exact solve that follows from it.

Every structure answers for both normal equations, ``(A^T A + rho I)^-1`` and ``(A A^T + rho I)^-1``; the one that has a
closed form gives the other by the Woodbury identity. A transposed operator exchanges them.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Callable, Literal

import torch
from torch import Tensor

from restore.operators.constants import RCOND, Constants, Diagonal, inverse_or_zero
from restore.operators.solvers import Rho, conjugate_gradients, implicit_solve, linear_map, spread

if TYPE_CHECKING:
    from restore.operators.base import Operator

Side = Literal["normal", "dual"]


class Structure:
    """An operator's solve. The public methods of the operator check shapes; these do not.

    Attributes:
        name: which solve this is, in a word or two.
        exact: whether it is a closed form.
        side: ``normal`` where ``A^T A + rho I`` is the easy one, so that ``z = (A^T A + rho I)^-1 (A^T y + rho v)``;
            ``dual`` where ``A A^T + rho I`` is, so that ``z = v + A^T (A A^T + rho I)^-1 (y - A v)``.
    """

    name = "unknown"
    exact = True
    side: Side = "dual"

    def __init__(self, operator: Operator) -> None:
        self.operator = operator

    def describe(self) -> str:
        """One line about the solve: what is factored and how large it is."""
        return self.name

    def prepare(self, y: Tensor) -> Tensor:
        """What a data step needs of ``y``; constant over the iterations of a splitting method."""
        return self.operator.back(y) if self.side == "normal" else y

    def step(self, v: Tensor, prepared: Tensor, rho: Rho) -> Tensor:
        """The data step at ``v``, with ``prepared`` from :meth:`prepare`."""
        if self.side == "normal":
            return self.normal(prepared + spread(rho, v) * v, rho)
        a = self.operator
        return a.plus_back(v, self.dual(prepared - a.apply(v), rho))

    def prox(self, v: Tensor, y: Tensor, rho: Rho) -> Tensor:
        """The data step in one go."""
        return self.step(v, self.prepare(y), rho)

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """``(A^T A + rho I)^-1 b`` for ``b`` in the domain."""
        a, weight = self.operator, spread(rho, b)
        return (b - a.back(self.dual(a.apply(b), rho))) / weight

    def dual(self, r: Tensor, rho: Rho) -> Tensor:
        """``(A A^T + rho I)^-1 r`` for ``r`` in the range."""
        a, weight = self.operator, spread(rho, r)
        return (r - a.apply(self.normal(a.back(r), rho))) / weight

    def pinv(self, y: Tensor) -> Tensor:
        """``A^+ y``."""
        raise NotImplementedError

    def pinv_t(self, x: Tensor) -> Tensor:
        """``(A^+)^T x``, the pseudo-inverse of the transpose."""
        raise NotImplementedError

    @cached_property
    def transposed(self) -> Structure:
        """The structure of ``A.T``."""
        return Transposed(self)


class Transposed(Structure):
    """The other structure with the two normal equations exchanged."""

    def __init__(self, base: Structure) -> None:
        super().__init__(base.operator.T)
        self.base, self.name, self.exact = base, base.name, base.exact
        self.side = "dual" if base.side == "normal" else "normal"

    def describe(self) -> str:
        """As the base, transposed."""
        return f"transpose of: {self.base.describe()}"

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """The base's dual."""
        return self.base.dual(b, rho)

    def dual(self, r: Tensor, rho: Rho) -> Tensor:
        """The base's normal."""
        return self.base.normal(r, rho)

    def pinv(self, y: Tensor) -> Tensor:
        """The base's ``pinv_t``."""
        return self.base.pinv_t(y)

    def pinv_t(self, x: Tensor) -> Tensor:
        """The base's ``pinv``."""
        return self.base.pinv(x)

    @cached_property
    def transposed(self) -> Structure:
        """The base."""
        return self.base


class _Diagonal(Structure):
    """A normal equation that is a division.

    Args:
        operator: A.
        d: non-negative; a number (a tight frame), or a tensor that broadcasts to ``(B, *range or *domain)``.
    """

    def __init__(self, operator: Operator, d: Diagonal) -> None:
        super().__init__(operator)
        self.d = d
        self.name = "diagonal" if isinstance(d, Tensor) else "tight frame"
        # A diagonal may be as large as a clip: only the last rho's is kept.
        self._constants = Constants(1)

    @cached_property
    def _inverse(self) -> Diagonal:
        return inverse_or_zero(self.d, RCOND**2)

    def _divide(self, r: Tensor, rho: Rho) -> Tensor:
        """``r / (d + rho)``."""
        d = self.d
        if not isinstance(d, Tensor):
            return r / (d + spread(rho, r)) if isinstance(rho, Tensor) else r * (1 / (d + rho))
        if isinstance(rho, Tensor) or d.requires_grad:
            return r / (self.operator.parameter("diagonal", d, r) + spread(rho, r))
        return r * self._constants.get(rho, r, lambda: (1 / (d + rho),))[0]

    def _times_inverse(self, r: Tensor) -> Tensor:
        """``D^+ r``."""
        inverse = self._inverse
        if isinstance(inverse, Tensor):
            return r * self.operator.parameter("inverse", inverse, r)
        return r if inverse == 1 else r * inverse


class DualDiagonal(_Diagonal):
    """``A A^T = diag(d)``: masks, selections, tight frames, averages over disjoint sets."""

    def describe(self) -> str:
        """``A A^T``."""
        return "A A^T is diagonal" if isinstance(self.d, Tensor) else f"A A^T = {self.d:.6g} I"

    def dual(self, r: Tensor, rho: Rho) -> Tensor:
        """A division."""
        return self._divide(r, rho)

    def pinv(self, y: Tensor) -> Tensor:
        """``A^T D^+ y``."""
        return self.operator.back(self._times_inverse(y))

    def pinv_t(self, x: Tensor) -> Tensor:
        """``D^+ A x``."""
        return self._times_inverse(self.operator.apply(x))


class NormalDiagonal(_Diagonal):
    """``A^T A = diag(d)``: stacks of masks and selections, transposes of tight frames."""

    side: Side = "normal"

    def describe(self) -> str:
        """``A^T A``."""
        return "A^T A is diagonal" if isinstance(self.d, Tensor) else f"A^T A = {self.d:.6g} I"

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """A division."""
        return self._divide(b, rho)

    def pinv(self, y: Tensor) -> Tensor:
        """``D^+ A^T y``."""
        return self._times_inverse(self.operator.back(y))

    def pinv_t(self, x: Tensor) -> Tensor:
        """``A D^+ x``."""
        return self.operator.apply(self._times_inverse(x))


class Spectral(Structure):
    """``A = U diag(s) V^T`` with orthonormal columns, whose transforms are cheap.

    Args:
        operator: A.
        name: which transform.
        detail: one line about its size.
        s: singular values, non-negative, broadcast over the coefficients ``(B, ...)``.
        to_v, from_v: ``V^T`` and ``V``.
        to_u, from_u: ``U^T`` and ``U``.
    """

    def __init__(
        self,
        operator: Operator,
        name: str,
        detail: str,
        s: Callable[[Tensor], Tensor],
        to_v: Callable[[Tensor], Tensor],
        from_v: Callable[[Tensor], Tensor],
        to_u: Callable[[Tensor], Tensor],
        from_u: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(operator)
        self._constants = Constants(8)
        self.name, self._detail, self.s = name, detail, s
        self.to_v, self.from_v, self.to_u, self.from_u = to_v, from_v, to_u, from_u

    def describe(self) -> str:
        """The factors."""
        return self._detail

    def before(self, operator: Operator, tight: Operator, c: float) -> Spectral:
        """The structure of ``operator = A @ tight``, where ``tight tight^T = c I``."""
        g = c**0.5
        return Spectral(
            operator,
            self.name,
            self._detail,
            lambda k: g * self.s(k),
            lambda x: self.to_v(tight.apply(x)) / g,
            lambda k: tight.back(self.from_v(k)) / g,
            self.to_u,
            self.from_u,
        )

    def times(self, operator: Operator, factor: float) -> Spectral:
        """The structure of ``operator = factor * A``."""
        sign = -1 if factor < 0 else 1
        return Spectral(
            operator,
            self.name,
            self._detail,
            lambda k: abs(factor) * self.s(k),
            self.to_v,
            self.from_v,
            lambda y: sign * self.to_u(y),
            lambda k: sign * self.from_u(k),
        )

    def prepare(self, y: Tensor) -> Tensor:
        """The coefficients of ``y``."""
        return self.to_u(y)

    def step(self, v: Tensor, prepared: Tensor, rho: Rho) -> Tensor:
        """``v + V (s U^T y - s^2 V^T v)/(s^2 + rho)``: two transforms."""
        c = self.to_v(v)
        of_y, of_v = self._gains(c, rho)
        return v + self.from_v(prepared * of_y - c * of_v)

    def _gains(self, like: Tensor, rho: Rho) -> tuple[Tensor, ...]:
        """``s/(s^2 + rho)`` and ``s^2/(s^2 + rho)``."""

        def gains(s: Tensor, weight: Rho) -> tuple[Tensor, Tensor]:
            divisor = s * s + weight
            return s / divisor, s * s / divisor

        if isinstance(rho, Tensor):
            return gains(self.s(like), spread(rho, like))
        weight = rho
        return self._constants.get(rho, like, lambda: gains(self.s(like.new_empty(0, dtype=torch.float64)), weight))

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """``V (s^2 + rho)^-1 V^T b`` and, outside the row space, ``b / rho``."""
        return self._shrunk(b, rho, self.to_v, self.from_v)

    def dual(self, r: Tensor, rho: Rho) -> Tensor:
        """The same in the range."""
        return self._shrunk(r, rho, self.to_u, self.from_u)

    def _shrunk(self, b: Tensor, rho: Rho, into: Callable[[Tensor], Tensor], out: Callable[[Tensor], Tensor]) -> Tensor:
        c = into(b)
        rest = b - out(c)
        # Twice: what rounding left of the row space would be divided by rho instead of s^2 + rho.
        rest = rest - out(into(rest))
        return out(c / (self.s(c) ** 2 + spread(rho, c))) + rest / spread(rho, b)

    def _divided(self, c: Tensor) -> Tensor:
        def inverses() -> tuple[Tensor]:
            made = inverse_or_zero(self.s(c.new_empty(0, dtype=torch.float64)), RCOND)
            assert isinstance(made, Tensor)
            return (made,)

        return c * self._constants.get("inverse", c, inverses)[0]

    def pinv(self, y: Tensor) -> Tensor:
        """``V s^+ U^T y``."""
        return self.from_v(self._divided(self.to_u(y)))

    def pinv_t(self, x: Tensor) -> Tensor:
        """``U s^+ V^T x``."""
        return self.from_u(self._divided(self.to_v(x)))

    @cached_property
    def transposed(self) -> Structure:
        """U and V exchanged."""
        turned = Spectral(
            self.operator.T, self.name, self._detail, self.s, self.to_u, self.from_u, self.to_v, self.from_v
        )
        turned.transposed = self
        return turned


class Rescaled(Structure):
    """Normal equations that are ``square`` times another operator's on one side.

    Args:
        operator: A.
        base: the structure of B.
        square: the factor.
        side: ``normal`` where ``A^T A = square B^T B``, ``dual`` where ``A A^T = square B B^T``.
        pinv, pinv_t: the pseudo-inverses.
    """

    def __init__(
        self,
        operator: Operator,
        base: Structure,
        square: float,
        side: Side,
        pinv: Callable[[Tensor], Tensor],
        pinv_t: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(operator)
        self.base, self.square, self.side = base, square, side
        self.name, self.exact = base.name, base.exact
        self._pinv, self._pinv_t = pinv, pinv_t

    def describe(self) -> str:
        """As the base."""
        return f"{self.base.describe()} (scaled by {self.square:.6g})"

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """The base's with ``rho/c^2``, or by Woodbury."""
        if self.side == "normal":
            return self.base.normal(b, rho / self.square) / self.square
        return super().normal(b, rho)

    def dual(self, r: Tensor, rho: Rho) -> Tensor:
        """The base's with ``rho/c^2``, or by Woodbury."""
        if self.side == "dual":
            return self.base.dual(r, rho / self.square) / self.square
        return super().dual(r, rho)

    def pinv(self, y: Tensor) -> Tensor:
        """As given."""
        return self._pinv(y)

    def pinv_t(self, x: Tensor) -> Tensor:
        """As given."""
        return self._pinv_t(x)


class Iterative(Structure):
    """Nothing closed is known: conjugate gradients, differentiated implicitly."""

    name = "conjugate gradients"
    side: Side = "normal"
    exact = False

    def describe(self) -> str:
        """The method and how gradients come about."""
        return "conjugate gradients on A^T A + rho I, implicit differentiation"

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """Iterated to the dtype's tolerance."""
        a = self.operator

        def solve(rhs: Tensor, weight: Rho) -> Tensor:
            return conjugate_gradients(
                lambda p: a.back(a.apply(p)) + spread(weight, p) * p, rhs, what=f"data step of {a!r}"
            ).x

        return implicit_solve(solve, b, rho)

    def pinv(self, y: Tensor) -> Tensor:
        """The least-norm least-squares solution, iterated on ``A^T A x = A^T y``."""
        return linear_map(self._least, self._least_t, y)

    def pinv_t(self, x: Tensor) -> Tensor:
        """The same for the transpose, iterated on ``A A^T w = A x``."""
        return linear_map(self._least_t, self._least, x)

    def _least(self, y: Tensor) -> Tensor:
        a = self.operator
        what = f"pseudo-inverse of {a!r}"
        return conjugate_gradients(lambda p: a.back(a.apply(p)), a.back(y), max_iter=4000, what=what).x

    def _least_t(self, x: Tensor) -> Tensor:
        a = self.operator
        what = f"transposed pseudo-inverse of {a!r}"
        return conjugate_gradients(lambda p: a.apply(a.back(p)), a.apply(x), max_iter=4000, what=what).x
