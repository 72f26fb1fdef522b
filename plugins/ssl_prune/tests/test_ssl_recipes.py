"""`restore prune` by recipe on every host, and `restore run` of what it wrote from the file alone."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from restore import weights
from restore.catalogue import recipe_document
from restore.cli.main import cli
from restore.modelling import build_model, builder
from restore.plugins import registry
from restore.recipe import Use, check
from restore.training.trainer import build_parts

TINY = "ssl_prune:basicvsr-tiny"
# Recipe; the host at the size of a test; whether its training data are clips.
HOSTS = {
    "srsenet": ("srsenet-x2", {"use": "srsenet:srsenet", "blocks": 1, "features": 8}, False),
    "srsenet-official": ("srsenet-x2-small", {"use": "srsenet:official"}, False),
    "edsr-baseline": ("edsr-baseline-x2-small", {"use": "eco:edsr-baseline", "blocks": 1, "features": 8}, False),
    "rcan": ("rcan-x2", {"use": "eco:rcan", "groups": 1, "blocks": 1, "features": 8, "reduction": 2}, False),
    "crds": ("crds-small", {"use": "crds:tiny", "blocks": 1}, True),
    "basicvsr": ("basicvsr-small-ssl", {"use": TINY}, True),
    "basicvsr-eco": ("basicvsr-small-eco", {"use": TINY}, True),
}
NEEDS = {"basicvsr-eco": "eco:centroid"}


def installed(name):
    return any(f"{r.plugin}:{r.component.name}" == name for r in registry().components)


@pytest.fixture
def photographs(tmp_path):
    """Two pictures of soft random blocks."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    draw = np.random.default_rng(1)
    for i in range(2):
        small = Image.fromarray(draw.integers(0, 256, (12, 14, 3), np.uint8))
        small.resize((112, 96), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


def overrides(case, folder, path):
    """The recipe with the host at test size, weights from ``path``, these pictures as data, one step a phase."""
    name, model, clips = HOSTS[case]
    clean = {"use": "core:images", "root": str(folder), "patch": 32}
    if clips:
        clean = {"use": "core:stills-in-motion", "root": str(folder), "length": 2, "patch": 48}
    values = {"data.train": clean, "data.validation": clean, "training.workers": 0, "training.batch": 2,
              "training.log_every": 1, "model.weights": str(path), "pruner.increment": 0.1,
              "pruner.every": 1}  # fmt: skip
    values |= {f"model.{k}": v for k, v in model.items()} | {f"phases.{i}.iterations": 1 for i in range(3)}
    if name == "crds-small":
        values["degradation"] = {"use": "core:gaussian-noise", "sigma": 0.05}
        values["evaluation.protocol"] = "sr-y"
    if model["use"] == TINY:
        values["phases.2.losses.1.teacher.use"] = TINY
    if case == "basicvsr-eco":
        values["phases.2.degradation.teacher.use"] = TINY
    return name, [f"{k}={toml(v)}" for k, v in values.items()]


def trained(case, path):
    """A file of the host's weights."""
    model = HOSTS[case][1]
    for name in (model["use"], NEEDS.get(case, model["use"])):
        if not installed(name):
            pytest.skip(f"{name} is not installed")
    place = recipe_document(registry(), recipe="core:identity").root
    torch.manual_seed(0)
    parameters = {k: v for k, v in model.items() if k != "use"}
    network, _ = build_model(Use(model["use"], parameters, place), builder(registry()))
    weights.save(path, network.state_dict(), {})
    return network


def answer(arguments):
    result = CliRunner().invoke(cli, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("case", HOSTS)
def test_prune_by_recipe_then_run_from_the_file_alone(case, photographs, tmp_path, monkeypatch):
    monkeypatch.setattr("restore.training.trainer.plot", lambda *_: True)
    trained(case, tmp_path / "whole.safetensors")
    name, values = overrides(case, photographs, tmp_path / "whole.safetensors")
    chosen = [part for value in values for part in ("--set", value)]
    arguments = ["prune", f"ssl_prune:{name}", "-o", f"{tmp_path}/run", "--size", "24x24", "--json", *chosen]
    said = answer(arguments)
    assert said["pruned"]["macs"] < said["dense"]["macs"]
    assert said["pruned"]["parameters"] < said["dense"]["parameters"]
    # The recipe's model and the file say all; index sets are given to no command.
    place = recipe_document(registry(), recipe="core:identity").root
    table = {k: v for k, v in HOSTS[case][1].items() if k != "use"} | {"weights": said["weights"]}
    small, _ = build_model(Use(HOSTS[case][1]["use"], table, place), builder(registry()))
    assert sum(p.numel() for p in small.parameters()) == said["pruned"]["parameters"]
    model = [f"--set=model.{k}={toml(v)}" for k, v in (table | {"use": HOSTS[case][1]["use"]}).items()]
    Image.open(photographs / "0.png").resize((28, 24)).save(tmp_path / "in.png")
    ran = answer(
        ["run", "--recipe", "core:identity", *model, f"{tmp_path}/in.png", "-o", f"{tmp_path}/o.png", "--json"]
    )
    scale = small.traits.scale
    assert Image.open(tmp_path / "o.png").size == (28 * scale, 24 * scale)
    assert ran["results"][0]["frames"] == 1


def test_ecos_teacher_and_the_one_of_hidden_states_are_one_frozen_network(photographs, tmp_path):
    trained("basicvsr-eco", tmp_path / "whole.safetensors")
    name, values = overrides("basicvsr-eco", photographs, tmp_path / "whole.safetensors")
    document = recipe_document(registry(), recipe=f"ssl_prune:{name}", overrides=values)
    parts = build_parts(check(document), document, builder(registry()))
    assert len(parts.teachers) == 1
    finetuning = parts.phases[2]
    assert finetuning.degradation.teacher is finetuning.losses[1].loss.teacher is parts.teachers[0]
    assert not any(p.requires_grad for p in parts.teachers[0].network.parameters())
    assert parts.teachers[0].network is not parts.model


@pytest.mark.parametrize("name", [r.component.name for r in registry().of_kind("recipe") if r.plugin == "ssl_prune"])
def test_ramps_have_the_time_they_need(name):
    """The penalty rises to its ceiling in the phases before the cut, and the first of them is just as long."""
    recipe = check(recipe_document(registry(), recipe=f"ssl_prune:{name}"))
    if not any(phase.pruning == "compact" for phase in recipe.phases):
        return
    pruner = builder(registry()).build("pruner", recipe.pruner)
    assert recipe.phases[0].pruning == "regularise"
    assert recipe.phases[0].iterations == pruner.needed_iterations
    assert [phase.pruning for phase in recipe.phases].count("compact") == 1


@pytest.fixture(scope="module")
def table():
    path = Path(__file__).parents[1] / "experiments" / "table.py"
    spec = importlib.util.spec_from_file_location("ssl_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("iterations", [8, 137, 1300])
def test_rows_of_the_table_have_equal_budgets(table, iterations):
    given = ["--stills", "A", "--clips", "B", "--test", "C", "-o", "D", "--dense-iterations", "50", "--ratio", "0.25"]
    options = table.arguments([*given, "--iterations", str(iterations)])
    for row in table.ROWS:
        name, values = table.settings(row, options)
        recipe = check(recipe_document(registry(), recipe=name, overrides=values))
        if row in ("dense", "lite"):
            assert recipe.training.iterations == 50 + (iterations if row == "lite" else 0)
            continue
        assert sum(phase.iterations for phase in recipe.phases) == iterations, row
        pruner = builder(registry()).build("pruner", recipe.pruner)
        assert pruner.ratio == 0.25
        closing = sum(p.iterations for p in recipe.phases if p.pruning != "compact")
        assert 2 / 3 * closing <= pruner.needed_iterations <= closing, row
        last = recipe.phases[-1].losses or recipe.losses
        assert [loss.use for loss in last] == ["core:charbonnier"] + ["ssl_prune:temporal"] * (row == "SSL")


def test_the_table_says_what_was_measured(table):
    options = table.arguments(["--stills", "A", "--clips", "B", "--test", "C", "-o", "D"])
    cost = {"SSL": {"parameters": 1234, "without_flow": 1000, "macs": 2.5e9, "seconds": 0.125}}
    line = {"row": "SSL", "psnr": 30.1239, "ssim": 0.91, "clips": [{}, {}]}
    said = table.markdown([line], cost, options)
    assert "mean over 2 clips" in said
    assert said.splitlines()[-1] == "| SSL | 30.124 | 0.9100 | 1,234 | 1,000 | 2.50 | 0.125 |"
