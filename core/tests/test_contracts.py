"""What the protocols promise to tools that look at them from outside."""

from __future__ import annotations

import torch
from restore import Prediction
from torch import Tensor, nn


class Inner(nn.Module):
    """A convolution that shows what it made."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Prediction:
        half = self.conv(x)
        return Prediction(x + half, (half,), {"half": half})


def test_a_prediction_passes_through_torch_compile_in_one_graph() -> None:
    x, model = torch.rand(1, 3, 8, 8), Inner()
    compiled, eager = torch.compile(model, fullgraph=True, backend="eager")(x), model(x)
    assert isinstance(compiled, Prediction)
    assert torch.equal(compiled.restored, eager.restored)
    assert torch.equal(compiled.intermediates[0], eager.features["half"])
