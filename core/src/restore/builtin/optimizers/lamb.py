"""LAMB, as super-resolution trains with it."""

from __future__ import annotations

from typing import Any, Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lamb(Optimizer):
    """Adam whose step is scaled to each tensor's norm (You et al., ICLR 2020, Alg. 2)::

        m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g^2;  u = m / (sqrt(v) + eps) + weight_decay*w
        w = w - lr * min(|w|, max_weight_norm) / |u| * u        (the ratio is 1 where a norm is 0)

    The defaults are those of ECO's code: no bias correction, no weight decay, norms of weights counted up to 10.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: decays of the two moments, in [0, 1).
        eps: added to the root of the second moment; above 0.
        weight_decay: decoupled, scaled by the ratio like the rest of the step.
        bias_correction: divide the moments by 1 - beta^t, as Adam does.
        max_weight_norm: larger norms count as this.

    Raises:
        ValueError: a value out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        bias_correction: bool = False,
        max_weight_norm: float = 10.0,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must lie in [0, 1), got {betas}")
        if lr < 0 or eps <= 0 or weight_decay < 0 or max_weight_norm <= 0:
            raise ValueError("lr and weight_decay must not be negative, eps and max_weight_norm above 0")
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "bias_correction": bias_correction,
            "max_weight_norm": max_weight_norm,
        }  # fmt: skip
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; ``closure`` recomputes the loss first, where given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._step_group(group, parameters)
        return loss

    def _step_group(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for p in parameters:
            if not self.state[p]:
                self.state[p] = {"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            self.state[p]["step"] += 1
        beta1, beta2 = group["betas"]
        gradients = [p.grad for p in parameters if p.grad is not None]
        first = [self.state[p]["exp_avg"] for p in parameters]
        second = [self.state[p]["exp_avg_sq"] for p in parameters]
        # One kernel for all tensors rather than one for each: a network has hundreds.
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(second)
        updates: Any = first
        if group["bias_correction"]:
            steps = [self.state[p]["step"] for p in parameters]
            updates = torch._foreach_div(first, [1 - beta1**t for t in steps])
            torch._foreach_div_(roots, [(1 - beta2**t) ** 0.5 for t in steps])
        torch._foreach_add_(roots, group["eps"])
        updates = torch._foreach_div(updates, roots)
        if group["weight_decay"]:
            torch._foreach_add_(updates, parameters, alpha=group["weight_decay"])
        ratios = [
            _ratio(weight, update, group["max_weight_norm"])
            for weight, update in zip(torch._foreach_norm(parameters), torch._foreach_norm(updates), strict=True)
        ]
        torch._foreach_mul_(updates, ratios)
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])


def _ratio(weight: Tensor, update: Tensor, limit: float) -> Tensor:
    """``min(|w|, limit) / |u|``, 1 where either is 0; stays on the device."""
    return torch.where((weight > 0) & (update > 0), weight.clamp(max=limit) / update, torch.ones_like(weight))
