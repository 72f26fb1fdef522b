"""``--lock FILE``: a pipeline written down once, and compared ever after."""

from __future__ import annotations

import hashlib
import sys

import attrs
import pytest
from restore import __version__, lock
from restore.component import Component, RemoteWeights
from restore.document import parse
from restore.errors import RequestError
from restore.lock import describe, differences
from restore.plugins import Registered, registry
from restore.recipe import check

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture
def run(restore, photo, tiny_weights, tmp_path):
    """``run(*more)``: a photograph through a tiny network, locked by ``p.lock``."""
    photo("in.png")
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(tiny_weights.path.read_bytes())
    settings = [*tiny_weights.settings[:4], "--set", "model.weights=net.safetensors"]

    def call(*more):
        return restore("run", "--plugin", "srsenet", *settings, "in.png", "--overwrite", "--lock", "p.lock", *more)

    return call


def row(answer, key):
    """The line of a key in a refusal: what was locked, what is there now."""
    (line,) = [x for x in answer.err.splitlines() if x.split()[:1] == [key]]
    return line.split()[1:]


def test_a_run_is_locked_and_can_be_repeated(run, tmp_path):
    first = run()
    assert first.code == 0, first.err
    assert "wrote p.lock" in first.err
    file = tmp_path / "p.lock"
    text, made = file.read_text(), (tmp_path / "in_restored.png").read_bytes()
    found = tomllib.loads(text)
    digest = hashlib.sha256((tmp_path / "net.safetensors").read_bytes()).hexdigest()
    assert found["restorekit"] == __version__
    release = registry().plugin("srsenet").release
    assert release.startswith("restorekit-srsenet ")
    assert found["plugins"] == {"core": f"restorekit {__version__}", "srsenet": release}
    assert found["components"] == {"model srsenet:srsenet": f"restore_srsenet.model:SrSENet, {release}"}
    assert found["weights"]["net.safetensors"]["sha256"] == digest
    assert found["recipe"]["model"]["blocks"] == 1
    (tmp_path / "in_restored.png").unlink()
    again = run()
    assert (again.code, again.err) == (0, "")
    assert file.read_text() == text
    assert (tmp_path / "in_restored.png").read_bytes() == made
    file.unlink()
    assert run().code == 0
    assert file.read_text() == text, "two locks of one pipeline can be compared line by line"


def test_what_differs_is_said_and_nothing_is_done(run, tmp_path, monkeypatch):
    assert run().code == 0
    (tmp_path / "in_restored.png").unlink()
    other = run("--set", "model.features=9", "--device", "cpu")
    assert other.code == 2
    assert row(other, "recipe.model.features") == ["8", "9"]
    assert row(other, "recipe.run.device") == ["-", "cpu"]
    assert len(other.err.splitlines()) == 5, "a sentence before and after, titles, and two differences"

    installed = registry()
    infos = tuple(attrs.evolve(p, version="0.0.2") if p.name == "srsenet" else p for p in installed.plugins)
    with monkeypatch.context() as patch:
        patch.setattr("restore.plugins.registry", lambda: attrs.evolve(installed, plugins=infos))
        patch.setattr(lock, "__version__", "9.9")
        newer = run()
    assert newer.code == 2
    assert row(newer, "restorekit") == [__version__, "9.9"]
    assert row(newer, "plugins.srsenet") == [
        *registry().plugin("srsenet").release.split(),
        "restorekit-srsenet",
        "0.0.2",
    ]

    weights = tmp_path / "net.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    changed = run()
    assert changed.code == 2
    assert row(changed, "weights.net.safetensors.sha256") == [
        hashlib.sha256(data).hexdigest()[:12] + "..." for data in (content, weights.read_bytes())
    ]
    assert "size" not in changed.err
    weights.unlink()
    assert "net.safetensors does not exist" in run().err
    assert not (tmp_path / "in_restored.png").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = [", "not readable TOML"),
        ("[model]\nuse = 'srsenet'\n", "is no lock"),
        ("lock = 2\n", "says lock = 2, this core writes lock = 1"),
    ],
)
def test_files_that_are_no_locks_are_left_alone(run, tmp_path, text, said):
    (tmp_path / "p.lock").write_text(text)
    answer = run()
    assert answer.code == 2
    assert said in answer.err
    assert (tmp_path / "p.lock").read_text() == text


