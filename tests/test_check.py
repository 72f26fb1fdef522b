"""`restore check`: every way to break a promise is caught, and the message says how to mend it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from restore.contracts import Halo, Traits
from restore.testing import ConformanceError, NotApplicableError, Sample, checks
from torch import nn

PROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.hatch.build.targets.wheel]
packages = ["src/restore_bad"]
exclude = ["*.toml"]
[project]
name = "restorekit-bad"
version = "1.0"
description = "everything that can be wrong"
license = "MIT"
dependencies = ["restorekit>=0.1,<0.2", "torch>=2.4"]
[project.entry-points."restore.v1"]
bad = "restore_bad.plugin"
"""
PLUGIN = """
import numpy
import time
from restore import Component, hookimpl

print("hello")
begin = time.process_time()
while time.process_time() - begin < 0.15:
    pass

@hookimpl
def restore_models():
    weights = {"net-x2": "restore_bad:weights/net-x2.pth"}
    return [Component("net", "restore_bad.parts:Net", "a net", weights=weights)]

@hookimpl
def restore_degradations():
    return [
        Component("noise", "restore_bad.parts:Noise", "noise"),
        Component("shift", "restore_bad.parts:Shift", ""),
    ]

@hookimpl
def restore_recipes():
    return [
        Component("run", "restore_bad:recipes/run.toml", "not there"),
        Component("left-out", "restore_bad:recipes/left-out.toml", "not in the wheel"),
    ]
"""
PARTS = '''
import torch
from restore import Halo, Pair, Traits
from restore.operators import Operator
from torch import nn


class Net(nn.Module):
    """A net.

    Args:
        features: channels.
    """

    def __init__(self, features: int = 4, depth: int = 1):
        super().__init__()
        self.traits = Traits(halo=Halo(pixels=0))
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, clip):
        return self.conv(clip.flatten(0, 1)).unflatten(0, clip.shape[:2])


class Noise:
    """Noise."""

    def __call__(self, clean, step):
        return Pair(clean + 0.1 * torch.randn_like(clean), clean)


class Moved(Operator):
    def apply(self, x):
        return x.roll(1, -1)

    def back(self, y):
        return y.roll(1, -1)


class Shift:
    """Moved by a pixel."""

    def __call__(self, clean, step):
        operator = Moved(clean.shape[1:], clean.shape[1:])
        return Pair(operator(clean), clean, operator)
'''
# check: what is seen, how to mend it
BROKEN = {
    "model.halo": ("pixels more than 0", "raise Traits.halo"),
    "engine.tiles": ("in tiles of 8 differs by up to", "raise Traits.halo.pixels"),
    "degradation.deterministic": ("two calls with the same seed differ", "step.generator"),
    "operator.adjoint": ("relative", "exact transpose"),
    "package.import_budget": (" ms for ", "python -X importtime"),
    "package.wheel": (
        "restore_bad/recipes/left-out.toml, which bad:left-out names, is not in the wheel",
        "build backend",
    ),
    "package.listing": ("imports numpy: line 2 of ", "Component('net', 'package.model:Net')"),
    "package.parameters": ("nothing is said of bad:net: depth", "`Args:` section"),
    "package.summaries": ("degradation bad:shift has the summary ''", "say in a few words"),
    "package.safe_weights": ("net-x2.pth", "safetensors"),
    "package.files": ("run.toml is missing", "put the file there"),
    "package.metadata": ("restorekit>=0.1,<0.2", "give a minimum alone"),
}


@pytest.fixture
def bad(tmp_path):
    folder = tmp_path / "bad"
    package = folder / "src" / "restore_bad"
    (package / "weights").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (package / "__init__.py").touch()
    (package / "plugin.py").write_text(PLUGIN)
    (package / "parts.py").write_text(PARTS)
    (package / "recipes").mkdir()
    (package / "recipes" / "left-out.toml").write_text("recipe = 1")
    torch.save({"weight": torch.ones(2)}, package / "weights" / "net-x2.pth")
    return folder


def test_every_broken_promise_is_named_with_how_to_mend_it(bad, installed, restore):
    installed(bad)
    done = restore("check", "bad", "--json", "--only", "!engine.export")
    assert done.code == 1
    found = json.loads(done.out)
    failed = {c["check"]: c for c in found["checks"] if c["status"] == "failed"}
    for name, (seen, mend) in BROKEN.items():
        assert name in failed
        assert seen in failed[name]["seen"]
        assert mend in failed[name]["mend"]
        assert failed[name]["promised"]
    # What follows from the same faults, and nothing that is in order.
    assert not set(failed) & {"model.shape", "model.gradients", "degradation.shapes", "package.loads"}
    # What is solved with a wrong adjoint means nothing, and is not looked for.
    skipped = {c["check"]: c["reason"] for c in found["checks"] if c["status"] == "not applicable"}
    assert "operator.adjoint" in skipped["operator.prox"]
    assert found["failed"] == sum(c["status"] == "failed" for c in found["checks"])
    assert all(c["reason"] for c in found["checks"] if c["status"] == "not applicable")


def test_for_people(bad, installed, restore):
    installed(bad)
    done = restore("check", "bad:net", "--only", "model.*", "--only", "engine.tiles")
    assert done.code == 1
    row = next(line for line in done.out.splitlines() if line.startswith("bad:net "))
    assert "model.halo" in row
    assert "bad:net: model.halo: pixels more than 0" in done.out
    assert "  to mend:  raise Traits.halo" in done.out
    assert "Traceback" not in done.out + done.err
    assert restore("check", "bad:net", "--only", "model.shape").code == 0


