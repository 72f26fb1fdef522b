"""Products, stacks, multiples and transposes, and what of their structure survives.

The rules, each tried in turn for ``A @ B``:

1. two of a kind merge (mask @ mask, frames @ frames, Kronecker @ Kronecker);
2. A with at most one row per input value, and ``B B^T`` diagonal: ``A A^T`` stays diagonal (and the mirror image);
3. ``B B^T = c I``: the normal equation of A in its range, scaled; ``A^T A = c I``: that of B in its domain;
4. a Kronecker product over time and channels and an operator that treats all planes alike commute, and are solved plane
   by plane in the eigenbasis of the small matrices;
5. otherwise dense where small, else conjugate gradients.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Sequence

from torch import Tensor

from restore.operators.base import Identity, Operator, Sizes
from restore.operators.constants import Diagonal
from restore.operators.structure import Rescaled, Spectral, Structure


def compose(outer: Operator, inner: Operator) -> Operator:
    """``outer @ inner``.

    Raises:
        ValueError: the inner range is not the outer domain.
    """
    if inner.shape.output != outer.shape.input:
        raise ValueError(
            f"{outer!r} @ {inner!r}: the first gives {inner.shape.output}, the second takes {outer.shape.input}"
        )
    if isinstance(outer, Identity):
        return inner
    if isinstance(inner, Identity):
        return outer
    # Numbers come to the front, so that they do not hide two of a kind from each other.
    factor = (outer.factor if isinstance(outer, Scaled) else 1.0) * (inner.factor if isinstance(inner, Scaled) else 1.0)
    if isinstance(outer, Scaled) or isinstance(inner, Scaled):
        outer = outer.base if isinstance(outer, Scaled) else outer
        inner = inner.base if isinstance(inner, Scaled) else inner
        return scale(compose(outer, inner), factor)
    if isinstance(inner, Composition):
        # (A B) C: A may merge with B although it could not with B C.
        first = outer.merged(inner.outer)
        if first is not None:
            return compose(first, inner.inner)
    merged = outer.merged(inner)
    if merged is not None:
        return merged
    product = Composition(outer, inner)
    factors = product.factors()
    if factors is None or product.gram is not None or product.cogram is not None:
        return product
    from restore.operators.separable import Separable

    return Separable(product.shape.input, factors)


def scale(operator: Operator, factor: float) -> Operator:
    """``factor * operator``.

    Raises:
        ValueError: a factor of 0, infinity or no number.
    """
    if factor == 0 or not math.isfinite(factor):
        raise ValueError(f"an operator can be scaled by a finite number other than 0, got {factor}")
    if isinstance(operator, Scaled):
        return scale(operator.base, operator.factor * factor)
    if factor == 1:
        return operator
    own = operator.multiplied(float(factor))
    return own if own is not None else Scaled(operator, float(factor))


def stack(*operators: Operator) -> Operator:
    """Several measurements of one clip: ``(B, *domain)`` to ``(B, m1 + m2 + ...)``, each flattened, none padded.

    Raises:
        ValueError: nothing to stack, or domains that differ.
    """
    from restore.operators.stacking import Stack

    return operators[0] if len(operators) == 1 else Stack(operators)


def one_batch(operators: Sequence[Operator]) -> int | None:
    """The batch size that operators with parameters per sample agree on; ``None`` where any will do."""
    sizes = {o.batch for o in operators} - {None}
    if len(sizes) > 1:
        raise ValueError(f"operators for different batch sizes do not combine: {sorted(s for s in sizes if s)}")
    return sizes.pop() if sizes else None


def _filled(diagonal: Tensor, sizes: Sizes) -> Tensor:
    """A diagonal at its full size: ``(B or 1, *sizes)``."""
    batch = diagonal.shape[0] if diagonal.ndim > len(sizes) else 1
    return diagonal.expand(batch, *sizes)


def multiply_factors(outer: dict[int, Tensor], inner: dict[int, Tensor]) -> dict[int, Tensor]:
    """The factors of a product of Kronecker products, axis by axis."""
    product = dict(inner)
    for axis, matrix in outer.items():
        product[axis] = matrix @ inner[axis] if axis in inner else matrix
    return product


class Transpose(Operator):
    """``A^T`` of an operator, with its solve."""

    def __init__(self, base: Operator) -> None:
        super().__init__(base.shape.output, base.shape.input)
        self.base, self.disjoint, self.codisjoint = base, base.codisjoint, base.disjoint

    def apply(self, x: Tensor) -> Tensor:
        """The base's ``back``."""
        return self.base.back(x)

    def back(self, y: Tensor) -> Tensor:
        """The base's ``apply``."""
        return self.base.apply(y)

    def squared(self, d: Tensor) -> Tensor:
        """The base's ``cosquared``."""
        return self.base.cosquared(d)

    def cosquared(self, d: Tensor) -> Tensor:
        """The base's ``squared``."""
        return self.base.squared(d)

    @cached_property
    def gram(self) -> Diagonal | None:
        """The base's ``cogram``."""
        return self.base.cogram

    @cached_property
    def cogram(self) -> Diagonal | None:
        """The base's ``gram``."""
        return self.base.gram

    def solver(self) -> Structure:
        """The base's, transposed."""
        return self.base.structure.transposed

    @cached_property
    def T(self) -> Operator:
        """The base."""
        return self.base

    def factors(self) -> dict[int, Tensor] | None:
        """Transposed matrices."""
        of_base = self.base.factors()
        return None if of_base is None else {axis: m.T for axis, m in of_base.items()}

    def merged(self, inner: Operator) -> Operator | None:
        """``B^T A^T = (A B)^T``."""
        other = inner.base.merged(self.base) if isinstance(inner, Transpose) else None
        return None if other is None else other.T

    def planes(self, frames: int, channels: int) -> Operator | None:
        """The base's, transposed."""
        other = self.base.planes(frames, channels)
        return None if other is None else other.T

    @property
    def batch(self) -> int | None:
        """The base's."""
        return self.base.batch

    def __repr__(self) -> str:
        return f"{self.base!r}.T"


