"""Losses, levels, stages and the recipes of CRDS."""

from __future__ import annotations

import math
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from PIL import Image
from restore import Pair, Prediction, Step
from restore.build import Builder
from restore.builtin.losses.pixel import Charbonnier
from restore.catalogue import recipe_document
from restore.modelling import builder
from restore.plugins import registry
from restore.recipe import check
from restore.testing import Example, conformance_tests
from restore.training.optimizers import plan_optimizer
from restore.training.plan import plan_phases
from restore_crds.degradations import Levels
from restore_crds.losses import LatentDegradation, Staged
from torch import nn

_NEEDS_LEVELS = {f"loss.{c}": "it is of pairs with twice the channels" for c in
                 ("scalar", "gradient", "equality", "pure", "precision")}  # fmt: skip

test_conformance = conformance_tests(
    "crds:staged",
    "crds:ldr",
    "crds:levels",
    examples={
        "crds:staged": [{}, {"clean_weights": [0.2, 0.8]}],
        "crds:ldr": Example({}, skip=_NEEDS_LEVELS),
        "crds:levels": {"base": {"use": "core:jpeg", "quality": [20, 60]}},
    },
)


def pair(seed=0):
    random = torch.Generator().manual_seed(seed)
    observed, clean = (torch.rand(2, 3, 3, 8, 8, generator=random) for _ in range(2))
    return Pair(observed, clean)


def step(seed=0):
    return Step(generator=torch.Generator().manual_seed(seed))


def test_intermediates_are_held_against_blends_that_grow_cleaner():
    p = pair()
    blends = [w * p.target + (1 - w) * p.observed for w in (0.25, 0.5, 0.75)]
    assert float(Staged()(Prediction(p.target, tuple(blends)), p, step())) == pytest.approx(0, abs=1e-12)
    # The other order is off by half of the degradation at both ends.
    noise = float((p.observed - p.target).square().mean())
    wrong = float(Staged()(Prediction(p.target, tuple(reversed(blends))), p, step()))
    assert wrong == pytest.approx(2 * 0.25 * noise, rel=1e-5)
    # A sum over blocks of means over pixels.
    off = [blends[0] + 0.1, blends[1] + 0.2, blends[2]]
    assert float(Staged()(Prediction(p.target, tuple(off)), p, step())) == pytest.approx(0.01 + 0.04, rel=1e-4)
    two = Staged((1.0, 0.0))(Prediction(p.target, (p.target, p.observed)), p, step())
    assert float(two) == 0


def test_staged_refuses_what_it_cannot_weigh():
    p = pair()
    learning = p.target.clone().requires_grad_()
    with pytest.raises(ValueError, match="needs a model with intermediates"):
        Staged()(Prediction(learning), p, step())
    with torch.no_grad():
        assert float(Staged()(Prediction(p.target), p, step())) == 0
    with pytest.raises(ValueError, match="has 2 numbers, the model gives 1"):
        Staged((0.2, 0.4))(Prediction(p.target, (p.target,)), p, step())
    with pytest.raises(ValueError, match="from 0 to 1"):
        Staged((0.2, 1.4))


@pytest.mark.parametrize(("alpha", "weight"), [(0.0, 4), (0.25, 2), (0.5, 4 / 3), (0.75, 1)])
def test_levels_weigh_as_in_equation_10(alpha, weight):
    p = pair()
    milder = p.target + alpha * (p.observed - p.target)
    both = Pair(torch.cat([p.observed, milder], 2), p.target)
    loss = LatentDegradation()
    # The model's answer is xh + theta: right where theta is xh^s - xh.
    assert float(loss(Prediction(milder), both, step())) == pytest.approx(weight * 1e-6, rel=1e-3)
    assert float(loss(Prediction(milder - 0.1), both, step())) == pytest.approx(weight * 0.1, rel=1e-4)


