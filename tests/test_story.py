"""As a new user would: a network is wrapped, checked, trained with ECO, pruned by SSL, and restores a video."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import av
import pytest
from restore.testing import write_images

LINES = 60
# What is written by hand into the files that `restore new-plugin cleaner` wrote, and one recipe.
MODEL = '''"""Bicubic enlargement, corrected by a U-Net of the package unet."""

from __future__ import annotations

import torch.nn.functional as F
from restore import Halo, Traits
from restore.pruning import Gate, PruneGraph, Slot
from torch import Tensor, nn
from unet import UNet2D


class Cleaner(nn.Module):
    """Bicubic enlargement, plus what a U-Net adds to it.

    Args:
        scale: output pixels per input pixel along each side.
        features: channels at full resolution, twice as many with every halving.
        blocks: how often the resolution is halved.
    """

    def __init__(self, scale: int = 2, *, features: int = 16, blocks: int = 2) -> None:
        super().__init__()
        # All that the engine knows of the model. The U-Net reaches 7 cells far.
        self.traits = Traits(scale=scale, channels="rgb", multiple_of=2**blocks, halo=Halo(pixels=7 * 2**blocks))
        self.unet = UNet2D(
            in_channels=3, out_classes=3, num_encoding_blocks=blocks + 1, out_channels_first_layer=features, padding=1
        )
        nn.init.zeros_(self.unet.classifier.conv_layer.weight)
        nn.init.zeros_(self.unet.classifier.conv_layer.bias)

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, 3, H, W)`` in [0, 1] to ``(B, T, 3, scale*H, scale*W)``."""
        frames, scale = clip.flatten(0, 1), self.traits.scale
        enlarged = F.interpolate(frames, size=(scale * clip.shape[-2], scale * clip.shape[-1]), mode="bicubic")
        return (enlarged + self.unet(enlarged)).unflatten(0, clip.shape[:2])

    def prune_graph(self) -> PruneGraph:
        """What a pruner may cut: the channels between the two convolutions of every block."""
        first = [name for name, _ in self.named_modules() if name.endswith("conv1.conv_layer")]
        gates = [Gate(name, followers=(Slot(name.replace("conv1", "conv2")),)) for name in first]
        return PruneGraph(tuple(gates), fixed=("unet.classifier.conv_layer",))
'''
RECIPE = """recipe = 1

[model]
use = "cleaner:cleaner"
scale = 2
features = 6
blocks = 1

[degradation]
use = "eco:centroid"
base = { use = "core:bicubic", scale = 2 }
teacher = { use = "cleaner:cleaner", scale = 2, features = 6, blocks = 1, weights = "plain/final.safetensors" }

[[losses]]
use = "core:charbonnier"

[optimizer]
use = "adam"
lr = 1e-3

[pruner]
use = "ssl_prune:ssl"
ratio = 0.5
every = 1
increment = 0.05

[data.train]
use = "core:images"
root = "photos"
patch = 24

[training]
batch = 2

[[phases]]
iterations = 4

[[phases]]
iterations = 4
pruning = "regularise"

[[phases]]
iterations = 4
pruning = "compact"
"""


def by_hand(before, after):
    """Lines that were written or changed; empty ones are nobody's work."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return sum(line.startswith("+ ") and bool(line[2:].strip()) for line in lines)


def test_somebodys_network_from_scaffold_to_video(restore, clip, installed, tmp_path):
    pytest.importorskip("unet")
    assert restore("new-plugin", "cleaner", "-o", "cleaner").code == 0
    folder, written = tmp_path / "cleaner", by_hand("", RECIPE)
    for path, old, new in (
        (folder / "src/restore_cleaner/model.py", None, MODEL),
        (folder / "pyproject.toml", '"torch>=2.4"]', '"torch>=2.4", "unet>=0.8"]'),
    ):
        text = path.read_text()
        assert old is None or old in text
        changed = new if old is None else text.replace(old, new)
        written += by_hand(text, changed)
        path.write_text(changed)
    assert written < LINES, f"{written} lines by hand"
    installed(folder)

    done = restore("check", "cleaner", "--quick", "--json")
    assert done.code == 0, done.out
    passed = {c["check"] for c in json.loads(done.out)["checks"] if c["status"] == "passed"}
    assert {"model.halo", "engine.tiles", "model.gradients", "package.parameters", "recipe.components"} <= passed

    write_images(tmp_path / "photos")
    small = ["model.features=6", "model.blocks=1", "data.train.root=photos", "data.train.patch=24"]
    small += ["training.batch=2", "training.iterations=4"]
    done = restore("train", "cleaner:small", "-o", "plain", *(x for s in small for x in ("--set", s)))
    assert done.code == 0, done.err
    Path("story.toml").write_text(RECIPE)
    done = restore("prune", "story.toml", "-o", "pruned", "--size", "24x32", "--json")
    assert done.code == 0, done.err
    pruned = json.loads(done.out)
    assert pruned["iterations"] == 12
    assert pruned["pruned"]["parameters"] < 0.8 * pruned["dense"]["parameters"]

    video = clip("clip.mp4", frames=6, size=(48, 32))
    weights = f'model.weights="{pruned["weights"]}"'
    done = restore("run", "--recipe", "story.toml", "--set", weights, video, "-o", "better.mkv", "--json")
    assert done.code == 0, done.err
    (result,) = json.loads(done.out)["results"]
    assert (result["width"], result["height"], result["frames"]) == (96, 64, 6)
    with av.open("better.mkv") as made:
        assert made.streams.video[0].codec_context.width == 96