class Scaled(Operator):
    """A multiple of an operator."""

    def __init__(self, base: Operator, factor: float) -> None:
        super().__init__(base.shape.input, base.shape.output)
        self.base, self.factor = base, factor
        self.disjoint, self.codisjoint = base.disjoint, base.codisjoint

    def apply(self, x: Tensor) -> Tensor:
        """``c A x``."""
        return self.factor * self.base.apply(x)

    def back(self, y: Tensor) -> Tensor:
        """``c A^T y``."""
        return self.factor * self.base.back(y)

    def squared(self, d: Tensor) -> Tensor:
        """``c^2`` times the base's."""
        return self.factor**2 * self.base.squared(d)

    def cosquared(self, d: Tensor) -> Tensor:
        """``c^2`` times the base's."""
        return self.factor**2 * self.base.cosquared(d)

    @cached_property
    def gram(self) -> Diagonal | None:
        """``c^2`` times the base's."""
        return None if self.base.gram is None else self.base.gram * self.factor**2

    @cached_property
    def cogram(self) -> Diagonal | None:
        """``c^2`` times the base's."""
        return None if self.base.cogram is None else self.base.cogram * self.factor**2

    def solver(self) -> Structure | None:
        """The base's with ``rho/c^2``, where no diagonal says it directly."""
        if self.gram is not None or self.cogram is not None:
            return None
        base, c = self.base.structure, self.factor
        if isinstance(base, Spectral):
            return base.times(self, c)
        return Rescaled(self, base, c * c, base.side, lambda y: base.pinv(y) / c, lambda x: base.pinv_t(x) / c)

    @cached_property
    def T(self) -> Operator:
        """``c A^T``."""
        return scale(self.base.T, self.factor)

    def planes(self, frames: int, channels: int) -> Operator | None:
        """The base's, scaled."""
        other = self.base.planes(frames, channels)
        return None if other is None else scale(other, self.factor)

    @property
    def batch(self) -> int | None:
        """The base's."""
        return self.base.batch

    def __repr__(self) -> str:
        return f"{self.factor:g} * {self.base!r}"


