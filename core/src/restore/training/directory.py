"""The run directory: everything needed to repeat a run, and to go on with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
import torch

from restore.document import Document, dumps
from restore.errors import RequestError
from restore.plugins import Registry
from restore.training.environment import environment


@attrs.frozen
class RunDirectory:
    """``recipe.toml``, ``environment.json``, ``metrics.jsonl``, ``curves.png``, ``last.ckpt``, ``best.safetensors``,
    ``final.safetensors`` in one folder; where asked for, ``weights/iteration-N.safetensors`` and ``tensorboard/``.
    Whatever is replaced is written beside its name first, so that a crash leaves the old or the new one."""

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

    @property
    def tensorboard(self) -> Path:
        """What TensorBoard reads."""
        return self.path / "tensorboard"

    def weights(self, which: str | int) -> Path:
        """``final`` or ``best`` weights, or those kept of an iteration."""
        if isinstance(which, int):
            return self.path / "weights" / f"iteration-{which:08d}.safetensors"
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
        """Drop metrics and kept weights of iterations past the checkpoint: they will be made again."""
        for path in (self.path / "weights").glob("iteration-*.safetensors"):
            if int(path.stem.rpartition("-")[2]) > iteration:
                path.unlink()
        kept = [entry for entry in self.history() if entry["iteration"] <= iteration]
        part = self.metrics.with_suffix(".part")
        part.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
        os.replace(part, self.metrics)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the state beside the old one, then put it in its place."""
        part = self.checkpoint.with_suffix(".part")
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
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
