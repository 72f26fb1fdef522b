"""Models for other programs: ONNX, and torch.export's own format; what comes out is compared with the model itself."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any, Callable, Iterator, Literal, Mapping

import attrs
import torch
from torch import Tensor, nn

from restore.contracts import Prediction, Traits
from restore.errors import RequestError, RestoreError
from restore.functional.resize import taps

SUFFIXES = {".onnx": "onnx", ".pt2": "torch.export"}
# Sums in another order, and kernels of another library, over a hundred layers.
_AGREEMENT = 1e-3
_Size = tuple[int, int]
Dynamic = Literal["all", "batch", "none"]


class FrameForm(nn.Module):
    """A model of single frames as other programs know images: ``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``.

    Args:
        model: of clips.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        """``(N, C, H, W)``."""
        return _restored(self.model(frames.unsqueeze(1))).squeeze(1)


class ClipForm(nn.Module):
    """A model of windows: ``(B, T, C, H, W)`` to ``(B, T, C, scale*H, scale*W)``, a tensor whatever it returns.

    Args:
        model: of clips.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, C, H, W)``."""
        return _restored(self.model(clip))


def _restored(answer: Tensor | Prediction) -> Tensor:
    return answer.restored if isinstance(answer, Prediction) else answer


@attrs.frozen
class Traced:
    """A model as torch.export sees it.

    Attributes:
        program: the graph.
        form: the module it came from.
        shape: of the example input.
        dynamic: whether any height and width will do, any batch, or neither.
        note: why not all of them; empty if they do.
    """

    program: torch.export.ExportedProgram
    form: nn.Module
    shape: tuple[int, ...]
    dynamic: Dynamic
    note: str = ""

    def shapes(self, traits: Traits) -> Iterator[tuple[int, ...]]:
        """Input shapes that it must take."""
        yield self.shape
        if self.dynamic != "none":
            yield (self.shape[0] + 1, *self.shape[1:])
        if self.dynamic == "all":
            height, width = self.shape[-2:]
            step = traits.multiple_of
            yield (1, *self.shape[1:-2], height + 3 * step, width + 5 * step)


@attrs.frozen
class Exported:
    """A file that was written.

    Attributes:
        path: of it.
        format: ``onnx`` or ``torch.export``.
        shape: of the example input.
        dynamic: ``all``, any batch, height and width; ``batch``; ``none``, exactly that shape.
        difference: largest difference from the model itself on random clips; None where nothing could run it.
        checked: what ran it.
        note: for people.
    """

    path: Path
    format: str
    shape: tuple[int, ...]
    dynamic: Dynamic
    difference: float | None
    checked: str
    note: str = ""


def refusal(traits: Traits) -> str:
    """Why a model with these traits cannot be exported; empty if it can."""
    if traits.needs_operator:
        return (
            "it is called with a linear operator, a Python object that neither ONNX nor torch.export can hold; "
            "run it through restore"
        )
    if traits.temporal == "stream":
        return (
            "it carries state along time, forwards or backwards through a video, which is the engine's work and no "
            "single graph's; run it through restore"
        )
    return ""


def refuse(model: nn.Module) -> None:
    """RequestError where a model cannot be exported by its traits, with the reason."""
    if reason := refusal(model.traits):  # type: ignore[arg-type]
        raise RequestError(f"this {type(model).__name__} cannot be exported: {reason}")


def trace(model: nn.Module, size: _Size | None = None, frames: int | None = None, static: bool = False) -> Traced:
    """The model as a graph, for any batch, height and width where its code allows.

    Args:
        model: with traits; put in evaluation mode.
        size: height and width of the example, in pixels; None takes 64 by 64, or what the traits ask for.
        frames: of a window, for models of ``"clip"``s; None: ``2 * halo.frames + 1``.
        static: only exactly the example's shape.

    Raises:
        RequestError: it cannot be exported, by its traits or by its code; why.
    """
    refuse(model)
    traits: Traits = model.traits  # type: ignore[assignment]
    form, shape = _example(model, traits, size, frames)
    reasons: list[str] = []
    tries: tuple[Dynamic, ...] = ("none",) if static else ("all", "batch", "none")
    for dynamic in tries:
        try:
            program = _export(form, shape, traits, dynamic)
            traced = Traced(program, form, shape, dynamic, _note(dynamic, reasons))
            if dynamic != "none":
                difference(traced, program.module(), traits)
            return traced
        except Exception as error:  # torch.export raises whatever the model's code makes it meet
            reasons.append(f"{type(error).__name__}: {_first_lines(error)}")
    raise RequestError(
        f"this {type(model).__name__} cannot be exported: torch.export fails with {reasons[-1]}. Its forward must not "
        "depend on the values it is given, nor leave torch"
    )


