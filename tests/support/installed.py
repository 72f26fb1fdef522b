"""Projects on the path as if they were installed, without installing anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Site:
    """A folder of distributions: what pip would write of them, and the path to their sources."""

    def __init__(self, folder):
        self.folder, self.path = Path(folder), [str(folder)]
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(self, project):
        """A project's folder with a pyproject.toml and src."""
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
