"""One cell of the combination matrix: a recipe of tiny parts, trained for a few steps, then run on a clip."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
from PIL import Image
from restore import RestoreError
from restore.build import import_factory, schema
from restore.contracts import Degradation, Traits
from restore.document import Document
from restore.evaluation.clips import evaluate_clips
from restore.inference.temporal import restorer_of
from restore.modelling import build_model, builder
from restore.plugins import Registered, Registry
from restore.recipe import Run, Temporal, Use, check
from restore.testing import write_frames
from restore.training.directory import RunDirectory
from restore.training.parts import build_parts
from restore.training.trainer import Trainer
from restore.weights import save

AXES = ("model", "degradation", "loss", "pruner", "method")
Status = Literal["works", "runs", "refused", "broken"]
PLAIN, NONE = "plain", "none"
# Clips are (T, H, W) = (4, 24, 24); models that enlarge by 4 see six rows.
FRAMES, SIDE = 4, 24

_FLOW = {"flow_levels": 2, "flow_widths": [8, 8]}
_BASICVSR = {"features": 8, "blocks": 1, "tail_features": 8, **_FLOW}
_AUTOENCODER = {"features": 8, "encoder_blocks": 1, "decoder_blocks": 1}
# Blurs that leave the size as it is; by default what is observed is larger, which only models with the operator undo.
_KEPT = {"boundary": "circular"}
_RAMP = {"increment": 0.1, "every": 1, "ceiling": 0.1}
# Parameters that make a component small, or that have no default. What is not named is built from its defaults; files
# and what depends on the model's scale are filled in by Cells.table.
TINY: dict[str, dict[str, Any]] = {
    "model crds:crds": {
        **_AUTOENCODER, **_FLOW, "fusion_blocks": 1, "propagation_blocks": 1, "window": 3, "blocks": 2,
    },
    "model crds:ldr-ae": _AUTOENCODER,
    "model eco:edsr-baseline": {"blocks": 2, "features": 8},
    "model eco:edsr": {"blocks": 2, "features": 8},
    "model eco:rcan": {"groups": 2, "blocks": 1, "features": 16, "reduction": 1},
    "model eco:swinir": {"features": 12, "depths": [2], "heads": 3, "window": 4},
    "model srsenet:srsenet": {"blocks": 1, "features": 8},
    "model ssl_prune:basicvsr": _BASICVSR,
    "model ssl_prune:basicvsr-uni": _BASICVSR,
    "model ssl_prune:basicvsr-small": {"features": 8, "blocks": 1},
    "model videoonet:videoonet": {"filters": 4, "encoder_kernel": 3, "decoder_kernel": 3, "iterations": 2},
    "model videoonet:total-variation": {"iterations": 3},
    "model videoonet:wavelets": {"iterations": 2, "level": 1},
    "model videoonet:wavelets-haar": {"iterations": 2, "level": 1},
    "model videoonet:plug-and-play": {"denoiser": {"use": "core:identity"}, "iterations": 2},
    "model unet2d:unet2d": {"levels": 2, "features": 4},
    "degradation core:gaussian-noise": {"sigma": 0.1},
    "degradation core:poisson-noise": {"peak": 40},
    "degradation core:jpeg": {"quality": [20, 90]},
    "degradation core:codec": {"codec": "x264", "qp": 35, "preset": "ultrafast"},
    "degradation core:compressive-sensing": {"ratio": 0.1},
    "degradation core:disk-blur": _KEPT,
    "degradation core:kernel-blur": _KEPT,
    "degradation core:motion-blur": {"length": 5, **_KEPT},
    "degradation core:temporal-blur": {"frames": 3, **_KEPT},
    "degradation core:frame-interpolation": {"rate": 2},
    "degradation core:frame-prediction": {"missing": 0.5},
    "degradation videoonet:problems": {"among": [{"use": "core:disk-blur", **_KEPT}, {"use": "core:inpainting"}]},
    "pruner ssl_prune:ssl": _RAMP,
    "pruner ssl_prune:assl": _RAMP,
}  # fmt: skip

# What a component cannot do without, in place of what is plain.
PARTNERS = {"crds:ldr": {"method": "crds:levels"}}


@attrs.frozen
class Cell:
    """One value on each axis, by the components' full names."""

    model: str
    degradation: str
    loss: str = "core:charbonnier"
    pruner: str = NONE
    method: str = PLAIN

    def __str__(self) -> str:
        return " x ".join(getattr(self, axis) for axis in AXES)


