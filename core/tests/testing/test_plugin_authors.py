"""What a plugin author gets for one line, in a fresh process with a fake distribution."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from restore.component import Component
from restore.errors import RequestError
from restore.plugins import PluginInfo, Registered, Registry
from restore.testing import Example, cases, outcomes

PLUGIN = """
from restore import Component, hookimpl

@hookimpl
def restore_models():
    return [Component("net", "toy_parts:Net", "halo too small")]

@hookimpl
def restore_degradations():
    return [Component("fade", "toy_parts:Fade", "darker")]

@hookimpl
def restore_recipes():
    return [Component("run", "toy_parts:run.toml", "what it is")]
"""
PARTS = """
from restore import Halo, Pair, Traits
from torch import nn

class Net(nn.Module):
    def __init__(self, features: int = 4):
        super().__init__()
        self.traits = Traits(halo=Halo(pixels=1))
        self.first, self.last = nn.Conv2d(3, features, 3, padding=1), nn.Conv2d(features, 3, 3, padding=1)
    def forward(self, clip):
        return self.last(self.first(clip.flatten(0, 1))).unflatten(0, clip.shape[:2])

class Fade:
    def __init__(self, factor: float):
        self.factor = factor
    def __call__(self, clean, step):
        if clean.shape[-1] == 31:
            raise RuntimeError("no 31")
        return Pair(self.factor * clean, clean)
"""
TESTS = """
from restore.testing import conformance_tests

test_conformance = conformance_tests("toy", checks=["model.halo", "model.shape", "degradation.shapes"])
test_examples = conformance_tests("fade", examples={"fade": [{"factor": 0.5}, {"factor": 0.2}]},
                                  checks=["degradation.*"], shapes=[(2, 2, 3, 9, 12)])
test_crash = conformance_tests("toy:fade", examples={"toy:fade": {"factor": 0.5}}, checks=["degradation.shapes"],
                               shapes=[(1, 1, 3, 9, 31)])
