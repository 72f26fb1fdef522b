"""DeepInverse 0.5 beside ours: loads it where it is installed, and wraps its operators for clips ``(B, T, C, H, W)``.

Its own installation brings another torch and torchvision, so that it belongs into a folder of its own:

    pip install --no-deps --target peers deepinv==0.5.0 torchmetrics lightning-utilities einops natsort \\
        tqdm requests urllib3 idna certifi charset-normalizer h5py

and ``--peers peers`` on the benchmark's command line. torchvision, which it imports and these operators do not use, is
replaced by an empty module.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from pathlib import Path
from typing import Any, Callable

import torch
from restore.operators import (
    BoxDownsample,
    CircularBlur,
    CompressiveSensing,
    FrameSelection,
    FullBlur,
    Grey,
    Mask,
    Operator,
)
from torch import Tensor

INSTALL = (
    "pip install --no-deps --target peers deepinv==0.5.0 torchmetrics lightning-utilities einops natsort "
    "tqdm requests urllib3 idna certifi charset-normalizer h5py, then --peers peers"
)
Actions = dict[str, Callable[..., Tensor]]


class _Empty(types.ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _Torchvision(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands for torchvision and everything in it."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Only torchvision's names."""
        if fullname.split(".", maxsplit=1)[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> types.ModuleType:
        """Empty."""
        return _Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def load(folder: Path | None) -> types.ModuleType | None:
    """``deepinv.physics``, from ``folder`` or where it is installed; ``None`` where it is not."""
    if folder is not None:
        if not (folder / "deepinv").is_dir():
            raise SystemExit(f"{folder} holds no deepinv; {INSTALL}")
        sys.path.append(str(folder.resolve()))
    if importlib.util.find_spec("deepinv") is None:
        return None
    if importlib.util.find_spec("torchvision") is None:
        sys.meta_path.append(_Torchvision())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("deepinv.physics")


def _framewise(physics: Any, shape: tuple[int, ...], low: tuple[int, ...]) -> Actions:
    """Every frame as a sample, ``(B T, C, H, W)``; both reshapes are views."""

    def frames(x: Tensor) -> Tensor:
        return x.flatten(0, 1)

    def clip(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
        return x.view(-1, *sizes)

    return {
        "forward": lambda x: clip(physics.A(frames(x)), low),
        "adjoint": lambda y: clip(physics.A_adjoint(frames(y)), shape),
        "pinv": lambda y: clip(physics.A_dagger(frames(y)), shape),
        "prox": lambda v, y, rho: clip(physics.prox_l2(frames(v), frames(y), 1 / rho), shape),
    }


def _whole(physics: Any) -> Actions:
    """The clip as one sample."""
    return {
        "forward": physics.A,
        "adjoint": physics.A_adjoint,
        "pinv": physics.A_dagger,
        "prox": lambda v, y, rho: physics.prox_l2(v, y, 1 / rho),
    }


def _written(dinv: Any, operator: Operator) -> Actions:
    """Where it has no operator: A and A^T by hand (ours, so that they are not compared), its conjugate gradients."""
    physics = dinv.LinearPhysics(A=lambda x, **_: operator.apply(x), A_adjoint=lambda y, **_: operator.back(y))
    made = _whole(physics)
    return {action: made[action] for action in ("pinv", "prox")}


def _box_kernel(factor: int) -> Tensor:
    """The box in an odd kernel: a kernel of even size shifts by half a pixel, and one of 2x2 raises."""
    side = 2 * factor - 1
    kernel = torch.zeros(1, 1, side, side)
    kernel[..., :factor, :factor] = 1 / factor**2
    return kernel


def _sensing(dinv: Any, operator: CompressiveSensing, shape: tuple[int, ...]) -> Actions:
    phi: Tensor = operator.rows.matrix  # type: ignore[union-attr]
    physics = dinv.CompressedSensing(m=1, img_size=(shape[0] * shape[1], *shape[2:]))
    # What its constructor does with rows of its own.
    physics._A, physics._A_adjoint, physics._A_dagger = phi, phi.T, torch.linalg.pinv(phi)
    made = _framewise(physics, shape, operator.shape.output)
    return made | {
        "forward": lambda x: physics.A(x.flatten(1, 2)),
        "adjoint": lambda y: physics.A_adjoint(y).view(-1, *shape),
        "pinv": lambda y: physics.A_dagger(y).view(-1, *shape),
        "prox": lambda v, y, rho: physics.prox_l2(v.flatten(1, 2), y, 1 / rho).view(-1, *shape),
    }


def actions(dinv: Any, name: str, operator: Operator) -> tuple[Actions, str]:
    """Its forward, adjoint, pinv and prox of the same problem, and which class they come from."""
    shape, low = operator.shape.input, operator.shape.output
    _, channels, height, width = shape
    if isinstance(operator, Mask):
        mask = operator.mask.float().expand(shape)
        return _whole(dinv.Inpainting(img_size=shape, mask=mask)), "Inpainting"
    if isinstance(operator, FrameSelection):
        # It has no selection: a mask over time, whose measurement is as large as the clip.
        seen = torch.zeros(shape)
        seen[list(operator.frames)] = 1
        made = _whole(dinv.Inpainting(img_size=shape, mask=seen))
        kept = torch.tensor(operator.frames)

        def wide(y: Tensor) -> Tensor:
            return y.new_zeros(len(y), *shape).index_copy(1, kept, y)

        return {
            "forward": lambda x: made["forward"](x)[:, kept],
            "adjoint": lambda y: made["adjoint"](wide(y)),
            "pinv": lambda y: made["pinv"](wide(y)),
            "prox": lambda v, y, rho: made["prox"](v, wide(y), rho),
        }, "Inpainting"
    if isinstance(operator, BoxDownsample):
        physics = dinv.Downsampling(
            img_size=(channels, height, width), filter=_box_kernel(operator.factor), factor=operator.factor
        )
        return _framewise(physics, shape, low), "Downsampling (fft)"
    if name.startswith("bicubic"):
        physics = dinv.DownsamplingMatlab(img_size=(channels, height, width), factor=4)
        return _framewise(physics, shape, low), "DownsamplingMatlab"
    if isinstance(operator, CircularBlur):
        physics = dinv.BlurFFT(img_size=(channels, height, width), filter=operator.kernel[None, None].float())
        return _framewise(physics, shape, low), "BlurFFT"
    if isinstance(operator, Grey):
        return _framewise(dinv.Decolorize(channels=3), shape, low), "Decolorize"
    if isinstance(operator, CompressiveSensing) and operator.rows.gram is None:
        return _sensing(dinv, operator, shape), "CompressedSensing"
    if name.startswith("valid"):
        kernel = operator.T.kernel.flip(0, 1)[None, None].float()  # type: ignore[attr-defined]
        return _framewise(dinv.Blur(filter=kernel, padding="valid"), shape, low), "Blur"
    if isinstance(operator, FullBlur):
        return _written(dinv, operator), "LinearPhysics"
    return _written(dinv, operator), "LinearPhysics"