def test_two_of_one_name_and_modules_that_raise(bad, installed, tmp_path, restore):
    other = tmp_path / "other"
    shutil.copytree(bad, other)
    (other / "pyproject.toml").write_text(PROJECT.replace("restorekit-bad", "restorekit-twin"))
    broken = tmp_path / "broken"
    shutil.copytree(bad, broken)
    text = PROJECT.replace("restorekit-bad", "restorekit-broken").replace("bad =", "broken =")
    (broken / "pyproject.toml").write_text(text.replace("restore_bad.plugin", "restore_broken.plugin"))
    (broken / "src" / "restore_bad").rename(broken / "src" / "restore_broken")
    (broken / "src" / "restore_broken" / "plugin.py").write_text("import surely_not_installed")
    installed(bad, other, broken)
    done = restore("check", "bad", "broken")
    assert done.code == 1
    assert "conflict: claimed by restorekit-bad and restorekit-twin" in done.out
    assert "take another name" in done.out
    assert "No module named 'surely_not_installed'" in done.out


def test_examples_from_a_file_and_requests_that_are_wrong(restore, tmp_path):
    (tmp_path / "examples.toml").write_text('[["gaussian-noise"]]\nsigma = 0.1\n[["gaussian-noise"]]\nsigma = 0.2\n')
    arguments = ("check", "core:gaussian-noise", "--only", "degradation.shapes", "--json")
    assert json.loads(restore(*arguments).out)["not_applicable"] == 1
    done = json.loads(restore(*arguments, "--examples", "examples.toml").out)
    assert (done["passed"], done["not_applicable"]) == (4, 0)
    (tmp_path / "wrong.toml").write_text('"gaussian-niose" = 3\n')
    for more, said in (
        (("--examples", "lost.toml"), "lost.toml"),
        (("--examples", "wrong.toml"), "must be a table"),
        (("--only", "nothing.*"), "nothing to check"),
    ):
        done = restore("check", "core:gaussian-noise", *more)
        assert done.code == 2
        assert said in done.err
    assert "did you mean" in restore("check", "core:gausian-noise").err


class Net(nn.Module):
    """Copies, with one promise broken."""

    def __init__(self, broken="", **traits):
        super().__init__()
        self.broken, self.traits = broken, Traits(**{"halo": Halo(pixels=1), **traits})
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, clip):
        if self.broken == "neighbours":
            clip = clip + clip.roll(1, 1)
        x = clip.flatten(0, 1)
        if self.broken == "place":
            x = x + torch.linspace(0, 1, x.shape[-1], dtype=x.dtype)
        if self.broken == "phase":
            x = nn.functional.interpolate(nn.functional.max_pool2d(x, 2), scale_factor=2.0)
        if self.broken == "digits":
            x = x.float().to(x.dtype) if x.dtype == torch.float32 else x.half().to(x.dtype) + 1e-2
        if self.broken == "narrow":
            return self.conv(x).unflatten(0, clip.shape[:2]).float()
        if self.broken == "traced":
            x = x + 0.1 * torch.compiler.is_exporting()
        if self.broken == "value" and float(x.sum()) > 0:
            x = x + 1
        return self.conv(x).unflatten(0, clip.shape[:2])


def look(name, model):
    check = next(c for c in checks("model") if c.full_name == name)
    check(model, Sample((2, 2, 3, 8, 10), check.dtypes[0], make=lambda: model))


ENGINE = [
    ("engine.tiles", "place", "in tiles of 8 differs", "global_context = True"),
    ("engine.chunks", "neighbours", "windows: 7 frames, 3 at a time, differ", "raise Traits.halo.frames"),
    ("engine.dtype", "digits", "the two differ", ".half()"),
    ("engine.dtype", "narrow", "became torch.float32", "clip.new_tensor"),
    ("engine.export", "traced", "what was exported differs", "traced"),
]


@pytest.mark.parametrize(("name", "broken", "seen", "mend"), ENGINE)
def test_what_the_engine_does_to_models(name, broken, seen, mend):
    along = {"temporal": "clip"} if broken == "neighbours" else {}
    look(name, Net(**along))
    with pytest.raises(ConformanceError) as caught:
        look(name, Net(broken, **along))
    assert seen in caught.value.seen
    assert mend in caught.value.mend


def test_a_stride_needs_its_multiple():
    """Cells of two pixels: with multiple_of = 2 tiles begin where they do."""
    halo = Halo(pixels=3)
    look("engine.tiles", Net("phase", multiple_of=2, halo=halo))


def test_what_says_nothing_is_not_applicable():
    for name, model in (
        ("engine.tiles", Net(global_context=True)),
        ("engine.chunks", Net()),
        ("engine.export", Net("value")),
    ):
        with pytest.raises(NotApplicableError) as reason:
            look(name, model)
        assert str(reason.value)


def test_every_check_of_a_package_and_of_the_engine_is_broken_by_one():
    """Or it might be one that cannot fail; what breaks package.loads are two of one name, and modules that raise."""
    broken = {"package.loads", *BROKEN, *(name for name, *_ in ENGINE)}
    assert {check.full_name for kind in ("package", "engine") for check in checks(kind)} <= broken
