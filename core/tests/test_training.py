"""A toy recipe end to end: it learns, stops, goes on bit for bit, and says what went wrong."""

from __future__ import annotations

import json
import os
import signal

import attrs
import numpy as np
import pytest
import torch
from PIL import Image
from restore.build import Builder
from restore.component import Component
from restore.contracts import Step
from restore.document import dumps, load, parse
from restore.errors import RequestError, RestoreError
from restore.plugins import Registered, discover
from restore.recipe import check
from restore.training.directory import RunDirectory
from restore.training.trainer import Trainer, build_parts
from restore.weights import read

MODULE = """
import torch
from torch import nn
from restore import Pair, Traits
from restore.functional.resize import resize

class Toy(nn.Module):
    def __init__(self, scale: int = 2, width: int = 4, dropout: float = 0.0, channels: str = "y"):
        super().__init__()
        self.traits = Traits(scale=scale, channels=channels)
        c = 1 if channels == "y" else 3
        self.net = nn.Sequential(nn.Conv2d(c, width, 3, padding=1), nn.ReLU(), nn.Dropout(dropout),
                                 nn.Conv2d(width, c, 3, padding=1))

    def forward(self, clip):
        x = clip.flatten(0, 1)
        y = resize(x, self.traits.scale)
        return (y + self.net(y)).unflatten(0, clip.shape[:2])

class Noisy:
    def __init__(self, scale: int = 2, sigma: float = 0.02):
        self.scale, self.sigma = scale, sigma

    def __call__(self, clean, step):
        small = resize(clean, 1 / self.scale)
        return Pair(small + self.sigma * torch.randn(small.shape, generator=step.generator), clean)

class Bomb:
    def __init__(self, at: int = 3, kind: str = "nan"):
        self.at, self.kind = at, kind

    def __call__(self, prediction, pair, step):
        loss = (prediction.restored - pair.target).abs().mean()
        if step.iteration == self.at and self.kind == "nan":
            return loss * float("nan")
        if step.iteration == self.at and self.kind == "gradient":
            return loss + torch.sqrt(prediction.restored.mean() * 0)
        return loss
"""

RECIPE = """
recipe = 1
[model]
use = "toy"
dropout = 0.1
[degradation]
use = "noisy"
[[losses]]
use = "charbonnier"
[[losses]]
use = "mse"
weight = 0.1
[optimizer]
use = "adam"
lr = {{ use = "cosine", start = 1e-2, warmup = 2 }}
[data.train]
use = "images"
root = "{root}"
patch = 16
[data.validation]
use = "images"
root = "{root}"
channels = "native"
[training]
iterations = 6
batch = 3
seed = 5
log_every = 1
validate_every = 3
checkpoint_every = 2
"""