def _before_tight(product: Operator, base: Structure, tight: Operator, c: float) -> Structure:
    """Rule 3: the structure of ``product = A @ tight`` with ``tight tight^T = c I``, so ``(A B)^+ = B^T A^+ / c``."""
    if isinstance(base, Spectral):
        return base.before(product, tight, c)
    return Rescaled(
        product, base, c, "dual", lambda y: tight.back(base.pinv(y)) / c, lambda x: base.pinv_t(tight.apply(x)) / c
    )


class Composition(Operator):
    """``outer @ inner``."""

    def __init__(self, outer: Operator, inner: Operator) -> None:
        super().__init__(inner.shape.input, outer.shape.output)
        self.outer, self.inner = outer, inner
        self.disjoint = outer.disjoint and inner.disjoint
        self.codisjoint = outer.codisjoint and inner.codisjoint
        self._batch = one_batch((outer, inner))

    def apply(self, x: Tensor) -> Tensor:
        """First the inner one."""
        return self.outer.apply(self.inner.apply(x))

    def back(self, y: Tensor) -> Tensor:
        """First the outer one."""
        return self.inner.back(self.outer.back(y))

    def squared(self, d: Tensor) -> Tensor:
        """One after the other: with disjoint rows no two terms meet."""
        return self.outer.squared(self.inner.squared(d))

    def cosquared(self, d: Tensor) -> Tensor:
        """One after the other."""
        return self.inner.cosquared(self.outer.cosquared(d))

    @cached_property
    def gram(self) -> Diagonal | None:
        """Rule 2, for ``A B B^T A^T``."""
        outer, inner = self.outer, self.inner
        if isinstance(inner.gram, float):
            return None if outer.gram is None else inner.gram * outer.gram
        if inner.gram is None or not outer.disjoint:
            return None
        return outer.squared(_filled(inner.gram, inner.shape.output))

    @cached_property
    def cogram(self) -> Diagonal | None:
        """Rule 2 of the transpose, for ``B^T A^T A B``."""
        outer, inner = self.outer, self.inner
        if isinstance(outer.cogram, float):
            return None if inner.cogram is None else outer.cogram * inner.cogram
        if outer.cogram is None or not inner.codisjoint:
            return None
        return inner.cosquared(_filled(outer.cogram, outer.shape.input))

    def solver(self) -> Structure | None:
        """Rules 3 and 4."""
        if self.gram is not None or self.cogram is not None:
            return None
        outer, inner = self.outer, self.inner
        if isinstance(inner.gram, float):
            return _before_tight(self, outer.structure, inner, inner.gram)
        if isinstance(outer.cogram, float):
            # The mirror image: (A B)^T = B^T A^T, and A^T is tight.
            return _before_tight(self.T, inner.T.structure, outer.T, outer.cogram).transposed
        from restore.operators.planewise import planewise

        return planewise(self, outer, inner)

    @cached_property
    def T(self) -> Operator:
        """``B^T @ A^T`` with this one's solve."""
        return Transpose(self)

    def factors(self) -> dict[int, Tensor] | None:
        """The products of the factors."""
        outer, inner = self.outer.factors(), self.inner.factors()
        if outer is None or inner is None:
            return None
        return multiply_factors(outer, inner)

    def planes(self, frames: int, channels: int) -> Operator | None:
        """Both, at the other size."""
        inner = self.inner.planes(frames, channels)
        outer = self.outer.planes(frames, channels)
        return None if inner is None or outer is None else outer @ inner

    @property
    def batch(self) -> int | None:
        """Of either."""
        return self._batch

    def __repr__(self) -> str:
        return f"({self.outer!r} @ {self.inner!r})"
