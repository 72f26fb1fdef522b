"""Parameter counts, layers, and the unrolled iterations against ADMM written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from restore import Prediction, Step, Traits
from restore.functional.seeding import seeded
from restore.operators import Mask, Mixed, dense_matrix
from restore_videoonet.networks.autoencoder import EncoderDecoder
from restore_videoonet.networks.parts import ConvMinimalRNN, PublishedNorm, elu_like
from restore_videoonet.networks.priors import ModelPrior
from restore_videoonet.networks.steps import data_step
from restore_videoonet.networks.unrolled import VideoOneNet
from restore_videoonet.problems import Problems, paper_problems, reported
from torch import nn

MNIST, CIFAR = (9, 1, 14, 14), (4, 3, 16, 16)
SMALL = {"filters": 6, "encoder_kernel": 3, "decoder_kernel": 5}


def count(module):
    return sum(p.numel() for p in module.parameters())


def clips(shape, number=1, seed=0, dtype=torch.float64):
    return torch.rand(number, *shape, generator=seeded(seed), dtype=dtype)


@pytest.mark.parametrize(
    ("sizes", "recurrence", "p", "q", "onenet"),
    [
        ((1, 64, 3, 11), "bidirectional", 238_151, 256_520, 237_575),
        ((1, 64, 3, 11), "none", 82_823, 93_448, 82_247),
        ((3, 256, 5, 7), "bidirectional", 9_945_353, 10_116_620, 9_926_153),
        ((3, 256, 5, 7), "none", 3_353_609, 3_487_244, 3_334_409),
    ],
)
def test_parameter_counts_are_the_papers(sizes, recurrence, p, q, onenet):
    with torch.device("meta"):
        both = VideoOneNet(*sizes, recurrence=recurrence)
        fixed = VideoOneNet(*sizes, recurrence=recurrence, data="analytic")
    assert (count(both.prior), count(both.data), count(both)) == (p, q, p + q)
    assert count(fixed) == onenet


def test_the_defaults_are_the_papers():
    with torch.device("meta"):
        model = VideoOneNet()
    assert (model.iterations, model.rho, model.start, model.ridge) == (13, 0.3, "pinv", 0.0)
    assert count(model) == 20_061_973


def test_published_normalisation_by_hand():
    norm = PublishedNorm().double()
    with torch.no_grad():
        norm.gamma.fill_(2.0)
        norm.beta.fill_(-0.5)
    x = clips((3, 4, 5, 6), 2)
    for sample, out in zip(x, norm(x), strict=True):
        values = sample.flatten().tolist()
        mean = sum(values) / 360
        deviation = (sum((v - mean) ** 2 for v in values) / 360) ** 0.5
        wanted = 2 * (sample - mean) / (deviation + 1e-3) - 0.5
        assert (out - wanted).abs().max() < 1e-12


def test_activation_and_its_value_at_zero():
    x = torch.tensor([-30.0, -1.0, 0.0, 8.0], dtype=torch.float64)
    wanted = torch.log1p(torch.exp(2 * x + 2)) / 2 - 1
    assert torch.allclose(elu_like(x), wanted, atol=1e-12)
    assert abs(float(elu_like(x[2])) - 0.0635) < 1e-4


def naive(x, weight, bias, recurrent):
    state, states = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        pad = weight.shape[-1] // 2
        g = torch.sigmoid(F.conv2d(x[:, t], weight, bias, padding=pad) + F.conv2d(state, recurrent, padding=pad))
        state = (1 - g) * state + g * x[:, t]
        states.append(state)
    return torch.stack(states, 1)


def test_recurrence_is_two_naive_loops():
    torch.manual_seed(0)
    rnn = ConvMinimalRNN(3, 5).double()
    nn.init.normal_(rnn.input.bias)
    x = torch.randn(2, 4, 3, 6, 7, dtype=torch.float64)
    (k1, k2), (b1, b2), (r1, r2) = (v.chunk(2) for v in (rnn.input.weight, rnn.input.bias, rnn.recurrent.weight))
    out = rnn(x)
    assert out.shape == (2, 4, 6, 6, 7)
    assert torch.allclose(out[:, :, :3], naive(x, k1, b1, r1), atol=1e-12)
    assert torch.allclose(out[:, :, 3:], naive(x.flip(1), k2, b2, r2).flip(1), atol=1e-12)
    one = ConvMinimalRNN(3, 5, bidirectional=False).double()
    with torch.no_grad():
        for mine, half in ((one.input.weight, k1), (one.input.bias, b1), (one.recurrent.weight, r1)):
            mine.copy_(half)
    assert torch.allclose(one(x), out[:, :, :3], atol=1e-12)
    orthogonal = r1.flatten(1) @ r1.flatten(1).T
    assert torch.allclose(orthogonal, torch.eye(3, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_frames_meet_only_in_the_recurrence(unshuffle):
    x = clips((4, 2, 9, 11), 1)
    for recurrence, reached in (("none", [2]), ("forward", [2, 3]), ("bidirectional", [0, 1, 2, 3])):
        torch.manual_seed(0)
        net = EncoderDecoder(2, 3, 5, 3, 3, recurrence, "none", unshuffle).double()
        out = net(x)
        assert out.shape == (1, 4, 3, 9, 11)
        other = x.clone()
        other[:, 2] += 0.1
        moved = (net(other) - out).abs().amax(dim=(0, 2, 3, 4))
        assert [t for t in range(4) if moved[t] > 1e-9] == reached


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_without_statistics_a_window_agrees_with_the_whole(unshuffle):
    x = clips((2, 1, 44, 40), 1)
    for kind in ("none", "pixel", "instance", "published"):
        torch.manual_seed(0)
        net = EncoderDecoder(1, 1, 5, 3, 5, "none", kind, unshuffle).double()
        whole, window, reach = net(x).detach(), net(x[..., 4:36, 4:36]).detach(), net.reach
        difference = (whole[..., 4:36, 4:36] - window)[..., reach:-reach, reach:-reach].abs()
        assert difference.numel() > 0
        assert (float(difference.max()) < 1e-12) == (kind in ("none", "pixel"))


def admm_by_hand(operator, y, proxes, iterations, rho=0.3):
    """Alg. 1 with the matrix written out, for each of the priors."""
    a, y = dense_matrix(operator), y.flatten()
    first = torch.linalg.pinv(a) @ y
    inverse = torch.linalg.inv(a.T @ a + rho * torch.eye(len(first), dtype=a.dtype))
    found = []
    for prox in proxes:
        z, u = first, torch.zeros_like(first)
        for _ in range(iterations):
            x = prox(z - u)
            z = inverse @ (a.T @ y + rho * (x + u))
            u = u + x - z
        found.append(z)
    return found


class Halved(nn.Module):
    """A prior that is not the identity, so that the sign of U matters."""

    traits = Traits()

    def forward(self, clip):
        return 0.5 * clip + 0.1


@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (4, 3, 6, 6)])
def test_without_anything_learned_it_is_admm_on_all_problems(shape):
    clean = clips(shape)
    torch.manual_seed(0)
    untrained = VideoOneNet(shape[1], **SMALL, residual=True).double().eval()
    plugged = VideoOneNet(shape[1], **SMALL, residual=True, prior=Halved()).double().eval()
    for name, problem in reported(shape).items():
        pair = problem(clean, Step(generator=seeded(1)))
        operator = pair.operator.operators[0] if isinstance(pair.operator, Mixed) else pair.operator
        wanted = admm_by_hand(operator, pair.observed, (lambda v: v, lambda v: 0.5 * v + 0.1), 13)
        for model, answer in zip((untrained, plugged), wanted, strict=True):
            with torch.no_grad():
                assert (model(pair.observed, pair.operator) - answer.view_as(clean)).abs().max() < 1e-6, name


class Recorder(nn.Module):
    """Stands for a network, and keeps what it was given."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.seen = answer, []

    def forward(self, *clips):
        self.seen.append(clips)
        return self.answer(*clips)


