"""Problems, the methods without learned weights, and the table."""

from __future__ import annotations

import pytest
import torch
from restore import Pair, Step, Traits
from restore.functional.seeding import seeded
from restore.operators import Mask, Mixed, dense_matrix
from restore_videoonet.classical.admm import ADMM
from restore_videoonet.classical.plain import PseudoInverse, ZeroFilling
from restore_videoonet.classical.plug_and_play import PlugAndPlay
from restore_videoonet.classical.total_variation import TotalVariation, divergence, gradient
from restore_videoonet.classical.wavelets import Wavelets, haar
from restore_videoonet.networks.unrolled import VideoOneNet
from restore_videoonet.problems import Problems, paper_problems, reported
from restore_videoonet.published import TABLE_1
from restore_videoonet.table import Row, markdown, measure, of_weights, psnr

MNIST, CIFAR, UCF = (9, 1, 14, 14), (4, 3, 16, 16), (4, 3, 32, 32)


def clips(shape, number=1, seed=0):
    return torch.rand(number, *shape, generator=seeded(seed), dtype=torch.float64)


def test_fifteen_problems_by_the_papers_names():
    assert len(paper_problems()) == 16
    first = ["PID", "BI", "SI", "SR 2x"]
    blurs = ["CS", "VCS", "DD", "TDD", "MD"]
    digits = ["SR (14/3)x", *blurs, "FI 2.25x", "FI 4.5x", "FP (9/7)x", "FP 1.8x", "FP 3x"]
    photographs = ["SR 4x", *blurs, "FI 2x", "FP (4/3)x", "FP 2x", "FP 4x", "C"]
    assert list(reported(MNIST)) == first + digits
    assert list(reported(CIFAR)) == list(reported(UCF)) == first + photographs


# Numbers measured, from the specification of the operators.
SEEN = {
    MNIST: {"SR 2x": 9 * 49, "SR (14/3)x": 81, "CS": 176, "VCS": 196 + 8 * 20, "DD": 9 * 17 * 17, "TDD": 12 * 196,
            "MD": 9 * 400, "FI 2.25x": 4 * 196, "FI 4.5x": 2 * 196, "FP (9/7)x": 7 * 196, "FP 1.8x": 5 * 196,
            "FP 3x": 3 * 196},
    CIFAR: {"CS": 307, "VCS": 3 * (256 + 3 * 26), "FI 2x": 2 * 768, "FP (4/3)x": 3 * 768, "FP 4x": 768, "C": 1024},
    UCF: {"CS": 1229, "VCS": 3 * (1024 + 3 * 102), "SR 4x": 4 * 3 * 64},
}  # fmt: skip


@pytest.mark.parametrize("shape", [MNIST, CIFAR, UCF])
def test_problems_measure_as_many_numbers_as_published(shape):
    problems = reported(shape)
    for name, rows in SEEN[shape].items():
        observed = problems[name](clips(shape), Step(generator=seeded(0))).observed
        assert observed.numel() == rows, name


def test_legacy_motion_is_three_by_three_and_colour_is_the_luma():
    clean = clips(MNIST)
    assert reported(MNIST, legacy_3x3=True)["MD"](clean, Step()).observed.shape[-2:] == (16, 16)
    assert torch.equal(paper_problems()["C"](clean, Step()).observed.flatten(), clean.flatten())
    colour = clips(CIFAR)
    grey = paper_problems()["C"](colour, Step()).observed
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)
    assert torch.allclose(grey, (colour * weights).sum(2, keepdim=True))


