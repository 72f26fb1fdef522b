"""Training and measuring through the core: what is observed may be flat, and the network is given the operator."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest
import torch
from restore.build import asset_path
from restore.catalogue import recipe_document
from restore.errors import RequestError
from restore.modelling import build_model, builder
from restore.plugins import discover
from restore.recipe import check
from restore.weights import load_into, read
from restore_videoonet.plugin import restore_recipes

torch.set_num_threads(1)

TINY = ["model.filters=4", "model.encoder_kernel=3", "model.decoder_kernel=3", "model.iterations=2"]


def settings(*pairs):
    return [part for pair in pairs for part in ("--set", pair)]


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """Twenty pictures; drawing curves would take most of the time."""
    monkeypatch.setattr("restore.training.trainer.plot", lambda *_: False)
    folder = tmp_path / "digits"
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (20, 28, 28), np.uint8)
    for name in ("train", "t10k"):
        header = struct.pack(">4I", 0x803, *pixels.shape)
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
    return folder


def test_rotated_mnist_trains_is_resumed_and_measured(restore, digits, tmp_path):
    own = [f"data.train.root={digits}", "training.iterations=3", "training.batch=4", "training.validate_every=2"]
    own += ["training.log_every=1", "data.validation.count=2"]
    run = restore("train", "videoonet:small-mnist", "-o", "run", *settings(*TINY, *own))
    assert run.code == 0, run.err
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "validation_loss" in line] == [2, 3]
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
    again = restore("train", "videoonet:small-mnist", "-o", "again", *settings(*TINY, *own))
    assert again.code == 0, again.err
    one, other = (read(tmp_path / name / "final.safetensors").tensors for name in ("run", "again"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    test = [f"data.test.root={digits}", "data.test.use=videoonet:rotated-mnist", "data.test.count=2"]
    weights = f"model.weights={tmp_path / 'run/final.safetensors'}"
    measured = restore("eval", "--recipe", "videoonet:small-mnist", "--json", *settings(*TINY, *own, *test, weights))
    assert measured.code == 0, measured.err
    assert len(json.loads(measured.out)["results"]) == 2


def test_real_clips_are_measured_under_any_linear_degradation(restore, clip):
    clip("moving.mkv", 4, (32, 24), "ffv1", "yuv444p")
    found = {}
    for use in ("core:greyscale", "core:frame-interpolation"):
        among = f"among = [{{ use = '{use}'{', rate = 2' * ('inter' in use)} }}]"
        for model in ("videoonet:pseudo-inverse", "videoonet:zero-filling"):
            with open("recipe.toml", "w") as file:
                file.write(
                    f"recipe = 1\n[model]\nuse = '{model}'\n[degradation]\nuse = 'videoonet:problems'\n{among}\n"
                )
            run = restore("eval", "--recipe", "recipe.toml", "--data", "moving.mkv", "--json")
            assert run.code == 0, run.err
            found[use, model] = json.loads(run.out)["mean"]["psnr"]
    assert found["core:greyscale", "videoonet:pseudo-inverse"] > found["core:greyscale", "videoonet:zero-filling"] + 1
    same = [found["core:frame-interpolation", m] for m in ("videoonet:pseudo-inverse", "videoonet:zero-filling")]
    assert same[0] == pytest.approx(same[1])


def test_without_a_linear_degradation_the_error_says_so(restore, clip):
    clip("moving.mkv", 2, (32, 24), "ffv1", "yuv444p")
    with open("recipe.toml", "w") as file:
        file.write(
            "recipe = 1\n[model]\nuse = 'videoonet:pseudo-inverse'\n[degradation]\nuse = 'core:jpeg'\nquality=30"
        )
    run = restore("eval", "--recipe", "recipe.toml", "--data", "moving.mkv")
    assert run.code == 2
    assert "needs the linear operator" in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize("name", [c.name for c in restore_recipes()])
def test_recipes_build_what_they_say(name):
    installed = discover()
    assert asset_path(f"restore_videoonet:recipes/{name}.toml").is_file()
    recipe = check(recipe_document(installed, recipe=f"videoonet:{name}"))
    with torch.device("meta"):
        model, _ = build_model(recipe.model, builder(installed))
    assert model.traits.needs_operator
    count = sum(p.numel() for p in model.parameters())
    if name.startswith("paper"):
        assert count == (494_671 if name == "paper-mnist" else 20_061_973)
        settings = recipe.training
        assert (settings.epochs, settings.clip_norm, settings.seed) == (50, 1.0, 123)
        assert settings.batch == {"paper-mnist": 8, "paper-cifar": 4, "paper-ucf": 2}[name]
        assert (settings.early_stopping.patience, settings.early_stopping.metric) == (5, "loss")
        assert settings.early_stopping.restore_best
        assert recipe.optimizer.parameters["betas"] == [0.0, 0.9]
        # An epoch ends with a validation.
        entries = {"paper-mnist": 54_000, "paper-cifar": 45_000, "paper-ucf": 7_953}[name]
        assert settings.validate_every == -(-entries // settings.batch)


def test_the_twin_of_the_small_recipe_differs_in_what_makes_it_onenet():
    installed = discover()
    one, other = (
        recipe_document(installed, recipe=f"videoonet:{n}").data for n in ("small-mnist", "small-mnist-onenet")
    )
    assert {k for k in one["model"] if one["model"][k] != other["model"][k]} == {"recurrence", "data"}
    differing = {k for k in one["training"] if one["training"][k] != other["training"].get(k)}
    assert differing == {"iterations", "validate_every", "checkpoint_every"}
    assert all(one[k] == other[k] for k in ("degradation", "losses", "optimizer", "data"))


def test_weights_of_another_size_are_refused(tmp_path):
    from restore.weights import save
    from restore_videoonet.networks.unrolled import VideoOneNet

    path = tmp_path / "net.safetensors"
    save(path, VideoOneNet(1, 4, 3, 3).state_dict(), {"component": "videoonet:videoonet"})
    with pytest.raises(RequestError, match="do not fit this VideoOneNet"):
        load_into(VideoOneNet(1, 6, 3, 3), read(path))
