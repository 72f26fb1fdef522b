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
from restore import Halo, Traits
from restore.networks.skip import ResidualAdd
from restore.pruning import Gate, PruneGraph, Slot, Stream, residual_gates

class Squeeze(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(c, 3, 1), nn.Conv2d(3, c, 1)

    def forward(self, x):
        return x * self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()

class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)
        self.se, self.add, self.act = Squeeze(c), ResidualAdd(0.5), nn.LeakyReLU(0.2)

    def forward(self, x):
        return self.add(x, self.se(self.conv2(self.act(self.conv1(x)))))

class Toy(nn.Module):
    def __init__(self, width: int = 8, blocks: int = 2, uses: int = 1, hooked: bool = False):
        super().__init__()
        self.traits = Traits(scale=2, channels="y", halo=Halo(pixels=20), global_context=True)
        self.uses, self.hooked = uses, hooked
        self.head = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.up = nn.ConvTranspose2d(width, width, 3, padding=1)
        self.shuffled, self.shuffle = nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2)
        self.tail = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, clip):
        x = self.head(clip.flatten(0, 1))
        for _ in range(self.uses):
            for block in self.blocks:
                if self.hooked:
                    x = x + 0.5 * block.se(block.conv2(block.act(block.conv1(x))))
                else:
                    x = block(x)
        x = torch.relu(self.shuffle(self.shuffled(torch.relu(self.up(x)))))
        return self.tail(x).unflatten(0, clip.shape[:2])

    def prune_graph(self):
        names = [f"blocks.{i}" for i in range(len(self.blocks))]
        add = "se" if self.hooked else "add"
        gates = [g for n in names for g in residual_gates(n, ("se.reduce", "se.expand"), add=add)]
        sides = (("conv1", "in"), ("se.reduce", "in"), ("se.expand", "out"))
        writers = (Slot("head", "out"), *(Slot(f"{n}.conv2", "out") for n in names))
        readers = (*(Slot(f"{n}.{m}", s) for n in names for m, s in sides), Slot("up"))
        return PruneGraph(
            (
                *gates,
                Gate("up", followers=(Slot("shuffled"),)),
                Gate("shuffled", group=4, followers=(Slot("tail"),)),
            ),
            (Stream("trunk", writers, readers),),
        )
"""

RECIPE = """
recipe = 1
[model]
use = "toy"
[degradation]
use = "bicubic"
scale = 2
[[losses]]
use = "charbonnier"
[optimizer]
use = "adam"
lr = 5e-2
[pruner]
use = "toy-ramp"
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

PHASES = """
[[phases]]
name = "before"
iterations = 2
[[phases]]
name = "gated"
iterations = 2
pruning = "gates"
[[phases]]
name = "ramp"
iterations = 8
pruning = "regularise"
[[phases]]
name = "finetune"
iterations = 4
pruning = "compact"
lr = 1e-3
"""


@pytest.fixture(autouse=True)
def registry(tmp_path, monkeypatch):
    (tmp_path / "toy_prunable.py").write_text(MODULE)
    (tmp_path / "toy_ramp.py").write_text(
        "from restore.pruning import RampPruner\n"
        "def ramp(ratio: float = 0.5, criterion: str = 'auto'):\n"
        "    return RampPruner(ratio, criterion=criterion, increment=0.5, every=2, ceiling=2.0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    toys = [("model", "toy", "toy_prunable:Toy"), ("pruner", "toy-ramp", "toy_ramp:ramp")]
    found = discover()
    more = tuple(Registered("core", kind, Component(name, factory)) for kind, name, factory in toys)
    found = attrs.evolve(found, components=found.components + more)
    monkeypatch.setattr("restore.plugins.registry", lambda: found)
    monkeypatch.setattr("restore.training.trainer.plot", lambda *_: True)
    return found


@pytest.fixture
def toy(registry):
    import toy_prunable

    def make(seed=0, **parameters):
        torch.manual_seed(seed)
        model = toy_prunable.Toy(**parameters)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(0.4 * torch.randn(p.shape))
        return model.eval()

    return make


@pytest.fixture
def recipe(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for i, (h, w) in enumerate([(40, 36), (33, 52)]):
        blocks = np.kron(rng.integers(0, 256, (h // 6 + 1, w // 6 + 1, 3)), np.ones((6, 6, 1)))
        Image.fromarray(blocks[:h, :w].astype(np.uint8)).save(folder / f"{i}.png")

    def write(more: str = PHASES, name: str = "toy.toml"):
        path = tmp_path / name
        path.write_text(RECIPE.format(root=folder.as_posix()) + more)
        return path

    return write


@pytest.fixture
def train(registry, tmp_path):
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
