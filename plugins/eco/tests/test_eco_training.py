"""Recipes from beginning to end, on the sample that comes with the core; and ECO on a video model."""

from __future__ import annotations

import difflib
import json
import shutil

import attrs
import pytest
import torch
from PIL import Image
from restore import samples
from restore.build import asset_path
from restore.catalogue import recipe_document
from restore.component import Component
from restore.plugins import Registered, discover
from restore.weights import find, load_into, read

torch.set_num_threads(1)

TWINS = ["edsr-baseline-x2", "edsr-baseline-x2-small", "srsenet-x2", "srsenet-x2-small"]
VIDEO_MODEL = """
import torch
from restore import Halo, Traits
from torch import nn

class Clip(nn.Module):
    '''Looks at three frames.'''

    def __init__(self, features: int = 4):
        super().__init__()
        self.traits = Traits(scale=1, temporal="clip", halo=Halo(pixels=2, frames=2))
        self.first = nn.Conv3d(3, features, 3, padding=1)
        self.last = nn.Conv3d(features, 3, 3, padding=1)

    def forward(self, clip):
        x = clip.transpose(1, 2)
        return (x + self.last(self.first(x).relu())).transpose(1, 2)
"""


@pytest.fixture(scope="module")
def installed():
    return discover()


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A corner of the sample; drawing curves of it would take most of the time."""
    monkeypatch.setattr("restore.training.trainer.plot", lambda *_: False)
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.open(samples.path("sample_reference.png")).crop((0, 0, 80, 64)).save(folder / "sample.png")
    return folder


def settings(*pairs):
    return [part for pair in pairs for part in ("--set", pair)]


def lines(name, installed):
    return asset_path(installed.find("recipe", f"eco:{name}").component.factory).read_text().splitlines()


@pytest.mark.parametrize("name", TWINS)
def test_twins_differ_in_one_line(name, installed):
    for other in (f"{name}-kd", f"{name}-vanilla"):
        changed = [d for d in difflib.ndiff(lines(name, installed), lines(other, installed)) if d[0] in "+-"]
        assert [d[:16] for d in changed] == ["- degradation = ", "+ degradation = "], changed


def test_twins_wrap_the_same_degradation_and_teacher(installed):
    for name in TWINS:
        made = {
            k: recipe_document(installed, recipe=f"eco:{name}{k}").data["degradation"] for k in ("", "-kd", "-vanilla")
        }
        assert made[""]["use"] == "eco:centroid"
        assert made["-kd"]["use"] == "eco:distill"
        assert made[""]["base"] == made["-kd"]["base"] == made["-vanilla"] == {"use": "core:bicubic", "scale": 2}
        assert made[""]["teacher"] == made["-kd"]["teacher"]


def test_the_paper_s_settings(installed):
    table1 = recipe_document(installed, recipe="eco:edsr-x2").data
    assert table1["training"]["batch"] == 128
    assert table1["training"]["iterations"] == 125_000
    assert table1["training"]["clip_value"] == 0.1
    assert table1["training"]["skip_above"] == 5
    assert table1["losses"] == [{"use": "core:l1", "weight": 255}]
    assert table1["optimizer"]["lr"] == {"use": "core:cosine", "start": 1.6e-3}
    for name in ("edsr-x2", "edsr-x4", "rcan-x2", "rcan-x4", "swinir-x2", "real-world-x2", "edsr-baseline-x8"):
        data = recipe_document(installed, recipe=f"eco:{name}").data
        assert data["data"]["train"]["patch"] == 48 * data["model"]["scale"], name
        assert (data["training"].get("start", {}).get("exclude") == ["tail"]) == name.endswith("x4"), name


def test_the_weights_of_run_fit_its_model(installed):
    from restore_eco.networks.edsr import edsr_baseline

    model = recipe_document(installed, plugin="eco").data["model"]
    net = edsr_baseline(model["scale"], blocks=model["blocks"], features=model["features"])
    load_into(net, read(find(model["weights"].replace("${model.scale}", "2"), installed)))
    flat = torch.full((1, 1, 3, 12, 12), 0.4)
    with torch.no_grad():
        assert (net.eval()(flat) - 0.4).abs().max() < 0.02


QUICK = settings(
    "model.blocks=1", "model.features=4", "data.train.patch=16", "data.train.exclude=[]",
    'data.validation.include=["*"]', "training.iterations=6", "training.batch=2",
    "training.validate_every=6", "training.log_every=1",
)  # fmt: skip


def test_eco_distillation_and_noise_free_training_from_the_recipes(restore, pictures, tmp_path, installed):
    """The vanilla twin first, then what it teaches."""

    def train(name, *more):
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        made = restore(
            "train",
            f"eco:edsr-baseline-x2-small{name}",
            "-o",
            folder,
            *settings(f"data.train.root={pictures}"),
            *QUICK,
            *more,
        )
        assert made.code == 0, made.err
        history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return folder / "final.safetensors", [h["loss"] for h in history if "loss" in h]

    weights, vanilla = train("-vanilla")
    taught = settings(f"degradation.teacher.weights={weights}")
    _, eco = train("", *taught)
    _, distilled = train("-kd", *taught)
    _, noise_free = train("", *taught, *settings("degradation.use=eco:noise-free"))
    _, other = train("", *taught, *settings("degradation.clean_weight=1"))
    assert other == vanilla
    assert len({round(losses[0], 6) for losses in (vanilla, distilled, noise_free)}) == 3
    assert eco[:2] == noise_free[:2], "tau is 0 and 1/6, where the weight is 0"
    assert eco[2] != noise_free[2]


def test_a_missing_teacher_is_found_before_training(restore, pictures, tmp_path):
    made = restore("train", "eco:edsr-baseline-x2-small", *settings(f"data.train.root={pictures}"), *QUICK)
    assert made.code == 2
    assert "runs/edsr-baseline-x2-small-vanilla/final.safetensors does not exist" in made.err


def test_srsenet_trains_on_luma_with_its_own_teacher(restore, pictures, tiny_weights):
    quick = settings(
        "model.blocks=1", "model.features=8", f"data.train.root={pictures}", "data.train.patch=16",
        "data.train.exclude=[]", 'data.validation.include=["*"]', "training.iterations=3", "training.batch=2",
        "degradation.teacher.blocks=1", "degradation.teacher.features=8",
        f"degradation.teacher.weights={tiny_weights.path}",
    )  # fmt: skip
    made = restore("train", "eco:srsenet-x2-small", "-o", "run", *quick, "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out)["iterations"] == 3


@pytest.mark.parametrize(
    "base",
    ['{ use = "gaussian-noise", sigma = 0.1 }', '{ use = "codec", codec = "x264", qp = 40, preset = "ultrafast" }'],
)
def test_a_video_model_trains_without_special_cases(restore, base, tmp_path, monkeypatch, installed):
    (tmp_path / "toy_clip_model.py").write_text(VIDEO_MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    toy = Registered("core", "model", Component("toy-clip", "toy_clip_model:Clip"))
    monkeypatch.setattr(
        "restore.plugins.registry", lambda: attrs.evolve(installed, components=(*installed.components, toy))
    )
    clips = tmp_path / "clips"
    clips.mkdir()
    shutil.copy(samples.path("sample_reference.mkv"), clips)
    recipe = tmp_path / "video.toml"
    text = f"""
