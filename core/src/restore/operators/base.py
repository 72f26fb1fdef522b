"""The operator: shapes, the algebra's entry points, and the dispatch to a solve."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, Callable, Hashable

import attrs
import torch
from torch import Tensor

from restore.operators.constants import Diagonal, lasting
from restore.operators.solvers import Rho, Solution, SolveInfo, check_rho, conjugate_gradients, spread, tolerance
from restore.operators.structure import DualDiagonal, Iterative, NormalDiagonal, Structure

Sizes = tuple[int, ...]

# Below this many numbers in the dense matrix, and this many singular values, an operator without structure is factored.
DENSE_LIMIT = 1 << 20
DENSE_RANK = 512


@attrs.frozen
class Shape:
    """Sizes without the batch axis: ``input``, usually ``(T, C, H, W)``, to ``output``."""

    input: Sizes
    output: Sizes

    @property
    def columns(self) -> int:
        """Numbers in one input."""
        return math.prod(self.input)

    @property
    def rows(self) -> int:
        """Numbers in one measurement."""
        return math.prod(self.output)


@attrs.frozen
class Plan:
    """Which solve a data step uses.

    Attributes:
        solve: its name: ``tight frame``, ``diagonal``, ``kronecker``, ``fft``, ``conjugate gradients``, ...
        exact: a closed form, or iterated to a tolerance.
        detail: what is known of the operator, and how large the factors are.
    """

    solve: str
    exact: bool
    detail: str


class DataStep:
    """``v`` to ``argmin_z 1/2 |A z - y|^2 + rho/2 |z - v|^2`` for one ``y``: what is constant over iterations is kept.

    Made by :meth:`Operator.data_step`. With ``y`` differentiable, gradients reach it through every call.
    """

    def __init__(self, operator: Operator, y: Tensor, rho: Rho) -> None:
        self._operator, self._rho = operator, check_rho(rho, len(y))
        self._batch = len(y)
        self._prepared = operator.structure.prepare(y)

    def __call__(self, v: Tensor) -> Tensor:
        """``v`` and the result are ``(B, *domain)``."""
        self._operator.check(v, self._operator.shape.input, "the point v", self._batch)
        return self._operator.structure.step(v, self._prepared, self._rho)


class Operator(ABC):
    """A linear map from clips ``(B, T, C, H, W)`` to measurements ``(B, ...)``, bound to one shape.

    Differentiable in x, y, v and rho; any float dtype and device (parameters follow the argument). Operators are not
    changed after they are made. A subclass gives ``apply`` and ``back``, and what it knows of itself.

    Args:
        input: sizes of one clip without the batch axis, ``(T, C, H, W)``.
        output: sizes of one measurement.

    Attributes:
        shape: both sizes.
        disjoint: every input value enters at most one measurement. Products of such operators keep ``A A^T`` diagonal.
        codisjoint: every measurement holds at most one input value.
    """

    disjoint = False
    codisjoint = False

    def __init__(self, input: Sizes, output: Sizes) -> None:
        for name, sizes in (("input", input), ("output", output)):
            if not sizes or min(sizes) < 1:
                raise ValueError(f"{type(self).__name__}: every side of the {name} must be at least 1, got {sizes}")
        self.shape = Shape(tuple(map(int, input)), tuple(map(int, output)))
        self._cast: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    # What a subclass gives.

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """``A x`` without checks."""

    @abstractmethod
    def back(self, y: Tensor) -> Tensor:
        """``A^T y`` without checks."""

    def squared(self, d: Tensor) -> Tensor:
        """``(A∘A) d``, entries squared, for an operator with ``disjoint``: ``A diag(d) A^T = diag(squared(d))``."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it does to a diagonal")

    def cosquared(self, d: Tensor) -> Tensor:
        """The same for the transpose of an operator with ``codisjoint``: ``A^T diag(d) A = diag(cosquared(d))``."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its transpose does to a diagonal")

    @cached_property
    def gram(self) -> Diagonal | None:
        """The diagonal of ``A A^T`` if it is diagonal, as a number or a tensor that broadcasts to ``(B, *range)``."""
        return None

    @cached_property
    def cogram(self) -> Diagonal | None:
        """The diagonal of ``A^T A`` if it is diagonal, as a number or a tensor that broadcasts to ``(B, *domain)``."""
        return None

    def planes(self, frames: int, channels: int) -> Operator | None:
        """The same operator for clips with other T and C, if it treats all planes alike; ``None`` if it does not."""
        return None

    def factors(self) -> dict[int, Tensor] | None:
        """The matrices of a Kronecker product, by axis of ``(T, C, H, W)``; an axis left out is the identity."""
        return None

    def merged(self, inner: Operator) -> Operator | None:
        """``self @ inner`` as one operator, where a simpler one exists."""
        return None

    def added(self, other: Operator) -> Operator | None:
        """``self + other`` as one operator, where a simpler one exists."""
        return None

    def multiplied(self, factor: float) -> Operator | None:
        """``factor * self`` as an operator of the same kind, where there is one."""
        return None

    def plus_back(self, v: Tensor, r: Tensor) -> Tensor:
        """``v + A^T r``; a subclass may do it in one pass over memory."""
        return v + self.back(r)

    def solver(self) -> Structure | None:
        """A structure of the subclass's own; ``None`` lets the diagonals decide."""
        return None

    # What a user calls.

    def __call__(self, x: Tensor) -> Tensor:
        """``A x``: ``(B, *domain)`` to ``(B, *range)``.

        Raises:
            ValueError: a shape that does not fit, or numbers that are not floating point.
        """
        if x.shape[1:] != self.shape.input or self.batch is not None or not x.is_floating_point():
            self.check(x, self.shape.input, "the input")
        return self.apply(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """``A^T y``: ``(B, *range)`` to ``(B, *domain)``; the exact transpose, ``<A x, y> = <x, A^T y>``.

        Raises:
            ValueError: a shape that does not fit.
        """
        if y.shape[1:] != self.shape.output or self.batch is not None or not y.is_floating_point():
            self.check(y, self.shape.output, "the measurement")
        return self.back(y)

    def pinv(self, y: Tensor) -> Tensor:
        """The Moore-Penrose pseudo-inverse: of all clips that explain ``y`` best, the one of least norm.

        Raises:
            ValueError: a shape that does not fit.
        """
        if y.shape[1:] != self.shape.output or self.batch is not None or not y.is_floating_point():
            self.check(y, self.shape.output, "the measurement")
        return self.structure.pinv(y)

    def prox(self, v: Tensor, y: Tensor, rho: Rho) -> Tensor:
        """``argmin_z 1/2 |A z - y|^2 + rho/2 |z - v|^2 = (A^T A + rho I)^-1 (A^T y + rho v)``.

        Args:
            v: ``(B, *domain)``.
            y: ``(B, *range)``.
            rho: above 0; a float, or a tensor with one value or one per sample.

        Raises:
            ValueError: shapes that do not fit, or rho not above 0.
        """
        self.check(y, self.shape.output, "the measurement")
        self.check(v, self.shape.input, "the point v", y.shape[0])
        if type(rho) is not float or not 0 < rho < math.inf:
            rho = check_rho(rho, y.shape[0])
        return self.structure.prox(v, y, rho)

    def data_step(self, y: Tensor, rho: Rho) -> DataStep:
        """The function ``v -> prox(v, y, rho)``, with ``A^T y`` and factors computed once (for ADMM and its like)."""
        self.check(y, self.shape.output, "the measurement")
        return DataStep(self, y, rho)

    def solve(self, b: Tensor, rho: Rho) -> Solution:
        """``(A^T A + rho I)^-1 b`` together with how it went: iterations (0 for a closed form), true residual, success.

        Not differentiable; :meth:`prox` is.
        """
        self.check(b, self.shape.input, "the right-hand side")
        rho = check_rho(rho, len(b))

        def system(p: Tensor) -> Tensor:
            return self.back(self.apply(p)) + spread(rho, p) * p

        with torch.no_grad():
            if isinstance(self.structure, Iterative):
                return conjugate_gradients(system, b, what=f"data step of {self!r}")
            x = self.structure.normal(b, rho)
            size = torch.linalg.vector_norm(b.flatten(1), dim=1)
            residual = torch.linalg.vector_norm((b - system(x)).flatten(1), dim=1) / torch.where(size > 0, size, 1.0)
            none = torch.zeros(len(b), dtype=torch.int64, device=b.device)
            return Solution(x, SolveInfo(none, residual, residual <= 100 * tolerance(b.dtype)))

    def plan(self, rho: Rho = 1.0) -> Plan:
        """Which solve the data step with this rho uses, and why."""
        check_rho(rho, rho.numel() if isinstance(rho, Tensor) else 1)
        return Plan(self.structure.name, self.structure.exact, self.structure.describe())

    @cached_property
    def structure(self) -> Structure:
        """The solve. Tried in turn: the operator's own, diagonal ``A A^T``, diagonal ``A^T A``, dense where small,
        conjugate gradients."""
        own = self.solver()
        if own is not None:
            return own
        # A tight frame is cheapest; of two diagonals the one over fewer numbers, or the one that needs no A v.
        sides: list[tuple[Diagonal | None, Callable[..., Structure]]] = [(self.gram, DualDiagonal)]
        sides.insert(self.shape.rows < self.shape.columns, (self.cogram, NormalDiagonal))
        for diagonal, structure in sorted(sides, key=lambda side: isinstance(side[0], Tensor)):
            if diagonal is not None:
                return structure(self, diagonal)
        rows, columns = self.shape.rows, self.shape.columns
        if rows * columns <= DENSE_LIMIT and min(rows, columns) <= DENSE_RANK and self.batch is None:
            from restore.operators.dense import dense_structure

            return dense_structure(self)
        return Iterative(self)

    # The algebra.

    @cached_property
    def T(self) -> Operator:
        """The transpose."""
        from restore.operators.algebra import Transpose

        return Transpose(self)

    def __matmul__(self, inner: Operator) -> Operator:
        """``A @ B``: first B, then A; simplified where both are of a kind."""
        from restore.operators.algebra import compose

        return compose(self, inner) if isinstance(inner, Operator) else NotImplemented

    def __mul__(self, factor: float) -> Operator:
        """``c A`` for a number c other than 0."""
        from restore.operators.algebra import scale

        return scale(self, factor) if isinstance(factor, (int, float)) else NotImplemented

    __rmul__ = __mul__

    def __neg__(self) -> Operator:
        return self * -1.0

    def __add__(self, other: Operator) -> Operator:
        """``A + B``, both from the same clips to measurements of the same sizes."""
        from restore.operators.stacking import add

        return add(self, other) if isinstance(other, Operator) else NotImplemented

    def __sub__(self, other: Operator) -> Operator:
        """``A - B``."""
        return self + -1.0 * other if isinstance(other, Operator) else NotImplemented

    # Help for subclasses.

    @property
    def key(self) -> Hashable:
        """Equal for operators that are known to be equal; a mixed batch applies them together. By default, itself."""
        return id(self)

    @property
    def batch(self) -> int | None:
        """The one batch size that parameters per sample allow; ``None`` where any will do."""
        return None

    def parameter(self, name: str, value: Tensor, like: Tensor) -> Tensor:
        """A parameter in the dtype and on the device of ``like``, converted once."""
        key = (name, like.dtype, like.device)
        kept = self._cast.get(key)
        if kept is None:
            if value.requires_grad:
                return value.to(like)
            kept = self._cast[key] = lasting(value, like)
        return kept

    def check(self, tensor: Tensor, sizes: Sizes, what: str, batch: int | None = None) -> None:
        """Raises ``ValueError`` unless ``tensor`` is floating point of shape ``(B, *sizes)``."""
        own = self.batch
        batch = own if own is not None else batch
        # The usual case first, and in the methods above even before this call: small clips are solved in microseconds.
        if tensor.shape[1:] == sizes and (batch is None or tensor.shape[0] == batch) and tensor.is_floating_point():
            return
        fits = tensor.ndim == len(sizes) + 1 and tuple(tensor.shape[1:]) == sizes
        if not fits or (batch is not None and tensor.shape[0] != batch):
            first = "B" if batch is None else str(batch)
            wanted = ", ".join([first, *map(str, sizes)])
            raise ValueError(f"{self!r}: {what} must have the shape ({wanted}), got {tuple(tensor.shape)}")
        if not tensor.is_floating_point():
            raise ValueError(f"{self!r}: {what} must be floating point, got {tensor.dtype}")

    def __getstate__(self) -> dict[str, Any]:
        # Casts and factors are found again; a pickle holds only what defines the operator.
        cached = {n for c in type(self).__mro__ for n, v in vars(c).items() if isinstance(v, cached_property)}
        return {k: ({} if k == "_cast" else v) for k, v in self.__dict__.items() if k not in cached}

    def __repr__(self) -> str:
        sides = ("x".join(map(str, s)) for s in (self.shape.input, self.shape.output))
        return f"{type(self).__name__}({' -> '.join(sides)})"


class Identity(Operator):
    """Gives back what it gets: ``(B, *sizes)``."""

    disjoint = codisjoint = True

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes, sizes)

    def apply(self, x: Tensor) -> Tensor:
        """``x``."""
        return x

    def back(self, y: Tensor) -> Tensor:
        """``y``."""
        return y

    def squared(self, d: Tensor) -> Tensor:
        """``d``."""
        return d

    def cosquared(self, d: Tensor) -> Tensor:
        """``d``."""
        return d

    @cached_property
    def gram(self) -> Diagonal:
        """1."""
        return 1.0

    @cached_property
    def cogram(self) -> Diagonal:
        """1."""
        return 1.0

    @property
    def key(self) -> Hashable:
        """Its sizes."""
        return Identity, self.shape

    def planes(self, frames: int, channels: int) -> Operator:
        """Itself, at the other size."""
        return Identity((frames, channels, *self.shape.input[2:]))

    def factors(self) -> dict[int, Tensor]:
        """Nothing but identities."""
        return {}
