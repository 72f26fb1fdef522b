"""Frozen models, with an optional cache of their answers on disk."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, Iterable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.nn import functional as F

from restore.contracts import Prediction, Traits
from restore.errors import RequestError, RestoreError
from restore.functional.quantizer import join_qp


class FrozenModel:
    """A model in evaluation mode without gradients, which keeps :class:`restore.Teacher`.

    It is no ``nn.Module`` on purpose: a module that holds one neither lists its weights as its own, nor saves them, nor
    switches it to training.

    Args:
        network: keeps :class:`restore.Model`; it is frozen in place.
        name: of its component, part of the cache's key.
        cache: folder for its answers; left out, nothing is kept.
    """

    def __init__(self, network: nn.Module, name: str = "model", cache: Path | None = None) -> None:
        self.network = network.eval().requires_grad_(False)
        traits = network.traits
        assert isinstance(traits, Traits)
        self.traits, self.name = traits, name
        self._cache = None if cache is None else AnswerCache(cache)
        self._device = next((p.device for p in network.parameters()), None)

    def to(self, device: torch.device | str) -> FrozenModel:
        """Move the network; a clip on another device moves it again."""
        self.network.to(device)
        self._device = torch.device(device)
        return self

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over names, shapes and values of all weights and buffers, and the component's name."""
        return weights_digest(self.network, self.name)

    @torch.no_grad()
    def __call__(self, clip: Tensor) -> Tensor | Prediction:
        """The network's answer to ``(B, T, C, H, W)``, in the clip's dtype and on its device. Sides that the network
        cannot take are padded by repeating the border, and the answer is cropped.

        Raises:
            RestoreError: what was observed is no clip, or has another number of channels than the network takes.
        """
        if clip.ndim != 5:
            raise RestoreError(
                f"the teacher {self.name} takes clips, and what was observed is a measurement of the shape "
                f"{tuple(clip.shape)}: a teacher must undo a degradation that leaves clips"
            )
        if self.traits.channels == "rgb+qp" and clip.shape[-3] == 3:
            clip = join_qp(clip, None)
        wanted = self.traits.planes
        if clip.shape[-3] != wanted:
            raise RestoreError(
                f"the teacher {self.name} works on clips of {wanted} channel(s), this one has {clip.shape[-3]}: "
                "student and teacher must both be made for luma or both for RGB"
            )
        if clip.device != self._device:
            self.to(clip.device)
        if self._cache is None:
            return self._answer(clip)
        return self._cache.answer(clip, self.digest, self._answer)

    def _answer(self, clip: Tensor) -> Tensor | Prediction:
        parameter = next(self.network.parameters(), None)
        working = clip if parameter is None else clip.to(parameter.dtype)
        height, width = clip.shape[-2:]
        padded = _pad(working, self.traits)
        with torch.autocast(clip.device.type, enabled=False):
            answer = self.network(padded)
        if padded is not working:
            answer = _map(answer, lambda t: _crop(t, padded, self.traits.scale, height, width))
        return _map(answer, lambda t: t.to(clip.dtype) if t.is_floating_point() else t)


def weights_digest(network: nn.Module, name: str = "") -> str:
    """SHA-256, hex, over ``name`` and every weight and buffer: name, dtype, shape and bytes."""
    total = hashlib.sha256(name.encode())
    for key, value in network.state_dict().items():
        total.update(f"|{key}|{value.dtype}|{tuple(value.shape)}|".encode())
        total.update(_bytes(value))
    return total.hexdigest()