def test_every_sample_draws_its_own_problem_and_operator():
    clean = clips(MNIST, 40)
    pair = Problems()(clean, Step(generator=seeded(1)))
    assert torch.equal(pair.target, clean)
    kinds = {type(operator).__name__ + str(operator.shape.output) for operator in pair.operator.operators}
    assert len(kinds) >= 10
    exact = pair.operator.split(pair.operator(clean))
    for operator, seen, wanted in zip(pair.operator.operators, pair.operator.split(pair.observed), exact, strict=True):
        difference = (seen - wanted).abs()
        if isinstance(operator, Mask) and float(difference.max()) > 0:
            assert 0.08 < float((seen - wanted)[wanted != 0].std()) < 0.12  # PID's noise, where something is seen
            assert float(difference[wanted == 0].max()) == 0
        else:
            assert float(difference.max()) < 1e-12
    matrices = [o for o in pair.operator.operators if type(o).__name__ == "CompressiveSensing"]
    assert len({o.rows.seed for o in matrices}) == len(matrices) > 1
    again = Problems()(clean, Step(generator=seeded(1)))
    assert torch.equal(again.observed, pair.observed)


def test_weights_of_problems_and_what_is_no_problem():
    among = list(paper_problems().values())[:3]
    only = Problems(among, [0, 1, 0])(clips(MNIST, 4), Step(generator=seeded(0)))
    assert len({o.key if not isinstance(o, Mask) else "mask" for o in only.operator.operators}) == 1
    with pytest.raises(ValueError, match="weights must be 3 numbers"):
        Problems(among, [1, 1])

    class Rounded:
        def __call__(self, clean, step):
            return Pair(clean.round(), clean)

    with pytest.raises(ValueError, match="Rounded carries no linear operator"):
        Problems([Rounded()])(clips(MNIST), Step(generator=seeded(0)))


def test_plain_answers():
    pair = paper_problems()["SR 2x"](clips(MNIST), Step())
    a, y = dense_matrix(pair.operator), pair.observed.flatten()
    assert torch.allclose(ZeroFilling()(pair.observed, pair.operator).flatten(), a.T @ y)
    assert torch.allclose(PseudoInverse()(pair.observed, pair.operator).flatten(), torch.linalg.pinv(a) @ y)


def test_published_wavelets_are_pixels_on_all_three_data_sets():
    method = Wavelets()
    for shape in (MNIST, CIFAR, UCF):
        x = clips(shape) - 0.5
        assert method.levels(x) == 0
        threshold = 0.05 / 0.3
        wanted = x.sign() * (x.abs() - threshold).clamp_min(0)
        assert torch.allclose(method.proximal(x), wanted)
    assert method.levels(clips((16, 1, 64, 64))) > 0


@pytest.mark.parametrize("shape", [MNIST, (8, 3, 16, 24)])
def test_haar_is_a_transform_indeed(shape):
    x = clips(shape)
    assert torch.allclose(haar(weight=0.0).proximal(x), x, atol=1e-12)
    # Of a flat clip only the coarsest coefficients are left, and they are large.
    flat = haar(weight=0.03).proximal(torch.full_like(x, 0.5))
    assert (flat - 0.5).abs().max() < 0.1 / 8 + 1e-9
    noise = 0.02 * torch.randn(x.shape, generator=seeded(1), dtype=torch.float64)
    assert haar(weight=0.03).proximal(0.5 + noise).std() < 0.5 * noise.std()


def test_gradient_and_divergence_are_transposes():
    x, p = clips((4, 2, 5, 6)), clips((4, 2, 5, 6), 3, 1).unsqueeze(1)
    assert torch.allclose((gradient(x, 0.7) * p).sum(), (x * divergence(p, 0.7)).sum())
    steps = gradient(x, 0.5)
    assert torch.equal(steps[2][:, 0], 0.5 * (x[:, 1] - x[:, 0]))
    assert float(steps[2][:, -1].abs().max()) == 0


def test_total_variations_proximal_step_is_the_best_point():
    method = TotalVariation(weight=0.06, time=0.5, inner=600)
    v = clips((3, 1, 5, 6))

    def objective(x):
        d = gradient(x, 0.5)
        return 0.06 * (d[:2].square().sum(0).sqrt().sum() + d[2].abs().sum()) + 0.15 * (x - v).square().sum()

    x = method.proximal(v)
    for seed in range(20):
        other = x + 0.01 * torch.randn(x.shape, generator=seeded(seed), dtype=torch.float64)
        assert objective(x) < objective(other)
    assert objective(x) < objective(v) - 0.01
    flat = TotalVariation(weight=100.0, inner=2000).proximal(v)
    assert (flat - v.mean()).abs().max() < 1e-3


