"""What CRDS makes of the quantizers that frames were coded with."""

from __future__ import annotations

import pytest
import torch
from restore.functional.quantizer import join_qp
from restore.functional.sweeping import run_sweeps
from restore_crds.network import tiny


def stirred(model):
    """The model with every parameter moved, so that nothing is zero; the same for models of the same size."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if not name.startswith("strength"):
            parameter.data = 0.08 * torch.randn(parameter.shape)
    for parameter in () if model.strength is None else model.strength.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    return model.eval()


@pytest.fixture
def clip():
    return torch.rand(1, 3, 3, 16, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def told(clip, *qps):
    return join_qp(clip, torch.tensor([qps], dtype=torch.float64))


def correction(model, clip):
    with torch.no_grad():
        return model(clip).restored - clip[:, :, :3]


def blind(model):
    """Its encoder does not look at the fourth channel: what is left of the QP is the size of corrections."""
    model.encoder.reduce[0].weight.data[:, 3] = 0
    return model


def test_corrections_double_with_every_six_qps_up_to_37_and_fade_below_28(clip):
    model = blind(stirred(tiny(with_qp=True)).double())
    at = {qp: correction(model, told(clip, qp, qp, qp)) for qp in (0, 12, 13, 20, 28, 31, 37, 51)}
    assert at[37].abs().max() > 1e-3
    assert not at[0].any()
    assert not at[12].any()
    for qp, share in ((31, 2), (28, 2**1.5), (20, 2 * 2 ** (17 / 6)), (13, 16 * 2**4)):
        torch.testing.assert_close(share * at[qp], at[37], rtol=1e-4, atol=1e-9)
    assert torch.equal(at[51], at[37])


def test_each_frame_has_its_own(clip):
    model = blind(stirred(tiny(with_qp=True)).double())
    mixed, high, low = (correction(model, told(clip, *qps)) for qps in ((37, 29, 37), (37,) * 3, (29,) * 3))
    assert torch.equal(mixed[:, [0, 2]], high[:, [0, 2]])
    assert torch.equal(mixed[:, 1], low[:, 1])


def test_the_network_sees_it(clip):
    model = stirred(tiny(with_qp=True)).double()
    before, after = (correction(model, told(clip, 40, qp, 40)) for qp in (38, 50))
    assert (before[:, 0] - after[:, 0]).abs().max() > 1e-4 * before.abs().max()  # of a neighbour too


def test_of_what_nobody_knows_37_is_assumed_or_what_one_says(clip):
    model, other = (stirred(tiny(with_qp=True, assumed_qp=qp)).double() for qp in (None, 25.0))
    unknown = told(clip, -1, -1, -1)
    assert torch.equal(correction(model, unknown), correction(model, told(clip, 37, 37, 37)))
    assert torch.equal(correction(other, unknown), correction(model, told(clip, 25, 25, 25)))
    assert torch.equal(correction(other, told(clip, 40, 12, -1)), correction(other, unknown))
    assert (model.traits.channels, other.traits.channels) == ("rgb+qp", "rgb")  # who is not asked need not be told
    assert torch.equal(correction(model, clip), correction(model, unknown))  # three channels say nothing


@pytest.mark.parametrize("assumed", [None, 37.0])
def test_strength_judges_only_where_nobody_knows(clip, assumed):
    model = stirred(tiny(with_qp=True, strength=True, assumed_qp=assumed)).double()
    plain = stirred(tiny(with_qp=True)).double()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("strength")})
    given = told(clip, 37, -1, 37)
    ours, theirs = correction(model, given), correction(plain, given)
    assert torch.equal(ours[:, [0, 2]], theirs[:, [0, 2]])
    assert torch.equal(ours[:, 1], theirs[:, 1]) is (assumed is not None)


def test_sweeps_are_forward(clip):
    model = stirred(tiny(with_qp=True, strength=True)).double()
    given = told(clip, 30, -1, 44)
    with torch.no_grad():
        torch.testing.assert_close(run_sweeps(model.sweeps, given), model(given).restored, rtol=0, atol=1e-12)
        torch.testing.assert_close(run_sweeps(model.sweeps, clip), model(clip).restored, rtol=0, atol=1e-12)


def test_weights_from_without_quantizers_go_on_as_they_were(clip):
    old, new = stirred(tiny()).double(), tiny(with_qp=True).double().eval()
    new.load_state_dict(new.translate_weights(dict(old.state_dict())))
    assert torch.equal(correction(new, told(clip, 37, 37, 37)), correction(old, clip))


@pytest.mark.parametrize("qp", [-1, 52])
def test_a_quantizer_out_of_range_is_refused(qp):
    with pytest.raises(ValueError, match="assumed_qp must be from 0 to 51"):
        tiny(with_qp=True, assumed_qp=qp)