def test_a_lock_that_cannot_be_written(run):
    answer = run("--lock", "nowhere/p.lock")
    assert answer.code == 2
    assert "lock nowhere/p.lock cannot be written" in answer.err


RECIPE = """
recipe = 1
[model]
use = "srsenet"
scale = 2
[degradation]
use = "eco:centroid"
base = "bicubic"
teacher = { use = "srsenet:official", scale = 2, weights = "srsenet-x2" }
clean_weight = { use = "linear", start = 0.0, end = 1.0 }
[[losses]]
use = "charbonnier"
weight = { use = "step", start = 1.0, every = 5, factor = 0.5 }
[optimizer]
use = "adamw"
lr = { use = "cosine", start = 1e-3 }
[data.train]
use = "images"
root = "nowhere"
[training]
batch = 1
[[phases]]
iterations = 1
[[phases]]
iterations = 1
losses = [{ use = "l1" }]
start = { weights = "srsenet-x4" }
[[stages]]
use = "core:identity"
"""


def described(command, text=RECIPE, known=None, **options):
    document = parse(text, "test.toml")
    return describe(command, check(document), document, known or registry(), options)


def test_a_training_is_locked_with_all_that_it_nests():
    found = described("train", devices=2)
    assert {key.split()[1] for key in found["components"]} == {
        "srsenet:srsenet", "srsenet:official", "eco:centroid", "core:bicubic", "core:linear", "core:charbonnier",
        "core:step", "core:cosine", "core:images", "core:l1", "core:identity", "adamw",
    }  # fmt: skip
    assert found["components"]["optimizer adamw"].startswith("torch.optim.adamw:AdamW, torch 2.")
    assert "+" not in found["components"]["optimizer adamw"], "how torch was built is the machine's matter"
    assert set(found["weights"]) == {"srsenet-x2", "srsenet-x4"}
    assert set(found["plugins"]) == {"core", "eco", "srsenet"}
    assert found["options"] == {"devices": 2}


def test_a_run_is_locked_with_its_models_alone():
    found = described("run")
    assert {key.split()[1] for key in found["components"]} == {"srsenet:srsenet", "core:identity"}
    assert found["weights"] == {}
    assert ("command", "run", "train") in differences(found, described("train"))


def test_the_order_of_keys_means_nothing():
    a = described("run", 'recipe = 1\n[model]\nuse = "srsenet"\nscale = 2\n[run]\ntile = 8\n')
    b = described("run", 'recipe = 1\n[run]\ntile = 8\n[model]\nscale = 2\nuse = "srsenet"\n')
    assert a["recipe_sha256"] != b["recipe_sha256"]
    assert differences(a, b) == []
    assert differences(a, {**b, "recipe": {"recipe": 1}}) != []


def test_remote_weights_are_locked_by_what_was_promised(monkeypatch, tmp_path):
    monkeypatch.setenv("RESTORE_CACHE", str(tmp_path))
    monkeypatch.setenv("RESTORE_OFFLINE", "1")
    far = RemoteWeights("https://example.org/net.pth", "a" * 64, 7)
    model = Registered("srsenet", "model", Component("far", "restore_srsenet.model:SrSENet", weights={"far-x2": far}))
    known = attrs.evolve(registry(), components=(*registry().components, model))
    found = described("run", 'recipe = 1\n[model]\nuse = "far"\nweights = "far-x2"\n', known)
    assert found["weights"] == {"far-x2": {"sha256": "a" * 64, "size": 7}}
    with pytest.raises(RequestError, match=r"test\.toml:4: model\.weights: no weights named 'far-x3'"):
        described("run", 'recipe = 1\n[model]\nuse = "far"\nweights = "far-x3"\n', known)