def _example(
    model: nn.Module, traits: Traits, size: _Size | None, frames: int | None
) -> tuple[nn.Module, tuple[int, ...]]:
    multiple = traits.multiple_of
    if size is None:
        side = -(-max(64, traits.minimum) // multiple) * multiple
        size = (side, side)
    if any(side % multiple or side < traits.minimum for side in size):
        raise RequestError(
            f"{size[1]}x{size[0]} does not suit the model: its sides must be multiples of {multiple}, at least "
            f"{traits.minimum}"
        )
    channels = traits.planes
    if traits.temporal == "frame":
        return FrameForm(model.eval()), (2, channels, *size)
    return ClipForm(model.eval()), (2, frames or 2 * traits.halo.frames + 1, channels, *size)


def _note(dynamic: Dynamic, reasons: list[str]) -> str:
    if dynamic == "all" or not reasons:
        return ""
    kept = "height and width are fixed" if dynamic == "batch" else "batch, height and width are fixed"
    return f"{kept}: with sizes left open, torch.export failed with {reasons[0]}"


def _export(form: nn.Module, shape: tuple[int, ...], traits: Traits, dynamic: Dynamic) -> Any:
    sizes: dict[int, Any] = {}
    if dynamic != "none":
        sizes[0] = _open("batch", 1, 1)
    if dynamic == "all":
        for axis, name in ((len(shape) - 2, "height"), (len(shape) - 1, "width")):
            sizes[axis] = _open(name, traits.multiple_of, traits.minimum)
    with _quiet(), torch.no_grad():
        # What the model computes once for a size is computed here, with real numbers.
        form(_noise(shape))
        try:
            return torch.export.export(form, (_noise(shape),), dynamic_shapes=(sizes,), strict=False)
        finally:
            # What was computed for sizes left open is of no use to anybody else.
            taps.cache_clear()


def _open(name: str, multiple: int, minimum: int) -> Any:
    """A size that is left open."""
    if hasattr(torch.export.Dim, "AUTO"):
        return torch.export.Dim.AUTO
    least = max(2, -(-minimum // multiple))
    if multiple == 1:
        return torch.export.Dim(name, min=least, max=16384)
    return multiple * torch.export.Dim(f"{name}_{multiple}", min=least, max=16384 // multiple)


def _first_lines(error: Exception) -> str:
    """What an exception says before it goes into details."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return lines[0].split(" For more information")[0] + (f" {lines[1]}" if lines[1:] and lines[1][0] == "-" else "")


def _noise(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0x0EB0))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch.export tells its users much about torch's own code; what goes wrong comes as an exception too."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def difference(traced: Traced, run: Callable[[Tensor], Tensor], traits: Traits) -> float:
    """The largest difference between ``run`` and the model itself, over the shapes that must work.

    Raises:
        RestoreError: it is more than rounding.
    """
    largest = 0.0
    for shape in traced.shapes(traits):
        clip = _noise(shape)
        with torch.no_grad():
            wanted, found = traced.form(clip), run(clip)
        if wanted.shape != found.shape:
            raise RestoreError(f"{tuple(shape)} became {tuple(found.shape)}, in the model itself {tuple(wanted.shape)}")
        by = float((wanted - found).abs().max())
        if not by <= _AGREEMENT * max(1.0, float(wanted.abs().max())):
            raise RestoreError(f"what was exported differs from the model itself by up to {by:.3g} at {tuple(shape)}")
        largest = max(largest, by)
    return largest


def write(traced: Traced, path: Path, traits: Traits, about: Mapping[str, Any], opset: int | None = None) -> Exported:
    """Write the file under another name, run it, compare it with the model, and give it its name.

    Args:
        traced: from :func:`trace`.
        path: ends in ``.onnx`` or ``.pt2``.
        traits: of the model; they go into the file.
        about: what else goes into the file.
        opset: of ONNX; None takes the exporter's own.

    Raises:
        RequestError: another ending, or packages that are missing.
        RestoreError: it cannot be written in this format, or computes something else than the model.
    """
    if path.suffix not in SUFFIXES:
        raise RequestError(f"{path} must end in .onnx (ONNX) or .pt2 (torch.export)")
    text = json.dumps({**about, "traits": attrs.asdict(traits)})
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        if path.suffix == ".onnx":
            by, checked = _write_onnx(traced, part, traits, text, opset)
        else:
            torch.export.save(traced.program, part, extra_files={"restore.json": text})
            with _quiet():
                by, checked = difference(traced, torch.export.load(part).module(), traits), "torch.export.load"
        os.replace(part, path)
    except OSError as error:
        raise RestoreError(f"{path} cannot be written: {error}") from None
    finally:
        part.unlink(missing_ok=True)
    return Exported(path, SUFFIXES[path.suffix], traced.shape, traced.dynamic, by, checked, traced.note)


def check_packages(path: Path) -> None:
    """RequestError where what the format needs is not installed; before anything long is done."""
    if path.suffix == ".onnx":
        lost = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
        if lost:
            raise RequestError(f"ONNX needs {' and '.join(lost)}: pip install 'restorekit[onnx]', or write a .pt2 file")


def _write_onnx(traced: Traced, path: Path, traits: Traits, text: str, opset: int | None) -> tuple[float | None, str]:
    check_packages(path)
    try:
        with _quiet():
            made = torch.onnx.export(traced.program, dynamo=True, verbose=False, opset_version=opset)
    except Exception as error:  # whatever the exporter lacks
        raise RestoreError(
            f"ONNX cannot hold this model: {type(error).__name__}: {_first_lines(error)}; a .pt2 file can"
        ) from error
    assert made is not None
    made.model.metadata_props["restore"] = text
    made.save(str(path))
    if importlib.util.find_spec("onnxruntime") is None:
        return None, "nothing: onnxruntime is not installed"
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(clip: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: clip.numpy()})[0])

    return difference(traced, run, traits), f"onnxruntime {onnxruntime.__version__}"
