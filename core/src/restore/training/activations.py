"""Computing activations again in the backward pass, instead of keeping them."""

from __future__ import annotations

import functools
from typing import Any, Sequence

from torch import nn
from torch.utils.checkpoint import checkpoint

from restore.weights import matches


def set_checkpointing(model: nn.Module, patterns: Sequence[str]) -> None:
    """Let the modules that the patterns name keep only their inputs, and all others everything again.

    Results are the same; dropout draws the same numbers the second time. Of modules that lie in one another only the
    outer one is checkpointed. Outside training nothing changes.
    """
    chosen: list[str] = []
    for name, module in model.named_modules():
        # The wrapper sits in the instance; what lies in the class is the module's own.
        if isinstance(getattr(module, "forward", None), _Checkpointed):
            del module.forward
        inside = any(name.startswith(f"{outer}.") for outer in chosen)
        if name and patterns and not inside and matches(name, patterns):
            chosen.append(name)
            module.forward = _Checkpointed(module)


class _Checkpointed:
    """Stands for a module's ``forward``."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.inner = module.forward
        functools.update_wrapper(self, module.forward)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if not self.module.training:
            return self.inner(*arguments, **named)
        return checkpoint(self.inner, *arguments, use_reentrant=False, **named)
