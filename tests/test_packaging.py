"""What a user installs: wheels that hold everything they need and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(
    p.parent.relative_to(ROOT) for p in [ROOT / "core/pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]
)


def project(package):
    return tomllib.loads((ROOT / package / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def build(folder, out, *targets):
    command = [sys.executable, "-m", "hatchling", "build", *(x for t in targets for x in ("-t", t)), "-d", str(out)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """``built(package)``: the folder that holds its wheel and its sdist."""
    made = {}

    def get(package):
        if package not in made:
            made[package] = tmp_path_factory.mktemp("built")
            build(ROOT / package, made[package], "sdist", "wheel")
        return made[package]

    return get


def contents(path):
    with zipfile.ZipFile(path) as archive:
        return {n: archive.read(n) for n in archive.namelist() if not n.endswith("/")}


@pytest.fixture(scope="module", params=PACKAGES, ids=str)
def wheel(request, built):
    """The package's path, the names in its wheel, and the texts about it."""
    (path,) = built(request.param).glob("*.whl")
    files = contents(path)
    return request.param, list(files), {n: v for n, v in files.items() if ".dist-info/" in n}


def text_of(wheel, ending):
    return next(v.decode() for n, v in wheel[2].items() if n.endswith(ending))


def test_the_wheel_holds_all_of_the_package_and_nothing_else(wheel):
    package, names, _ = wheel
    source = ROOT / package / "src"
    wanted = {
        p.relative_to(source).as_posix()
        for p in source.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts and ".egg-info" not in str(p) and not p.name.startswith(".")
    }
    assert wanted == {n for n in names if ".dist-info/" not in n}
    assert not [n for n in names if "test" in Path(n).name.lower() and "testing" not in n]
    assert not [n for n in names if Path(n).suffix in (".ckpt", ".pyc")]


def test_licence_and_typing_marker(wheel):
    package, names, texts = wheel
    assert [n for n in texts if n.endswith("LICENSE")]
    if package == Path("core"):
        assert "restore/py.typed" in names


def test_metadata(wheel):
    package, _, _ = wheel
    about = project(package)
    metadata = text_of(wheel, "METADATA")
    assert f"Name: {about['name']}" in metadata
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.10" in metadata
    entries = text_of(wheel, "entry_points.txt")
    assert "[restore.v1]" in entries
    if package == Path("core"):
        assert "restore = restore.cli.main:main" in entries
    # Plugins follow the core without being held back by it.
    assert not [d for d in about["dependencies"] if d.startswith("restorekit") and "<" in d]
    assert about["name"].startswith("restorekit")


def test_everything_that_is_registered_is_in_the_wheel(wheel):
    from restore.plugins import discover

    package, names, _ = wheel
    plugins = project(package)["entry-points"]["restore.v1"]
    components = [c for c in discover().components if c.plugin in plugins]
    assert components
    for registered in components:
        component = registered.component
        module, _, inside = component.factory.partition(":")
        folder = module.replace(".", "/")
        if registered.kind == "recipe":
            assert f"{folder}/{inside}" in names, registered.name
        else:
            assert {f"{folder}.py", f"{folder}/__init__.py"} & set(names), registered.name
        for location in component.weights.values():
            if not isinstance(location, str):
                continue  # fetched when it is asked for
            module, _, inside = location.partition(":")
            path = f"{module.replace('.', '/')}/{inside}"
            # Weights are made by training; a source tree that has none yet is whole all the same.
            if (ROOT / package / "src" / path).is_file():
                assert path in names, registered.name


def test_the_sample_ships_with_the_core(wheel):
    package, names, _ = wheel
    if package == Path("core"):
        for name in ("sample.png", "sample_reference.png", "sample.mkv", "sample_reference.mkv"):
            assert f"restore/samples/{name}" in names


# What a package may hold, and how large one file may be: weights in half precision, everything else small.
WEIGHTS, CONTENT = (
    ".safetensors",
    {".py", ".toml", ".typed", ".md", ".png", ".mkv", ".html", ".css", ".js", ".json", ".txt", ".tmpl"},
)
ABOUT = {"METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt"}


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_nothing_large_or_foreign(package, built):
    (path,) = built(package).glob("*.whl")
    files = contents(path)
    assert {Path(n).name for n in files if ".dist-info/" in n} == ABOUT
    own = {n: v for n, v in files.items() if ".dist-info/" not in n}
    assert {Path(n).suffix for n in own} <= {*CONTENT, WEIGHTS}
    assert {n: len(v) for n, v in own.items() if len(v) > (20e6 if n.endswith(WEIGHTS) else 2e6)} == {}
    assert [n for n in own if n.endswith(WEIGHTS) and n.replace(WEIGHTS, ".md") not in own] == [], (
        "weights without a card"
    )
    assert path.stat().st_size < 60e6, "an upload to the index may not be much larger"
    home = str(ROOT).encode()
    assert [n for n, v in files.items() if home in v] == [], "paths of the machine that built it"


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_the_sdist_is_whole(package, built, tmp_path):
    (path,) = built(package).glob("*.tar.gz")
    with tarfile.open(path) as archive:
        assert all(member.isfile() or member.isdir() for member in archive.getmembers())
        tops = {member.name.split("/")[1] for member in archive.getmembers() if "/" in member.name}
        archive.extractall(tmp_path, filter="data")
    assert {"pyproject.toml", "PKG-INFO", "README.md", "LICENSE", "src", "tests"} <= tops
    assert tops <= {"pyproject.toml", "PKG-INFO", "README.md", "LICENSE", "src", "tests", ".gitignore", "experiments"}
    (source,) = tmp_path.iterdir()
    build(source, tmp_path / "again", "wheel")
    (again,), (wheel,) = (tmp_path / "again").glob("*.whl"), built(package).glob("*.whl")
    assert contents(again) == contents(wheel)