def test_data_network_is_given_the_seven_clips_in_order():
    clean = clips((2, 1, 4, 4))
    operator = Mask((2, 1, 4, 4), clips((2, 1, 4, 4), seed=5)[0] > 0.4)
    y = operator(clean)
    model = VideoOneNet(1, **SMALL, iterations=2).double().eval()
    model.prior[0].network = Recorder(lambda both: 0.7 * both[:, :, :1] - 0.2 * both[:, :, 1:])
    model.data[0].network = Recorder(lambda all_: torch.cat([all_[:, :, 5:6] + 0.1, all_[:, :, 6:] * 0.5], 2))
    with torch.no_grad():
        out = model(y, operator)
    z, u = operator.pinv(y), torch.zeros_like(clean)
    for i in range(2):
        assert torch.allclose(model.prior[0].network.seen[i][0], torch.cat([z, u], 2))
        x = 0.7 * z - 0.2 * u
        after = operator.prox(x + u, y, 0.3)
        dual = u + x - after
        given = torch.cat([operator.adjoint(y), operator.pinv(y), x, z, u, after, dual], 2)
        assert torch.allclose(model.data[0].network.seen[i][0], given)
        z, u = after + 0.1, dual * 0.5
    assert torch.allclose(out, z)


def test_onenet_is_given_the_difference_and_can_start_at_the_adjoint():
    clean = clips((2, 1, 6, 6))
    pair = paper_problems()["SR 2x"](clean, Step())
    for start, first in (("pinv", pair.operator.pinv), ("adjoint", pair.operator.adjoint)):
        model = VideoOneNet(1, **SMALL, data="analytic", iterations=2, start=start).double().eval()
        network = model.prior[0].network = Recorder(lambda v: 0.5 * v)
        with torch.no_grad():
            model(pair.observed, pair.operator)
        z = first(pair.observed)
        assert torch.allclose(network.seen[0][0], z)
        after = pair.operator.prox(0.5 * z, pair.observed, 0.3)
        assert torch.allclose(network.seen[1][0], after - (0.5 * z - after))


