"""The run directory: everything needed to repeat a run, and to go on with it."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import attrs
import torch

from restore import __version__
from restore.document import Document, dumps
from restore.errors import RequestError
from restore.plugins import Registry


@attrs.frozen
class RunDirectory:
    """``recipe.toml``, ``environment.json``, ``metrics.jsonl``, ``curves.png``, ``last.ckpt``, ``best.safetensors``,
    ``final.safetensors`` in one folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.toml"

    @property
    def checkpoint(self) -> Path:
        """The newest whole state."""
        return self.path / "last.ckpt"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: losses and validations."""
        return self.path / "metrics.jsonl"

    def weights(self, which: str) -> Path:
        """``final`` or ``best`` weights."""
        return self.path / f"{which}.safetensors"

    def create(self, document: Document, registry: Registry) -> None:
        """Make the folder and write what the run starts from.

        Raises:
            RequestError: there is a run in it already.
        """
        if self.checkpoint.exists() or self.metrics.exists():
            raise RequestError(
                f"{self.path} already holds a run: add --resume to go on with it, or name another folder"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self.recipe.write_text(dumps(document.data), encoding="utf-8")
        (self.path / "environment.json").write_text(json.dumps(environment(registry), indent=2) + "\n")

    def log(self, **values: Any) -> None:
        """Append one line to ``metrics.jsonl``."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """All lines of ``metrics.jsonl``; a last line that a crash cut short is left out."""
        lines = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines() if self.metrics.exists() else []:
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return lines

    def forget_after(self, iteration: int) -> None:
        """Drop metrics of iterations past the checkpoint: they will be made again."""
        kept = [entry for entry in self.history() if entry["iteration"] <= iteration]
        part = self.metrics.with_suffix(".part")
        part.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
        os.replace(part, self.metrics)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the state beside the old one, then put it in its place."""
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.checkpoint)

    def load_checkpoint(self) -> dict[str, Any]:
        """The newest state.

        Raises:
            RequestError: there is none, or it cannot be read.
        """
        if not self.checkpoint.is_file():
            raise RequestError(f"{self.path} holds no checkpoint to resume from")
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:
            raise RequestError(f"checkpoint {self.checkpoint} cannot be read: {error}") from None
        assert isinstance(state, dict)
        return state


def environment(registry: Registry) -> dict[str, Any]:
    """Versions and hardware of this run."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "restorekit": __version__,
        "plugins": {p.name: f"{p.distribution} {p.version}" for p in registry.plugins if p.status == "ok"},
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
