"""Packages by somebody else, which know restorekit alone: they keep its contracts, and combine with each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from restore.testing import write_frames

PACKAGES = Path(__file__).resolve().parent / "thirdparty"
RECIPE = """recipe = 1
[model]
use = "unet2d:unet2d"
levels = 2
features = 4
[degradation]
use = "fields:weave"
[[losses]]
use = "fields:lorentzian"
[optimizer]
use = "adam"
lr = 1e-3
[data.train]
use = "core:frames"
root = "clips"
length = 3
patch = 16
[training]
iterations = 4
batch = 2
log_every = 1
"""
# Small ones, and those whose halo and multiple are unlike.
EXAMPLES = """
[["model unet2d:unet2d"]]
levels = 2
features = 4
[["model unet2d:unet2d"]]
levels = 3
features = 3
upsampling = "bilinear"
"""


@pytest.fixture(autouse=True)
def both(installed):
    pytest.importorskip("unet")
    installed(PACKAGES / "restorekit-unet2d", PACKAGES / "restorekit-fields")


def test_both_keep_their_contracts(restore, tmp_path):
    (tmp_path / "examples.toml").write_text(EXAMPLES)
    done = restore("check", "unet2d", "fields", "--quick", "--json", "--examples", "examples.toml")
    assert done.code == 0, done.out + done.err
    passed = {(c["component"], c["check"]) for c in json.loads(done.out)["checks"] if c["status"] == "passed"}
    for wanted in (
        ("unet2d:unet2d", "model.halo"),
        ("unet2d:unet2d", "engine.tiles"),
        ("unet2d:run", "recipe.components"),
        ("fields:weave", "operator.adjoint"),
        ("fields:weave", "operator.pinv"),
        ("fields:lorentzian", "loss.gradient"),
        ("fields", "package.listing"),
        ("unet2d", "package.parameters"),
    ):
        assert wanted in passed


def test_the_network_of_one_trains_with_the_operator_and_the_loss_of_the_other(restore, tmp_path):
    write_frames(tmp_path / "clips", frames=4)
    (tmp_path / "comb.toml").write_text(RECIPE)
    done = restore("train", "comb.toml", "-o", "run", "--json")
    assert done.code == 0, done.err
    trained = json.loads(done.out)
    assert trained["iterations"] == 4
    assert 0 < trained["loss"] < 1
    weights = f'model.weights="{trained["weights"]}"'
    picture = tmp_path / "clips" / "a" / "0.png"
    done = restore("run", "--recipe", "comb.toml", "--set", weights, picture, "-o", "out.png", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["results"][0]["width"] == 48
    assert (tmp_path / "out.png").is_file()