recipe = 1
[model]
use = "toy-clip"
[degradation]
use = "BASE"
[[losses]]
use = "charbonnier"
[optimizer]
use = "adam"
lr = 1e-3
[data.train]
use = "videos"
root = "{clips.as_posix()}"
length = 3
patch = 32
[training]
iterations = 4
batch = 2
log_every = 1
"""
    plain = text.replace('[degradation]\nuse = "BASE"', "").replace("[model]", f"degradation = {base}\n[model]", 1)
    recipe.write_text(plain)
    assert restore("train", recipe, "-o", "vanilla").code == 0
    teacher = '{ use = "toy-clip", weights = "vanilla/final.safetensors" }'
    wrapped = f'{{ use = "eco:centroid", mode = "re-degrade", clean_weight = 0.5, base = {base}, teacher = {teacher} }}'
    recipe.write_text(plain.replace(f"degradation = {base}", f"degradation = {wrapped}"))
    made = restore("train", recipe, "-o", "eco", "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out)["iterations"] == 4
    first = [
        json.loads((tmp_path / f / "metrics.jsonl").read_text().splitlines()[0])["loss"] for f in ("vanilla", "eco")
    ]
    assert first[0] != first[1]


def test_x2_weights_start_x4_without_the_tail(restore, pictures, tmp_path):
    quick = settings(f"data.train.root={pictures}", *QUICK[1::2])
    assert restore("train", "eco:edsr-baseline-x2-small-vanilla", "-o", "x2", *quick).code == 0
    more = settings("model.scale=4", "training.start.weights=x2/final.safetensors", "optimizer.lr=0")
    assert restore("train", "eco:edsr-baseline-x2-small-vanilla", "-o", "bad", *quick, *more).code == 2
    more += settings('training.start.exclude=["tail"]')
    made = restore("train", "eco:edsr-baseline-x2-small-vanilla", "-o", "x4", *quick, *more)
    assert made.code == 0, made.err
    x2, x4 = (read(tmp_path / folder / "final.safetensors").tensors for folder in ("x2", "x4"))
    for name, value in x2.items():
        assert name.startswith("tail.") or torch.equal(value, x4[name]), name