def test_total_variation_fills_in():
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    clean = (0.2 + 0.6 * ((rows > 7) ^ (columns > 5))).double().expand(1, 4, 1, 16, 16).contiguous()
    operator = Mask((4, 1, 16, 16), clips((4, 1, 16, 16), seed=3)[0] > 0.3)
    y = operator(clean)
    filled = TotalVariation()(y, operator)
    assert float((filled - clean).square().mean()) < 0.05 * float((operator.pinv(y) - clean).square().mean())


class Denoiser:
    traits = Traits()

    def __call__(self, clip):
        return 0.5 * clip + 0.1


def test_plug_and_play_is_the_unrolled_network_with_that_prior():
    class Module(torch.nn.Module):
        traits = Traits()

        def forward(self, clip):
            return 0.5 * clip + 0.1

    clean = clips((4, 3, 6, 6))
    unrolled = VideoOneNet(3, 4, 3, 3, data="analytic", prior=Module()).eval()
    for name in ("PID", "TDD", "MD", "VCS"):
        pair = paper_problems()[name](clean, Step(generator=seeded(2)))
        plugged = PlugAndPlay(Denoiser(), tolerance=0.0)
        assert isinstance(plugged, ADMM)
        assert torch.allclose(plugged(pair.observed, pair.operator), unrolled(pair.observed, pair.operator), atol=1e-9)


class Digits:
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return clips(MNIST, 1, index)[0].float()


def test_psnr_is_per_video_and_unclamped():
    target = torch.zeros(2, 1, 1, 2, 2)
    restored = torch.tensor([[2.0, 0, 0, 0], [0.1, 0.1, 0.1, 0.1]]).view(2, 1, 1, 2, 2)
    assert psnr(restored, target) == pytest.approx([0.0, 20.0], abs=1e-5)


def test_table_of_methods_and_weights(tmp_path):
    from restore.weights import save

    parameters = {"channels": 1, "filters": 4, "encoder_kernel": 3, "decoder_kernel": 3, "iterations": 2}
    torch.manual_seed(0)
    model = VideoOneNet(**parameters, data="analytic", recurrence="none")
    path = tmp_path / "net.safetensors"
    about = {"component": "videoonet:videoonet", "parameters": {**parameters, "data": "analytic", "recurrence": "none"}}
    save(path, model.state_dict(), about)
    rows = [Row("pseudo-inverse", PseudoInverse()), of_weights(path), Row("VideoOneNet BCRNN", PseudoInverse())]
    assert rows[1].name == "OneNet CNN"
    assert rows[1].parameters == sum(p.numel() for p in model.parameters())
    problems = {name: reported(MNIST)[name] for name in ("TDD", "FP 3x")}
    measure(rows, Digits(), problems, batch=2)
    assert rows[0].psnr["TDD"] > 100
    wanted = []
    for i in range(5):
        clean = Digits()[i].double()
        wanted.append(float(-10 * torch.log10(clean[3:].square().sum() / clean.numel())))
    assert rows[0].psnr["FP 3x"] == pytest.approx(sum(wanted) / 5, abs=1e-4)
    text = markdown(rows, {"OneNet CNN": [1.0, 2.0]}, "title")
    assert "| paper: OneNet CNN | 1.0 | 2.0 | 1.5 |" in text
    assert "VideoOneNet BCRNN is above OneNet CNN on 2 of 2 problems" in text


def test_published_rows_have_a_cell_for_every_problem():
    for data, shape in (("rotated-mnist", MNIST), ("scanned-cifar10", CIFAR), ("ucf101", UCF)):
        assert all(len(row) == len(reported(shape)) for row in TABLE_1[data].values())
    best = TABLE_1["rotated-mnist"]["VideoOneNet BCRNN"]
    assert dict(zip(reported(MNIST), best, strict=True))["TDD"] == 39.0
    assert isinstance(Problems()(clips(MNIST, 2), Step(generator=seeded(0))).operator, Mixed)