@pytest.mark.parametrize(("shape", "names"), [(MNIST, ["SR (14/3)x", "CS", "VCS", "TDD", "MD"]), (CIFAR, ["C"])])
def test_matrix_free_is_dense_at_the_papers_sizes(shape, names):
    v = clips(shape, 1, 3, torch.float32)
    for name in names:
        pair = reported(shape)[name](clips(shape, 1, 2, torch.float32), Step(generator=seeded(1)))
        quick = data_step(pair.operator, pair.observed, 0.3)(v)
        dense = data_step(pair.operator, pair.observed, 0.3, "dense")(v)
        assert (quick - dense).abs().max() < 1e-5, name


def test_a_mixed_batch_is_its_samples_one_by_one():
    torch.manual_seed(0)
    model = VideoOneNet(1, **SMALL, iterations=3).double().eval()
    pair = Problems()(clips((5, 1, 8, 8), 12), Step(generator=seeded(0)))
    assert isinstance(pair.operator, Mixed)
    assert pair.operator.ragged
    assert len(pair.operator.groups) > 5
    with torch.no_grad():
        together = model(pair.observed, pair.operator)
        for i, (operator, y) in enumerate(
            zip(pair.operator.operators, pair.operator.split(pair.observed), strict=True)
        ):
            assert torch.allclose(model(y[None], operator)[0], together[i], atol=1e-9)


def test_checkpointing_changes_nothing_but_memory():
    pair = Problems()(clips((3, 1, 8, 8), 3), Step(generator=seeded(3)))
    found = []
    for checkpoint in (False, True):
        torch.manual_seed(0)
        model = VideoOneNet(1, **SMALL, iterations=3, checkpoint=checkpoint, learn_rho="each").double()
        answer = model(pair.observed, pair.operator)
        assert isinstance(answer, Prediction)
        assert len(answer.intermediates) == 2
        (answer.restored - pair.target).square().mean().backward()
        found.append([p.grad for p in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*found, strict=True))
    assert all(float(g.abs().max()) > 0 for g in found[0])


def test_rho_begins_where_it_is_told_and_weights_can_be_apart():
    model = VideoOneNet(1, **SMALL, iterations=4, rho=0.7, learn_rho="each", share_weights=False)
    assert torch.allclose(F.softplus(model.raw_rho), torch.full((4,), 0.7))
    assert len(model.prior) == len(model.data) == 4
    assert count(VideoOneNet(1, **SMALL, iterations=4, learn_rho="shared")) == count(VideoOneNet(1, **SMALL)) + 1
    with pytest.raises(ValueError, match="dense solver knows only a fixed rho"):
        VideoOneNet(1, **SMALL, learn_rho="each", solver="dense")


def test_ridge_stands_for_the_pseudo_inverse():
    clean = clips((2, 1, 8, 8))
    pair = paper_problems()["DD"](clean, Step())
    model = VideoOneNet(1, **SMALL, data="analytic", iterations=1, ridge=0.05).double().eval()
    network = model.prior[0].network = Recorder(lambda v: v)
    with torch.no_grad():
        model(pair.observed, pair.operator)
    a = dense_matrix(pair.operator)
    wanted = torch.linalg.solve(a.T @ a + 0.05 * torch.eye(128).double(), a.T @ pair.observed.flatten())
    assert torch.allclose(network.seen[0][0].flatten(), wanted, atol=1e-8)


class Luma(nn.Module):
    traits = Traits(channels="y", multiple_of=4)

    def forward(self, clip):
        self.seen = clip
        return clip + 1 / 255


def test_a_luma_model_is_given_each_channel_in_lumas_range():
    model = Luma()
    z = clips((2, 3, 6, 9))
    z[0, 0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    x = ModelPrior(model)(z, torch.zeros_like(z))
    assert model.seen.shape == (3, 2, 1, 8, 12)
    assert torch.allclose(model.seen[0, 0, 0, 0, :2] * 255, torch.tensor([16.0, 235.0]).double())
    assert torch.allclose(x, z + 1 / 219)
    bigger = Luma()
    bigger.traits = Traits(scale=2)
    with pytest.raises(ValueError, match="enlarges by 2"):
        ModelPrior(bigger)


def test_clips_with_other_channels_are_refused():
    model = VideoOneNet(1, **SMALL)
    operator = Mask((2, 3, 4, 4), torch.ones(4, 4))
    with pytest.raises(ValueError, match="made for clips of 1 channels, the operator for 3"):
        model(torch.rand(1, 2, 3, 4, 4), operator)
