from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from PIL import Image
from restore.build import Builder
from restore.component import Component
from restore.document import load
from restore.plugins import Registered, discover
from restore.recipe import check
from restore.training.directory import RunDirectory
from restore.training.trainer import Trainer, build_parts

MODULE = """
import torch
from torch import nn
from restore import Pair, Teacher, Traits
from restore.functional.blend import blend
from restore.functional.resize import resize

class Toy(nn.Module):
    def __init__(self, scale: int = 2, width: int = 4, channels: str = "y", dropout: float = 0.0, norm: bool = False):
        super().__init__()
        self.traits = Traits(scale=scale, channels=channels)
        c = 1 if channels == "y" else 3
        self.head = nn.Sequential(nn.Conv2d(c, width, 3, padding=1), nn.BatchNorm2d(width) if norm else nn.Identity())
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Dropout(dropout))
        self.tail = nn.Conv2d(width, c, 3, padding=1)

    def forward(self, clip):
        x = clip.flatten(0, 1)
        y = resize(x, self.traits.scale)
        return (y + self.tail(self.body(self.head(y)))).unflatten(0, clip.shape[:2])

class Noisy:
    def __init__(self, scale: int = 2, sigma: float = 0.02):
        self.scale, self.sigma = scale, sigma

    def __call__(self, clean, step):
        small = resize(clean, 1 / self.scale)
        return Pair(small + self.sigma * torch.randn(small.shape, generator=step.generator), clean)

class Taught:
    def __init__(self, base: Noisy, teacher: Teacher, other: Teacher | None = None):
        self.base, self.teacher, self.other, self.plain = base, teacher, other, base

    def __call__(self, clean, step):
        pair = self.base(clean, step)
        return Pair(pair.observed, blend(pair.target, self.teacher(pair.observed), step.progress))

class Bomb:
    def __init__(self, at: int = 3, factor: float = 10.0):
        self.at, self.factor = at, factor

    def __call__(self, prediction, pair, step):
        loss = (prediction.restored - pair.target).abs().mean()
        return loss * self.factor if step.iteration == self.at else loss

class Clock:
    seen = []

    def __call__(self, prediction, pair, step):
        Clock.seen.append((step.iteration, step.total))
        return (prediction.restored - pair.target).abs().mean()
"""

RECIPE = """
recipe = 1
[model]
use = "toy"
[degradation]
use = "noisy"
[[losses]]
use = "charbonnier"
[optimizer]
use = "adam"
lr = 1e-2
[data.train]
use = "images"
root = "{root}"
patch = 16
[data.validation]
use = "images"
root = "{root}"
channels = "native"
[training]
batch = 4
seed = 5
log_every = 1
validate_every = 100
checkpoint_every = 2
accelerator = "cpu"
"""


@pytest.fixture(autouse=True)
def registry(tmp_path, monkeypatch):
    (tmp_path / "toy_phase_parts.py").write_text(MODULE.replace("base: Noisy", "base: Degradation").replace(
        "import Pair, Teacher", "import Degradation, Pair, Teacher"))  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    toys = [("model", "Toy"), ("degradation", "Noisy"), ("degradation", "Taught"), ("loss", "Bomb"), ("loss", "Clock")]
    found = discover()
    more = tuple(Registered("core", k, Component(c.lower(), f"toy_phase_parts:{c}")) for k, c in toys)
    found = attrs.evolve(found, components=found.components + more)
    monkeypatch.setattr("restore.plugins.registry", lambda: found)
    # Drawing curves takes longer than these trainings; test_training.py draws them.
    monkeypatch.setattr("restore.training.trainer.plot", lambda *_: True)
    return found


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe: the base with more TOML behind it."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for i, (h, w) in enumerate([(40, 36), (33, 52)]):
        blocks = np.kron(rng.integers(0, 256, (h // 6 + 1, w // 6 + 1, 3)), np.ones((6, 6, 1)))
        Image.fromarray(blocks[:h, :w].astype(np.uint8)).save(folder / f"{i}.png")

    def write(more: str = "", name: str = "toy.toml"):
        path = tmp_path / name
        path.write_text(RECIPE.format(root=folder.as_posix()) + more)
        return path

    return write


@pytest.fixture
def train(registry, tmp_path):
    """Makes a trainer: ``train(recipe, "folder", "--set texts", resume=False)``."""

    def make(recipe, folder, *overrides, resume=False, fit=True):
        document = load(recipe, overrides)
        parts = build_parts(check(document), document, Builder(registry))
        directory = RunDirectory(tmp_path / folder)
        if not resume:
            directory.create(document, registry)
        trainer = Trainer(parts, document, directory)
        if resume:
            trainer.resume()
        if fit:
            trainer.fit()
        return trainer

    return make


@pytest.fixture
def weights():
    return lambda trainer: {k: v.detach().clone() for k, v in trainer.parts.model.state_dict().items()}


@pytest.fixture
def same():
    return lambda a, b: a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
