"""A small matrix over time or channels beside an operator that treats all planes alike."""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from restore.operators.base import Operator
from restore.operators.solvers import Rho, spread
from restore.operators.structure import Structure


class Planewise(Structure):
    """Rule 4: ``A = K ⊗ F``, K over time and channels (matrices M_T, M_C), F the same for every plane.

    ``A^T A = K^T K ⊗ F^T F``: in the eigenbasis W of ``K^T K``, plane i is solved by F with ``rho / l_i``.
    """

    def __init__(self, operator: Operator, axes: dict[int, Tensor], plane: Operator, pinvs: Sequence[Operator]) -> None:
        super().__init__(operator)
        self.plane, self._pinvs = plane, pinvs
        self.name, self.exact = f"plane by plane: {plane.structure.name}", plane.structure.exact
        self.side = "normal"
        decomposed = {axis: torch.linalg.eigh(m.T @ m) for axis, m in axes.items()}
        self._bases = {axis: vectors for axis, (_, vectors) in decomposed.items()}
        frames, channels = operator.shape.input[:2]
        ones = [torch.ones(n, dtype=torch.float64) for n in (frames, channels)]
        along = [decomposed[axis][0].clamp_min(0) if axis in decomposed else ones[axis] for axis in (0, 1)]
        self._weights = along[0][:, None] * along[1][None, :]

    def describe(self) -> str:
        """The eigenbasis and the plane's solve."""
        return f"eigenbases of {len(self._bases)} matrices over time and channels; {self.plane.structure.describe()}"

    def _turn(self, x: Tensor, back: bool) -> Tensor:
        for axis, basis in self._bases.items():
            w = self.operator.parameter(f"plane basis {axis}", basis, x)
            x = torch.einsum("ij,b...j->b...i", w if back else w.T, x.movedim(axis + 1, -1)).movedim(-1, axis + 1)
        return x

    def normal(self, b: Tensor, rho: Rho) -> Tensor:
        """Plane by plane; a plane that K does not see is divided by rho."""
        turned = self._turn(b, back=False)
        largest = float(self._weights.max())
        frames = []
        for t in range(turned.shape[1]):
            planes = []
            for c in range(turned.shape[2]):
                weight, plane = float(self._weights[t, c]), turned[:, t : t + 1, c : c + 1]
                if weight <= 1e-14 * largest:
                    planes.append(plane / spread(rho, plane))
                else:
                    planes.append(self.plane.structure.normal(plane, rho / weight) / weight)
            frames.append(torch.cat(planes, dim=2))
        return self._turn(torch.cat(frames, dim=1), back=True)

    def pinv(self, y: Tensor) -> Tensor:
        """``K^+ ⊗ F^+``: first the outer one's, then the inner one's."""
        outer, inner = self._pinvs
        return inner.structure.pinv(outer.structure.pinv(y))

    def pinv_t(self, x: Tensor) -> Tensor:
        """The transposes in the other order."""
        outer, inner = self._pinvs
        return outer.structure.pinv_t(inner.structure.pinv_t(x))


def planewise(product: Operator, outer: Operator, inner: Operator) -> Structure | None:
    """Rule 4, where one of the two is a Kronecker product over T and C only and the other treats all planes alike."""
    for small, other in ((outer, inner), (inner, outer)):
        axes = small.factors()
        plane = other.planes(1, 1)
        if axes is not None and set(axes) <= {0, 1} and plane is not None:
            return Planewise(product, axes, plane, (outer, inner))
    return None
