"""`restore new-plugin`: what it writes works as it stands, whichever kinds are asked for."""

from __future__ import annotations

import json

import pytest
from installed import Environment
from restore.cli.new_plugin import KINDS, LICENSES
from restore.scaffold import writing


@pytest.fixture
def new(restore, tmp_path):
    def make(name, *arguments):
        done = restore("new-plugin", name, *arguments, "--json")
        assert done.code == 0, done.err
        return tmp_path / json.loads(done.out)["folder"]

    return make


def test_all_kinds_install_pass_their_tests_and_run(new, tmp_path):
    folder = new("aurora", *(word for kind in KINDS for word in ("--kind", kind)), "--license", "Apache-2.0")
    environment = Environment(tmp_path / "env").install(folder)
    done = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert done.code == 0, done.out + done.err
    assert "failed" not in done.out
    # The sample that ships with the core, with the network as it is: bicubic enlargement.
    settings = ["--set", "model.features=4", "--set", "model.blocks=1"]
    done = environment.run("-m", "restore", "run", "--plugin", "aurora", "-o", "better.mkv", "--json", *settings)
    assert done.code == 0, done.err
    (result,) = json.loads(done.out)["results"]
    assert (result["width"], result["height"], result["frames"]) == (480, 272, 48)


def test_each_kind_alone_keeps_its_contract(new, installed, restore):
    folders, names = [], [f"only_{kind}" for kind in KINDS]
    for kind, name in zip(KINDS, names, strict=True):
        folder = new(name, "--kind", kind)
        package = folder / "src" / f"restore_{name}"
        assert {f.stem for f in package.glob("*.py")} == {"__init__", "plugin", "model", kind}
        for path in folder.rglob("*.py"):
            compile(path.read_text(), str(path), "exec")
        folders.append(folder)
    installed(*folders)
    wanted = [f"{kind}.*" for kind in (*KINDS, "recipe") if kind != "model"] + ["model.traits", "package.[!lw]*"]
    done = restore("check", *names, "--quick", "--json", *(x for pattern in wanted for x in ("--only", pattern)))
    assert done.code == 0, done.out + done.err
    found = [(c["component"], c["check"]) for c in json.loads(done.out)["checks"] if c["status"] == "passed"]
    for kind, name in zip(KINDS, names, strict=True):
        assert {(f"{name}:run", "recipe.components"), (f"{name}:small", "recipe.components")} <= set(found)
        assert {(name, "package.parameters"), (name, "package.metadata")} <= set(found)
        assert any(check.startswith(f"{kind}.") and component.startswith(f"{name}:") for component, check in found)


@pytest.mark.parametrize("license_", LICENSES)
def test_what_a_repository_needs_is_there(new, license_):
    folder = new("north-light", "--license", license_, "--author", "Ada Lovelace")
    assert folder.name == "restorekit-north-light"
    project = (folder / "pyproject.toml").read_text()
    assert f'license = "{license_}"' in project
    assert 'north_light = "restore_north_light.plugin"' in project
    assert "<" not in project.partition("dependencies = ")[2].partition("]")[0], "no upper pins"
    text = (folder / "LICENSE").read_text()
    assert ("Apache License" in text) == (license_ == "Apache-2.0")
    assert ("Ada Lovelace" in text) == (license_ != "Apache-2.0")
    tests = (folder / ".github" / "workflows" / "tests.yml").read_text()
    for wanted in ("oldest", "newest", "restore check north_light"):
        assert wanted in tests
    release = (folder / ".github" / "workflows" / "release.yml").read_text()
    assert "id-token: write" in release
    assert "password" not in release
    assert "torch" not in (folder / "src" / "restore_north_light" / "plugin.py").read_text()
    for path in folder.rglob("*"):
        if path.is_file():
            left = [mark for mark in ("<<", ">>", "<%", "%>") if mark in path.read_text()]
            assert not left, f"{path} holds {left}"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("restorekit-foo", "Say `restore new-plugin foo`"),
        ("1st", "beginning with a letter"),
        ("class", "a word of Python's"),
        ("core", "a word of restore's own"),
        ("srsenet", "is installed already"),
    ],
)
def test_names_that_would_not_work_are_refused(restore, tmp_path, name, said):
    done = restore("new-plugin", name)
    assert done.code == 2
    assert said in done.err
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(restore, tmp_path):
    (tmp_path / "restorekit-mynet").mkdir()
    (tmp_path / "restorekit-mynet" / "thesis.txt").write_text("years of work")
    done = restore("new-plugin", "mynet")
    assert done.code == 2
    assert "has files in it" in done.err
    assert [p.name for p in (tmp_path / "restorekit-mynet").iterdir()] == ["thesis.txt"]


def test_the_command_line_names_what_the_scaffold_knows():
    assert KINDS == writing.KINDS
    assert LICENSES == writing.LICENSES