def _bytes(value: Tensor) -> Any:
    return value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def _pad(clip: Tensor, traits: Traits) -> Tensor:
    sides = []
    for side in (clip.shape[-1], clip.shape[-2]):
        least = max(side, traits.minimum)
        sides += [0, -(-least // traits.multiple_of) * traits.multiple_of - side]
    if not any(sides):
        return clip
    padded = F.pad(clip.flatten(0, 1), sides, mode="replicate")
    return padded.reshape(*clip.shape[:2], *padded.shape[1:])


def _crop(value: Tensor, padded: Tensor, scale: int, height: int, width: int) -> Tensor:
    """Only what lies on the output's grid can be cropped; features on grids of their own keep the padding."""
    grid = (padded.shape[-2] * scale, padded.shape[-1] * scale)
    return value[..., : height * scale, : width * scale] if tuple(value.shape[-2:]) == grid else value


def _map(answer: Tensor | Prediction, change: Any) -> Tensor | Prediction:
    if not isinstance(answer, Prediction):
        return change(answer)  # type: ignore[no-any-return]
    features = {k: change(v) for k, v in answer.features.items()}
    return Prediction(change(answer.restored), tuple(change(v) for v in answer.intermediates), features)


class AnswerCache:
    """A model's answers in a folder, one file for each sample.

    The key is the hash of the weights together with that of the sample as the model sees it, that is after its
    degradation. So an answer can never be stale: another crop, another noise, other weights have other keys. It pays
    where the same inputs come again: fixed clips, or every epoch over patches that were cut beforehand.

    Args:
        folder: made if it is not there; may be shared by runs and processes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def answer(self, clip: Tensor, model: str, ask: Any) -> Tensor | Prediction:
        """The answer to each sample of ``(B, ...)`` from the folder, or of ``ask(clip)`` for those that are missing.

        Args:
            clip: a batch.
            model: the digest of the weights.
            ask: gives the answer to a batch; every tensor of it has the batch first.

        Raises:
            RequestError: the answer holds a tensor without the batch, or the folder cannot be written.
        """
        paths = [self._path(model, sample) for sample in clip]
        known = [_load(path) for path in paths]
        missing = [i for i, entry in enumerate(known) if entry is None]
        if missing:
            made = _flatten(ask(clip[missing]), len(missing))
            for position, index in enumerate(missing):
                entry = {k: v[position].clone() for k, v in made.items()}
                known[index] = entry
                self._store(paths[index], entry)
        entries = [entry for entry in known if entry is not None]
        joined = {k: torch.stack([e[k].to(clip.device, non_blocking=True) for e in entries]) for k in entries[0]}
        return _unflatten(joined)

    def _path(self, model: str, sample: Tensor) -> Path:
        key = hashlib.sha256(f"{model}|{sample.dtype}|{tuple(sample.shape)}|".encode())
        key.update(_bytes(sample))
        name = key.hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    def _store(self, path: Path, entry: dict[str, Tensor]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Processes may make the same answer at the same time: each writes a file of its own and renames it.
            handle, part = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
            with os.fdopen(handle, "wb") as file:
                file.write(serialize({k: v.cpu().contiguous() for k, v in entry.items()}))
            os.replace(part, path)
        except OSError as error:
            raise RequestError(f"the teacher's cache {self.folder} cannot be written: {error}") from None


def _load(path: Path) -> dict[str, Tensor] | None:
    try:
        with safe_open(str(path), framework="pt") as file:
            return {k: file.get_tensor(k) for k in list(file.keys())}
    except (SafetensorError, OSError):
        return None


def _flatten(answer: Tensor | Prediction, batch: int) -> dict[str, Tensor]:
    if not isinstance(answer, Prediction):
        named = {"tensor": answer}
    else:
        named = {"restored": answer.restored}
        named |= {f"intermediate.{i:03d}": v for i, v in enumerate(answer.intermediates)}
        named |= {f"feature.{k}": v for k, v in answer.features.items()}
    for key, value in named.items():
        if value.dim() == 0 or value.shape[0] != batch:
            raise RequestError(
                f"this teacher's answers cannot be cached: {key} is {tuple(value.shape)}, without the batch in front; "
                "leave `cache` out"
            )
    return named


def _unflatten(named: dict[str, Tensor]) -> Tensor | Prediction:
    if "tensor" in named:
        return named["tensor"]
    intermediates = tuple(named[k] for k in sorted(named) if k.startswith("intermediate."))
    features = {k.partition(".")[2]: v for k, v in named.items() if k.startswith("feature.")}
    return Prediction(named["restored"], intermediates, features)


def place(teachers: Iterable[Any], device: torch.device) -> None:
    """Put teachers on a device before the first clip asks for it, so that a lack of memory shows at once."""
    for teacher in teachers:
        if isinstance(teacher, FrozenModel):
            teacher.to(device)