def test_each_sample_is_weighed_by_its_own_level():
    p = pair()
    alpha = torch.tensor([0.0, 0.75]).view(2, 1, 1, 1, 1)
    milder = p.target + alpha * (p.observed - p.target)
    off = milder + torch.tensor([0.1, 0.3]).view(2, 1, 1, 1, 1)
    both = Pair(torch.cat([p.observed, milder], 2), p.target)
    assert float(LatentDegradation()(Prediction(off), both, step())) == pytest.approx((0.4 + 0.3) / 2, rel=1e-4)


def test_a_clip_that_coding_left_alone_has_a_finite_loss():
    clean = torch.rand(1, 1, 3, 8, 8)
    answer = clean.clone().requires_grad_()
    loss = LatentDegradation()(Prediction(answer), Pair(torch.cat([clean, clean], 2), clean), step())
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(answer.grad).all()
    with pytest.raises(ValueError, match="crds:levels"):
        LatentDegradation()(Prediction(answer), Pair(clean, clean), step())


class Darker:
    def __call__(self, clean, step):
        return Pair(clean - 0.4, clean)


def test_levels_are_drawn_a_sample_and_evenly():
    clean = torch.full((400, 1, 3, 2, 2), 0.8)
    made = Levels(Darker())(clean, step(1))
    assert made.observed.shape == (400, 1, 6, 2, 2)
    assert torch.equal(made.observed[:, :, :3], clean - 0.4)
    assert torch.equal(made.target, clean)
    alphas = ((clean - made.observed[:, :, 3:]) / 0.4)[:, 0, 0, 0, 0]
    counts = [int((alphas - level).abs().lt(1e-5).sum()) for level in (0, 0.25, 0.5, 0.75)]
    assert sum(counts) == 400
    assert min(counts) > 70
    settled = Levels(Darker()).settled(torch.Generator().manual_seed(0))(clean, step(2))
    assert len(settled.observed[:, 0, 3].unique()) == 1


def test_the_main_loss_is_basicvsr_s_charbonnier():
    p = pair()
    expected = ((p.observed - p.target) ** 2 + 1e-12).sqrt().mean()
    assert float(Charbonnier(1e-6)(Prediction(p.observed), p, step())) == pytest.approx(float(expected), rel=1e-6)


