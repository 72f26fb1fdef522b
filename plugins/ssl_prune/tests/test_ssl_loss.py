"""The temporal loss by hand, and brightness constancy that finds the motion."""

from __future__ import annotations

import copy

import pytest
import torch
from restore import Pair, Prediction, RequestError, Step
from restore.teachers import FrozenModel
from restore_ssl_prune.basicvsr import BasicVSR, tiny
from restore_ssl_prune.losses import Photometric, TemporalLoss


class Answers:
    """A teacher that always gives the same hidden states."""

    def __init__(self, **features):
        self.features = features

    def __call__(self, clip):
        return Prediction(clip, features=self.features)


def states(*values):
    """``(1, T, 2, 1, 2)``: every value a frame."""
    return torch.tensor(values).view(1, -1, 1, 1, 1).expand(1, len(values), 2, 1, 2).clone()


CLIP = torch.zeros(1, 3, 3, 4, 4)
PAIR = Pair(CLIP, CLIP)


def test_the_formula():
    pruned = Prediction(CLIP, features={"forward": states(1.0, 2.0, 4.0), "backward": states(3.0, 0.0, 0.0)})
    teacher = Answers(forward=states(0.0, 0.0, 0.0), backward=states(0.0, -2.0, 0.0))
    # 1/(2*3) * ((1 + 2 + 4) + (3 + 2 + 0))
    assert float(TemporalLoss(teacher)(pruned, PAIR, Step())) == pytest.approx(12 / 6)
    # the last forward state is that of the last frame, the last backward one that of the first: (4 + 3) / 2
    assert float(TemporalLoss(teacher, last_state_only=True)(pruned, PAIR, Step())) == pytest.approx(3.5)
    smooth = float(TemporalLoss(teacher, eps=1e-6)(pruned, PAIR, Step()))
    assert smooth == pytest.approx(2, abs=1e-4)
    alone = Prediction(CLIP, features={"forward": states(1.0, 2.0, 4.0)})
    assert float(TemporalLoss(Answers(forward=states(0.0, 0.0, 0.0)))(alone, PAIR, Step())) == pytest.approx(7 / 6)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("eps", [0.0, 1e-3])
def test_zero_for_the_teacher_itself_and_a_gradient_for_others(bidirectional, eps):
    torch.manual_seed(0)
    student = tiny(bidirectional)
    loss = TemporalLoss(FrozenModel(copy.deepcopy(student)), eps=eps)
    observed = torch.rand(2, 3, 3, 8, 8)
    pair = Pair(observed, observed)
    assert float(loss(student.train()(observed), pair, Step()).detach()) == 0
    with torch.no_grad():
        student.forward_trunk[0].weight.mul_(0.5)
    value = loss(student(observed), pair, Step())
    value.backward()
    assert value > 0
    assert student.forward_trunk[0].weight.grad.abs().max() > 0
    assert student.conv_last.weight.grad is None  # states are compared, not pictures
    assert all(p.grad is None for p in loss.teacher.network.parameters())


def test_networks_without_fitting_states_are_named():
    pruned = Prediction(CLIP, features={"forward": states(1.0), "backward": states(1.0)})
    with pytest.raises(RequestError, match="the teacher gave no hidden states"):
        TemporalLoss(Answers())(pruned, PAIR, Step())
    with pytest.raises(RequestError, match="in training gave no hidden states"):
        TemporalLoss(Answers(forward=states(1.0)))(Prediction(CLIP), PAIR, Step())
    with pytest.raises(RequestError, match="'backward'.*missing"):
        TemporalLoss(Answers(forward=states(1.0)))(pruned, PAIR, Step())
    with pytest.raises(RequestError, match="hidden states 'forward' are"):
        TemporalLoss(Answers(forward=states(1.0, 2.0)))(pruned, PAIR, Step())


def wave(shift):
    """A smooth picture moved to the right by ``shift`` pixels."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(24.0) - shift, indexing="ij")
    plane = 0.5 + 0.2 * torch.sin(x / 2) + 0.2 * torch.sin(y / 3 + x / 5)
    return plane.expand(3, -1, -1)


def test_photometric_is_least_at_the_true_motion():
    observed = torch.stack([wave(0), wave(1), wave(2)])[None]
    pair = Pair(observed, observed)

    def value(ahead, back, smoothness=0.0):
        def flow(x):
            return torch.tensor([x, 0.0]).view(1, 1, 2, 1, 1).expand(1, 2, 2, 16, 24)

        prediction = Prediction(observed, features={"flow_backward": flow(ahead), "flow_forward": flow(back)})
        return float(Photometric(smoothness, eps=1e-6)(prediction, pair, Step()))

    # the flow of the backward branch leads to the later frame, where things lie further right
    best = value(1.0, -1.0)
    assert best < 0.3 * value(0.0, 0.0) < value(-1.0, 1.0)
    assert best < value(1.0, 0.0)
    assert value(1.0, -1.0, smoothness=1.0) == pytest.approx(best)  # a constant flow is smooth


def test_photometric_teaches_the_flow_network():
    torch.manual_seed(0)
    model = BasicVSR(4, 1, tail_features=4, flow_levels=2, flow_widths=(8, 8)).train()
    observed = torch.stack([wave(0), wave(1)])[None]
    pair = Pair(observed, observed)
    optimizer = torch.optim.Adam(model.spynet.parameters(), 3e-3)
    first = None
    for _ in range(60):
        value = Photometric(0.0)(model(observed), pair, Step())
        first = first or float(value)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    flow = model(observed).features["flow_backward"][0, 0, 0]
    assert float(value) < 0.7 * first
    assert 0.5 < flow[4:-4, 4:-4].median() < 1.5


def test_photometric_without_flows():
    one = torch.zeros(1, 1, 3, 4, 4)
    assert float(Photometric()(Prediction(one), Pair(one, one), Step())) == 0
    with pytest.raises(RequestError, match="flow_forward"):
        Photometric()(Prediction(CLIP), PAIR, Step())


def test_states_in_validation_must_be_asked_for():
    model = tiny().eval()
    observed = torch.rand(1, 2, 3, 8, 8)
    loss = TemporalLoss(FrozenModel(copy.deepcopy(model)))
    with pytest.raises(RequestError, match="hidden_states = true"):
        loss(Prediction(model(observed)), Pair(observed, observed), Step())
