"""The kit's checks of models that are given an operator: a good one passes all, and each is broken by one."""

from __future__ import annotations

import pytest
import torch
from restore.contracts import Traits
from restore.testing import ConformanceError, NotApplicableError, Sample, checks
from torch import nn

CHECKS = [c for c in checks("model") if c.kind == "inverse"]
SAMPLE = (2, 3, 3, 9, 12)


class Net(nn.Module):
    """One data step around a convolution, with a flaw if one is asked for."""

    def __init__(self, flaw="", needs_operator=True):
        super().__init__()
        self.traits = Traits(temporal="clip", needs_operator=needs_operator)
        self.flaw, self.calls = flaw, 0
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        if flaw == "unused":
            self.spare = nn.Linear(2, 2)
        if flaw == "buffer":
            self.register_buffer("shift", torch.rand(1), persistent=False)

    def forward(self, observed, operator):
        back = operator.adjoint(observed)
        x = back + self.conv(back.flatten(0, 1)).unflatten(0, back.shape[:2])
        if self.flaw == "blind":
            return observed + 0 * self.conv.weight.sum() if observed.shape == x.shape else x
        if self.flaw == "measurement":
            return observed.clone()
        if self.flaw == "batch":
            x = x + back.mean(dim=0, keepdim=True)
        if self.flaw == "root":
            x = x + (x - x.mean(dim=(3, 4), keepdim=True)).square().mean(dim=(3, 4), keepdim=True).sqrt()
        if self.flaw == "calls":
            self.calls += 1
            x = x + self.calls
        if self.flaw == "in place":
            observed += 1
        if self.flaw == "buffer":
            x = x + self.shift
        if self.flaw == "digits":
            x = x.half().to(x.dtype) + 1e-2 * (x.dtype == torch.float64)
        if self.flaw == "nan":
            x = x / back.abs().amax(dim=(1, 2, 3, 4), keepdim=True)
        return operator.prox(x, observed, 0.3)


def looked(model, check):
    try:
        check(model, Sample(SAMPLE, check.dtypes[0], make=lambda: Net(model.flaw)))
    except ConformanceError as error:
        return str(error)
    return ""


def test_a_good_model_passes_every_check():
    assert len(CHECKS) == 7
    for check in CHECKS:
        torch.manual_seed(0)
        assert looked(Net(), check) == ""


BROKEN = [
    ("domain", "measurement", "came back as"),
    ("domain", "nan", "all 0: values are not finite"),
    ("mixed", "batch", "in a batch with others it differs"),
    ("uses_operator", "blind", "two masks give the same answer"),
    ("deterministic", "calls", "two calls differ"),
    ("deterministic", "in place", "changed the measurement"),
    ("dtype", "digits", "the two differ by up to"),
    ("gradients", "unused", "none reaches spare.weight"),
    ("gradients", "root", "is not finite"),
    ("state_dict", "buffer", "outputs differ"),
]


@pytest.mark.parametrize(("name", "flaw", "seen"), BROKEN)
def test_a_broken_one_is_caught(name, flaw, seen):
    torch.manual_seed(0)
    (check,) = [c for c in CHECKS if c.name == name]
    message = looked(Net(flaw), check)
    assert seen in message
    assert f"inverse.{name}" in message


def test_every_check_is_broken_by_one_and_other_models_are_left_alone():
    assert {c.name for c in CHECKS} == {name for name, _, _ in BROKEN}
    for check in CHECKS:
        with pytest.raises(NotApplicableError, match="needs no operator"):
            check(Net(needs_operator=False), Sample(SAMPLE))
