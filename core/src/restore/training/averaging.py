"""An exponential moving average of a model's weights."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """``average = decay * average + (1 - decay) * weights`` after every step; buffers are the model's own.

    Args:
        model: whose weights are followed; the average begins as a copy of them.
        decay: in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = {n: p for n, p in model.named_parameters() if p.is_floating_point()}
        self._mean = {n: p.detach().clone() for n, p in self._weights.items()}

    @property
    def decay(self) -> float:
        """Of the average."""
        return self._decay

    @decay.setter
    def decay(self, value: float) -> None:
        self._decay = value
        self._follow: Any = get_ema_multi_avg_fn(value)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self) -> None:
        """Follow the weights by one step."""
        self._follow(list(self._mean.values()), list(self._weights.values()), 1)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model holds the average; afterwards its own weights again."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, weight in self._weights.items():
            kept = weight.detach().clone()
            weight.copy_(self._mean[name])
            self._mean[name].copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """The average by name."""
        return dict(self._mean)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from :meth:`state_dict`."""
        for name, value in self._mean.items():
            value.copy_(state[name])