"""


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "toy_plugin.py").write_text(PLUGIN)
    (tmp_path / "toy_parts.py").write_text(PARTS)
    (tmp_path / "test_toy.py").write_text(TESTS)
    info = tmp_path / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[restore.v1]\ntoy = toy_plugin\n")
    return tmp_path


def python(folder, *arguments):
    path = os.pathsep.join(p for p in (str(folder), os.environ.get("PYTHONPATH")) if p)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_one_line_gives_one_test_for_each_case(toy):
    out = python(toy, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--strict-markers", "test_toy.py")
    assert "PASSED test_toy.py::test_conformance[toy:net-model.shape-2x3x12x16]" in out
    assert "PASSED test_toy.py::test_conformance[toy:net-model.shape-1x3x17x23]" in out
    assert "FAILED test_toy.py::test_conformance[toy:net-model.halo]" in out
    assert "pixels more than 1 below an output pixel reach it" in out
    assert "to mend:  raise Traits.halo" in out
    assert "_look_beyond" not in out, "a broken promise needs no traceback of the kit"
    # No factor was given: one skip that says so, not one for every check.
    skipped = [line for line in out.splitlines() if line.startswith("SKIPPED") and "toy:fade needs" in line]
    assert len(skipped) == 1
    assert "factor (float)" in skipped[0]
    assert "examples={'degradation toy:fade': {...}}" in skipped[0]
    assert "PASSED test_toy.py::test_examples[toy:fade,factor=0.2-degradation.value_range]" in out
    assert "PASSED test_toy.py::test_examples[toy:fade,factor=0.5-degradation.dtype-float64]" in out
    assert "test_examples[toy:fade,factor=0.2-model" not in out
    # What a component raises by itself keeps its traceback, and says with which input.
    assert "degradation.shapes: RuntimeError: no 31" in out
    assert "(1, 1, 3, 9, 31)" in out
    assert "toy_parts.py" in out


def test_the_pytest_plugin_costs_others_no_torch(toy):
    code = "import sys, restore.testing.plugin; print([m for m in ('torch', 'numpy', 'av') if m in sys.modules])"
    assert python(toy, "-c", code).strip() == "[]"


def registry(*components):
    return Registry(
        (PluginInfo("toy", "toy", "1", components=len(components)),),
        tuple(Registered("toy", k, c) for k, c in components),
    )


IDENTITY = ("model", Component("identity", "restore.builtin.models.bicubic:Identity", "what it was"))
NOISE = ("degradation", Component("noise", "restore.builtin.degradations.noise:GaussianNoise", "noise"))


def run(*names, components=(IDENTITY, NOISE), **more):
    return list(outcomes(cases(*names, registry=registry(*components), **more), lambda: None))


def test_without_pytest_the_same_comes_out_one_by_one():
    found = {o.case.id: o for o in run("toy", examples={"toy:noise": {"sigma": 0.1}})}
    shape = found["toy:noise,sigma=0.1-degradation.shapes-3x3x24x32"]
    assert (shape.status, shape.error) == ("passed", None)
    assert shape.seconds > 0
    assert found["toy:identity-model.halo"].status == "passed"
    skipped = found["toy:identity-model.gradients"]
    assert (skipped.status, skipped.reason) == ("skipped", "the model has nothing to train")
    assert not [o for o in found.values() if o.status == "failed"]


def test_an_example_may_leave_a_check_out_with_a_reason():
    example = Example({"sigma": 0.1}, shapes=((1, 1, 1, 5, 6),), skip={"degradation.batch": "not today"})
    found = run("noise", examples={"noise": example}, checks=["degradation.*"])
    assert [o.reason for o in found if o.case.check.name == "batch"] == ["not today"]
    assert {o.case.sample.shape for o in found} == {(1, 1, 1, 5, 6)}


def test_wrong_examples_fail_and_say_where():
    (found,) = run(
        "noise", examples={"noise": {"sigma": -1.0}}, checks=["degradation.shapes"], shapes=[(1, 1, 1, 5, 6)]
    )
    assert found.status == "failed"
    assert "can be built" in found.error.promised
    assert "sigma must be at least 0, got -1" in found.error.seen


def test_a_factory_that_cannot_be_imported_fails():
    lost = ("model", Component("lost", "restore.builtin.models.bicubic:Lost"))
    found = run("lost", components=[lost], checks=["model.traits"])
    assert [o.status for o in found] == ["failed"]
    assert "Lost" in found[0].error.seen


def test_an_example_writes_its_files_once(tmp_path):
    folders = []

    def make(folder):
        folders.append(folder)
        return {"sigma": 0.1}

    every = cases("noise", registry=registry(NOISE), examples={"noise": make}, checks=["degradation.s*"])
    assert len(list(outcomes(every, lambda: tmp_path))) > 2
    assert folders == [tmp_path]


@pytest.mark.parametrize(
    ("names", "more", "said"),
    [
        (["tyo"], {}, "no component or recipe 'tyo'"),
        ([], {}, "name at least one"),
        (["toy"], {"examples": {"niose": {}}}, "did you mean 'noise'"),
        (["toy"], {"examples": {"noise": 3}}, "an example is a table"),
        (["toy"], {"examples": {"noise": Example(skip={"model.hallo": ""})}}, "'model.hallo', which is no check"),
        (["toy"], {"checks": ["nothing.*"]}, "nothing to check"),
    ],
)
def test_what_is_asked_wrongly_is_refused_before_anything_runs(names, more, said):
    with pytest.raises(RequestError, match=said):
        cases(*names, registry=registry(IDENTITY, NOISE), **more)


def test_patterns_choose_and_leave_out():
    names = {c.check.name for c in cases("toy:identity", registry=registry(IDENTITY), checks=["model.*", "!*.halo"])}
    assert "halo" not in names
    assert {"shape", "batch"} <= names
