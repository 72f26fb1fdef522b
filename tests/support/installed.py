"""Projects on the path as if they were installed, without installing anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest
from restore import plugins

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """``installed(*projects)`` puts projects on this process's path, as editable installations."""

    from restore.training import trainer

    packages = set()

    def put(*projects):
        site = Site(tmp_path / "site")
        for project in projects:
            site.add(project, editable=True)
            packages.update(folder.name for folder in (project / "src").iterdir())
        for path in reversed(site.path):
            monkeypatch.syspath_prepend(path)
        plugins.registry.cache_clear()

    # Curves take longer to draw than short trainings take.
    monkeypatch.setattr(trainer, "plot", lambda history, path: False)
    yield put
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]
    plugins.registry.cache_clear()


class Site:
    """A folder of distributions: what pip would write of them, and the path to their sources."""

    def __init__(self, folder):
        self.folder, self.path = Path(folder), [str(folder)]
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(self, project, editable=False):
        """A project's folder with a pyproject.toml and src; ``editable`` says that it was installed with pip's -e."""
        about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        info = self.folder / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
        info.mkdir()
        lines = [f"{key}: {value}" for key, value in (
            ("Metadata-Version", "2.4"), ("Name", about["name"]), ("Version", about["version"]),
            ("Summary", about["description"]), ("License-Expression", about["license"]),
            *(("Requires-Dist", line) for line in about["dependencies"]),
        )]  # fmt: skip
        (info / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        entries = about["entry-points"]["restore.v1"]
        text = "\n".join(f"{name} = {module}" for name, module in entries.items())
        (info / "entry_points.txt").write_text(f"[restore.v1]\n{text}\n", encoding="utf-8")
        if editable:
            url = {"url": project.resolve().as_uri(), "dir_info": {"editable": True}}
            (info / "direct_url.json").write_text(json.dumps(url), encoding="utf-8")
        self.path.append(str(project / "src"))
        return self

    def run(self, *command, cwd=None):
        """A command of this Python's environment, with the folder on its path."""
        path = os.pathsep.join([*self.path, *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {k: v for k, v in os.environ.items() if not k.startswith("RESTORE_")}
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=cwd or self.folder, env={**env, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)

    def restore(self, *arguments, cwd=None):
        """``restore ARGUMENTS``."""
        return self.run("-m", "restore", *arguments, cwd=cwd)


class Environment:
    """A virtual environment that sees all that is installed here, and what is installed into it besides."""

    def __init__(self, folder):
        self.folder = Path(folder)
        venv.EnvBuilder(with_pip=False, symlinks=True).create(self.folder)
        self.python = self.folder / "bin" / "python"
        places = {"base": str(self.folder), "platbase": str(self.folder)}
        self.site = Path(sysconfig.get_path("purelib", vars=places))
        here = sysconfig.get_path("purelib")
        (self.site / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n", encoding="utf-8")

    def install(self, project):
        """With pip, from a wheel that is built for it."""
        command = ["-m", "pip", "--python", self.python, "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [sys.executable, *map(str, command), "--no-deps", "--no-build-isolation", str(project)],
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return self

    def link(self, project):
        """As pip's -e leaves it, without pip."""
        made = Site(self.site).add(project, editable=True)
        (self.site / f"{project.name}.pth").write_text(f"{made.path[-1]}\n", encoding="utf-8")
        return self

    def run(self, *command, cwd=None):
        """``python COMMAND`` in this environment."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("RESTORE_", "PYTHONPATH"))}
        done = subprocess.run(
            [str(self.python), *map(str, command)],
            cwd=cwd or self.folder, env={**env, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)

    def restore(self, *arguments, cwd=None):
        """``restore ARGUMENTS``."""
        return self.run("-m", "restore", *arguments, cwd=cwd)