@pytest.fixture(autouse=True)
def registry(tmp_path, monkeypatch, request):
    if not request.node.name.startswith("test_a_run_leaves_everything"):
        # Drawing curves takes longer than these trainings.
        monkeypatch.setattr("restore.training.trainer.plot", lambda *_: True)
    (tmp_path / "toy_training_parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    toys = [("model", "toy", "Toy"), ("degradation", "noisy", "Noisy"), ("loss", "bomb", "Bomb")]
    found = discover()
    more = tuple(Registered("core", k, Component(n, f"toy_training_parts:{c}")) for k, n, c in toys)
    found = attrs.evolve(found, components=found.components + more)
    monkeypatch.setattr("restore.plugins.registry", lambda: found)
    return found


@pytest.fixture
def recipe(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for i, (h, w) in enumerate([(40, 36), (33, 52)]):
        blocks = np.kron(rng.integers(0, 256, (h // 6 + 1, w // 6 + 1, 3)), np.ones((6, 6, 1)))
        Image.fromarray(blocks[:h, :w].astype(np.uint8)).save(folder / f"{i}.png")
    path = tmp_path / "toy.toml"
    path.write_text(RECIPE.format(root=folder.as_posix()))
    return path


def trainer(recipe, folder, registry, *overrides, create=True):
    document = load(recipe, overrides)
    parts = build_parts(check(document), document, Builder(registry))
    directory = RunDirectory(folder)
    if create:
        directory.create(document, registry)
    return Trainer(parts, document, directory)


def weights(trained):
    return {k: v.clone() for k, v in trained.parts.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def timeless(directory):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in directory.history()]


def test_a_run_leaves_everything_needed_to_repeat_it(recipe, tmp_path, registry, cli):
    out = tmp_path / "run"
    answer = cli("train", recipe, "-o", out, "--json")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert result["iterations"] == 6
    assert result["validation"].keys() == {"psnr", "ssim"}
    assert {
        "recipe.toml",
        "environment.json",
        "metrics.jsonl",
        "curves.png",
        "last.ckpt",
        "best.safetensors",
        "final.safetensors",
    } <= {p.name for p in out.iterdir()}
    assert not list(out.glob("*part*"))
    resolved = load(out / "recipe.toml")
    assert resolved.digest() == load(recipe).digest()
    environment = json.loads((out / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert "core" in environment["plugins"]
    assert environment["usable_cores"] >= 1
    assert environment["packages"]["lightning-fabric"]
    history = RunDirectory(out).history()
    losses = [h for h in history if "loss" in h]
    assert [h["iteration"] for h in losses] == [1, 2, 3, 4, 5, 6]
    assert losses[0].keys() >= {"loss", "lr", "seconds", "charbonnier", "mse"}
    assert losses[0]["loss"] == pytest.approx(losses[0]["charbonnier"] + losses[0]["mse"], rel=1e-5)
    assert [h["iteration"] for h in history if "psnr" in h] == [3, 6]
    from safetensors import safe_open

    with safe_open(str(out / "final.safetensors"), "pt") as file:
        said = file.metadata()
    assert (said["component"], said["iteration"]) == ("core:toy", "6")
    assert said["recipe_sha256"] == resolved.digest()
    assert json.loads(said["parameters"]) == {"dropout": 0.1}


def test_the_learning_rate_follows_its_schedule(recipe, tmp_path, registry):
    one = trainer(recipe, tmp_path / "a", registry)
    one.fit()
    logged = [h["lr"] for h in one.directory.history() if "lr" in h]
    assert logged == [one.parts.phases[0].optimizer.lr(Step(i, 6)) for i in range(6)]
    assert logged[0] == pytest.approx(5e-3)
    assert logged[1] == pytest.approx(1e-2)
    assert logged[5] < logged[2]


def test_losses_are_weighted(recipe, tmp_path, registry):
    first = []
    for i, weight in enumerate((0.1, 1.0)):
        one = trainer(recipe, tmp_path / str(i), registry, f"losses.1.weight={weight}", "training.iterations=1")
        one.fit()
        first.append(one.directory.history()[0])
    assert first[1]["mse"] == pytest.approx(10 * first[0]["mse"], rel=1e-5)
    assert first[1]["charbonnier"] == first[0]["charbonnier"]


def test_it_learns(recipe, tmp_path, registry):
    more = ("training.iterations=60", "model.dropout=0.0", "model.width=8", "degradation.sigma=0.0")
    one = trainer(recipe, tmp_path / "a", registry, *more, "training.validate_every=100")
    before = one.validate().mean["psnr"]
    one.fit()
    losses = [h["loss"] for h in one.directory.history() if "loss" in h]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    assert one.validate().mean["psnr"] > before + 1


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(recipe, tmp_path, registry, monkeypatch):
    whole = trainer(recipe, tmp_path / "whole", registry)
    whole.fit()

    broken = trainer(recipe, tmp_path / "broken", registry)
    inner = Trainer._iterate

    def power_cut(self, clean):
        if self.iteration == 5:
            raise OSError("power cut")
        return inner(self, clean)

    monkeypatch.setattr(Trainer, "_iterate", power_cut)
    with pytest.raises(OSError, match="power cut"):
        broken.fit()
    monkeypatch.setattr(Trainer, "_iterate", inner)
    with broken.directory.metrics.open("a") as file:
        file.write('{"iteration": 5, "lo')

    torch.manual_seed(999)
    again = trainer(recipe, tmp_path / "broken", registry, create=False)
    again.resume()
    assert again.iteration == 4
    again.fit()
    assert same(weights(again), weights(whole))
    assert timeless(again.directory) == timeless(whole.directory)
    for which in ("final", "best"):
        a, b = (read(t.directory.weights(which)) for t in (again, whole))
        assert same(a.tensors, b.tensors), which
        assert a.metadata == b.metadata


def test_seeds_decide(recipe, tmp_path, registry):
    runs = [trainer(recipe, tmp_path / str(i), registry, f"training.seed={seed}") for i, seed in enumerate((1, 1, 2))]
    for run in runs:
        run.fit()
    one, two, three = map(weights, runs)
    assert same(one, two)
    assert not same(one, three)


def test_resuming_another_recipe_is_refused(recipe, tmp_path, registry, cli):
    trainer(recipe, tmp_path / "run", registry).fit()
    answer = cli("train", recipe, "-o", tmp_path / "run", "--resume", "--set", "training.batch=4")
    assert answer.code == 2
    assert "made by another recipe" in answer.err
    answer = cli("train", recipe, "-o", tmp_path / "run")
    assert answer.code == 2
    assert "--resume" in answer.err
    answer = cli("train", recipe, "-o", tmp_path / "nothing", "--resume")
    assert "no checkpoint" in answer.err
    assert cli("train", tmp_path / "run" / "recipe.toml", "-o", tmp_path / "run", "--resume").code == 0


def test_a_damaged_checkpoint_is_an_error_of_one_line(recipe, tmp_path, registry, cli):
    trainer(recipe, tmp_path / "run", registry).fit()
    checkpoint = tmp_path / "run" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    answer = cli("train", recipe, "-o", tmp_path / "run", "--resume")
    assert answer.code == 2
    assert "cannot be read" in answer.err


@pytest.mark.parametrize("kind", ["nan", "gradient"])
def test_what_is_not_finite_stops_the_run_and_keeps_the_good_state(recipe, tmp_path, registry, kind):
    bomb = ('losses=[{ use = "bomb", at = 3, kind = "' + kind + '" }]', "training.checkpoint_every=1")
    one = trainer(recipe, tmp_path / "a", registry, *bomb)
    with pytest.raises(RestoreError, match=r"at iteration \d .*last good state is .*last\.ckpt.*lower learning rate"):
        one.fit()
    state = one.directory.load_checkpoint()
    assert state["standing"]["iteration"] == 3
    assert all(torch.isfinite(v).all() for v in state["model"].values())
    assert not one.directory.weights("final").exists()


def test_without_a_checkpoint_none_is_promised(recipe, tmp_path, registry):
    one = trainer(recipe, tmp_path / "a", registry, 'losses=[{ use = "bomb", at = 0 }]')
    with pytest.raises(RestoreError, match="no checkpoint was written yet"):
        one.fit()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_after_the_iteration_it_hits(recipe, tmp_path, registry, monkeypatch, capsys, number):
    whole = trainer(recipe, tmp_path / "whole", registry)
    whole.fit()
    one = trainer(recipe, tmp_path / "a", registry, create=True)
    inner = Trainer._iterate

    def interrupted(self, clean):
        if self.iteration == 2:
            os.kill(os.getpid(), number)
        return inner(self, clean)

    monkeypatch.setattr(Trainer, "_iterate", interrupted)
    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        one.fit()
    assert signal.getsignal(number) is handler
    assert one.directory.load_checkpoint()["standing"]["iteration"] == 3
    assert "--resume" in capsys.readouterr().err
    monkeypatch.setattr(Trainer, "_iterate", inner)
    again = trainer(recipe, tmp_path / "a", registry, create=False)
    again.resume()
    again.fit()
    assert same(weights(again), weights(whole))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.use=adamm", "no optimizer 'adamm'; did you mean 'adam'"),
        ("optimizer.beta=1", "adam has no parameter 'beta'; did you mean 'betas'"),
        ("optimizer.lr.start=fast", "--set optimizer.lr.start: 'fast' is not a number"),
        ("optimizer={ use = 'adam' }", "needs 'lr'"),
        ("losses=[]", "at least one [[losses]]"),
        ("losses.0.weight=much", "--set losses[0].weight: needs a number"),
        ("model.weights=nothing", "--set model.weights: no weights named 'nothing'"),
        ("model.weights=3", "needs a name or a path"),
        ("training.start.weights=none.pth", "--set training.start.weights: weights file none.pth does not exist"),
        ("evaluation.protocol=sr", "evaluation.protocol: no protocol 'sr'"),
        ("data.train.root=/no/such/folder", "/no/such/folder does not exist"),
        ("data.train.patch=4000", "no image of at least 4000x4000"),
        ("data.train.patch=0", "patch must be at least 1"),
    ],
)
def test_wrong_training_recipes_are_refused_before_anything_is_written(recipe, tmp_path, cli, override, said):
    answer = cli("train", recipe, "-o", tmp_path / "run", "--set", override)
    assert answer.code == 2
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) <= 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("table", ["model", "degradation", "optimizer", "training", "data.train"])
def test_missing_tables_are_named(recipe, tmp_path, registry, table):
    data = load(recipe).data
    parent, _, key = table.rpartition(".")
    del (data[parent] if parent else data)[key]
    document = parse(dumps(data), "r.toml")
    with pytest.raises(RequestError, match=rf"r.toml: training needs a \[{table}\] table"):
        build_parts(check(document), document, Builder(registry))


def test_training_may_start_from_weights_but_for_some(recipe, tmp_path, registry):
    one = trainer(recipe, tmp_path / "a", registry)
    one.fit()
    final = one.directory.weights("final")
    start = (f"training.start.weights={final}", "training.start.exclude=['net.3.*']", "training.iterations=1")
    two = trainer(recipe, tmp_path / "b", registry, *start)
    a, b = weights(one), weights(two)
    assert torch.equal(a["net.0.weight"], b["net.0.weight"])
    assert not torch.equal(a["net.3.weight"], b["net.3.weight"])
