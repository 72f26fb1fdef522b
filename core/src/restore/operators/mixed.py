"""A batch whose samples have different operators: multi-task training draws one problem per sample."""

from __future__ import annotations

from functools import cached_property
from typing import Callable, Hashable, Sequence

import torch
from torch import Tensor

from restore.operators.base import DataStep, Operator, Plan, Shape
from restore.operators.diagonal import Mask
from restore.operators.memory import joined
from restore.operators.solvers import Rho, check_rho


class Mixed:
    """One operator per sample, all for clips of one shape. Equal operators, and masks, are applied together.

    The measurement is ``(B, *range)`` where all ranges are equal. Otherwise it is flat, ``(m_1 + ... + m_B,)``: nothing
    is padded, and :meth:`split` gives each sample's part in its own shape.

    Args:
        operators: one per sample.

    Raises:
        ValueError: no operators, operators for different clips, or one that is itself made for a batch.

    Attributes:
        shapes: each sample's sizes.
        ragged: whether the measurement is flat.
    """

    def __init__(self, operators: Sequence[Operator]) -> None:
        if not operators:
            raise ValueError("a mixed batch needs at least one operator")
        domains = {o.shape.input for o in operators}
        if len(domains) > 1:
            raise ValueError(f"the operators of a mixed batch must take the same clips, got {sorted(domains)}")
        batched = [o for o in operators if o.batch is not None]
        if batched:
            raise ValueError(f"{batched[0]!r} is made for {batched[0].batch} samples; a mixed batch needs one for each")
        self.operators = tuple(operators)
        self.domain = operators[0].shape.input
        self.shapes: tuple[Shape, ...] = tuple(o.shape for o in operators)
        self.ragged = len({s.output for s in self.shapes}) > 1
        self._groups = self._grouped()
        self._rows = [rows.tolist() for rows, _ in self._groups]
        self._sizes = [s.rows for s in self.shapes]

    def _grouped(self) -> list[tuple[Tensor, Operator]]:
        members: dict[Hashable, list[int]] = {}
        for i, operator in enumerate(self.operators):
            members.setdefault(Mask if isinstance(operator, Mask) else operator.key, []).append(i)
        groups = []
        for rows in members.values():
            operator = self.operators[rows[0]]
            masks = [o for o in (self.operators[i] for i in rows) if isinstance(o, Mask)]
            if len(masks) > 1:
                operator = Mask.joined(masks)
            groups.append((torch.tensor(rows), operator))
        return groups

    # Between samples and measurements.

    def split(self, y: Tensor) -> list[Tensor]:
        """Views of a measurement: sample i's part in the shape of its operator's range, without a batch axis.

        Raises:
            ValueError: a measurement of another size.
        """
        self._check_measurement(y)
        if not self.ragged:
            return list(y.unbind(0))
        pieces = torch.split(y, self._sizes)
        return [p.view(s.output) for p, s in zip(pieces, self.shapes, strict=True)]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The inverse of :meth:`split`."""
        return joined([p.reshape(-1) for p in parts]) if self.ragged else joined([p.unsqueeze(0) for p in parts])

    def _check_measurement(self, y: Tensor) -> None:
        wanted = (sum(self._sizes),) if self.ragged else (len(self.shapes), *self.shapes[0].output)
        if tuple(y.shape) != wanted:
            raise ValueError(f"{self!r}: the measurement must have the shape {wanted}, got {tuple(y.shape)}")

    def _check_clips(self, x: Tensor) -> None:
        wanted = (len(self.shapes), *self.domain)
        if tuple(x.shape) != wanted:
            raise ValueError(f"{self!r}: the clips must have the shape {wanted}, got {tuple(x.shape)}")

    def _measured(self, y: Tensor) -> list[Tensor]:
        """The measurement of each group."""
        if not self.ragged:
            return self._taken(y)
        parts = self.split(y)
        return [
            parts[rows[0]].unsqueeze(0) if len(rows) == 1 else torch.stack([parts[i] for i in rows])
            for rows in self._rows
        ]

    def _taken(self, x: Tensor) -> list[Tensor]:
        """The samples of each group: a view where they lie side by side, which one sample always does."""
        taken = []
        for index, rows in zip(self._groups, self._rows, strict=True):
            first, last = rows[0], rows[-1]
            together = last - first + 1 == len(rows)
            taken.append(x[first : last + 1] if together else x[index[0].to(x.device)])
        return taken

    def _samples(self, groups: Sequence[Tensor]) -> list[Tensor]:
        """Views of the groups' results, ``(1, ...)`` each, in the order of the batch."""
        parts: list[Tensor] = [groups[0]] * len(self.shapes)
        for rows, made in zip(self._rows, groups, strict=True):
            for i, part in zip(rows, torch.split(made, 1), strict=True):
                parts[i] = part
        return parts

    def _in_order(self, groups: Sequence[Tensor]) -> Tensor:
        return groups[0] if len(groups) == 1 else joined(self._samples(groups))

    # What an operator does.

    def __call__(self, x: Tensor) -> Tensor:
        """``A_i x_i`` for every sample of ``(B, *domain)``.

        Raises:
            ValueError: another shape, or another batch size.
        """
        self._check_clips(x)
        made = [operator(part) for (_, operator), part in zip(self._groups, self._taken(x), strict=True)]
        return self.join(self._samples(made)) if self.ragged else self._in_order(made)

    def _from_measured(self, y: Tensor, use: Callable[[Operator, Tensor], Tensor]) -> Tensor:
        self._check_measurement(y)
        pairs = zip(self._groups, self._measured(y), strict=True)
        return self._in_order([use(operator, part) for (_, operator), part in pairs])

    def adjoint(self, y: Tensor) -> Tensor:
        """``A_i^T y_i`` for every sample: ``(B, *domain)``."""
        return self._from_measured(y, lambda operator, part: operator.adjoint(part))

    def pinv(self, y: Tensor) -> Tensor:
        """``A_i^+ y_i`` for every sample: ``(B, *domain)``."""
        return self._from_measured(y, lambda operator, part: operator.pinv(part))

    def prox(self, v: Tensor, y: Tensor, rho: Rho) -> Tensor:
        """Every sample's data step; ``rho`` is a float or a tensor with one value or one per sample."""
        return self.data_step(y, rho)(v)

    def data_step(self, y: Tensor, rho: Rho) -> MixedStep:
        """The function ``v -> prox(v, y, rho)`` with what is constant computed once."""
        self._check_measurement(y)
        return MixedStep(self, y, check_rho(rho, len(self.shapes)))

    def plan(self, rho: Rho = 1.0) -> list[Plan]:
        """Each sample's solve."""
        each = (
            rho.reshape(-1).expand(len(self.shapes)).tolist() if isinstance(rho, Tensor) else [rho] * len(self.shapes)
        )
        return [o.plan(r) for o, r in zip(self.operators, each, strict=True)]

    @cached_property
    def groups(self) -> tuple[tuple[Tensor, Operator], ...]:
        """Which samples share an operator: ``(indices, operator)``."""
        return tuple(self._groups)

    def __matmul__(self, inner: Operator | Mixed) -> Mixed:
        """First ``inner``, one operator or one per sample."""
        if not isinstance(inner, (Operator, Mixed)):
            return NotImplemented
        return Mixed([a @ b for a, b in zip(self.operators, _per_sample(inner, len(self.shapes)), strict=True)])

    def __rmatmul__(self, outer: Operator) -> Mixed:
        """First this, then ``outer``."""
        return Mixed([outer @ b for b in self.operators]) if isinstance(outer, Operator) else NotImplemented

    def __repr__(self) -> str:
        return f"Mixed({len(self.operators)} samples, {len(self._groups)} operators)"


def _per_sample(operator: Operator | Mixed, count: int) -> tuple[Operator, ...]:
    return operator.operators if isinstance(operator, Mixed) else (operator,) * count


class MixedStep:
    """The data step of a mixed batch; made by :meth:`Mixed.data_step`."""

    def __init__(self, mixed: Mixed, y: Tensor, rho: Rho) -> None:
        self._mixed = mixed
        self._steps: list[DataStep] = []
        for (rows, operator), part in zip(mixed.groups, mixed._measured(y), strict=True):
            own = rho[rows.to(rho.device)] if isinstance(rho, Tensor) and rho.ndim else rho
            self._steps.append(operator.data_step(part, own))

    def __call__(self, v: Tensor) -> Tensor:
        """``(B, *domain)`` to the same."""
        self._mixed._check_clips(v)
        pairs = zip(self._steps, self._mixed._taken(v), strict=True)
        return self._mixed._in_order([step(part) for step, part in pairs])
