"""What a user installs: wheels that hold everything they need and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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


@pytest.fixture(scope="module", params=PACKAGES, ids=str)
def wheel(request, tmp_path_factory):
    """The package's path, and the names in its wheel."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT / request.param, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        texts = {n: archive.read(n) for n in archive.namelist() if ".dist-info/" in n}
        return request.param, archive.namelist(), texts


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
