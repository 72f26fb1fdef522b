"""The paper's analyses: what they measure, and that each ends in a plot."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from restore import Pair, RequestError, Traits, samples
from restore.build import asset_path
from restore.document import load
from restore.modelling import builder
from restore.plugins import discover
from restore.recipe import check
from restore.training.directory import RunDirectory
from restore.training.trainer import Trainer, build_parts
from restore_eco.analyses.__main__ import main
from restore_eco.analyses.pictures import spectral_gradients
from restore_eco.analyses.runs import METHODS, train
from restore_eco.analyses.smoothness import GradientSmoothness, read
from torch import nn

torch.set_num_threads(1)
QUICK = (
    "model.blocks=1", "model.features=4", "data.train.patch=16", "data.train.exclude=[]",
    'data.validation.include=["*"]', "training.batch=2", "training.log_every=1", "training.validate_every=20",
    "training.iterations=4", "training.workers=0",
)  # fmt: skip


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Overrides for quick runs on a corner of the sample, with a teacher that was just made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("restore.training.trainer.plot", lambda *_: False)
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.open(samples.path("sample_reference.png")).crop((0, 0, 64, 48)).save(folder / "sample.png")
    quick = (*QUICK, f"data.train.root={folder}")
    teacher = train("eco:edsr-baseline-x2-small-vanilla", (*quick, "training.iterations=1"), tmp_path / "teacher")
    return (*quick, f"degradation.teacher.weights={teacher.weights('final')}")


def called(*arguments, settings=()):
    more = [part for pair in settings for part in ("--set", pair)]
    made = CliRunner().invoke(main, [*map(str, arguments), *more], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    return Path(made.output.splitlines()[-1])


def is_picture(path, least=200):
    with Image.open(path) as image:
        return image.format == "PNG" and min(image.size) >= least


def test_the_probe_walks_along_the_gradient(settings, tmp_path):
    """Against finite steps of the whole model; and training ends as without it."""
    registry = discover()
    document = load(
        asset_path(registry.find("recipe", "eco:edsr-baseline-x2-small").component.factory),
        (*settings, *METHODS["vanilla"]),
    )
    seen = []

    def look(trainer):
        model, probe = trainer.parts.model, GradientSmoothness(1, multiples=(0.5, 1.0))
        before = [p.detach().clone() for p in model.parameters()]
        found = probe.measure(trainer)
        assert found == probe.measure(trainer), "the same clips and draws"
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        # One short step: the loss falls by |g| times its length; the recipe's largest rate is 5e-4.
        length = 0.02 * 5e-4 * sum(p.numel() for p in before) ** 0.5
        tiny = GradientSmoothness(1, multiples=(0.02,)).measure(trainer)
        assert tiny["loss"] - tiny["lowest"] == pytest.approx(tiny["gradient"] * length, rel=0.05)
        assert 0 < tiny["gradient_change"] < found["gradient_change"]
        seen.append(found)

    ends = []
    for callbacks in ((look,), ()):
        parts = build_parts(check(document), document, builder(registry))
        trainer = Trainer(parts, document, RunDirectory(tmp_path / f"run{len(ends)}"), callbacks=callbacks)
        trainer.directory.create(document, registry)
        trainer.fit()
        ends.append({n: v.clone() for n, v in parts.model.state_dict().items()})
    assert len(seen) == 4
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])


def test_smoothness_writes_lines_and_a_plot(settings, tmp_path):
    path = called("smoothness", "--every", "2", "-o", tmp_path / "fig2", settings=settings)
    assert is_picture(path)
    for method in ("vanilla", "noise-free"):
        lines = read(tmp_path / "fig2" / method)
        assert [line["iteration"] for line in lines] == [2, 4]
        assert all(line["lowest"] <= line["loss"] <= line["highest"] for line in lines)


def test_curves_end_in_a_plot_and_are_not_trained_twice(settings, tmp_path):
    path = called("curves", "-o", tmp_path / "fig3", settings=settings)
    assert is_picture(path)
    before = {
        m: (tmp_path / "fig3" / m / "final.safetensors").stat().st_mtime_ns for m in ("vanilla", "kd", "noise-free")
    }
    called("curves", "-o", tmp_path / "fig3", settings=settings)
    assert before == {m: (tmp_path / "fig3" / m / "final.safetensors").stat().st_mtime_ns for m in before}


def test_batches_train_with_the_batch_they_say(settings, tmp_path):
    path = called("batches", "--sizes", "1,2", "-o", tmp_path / "fig4", settings=settings)
    assert is_picture(path)
    for size in (1, 2):
        recipe = load(tmp_path / "fig4" / f"batch-{size}-vanilla" / "recipe.toml")
        assert recipe.data["training"]["batch"] == size


@pytest.mark.parametrize("name", ["targets", "spectrum"])
def test_pictures(name, settings, tmp_path):
    assert is_picture(called(name, "-o", tmp_path / f"{name}.png", settings=settings))


def test_noise_regression_from_the_recipe_to_the_picture(settings, tmp_path):
    own = [s for s in settings if not s.startswith("data.validation")]
    own += ["degradation.teacher.blocks=1", "degradation.teacher.features=4"]
    run = train("eco:noise-regression", own, tmp_path / "regressor")
    image = tmp_path / "pictures" / "sample.png"
    path = called(
        "noise", "--recipe", "eco:noise-regression", "--weights", run.weights("final"), "--image", image,
        "-o", tmp_path / "noise.png", settings=own,
    )  # fmt: skip
    assert is_picture(path)


class Doubling(nn.Module):
    """Takes every pixel four times: its spectrum is known."""

    traits = Traits(scale=2)

    def forward(self, clip):
        return clip.repeat_interleave(2, -2).repeat_interleave(2, -1)


def test_gradients_in_the_spectral_domain():
    """The L1 loss's gradient on the target is the sign of the difference; its spectrum is the FFT of that."""
    generator = torch.Generator().manual_seed(0)
    observed, target = torch.rand(1, 1, 1, 6, 4, generator=generator), torch.rand(1, 1, 1, 12, 8, generator=generator)
    first, second = spectral_gradients(Doubling(), Pair(observed, target))
    sign = torch.sign(Doubling()(observed) - target)[0, 0, 0]
    # d loss / d Y = FFT(d loss / d y) / number of pixels, and the loss is a mean over as many.
    expected = torch.fft.fftshift(torch.fft.fft2(sign).abs()) / sign.numel() ** 2
    assert torch.allclose(second, expected, atol=1e-7)
    back = sign.view(6, 2, 4, 2).sum((1, 3))
    expected = torch.fft.fftshift(torch.fft.fft2(back).abs()) / sign.numel() / back.numel()
    assert torch.allclose(first, expected, atol=1e-7)