class Named(nn.Module):
    """Only the names that a recipe freezes and groups."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder, self.flow, self.blocks = (nn.Linear(1, 1) for _ in range(4))


@pytest.mark.parametrize("name", ["crds:paper-mfqe", "crds:paper-ldv"])
def test_the_stages_switch_at_5k_20k_and_150k(name):
    document = recipe_document(registry(), recipe=name)
    recipe = check(document)
    plans = plan_phases(recipe, 1000, 1, document.root)
    begins = [sum(p.iterations for p in plans[:k]) for k in range(len(plans) + 1)]
    assert begins == [0, 5000, 20000, 150000, 300000]
    assert [set(p.freeze) for p in plans] == [{"flow", "encoder"}, {"encoder"}, set(), set()]
    assert [[u.use for u in p.losses] for p in plans] == [["crds:staged", "core:charbonnier"]] * 3 + [
        ["core:charbonnier"]
    ]
    assert {p.batch for p in plans} == {2}
    # One optimizer and one cosine over everything, the flow network's beside it.
    assert {p.optimizer_began for p in plans} == {0}
    assert [(p.clock, p.clock_total) for p in plans] == [(b, 300000) for b in begins[:4]]
    optimizer = plan_optimizer(recipe.optimizer, list(Named().named_parameters()), builder(registry()))
    rates = {k: optimizer.rates(Step(k, 300000)) for k in (0, 150000, 300000)}
    assert rates[0] == pytest.approx([2.5e-5, 1e-4])
    assert rates[150000] == pytest.approx([(2.5e-5 + 1e-7) / 2, (1e-4 + 1e-7) / 2])
    assert rates[300000] == pytest.approx([1e-7, 1e-7])
    assert optimizer.arguments["betas"] == (0.9, 0.99)
    train = recipe.data.train.parameters
    assert (train["patch"], train["length"]) == (256, {"crds:paper-mfqe": 7, "crds:paper-ldv": 15}[name])


def photographs(folder):
    folder.mkdir(parents=True)
    for k in range(2):
        noise = np.random.default_rng(k).random((6, 8, 3)).astype(np.float32)
        pixels = np.kron(noise, np.ones((12, 12, 1), np.float32))
        Image.fromarray((pixels * 255).astype(np.uint8)).save(folder / f"{k}.png")


POOL = """
recipe = 1
degradation = { use = "codec", codec = "x264", qp = 40, preset = "ultrafast" }
[data.train]
use = "stills-in-motion"
root = "photos"
length = 4
patch = 48
[data.validation]
use = "stills-in-motion"
root = "photos"
length = 2
patch = 64
"""


def make_pool(folder, monkeypatch, clips=3):
    from restore_crds import pool

    monkeypatch.chdir(folder)
    if not Path("photos").exists():
        photographs(Path("photos"))
        Path("pool.toml").write_text(POOL, encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["pool", "pool.toml", "-o", "pool", "--clips", str(clips)])
    return pool.main()


def test_a_pool_holds_what_was_drawn_bit_for_bit_and_goes_on(tmp_path, monkeypatch):
    from restore.builtin.datasets.videos import Videos
    from restore.builtin.degradations.codec import Codec
    from restore.functional.seeding import seeded
    from restore.training.data import Samples

    assert make_pool(tmp_path, monkeypatch) == 0
    clean, observed = (Videos(Path("pool/train", side)) for side in ("clean", "observed"))
    drawn = builder(registry()).build("dataset", check(recipe_document(registry(), recipe="pool.toml")).data.train)
    wanted = (Samples(drawn, 1)[2] * 255).round() / 255
    assert torch.allclose(clean[2], wanted, atol=1e-6)
    coded = Codec("x264", qp=40, preset="ultrafast")(wanted[None], Step(generator=seeded(1, 7, 2))).observed[0]
    assert float((observed[2] - coded).abs().max()) <= 0.5 / 255 + 1e-6
    assert float((observed[2] - clean[2]).abs().mean()) > 1 / 255
    # Whatever is there is kept, the rest is made.
    before = Path("pool/train/clean/00000.mkv").stat().st_mtime_ns
    assert make_pool(tmp_path, monkeypatch, clips=4) == 0
    assert Path("pool/train/clean/00000.mkv").stat().st_mtime_ns == before
    assert len(list(Path("pool/train/observed").glob("*.mkv"))) == 4


def test_a_pool_tells_what_its_clips_were_coded_with(tmp_path, monkeypatch):
    from restore.media.quantizers import frame_qps

    make_pool(tmp_path, monkeypatch, clips=1)
    told = frame_qps(Path("pool/train/observed/00000.mkv"))
    assert told[0] == 37  # an I-frame, of QP 40 by x264's ratio of 1.4
    assert all(37 <= qp <= 42 for qp in told)
    assert frame_qps(Path("pool/train/clean/00000.mkv")) is None


def test_a_pool_refuses_what_video_cannot_hold(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photographs(Path("photos"))
    Path("pool.toml").write_text(POOL.replace('use = "codec", codec = "x264", qp = 40, preset = "ultrafast"',
                                              'use = "bicubic", scale = 2'))  # fmt: skip
    assert make_pool(tmp_path, monkeypatch) == 2
    assert "pairs of one size" in capsys.readouterr().err


def test_pretraining_and_the_stages_run_end_to_end(tmp_path, monkeypatch, restore):
    make_pool(tmp_path, monkeypatch)
    # Curves take longer than all of this training.
    monkeypatch.setattr("restore.training.trainer.Trainer._plot", lambda self: None)
    sides = [f"data.{{}}.{side}.root=pool/train/{side}" for side in ("clean", "observed")]

    def sets(*values):
        return [part for value in values for part in ("--set", value)]

    ldr = [s.format(f"{table}.pairs") for table in ("train", "validation") for s in sides]
    found = restore(
        "train", "crds:ldr-ae-small", "-o", "ldr",
        *sets("model.use=crds:ldr-ae-tiny", *ldr, "data.train.pairs.patch=32", "training.iterations=2",
              "training.batch=2"),
    )  # fmt: skip
    assert found.code == 0, found.err
    pairs = [s.format(t) for t in ("train", "validation") for s in sides]
    quick = ["data.train.patch=32", "training.keep_every=1", "training.ema=0", "training.log_every=1",
             "training.batch=2", "phases.0.iterations=1", "phases.1.iterations=1"]  # fmt: skip
    tiny = ["model.use=crds:tiny", "model.with_qp=true", *pairs, *quick]
    found = restore(
        "train", "crds:small-frames", "-o", "frames",
        *sets(*tiny, "training.start.weights=ldr/final.safetensors", 'training.start.exclude=["flow", "blocks"]'),
    )  # fmt: skip
    assert found.code == 0, found.err
    found = restore(
        "train", "crds:small", "-o", "run",
        *sets(*tiny, "data.train.length=3", "training.start.weights=frames/final.safetensors"),
    )  # fmt: skip
    assert found.code == 0, found.err
    from restore.weights import read

    pretrained = read(Path("ldr/final.safetensors")).tensors
    after = [read(Path(f"frames/weights/iteration-{k:08d}.safetensors")).tensors for k in (1, 2)]
    encoder = [k for k in pretrained if k.startswith("encoder.")]
    assert encoder
    # The encoder is given a channel for the quantizer, which counts for nothing until it is no longer frozen.
    first = "encoder.reduce.0.weight"
    seen, told = zip(*((tensors[first][:, :3], tensors[first][:, 3]) for tensors in after), strict=True)
    assert torch.equal(pretrained[first], seen[0])
    assert not told[0].any()
    assert told[1].any()
    assert all(torch.equal(pretrained[k], after[0][k]) for k in encoder if k != first)
    assert not all(torch.equal(pretrained[k], after[1][k]) for k in encoder if k != first)
    assert not all(torch.equal(pretrained[k], after[0][k]) for k in pretrained if k.startswith("decoder."))
    lines = Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [line for line in lines if '"lr"' in line]
    assert ["staged" in line for line in logged] == [True, False]
    mixed = [s.format(f"train.datasets.{k}") for k in range(3) for s in sides]
    found = restore(
        "train", "crds:small-strength", "-o", "strength",
        *sets("model.use=crds:tiny", "model.with_qp=true", "model.strength=true", *mixed, *pairs[2:], *quick[1:6],
              *(f"data.train.datasets.{k}.patch=32" for k in range(3)), "training.start.weights=run/final.safetensors"),
    )  # fmt: skip
    assert found.code == 0, found.err
    before, after = (read(Path(f"{run}/final.safetensors")).tensors for run in ("run", "strength"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(name.startswith("strength.") for name in set(after) - set(before))
    assert after["strength.head.2.bias"] != 0


def test_every_shipped_recipe_checks_and_builds_its_losses():
    known = registry()
    build: Builder = builder(known)
    names = [c.name for c in known.of_kind("recipe") if c.name.startswith("crds:")]
    assert {"crds:ldr-ae", "crds:ldr-ae-small", "crds:paper-mfqe", "crds:paper-ldv", "crds:small"} <= set(names)
    for name in names:
        recipe = check(recipe_document(known, recipe=name))
        for use in [*recipe.losses, *(u for phase in recipe.phases for u in phase.losses or ())]:
            settings = {key: value for key, value in use.parameters.items() if key != "weight"}
            build.build("loss", attrs.evolve(use, parameters=settings))
        if recipe.degradation is not None:
            build.build("degradation", recipe.degradation)
