"""What the kit looks at beside single components: the plugin as it is installed."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import attrs
from importlib_metadata import Distribution, EntryPoint, entry_points

from restore.plugins import GROUP, PluginInfo, Registered, Registry
from restore.testing.conformance import NotApplicableError

# What takes long to import, or brings what does.
HEAVY = (
    "torch", "torchvision", "numpy", "scipy", "PIL", "av", "cv2", "lightning", "lightning_fabric", "pytorch_lightning",
    "matplotlib", "pandas", "skimage", "sklearn", "timm", "transformers", "tensorflow", "jax", "natten", "onnx",
    "onnxruntime", "torchmetrics", "h5py", "ray", "kornia", "einops", "safetensors.torch",
)  # fmt: skip

_PROBE = """
import contextlib, importlib, io, json, os, sys, time
given = json.loads(sys.argv[1])
sys.path[:] = given["path"]
import restore.plugins
seen, said = [], io.StringIO()
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in given["heavy"] and name not in [s[0] for s in seen]:
            frame = sys._getframe(1)
            while frame and (frame.f_code.co_filename.startswith("<frozen") or frame.f_code.co_name == "find_spec"):
                frame = frame.f_back
            seen.append((name, frame.f_code.co_filename if frame else "", frame.f_lineno if frame else 0))
sys.meta_path.insert(0, Watch())
loaded = set(sys.modules)
begin, error = time.process_time(), ""
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    try:
        importlib.import_module(given["module"])
    except BaseException as problem:
        error = f"{type(problem).__name__}: {problem}"
seconds = time.process_time() - begin
report = {"heavy": [s for s in seen if s[0] in sys.modules], "seconds": seconds, "error": error}
report["modules"] = len(set(sys.modules) - loaded)
report["said"] = said.getvalue()[:200]
print(json.dumps(report), flush=True)
os._exit(0)
"""


@attrs.frozen
class Listing:
    """What importing a plugin's module did in a fresh process.

    Attributes:
        heavy: heavy modules that came along, each with the file and line that asked for it.
        seconds: of the processor.
        modules: how many came along beyond the core's.
        said: what it printed.
        error: what it raised; empty if nothing.
    """

    heavy: list[tuple[str, str, int]]
    seconds: float
    modules: int
    said: str
    error: str


@attrs.frozen
class Package:
    """An installed plugin, or some of its components.

    Attributes:
        plugin: its name.
        registry: all that is installed.
        components: those that are looked at.
    """

    plugin: str
    registry: Registry
    components: tuple[Registered, ...]

    @property
    def infos(self) -> list[PluginInfo]:
        """What is known of the plugin; two where two distributions claim its name."""
        return [info for info in self.registry.plugins if info.name == self.plugin]

    @property
    def entry(self) -> EntryPoint:
        """The entry point.

        Raises:
            NotApplicableError: none: the registry was made by hand.
        """
        for entry in entry_points(group=GROUP):
            if entry.name == self.plugin:
                return cast(EntryPoint, entry)
        raise NotApplicableError(f"plugin {self.plugin} has no entry point: it is not installed")

    @property
    def distribution(self) -> Distribution:
        """The distribution that brings it.

        Raises:
            NotApplicableError: none is known.
        """
        found = self.entry.dist
        if found is None:
            raise NotApplicableError(f"plugin {self.plugin} belongs to no distribution")
        return cast(Distribution, found)

    def listing(self) -> Listing:
        """What importing its module does; the fresh process is started once.

        Raises:
            NotApplicableError: it is not installed.
        """
        return _listing(self.entry.module, tuple(sys.path))

    @property
    def source(self) -> Path | None:
        """The folder that an editable installation points to; None for any other."""
        text = self.distribution.read_text("direct_url.json")
        url: dict[str, Any] = json.loads(text) if text else {}
        if not url.get("dir_info", {}).get("editable") or not url["url"].startswith("file://"):
            return None
        from urllib.parse import urlsplit
        from urllib.request import url2pathname

        folder = Path(url2pathname(urlsplit(url["url"]).path))
        return folder if (folder / "pyproject.toml").is_file() else None


@functools.lru_cache(maxsize=64)
def _listing(module: str, path: tuple[str, ...]) -> Listing:
    given = json.dumps({"module": module, "path": path, "heavy": HEAVY})
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, given], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode or not done.stdout.strip():
        lines = done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"]
        return Listing([], 0.0, 0, "", lines[-1])
    report = json.loads(done.stdout.strip().splitlines()[-1])
    return Listing([tuple(h) for h in report.pop("heavy")], **report)