class Environment:
    """A virtual environment that holds nothing. What other projects provide is linked from the one the tests run in."""

    def __init__(self, folder):
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        (self.site,) = (folder / "venv").glob("[lL]ib/**/site-packages")
        self.others, self.linked = folder / "others", set()
        self.others.mkdir()
        (self.site / "others.pth").write_text(f"{self.others}\n")
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("RESTORE_")}
        self.environment = {**kept, "RESTORE_CACHE": str(folder / "cache"), "RESTORE_OFFLINE": "1"}

    def link(self, requirements):
        """Links the distributions that are asked for, and what they ask for; ours come as wheels alone."""
        for text in requirements or ():
            wanted = Requirement(text)
            name = wanted.name.lower().replace("_", "-")
            if name.startswith("restorekit") or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
                continue
            if name not in self.linked:
                self.linked.add(name)
                found = distribution(name)
                for top in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
                    if not (self.others / top).exists():
                        (self.others / top).symlink_to(Path(str(found.locate_file(top))))
                self.link(found.requires)

    def pip(self, *arguments):
        command = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(self.scripts / "python"),
            "--quiet",
            *map(str, arguments),
        ]
        command += ["--disable-pip-version-check"]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    def install(self, folder):
        """A wheel with what its metadata asks for, and nothing else."""
        (wheel,) = folder.glob("*.whl")
        metadata = next(v.decode() for n, v in contents(wheel).items() if n.endswith(".dist-info/METADATA"))
        self.link(line.partition(": ")[2] for line in metadata.splitlines() if line.startswith("Requires-Dist: "))
        self.pip("install", "--no-deps", "--no-index", "--no-compile", wheel)

    def restore(self, *arguments):
        command = [str(self.scripts / "restore"), *map(str, arguments)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=self.site.parent,
            env=self.environment,
            timeout=120,
            check=False,
        )

    def json(self, *arguments):
        answer = self.restore(*arguments, "--json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def plugins(self):
        return {p["name"]: p["status"] for p in self.json("plugins")}


def test_wheels_in_an_empty_environment(built, tmp_path, photo):
    image = photo("in.png")
    empty = Environment(tmp_path)
    empty.install(built(Path("core")))
    assert "Learned restoration of images and video" in empty.restore("--help").stdout
    assert empty.plugins() == {"core": "ok"}
    assert not {"pytest", "matplotlib", "hatchling"} & empty.linked, "tools of the workspace are nobody's dependency"
    run = ("run", "--recipe", "bicubic", image, "--overwrite", "-o", tmp_path / "out.png")
    assert empty.json(*run)["results"][0]["width"] == 48

    expected = {"core": "ok"}
    for package in PACKAGES:
        if package != Path("core"):
            empty.install(built(package))
            expected |= dict.fromkeys(project(package)["entry-points"]["restore.v1"], "ok")
            assert empty.plugins() == expected
    weights = {w["name"]: w["status"] for w in json.loads(empty.restore("weights", "verify", "--json").stdout)}
    assert [weights[f"srsenet:srsenet-x{scale}"] for scale in (2, 3, 4)] == ["ok"] * 3
    assert set(weights.values()) <= {"ok", "missing"}, "a source tree may lack weights that are still to be trained"
    sample = ("run", "--plugin", "srsenet", image, "--overwrite", "-o", tmp_path / "sr.png")
    assert empty.json(*sample)["results"][0]["width"] == 48

    empty.pip("uninstall", "--yes", "restorekit-srsenet")
    assert not list(empty.site.glob("*srsenet*"))
    del expected["srsenet"]
    assert empty.plugins() == expected
    assert empty.restore("doctor").returncode == 0
    gone = empty.restore(*sample)
    assert gone.returncode == 2
    assert "no plugin 'srsenet' is installed" in gone.stderr
    components = {c["name"] for c in empty.json("components")}
    assert {name.partition(":")[0] for name in components} == set(expected)