@attrs.frozen
class Result:
    """How a cell went: ``works``, it trained and ran; ``runs``, there is nothing in it to train, and it ran;
    ``refused``, with the reason; ``broken``, something was raised that is no refusal."""

    status: Status
    reason: str = ""


def wraps(registered: Registered) -> bool:
    """Whether a degradation is a training method: it wraps any other as its ``base``."""
    parameter = schema(import_factory(registered)).get("base")
    return parameter is not None and parameter.annotation is Degradation


def axes(registry: Registry) -> dict[str, list[str]]:
    """Every value of every axis, from what is registered."""
    found = {kind: [r.name for r in registry.of_kind(kind)] for kind in ("model", "loss")}
    every = registry.of_kind("degradation")
    return {
        "model": found["model"],
        "degradation": [r.name for r in every if not wraps(r)],
        "loss": found["loss"],
        "pruner": [NONE, *(r.name for r in registry.of_kind("pruner"))],
        "method": [PLAIN, *(r.name for r in every if wraps(r))],
    }


class _Training(Trainer):
    """Training without its picture of curves, which takes longer than the steps, and without words."""

    def _plot(self) -> None:
        pass

    def _say(self, message: str) -> None:
        pass


class Cells:
    """Tries cells, each once.

    Args:
        registry: installed plugins.
        folder: for data, weights and runs.
    """

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry, self.folder, self.builder = registry, folder, builder(registry)
        self.clips = write_frames(folder / "clips", 2, FRAMES, SIDE, SIDE)
        self.results: dict[Cell, Result] = {}
        self._traits: dict[str, Traits] = {}
        np.save(folder / "kernel.npy", np.outer([1, 2, 1], [1, 3]) / 16)
        seen = np.random.default_rng(0).random((SIDE, SIDE)) > 0.4
        Image.fromarray(seen.astype(np.uint8) * 255).save(folder / "mask.png")

    def __call__(self, cell: Cell) -> Result:
        """Train it for a few steps and run it on a clip; a cell that was tried before is not tried again."""
        if cell not in self.results:
            self.results[cell] = self._tried(cell)
        return self.results[cell]

    def _tried(self, cell: Cell) -> Result:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            return Result(self._run(cell, folder))
        except RestoreError as error:
            said = re.sub(r"^[ab]: ", "", str(error).replace("cell: ", ""))  # a and b are the clips
            return Result("refused", said.replace(str(self.folder), "."))
        except Exception as error:  # what no one foresaw is what this looks for
            return Result("broken", f"{type(error).__name__}: {error}".splitlines()[0])
        finally:
            shutil.rmtree(folder)

    def _run(self, cell: Cell, folder: Path) -> Status:
        document = self.document(cell)
        recipe = check(document)
        assert recipe.model is not None
        status: Status = "runs"
        model, _ = build_model(recipe.model, self.builder)
        if cell != Cell(cell.model, cell.degradation) or any(p.requires_grad for p in model.parameters()):
            trainer = _Training(build_parts(recipe, document, self.builder), document, RunDirectory(folder))
            trainer.fit()
            weights = {**recipe.model.parameters, "weights": str(folder / "final.safetensors")}
            # As a person would: a fresh network, whose weights say what was pruned.
            model, _ = build_model(attrs.evolve(recipe.model, parameters=weights), self.builder)
            status = "works"
        self._restore(cell, model)
        return status

    def _restore(self, cell: Cell, model: Any) -> None:
        """A clip through the engine, chunk by chunk where it looks along time; it must come back finite and whole."""
        model.eval()
        engine = None
        if model.traits.temporal != "frame" and not model.traits.needs_operator:
            engine = restorer_of(model, Run(device="cpu", precision="fp32", temporal=Temporal(look_ahead=2, chunk=2)))
        data = self.builder.build("dataset", _use({"use": "core:frames", "root": str(self.clips)}))
        spoils = self.builder.build("degradation", _use(self._degradation(cell)))
        evaluate_clips(model, data, spoils, engine=engine, whole=0)  # type: ignore[arg-type]

    def document(self, cell: Cell) -> Document:
        """The cell as a recipe."""
        made: dict[str, Any] = {
            "recipe": 1,
            "model": self.model_table(cell),
            "degradation": self._degradation(cell),
            "losses": [self._loss(cell)],
            "optimizer": {"use": "adam", "lr": 1e-4},
            "data": {"train": {"use": "core:frames", "root": str(self.clips), "length": FRAMES, "patch": SIDE}},
            "training": {"batch": 2, "log_every": 1000, "iterations": 2},
        }
        if cell.method != PLAIN:
            made["degradation"] = self._method(cell, made["degradation"])
        if cell.pruner != NONE:
            made["pruner"] = {"use": cell.pruner, **self._tiny("pruner", cell.pruner)}
            del made["training"]["iterations"]
            made["phases"] = [{"iterations": 2, "pruning": pruning} for pruning in ("regularise", "compact")]
        return Document("cell", "", made)

    def _tiny(self, kind: str, name: str) -> dict[str, Any]:
        return dict(TINY.get(f"{kind} {name}", {}))

    def _takes(self, kind: str, name: str, parameter: str) -> bool:
        return parameter in schema(import_factory(self.registry.find(kind, name)))

    def scale(self, cell: Cell) -> int:
        """Of the degradation: the model's, where that is fixed; where it can be chosen, 2 if anything is scaled."""
        scaling = self._takes("degradation", cell.degradation, "scale") or cell.degradation == "core:chain"
        if not self._takes("model", cell.model, "scale"):
            return max(self.traits(cell).scale, 2 if scaling and cell.degradation != "core:chain" else 1)
        return 2 if scaling else 1

    def traits(self, cell: Cell) -> Traits:
        """Of the cell's model; of one whose scale can be chosen, at scale 2."""
        name = cell.model
        if name not in self._traits:
            scale = {"scale": 2} if self._takes("model", name, "scale") else {}
            self._traits[name] = self.builder.build(
                "model", _use({"use": name, **self._tiny("model", name), **scale})
            ).traits
        return self._traits[name]

    def model_table(self, cell: Cell) -> dict[str, Any]:
        """``[model]``, small."""
        table = {"use": cell.model, **self._tiny("model", cell.model)}
        return {**table, "scale": self.scale(cell)} if self._takes("model", cell.model, "scale") else table

    def _degradation(self, cell: Cell) -> dict[str, Any]:
        name, scale = cell.degradation, self.scale(cell)
        table = {"use": name, **self._tiny("degradation", name)}
        if name == "core:chain":
            first = {"use": "core:bicubic", "scale": scale} if scale > 1 else {"use": "core:disk-blur", **_KEPT}
            table["steps"] = [first, {"use": "core:gaussian-noise", "sigma": 0.05}]
        if name == "core:choice":
            table["among"] = [{"use": "core:disk-blur", **_KEPT}, {"use": "core:inpainting"}]
        for parameter, value in (("scale", scale), ("path", self._file(name)), ("mask", self._file(name))):
            if self._takes("degradation", name, parameter):
                table[parameter] = value
        return table

    def _file(self, name: str) -> str:
        return str(self.folder / ("mask.png" if "mask" in name else "kernel.npy"))

    def _method(self, cell: Cell, base: dict[str, Any]) -> dict[str, Any]:
        table = {"use": cell.method, **self._tiny("degradation", cell.method), "base": base}
        if self._takes("degradation", cell.method, "teacher"):
            scale = self.scale(cell)
            table["teacher"] = {"use": "core:bicubic", "scale": scale} if scale > 1 else {"use": "core:identity"}
            table["teacher"]["channels"] = "y" if self.traits(cell).channels == "y" else "rgb"
        return table

    def _loss(self, cell: Cell) -> dict[str, Any]:
        table = {"use": cell.loss, **self._tiny("loss", cell.loss)}
        if self._takes("loss", cell.loss, "teacher"):
            table["teacher"] = self._taught(cell)
        return table

    def _taught(self, cell: Cell) -> dict[str, Any]:
        """The model itself as its teacher, untrained."""
        table = self.model_table(cell)
        path = self.folder / f"{cell.model.replace(':', '-')}-{self.scale(cell)}.safetensors"
        model, name = build_model(_use(table), self.builder)
        if not model.state_dict():
            return table
        if not path.exists():
            save(path, model.state_dict(), {"component": name})
        return {**table, "weights": str(path)}


def _use(table: dict[str, Any]) -> Use:
    parameters = {k: v for k, v in table.items() if k != "use"}
    return Use(table["use"], parameters, Document("cell", "", parameters).root)