def test_the_table_is_made_and_gone_on_with(settings, tmp_path, monkeypatch, capsys):
    script = Path(__file__).parents[1] / "experiments" / "table.py"
    test_set = tmp_path / "set"
    shutil.copytree(tmp_path / "pictures", test_set)
    arguments = [
        "--data",
        tmp_path / "pictures",
        "--sets",
        f"Tiny={test_set}",
        "-o",
        tmp_path / "table",
        "--seeds",
        1,
        2,
    ]
    arguments += ["--setups", "EDSR-baseline-small x2", "--iterations", 20, "--device", "cpu"]
    quick = [s for s in QUICK if "iterations" not in s and "validate" not in s]
    arguments += [part for pair in quick for part in ("--set", pair)]

    def go(*more):
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments), *more])
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    out = go("--methods", "vanilla")
    assert "| vanilla | " in out
    assert "| ECO | " not in out
    lines = (tmp_path / "table" / "results.jsonl").read_text()
    out = go("--methods", "vanilla", "ECO")
    whole = (tmp_path / "table" / "results.jsonl").read_text()
    assert whole.startswith(lines), "what is there is not done again"
    made = [json.loads(line) for line in whole.splitlines()]
    assert len(made) == 2 * 2 * 4
    assert [m["share"] for m in made[:4]] == [10, 25, 50, 100]
    assert len({m["psnr"] for m in made if m["method"] == "vanilla"}) == 8
    row = next(line for line in out.splitlines() if line.startswith("| vanilla"))
    ends = [m["psnr"] for m in made if m["method"] == "vanilla" and m["share"] == 100]
    assert f"{sum(ends) / 2:.3f} ± {abs(ends[0] - ends[1]) / 2**0.5:.3f} | 2 |" in row


def test_a_finished_run_of_other_settings_is_not_taken_for_this_one(settings, tmp_path):
    train("eco:edsr-baseline-x2-small", settings, tmp_path / "run")
    with pytest.raises(RequestError, match="finished run of another recipe"):
        train("eco:edsr-baseline-x2-small", (*settings, "training.batch=1"), tmp_path / "run")
