"""Weights that plugins name: where each lies, whether it is there and whole. Nothing here imports torch."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any, Literal

import attrs
from importlib_metadata import PackageNotFoundError, distribution

from restore import downloads
from restore.build import asset_path
from restore.component import WEIGHT_SUFFIXES, RemoteWeights
from restore.errors import RequestError, RestoreError
from restore.plugins import Registered, Registry, nearest

Where = Literal["package", "missing", "cached", "remote"]


@attrs.frozen
class NamedWeights:
    """Weights that a model's component names.

    Attributes:
        name: ``plugin:weights``.
        model: whose they are.
        source: a file inside the package, or one to be fetched.
        distribution: of the plugin.
    """

    name: str
    model: Registered
    source: str | RemoteWeights
    distribution: str = ""

    @property
    def short(self) -> str:
        """The name without the plugin's."""
        return self.name.partition(":")[2]

    @property
    def where(self) -> Where:
        """In the package; missing from it; in the cache; or remote, not fetched yet."""
        if isinstance(self.source, RemoteWeights):
            return "cached" if downloads.cached_path(self.source).is_file() else "remote"
        try:
            self.path()
        except RestoreError:
            return "missing"
        return "package"

    def path(self) -> Path:
        """The file; if it is remote, its place in the cache, whether it is there or not.

        Raises:
            RestoreError: it should be in the package and is not.
        """
        if isinstance(self.source, RemoteWeights):
            return downloads.cached_path(self.source)
        return asset_path(self.source)

    def obtain(self) -> Path:
        """The file, fetched if need be.

        Raises:
            RequestError: it would have to be fetched, and ``RESTORE_OFFLINE`` is set.
            RestoreError: it is missing from the package, or cannot be fetched.
        """
        return downloads.fetch(self.source, self.name) if isinstance(self.source, RemoteWeights) else self.path()

    def sha256(self) -> str:
        """Of the file, hex; of a remote one as promised, without fetching it.

        Raises:
            RestoreError: the file is missing.
        """
        return self.source.sha256 if isinstance(self.source, RemoteWeights) else downloads.sha256_of(self.path())

    def promised(self) -> str:
        """The SHA-256 that the file must have, hex: the component's own word for remote weights, the installed
        package's list of files for those inside. Empty where nothing was written down, as in a source tree."""
        if isinstance(self.source, RemoteWeights):
            return self.source.sha256
        return _recorded(self.distribution, self.path())

    def size(self) -> int:
        """In bytes; of a remote one as promised.

        Raises:
            RestoreError: the file is missing.
        """
        return self.source.size if isinstance(self.source, RemoteWeights) else self.path().stat().st_size


def is_path(name: str) -> bool:
    """Whether ``name`` is a file's path rather than a name of registered weights."""
    return Path(name).suffix in (*WEIGHT_SUFFIXES, ".ckpt") or os.sep in name


def local(name: str) -> Path | None:
    """The file, if ``name`` is a path rather than a name.

    Raises:
        RequestError: it is a path, and there is no file.
    """
    if not is_path(name):
        return None
    path = Path(name).expanduser()
    if not path.is_file():
        raise RequestError(f"weights file {name} does not exist")
    return path


def every(registry: Registry) -> list[NamedWeights]:
    """All weights that installed models name, by name. Two models of a plugin may share one entry."""
    found: dict[tuple[str, Any], NamedWeights] = {}
    packages = {p.name: p.distribution for p in registry.plugins}
    for model in registry.of_kind("model"):
        for short, source in model.component.weights.items():
            name = f"{model.plugin}:{short}"
            found.setdefault((name, source), NamedWeights(name, model, source, packages.get(model.plugin, "")))
    return sorted(found.values(), key=lambda w: w.name)


def named(name: str, registry: Registry) -> NamedWeights:
    """The weights called ``plugin:weights``, or ``weights`` while that is unambiguous.

    Raises:
        RequestError: unknown or ambiguous; the message lists what is installed.
    """
    known = every(registry)
    found = [w for w in known if name in (w.name, w.short)]
    if len(found) == 1:
        return found[0]
    if len({w.name for w in found}) == 1:
        models = " and ".join(w.model.name for w in found)
        raise RequestError(
            f"weights {name!r} are ambiguous: {models} give them different files; tell the plugin's author"
        )
    names = ", ".join(w.name for w in known) or "none"
    if found:
        raise RequestError(f"weights {name!r} are ambiguous: say one of {names}")
    raise RequestError(
        f"no weights named {name!r} are installed{nearest(name, [w.short for w in known])} "
        f"(installed: {names}). Give a path, or train them with `restore train`"
    )


def chosen(names: tuple[str, ...], registry: Registry) -> list[NamedWeights]:
    """The weights of these names, all those of a plugin where a name is a plugin's, everything without names.

    Raises:
        RequestError: a name that nothing has.
    """
    known = every(registry)
    if not names:
        return known
    found: list[NamedWeights] = []
    for name in names:
        of_plugin = [w for w in known if w.model.plugin == name]
        found += [w for w in of_plugin or [named(name, registry)] if w not in found]
    return found


def _recorded(package: str, path: Path) -> str:
    """The hash in the RECORD that an installer left."""
    try:
        files = distribution(package).files or [] if package else []
    except PackageNotFoundError:
        return ""
    for file in files:
        digest = file.hash if str(file).endswith(path.name) else None
        if digest and digest.mode == "sha256" and Path(str(file.locate())).resolve() == path.resolve():
            return base64.urlsafe_b64decode(digest.value + "=").hex()
    return ""


def header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: names of tensors, their types, shapes and places, and ``__metadata__``.

    The format: eight bytes, little-endian, that say how long the header is; the header, JSON; the tensors. The
    library's own reader imports numpy or torch.

    Raises:
        RestoreError: it is no safetensors file, or not a whole one.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, 100_000_000):
                raise RestoreError(f"{path} is cut off, or no safetensors file")
            found = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in found.items() if name != "__metadata__"]
    except OSError as error:
        raise RestoreError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise RestoreError(f"{path} is no safetensors file") from None
    wanted = 8 + length + max(ends, default=0)
    if wanted != size:
        raise RestoreError(f"{path} has {size:,} bytes, its header speaks of {wanted:,}: it is cut off")
    assert isinstance(found, dict)
    return found


def made_for(path: Path) -> str:
    """The component that a safetensors file says it was trained for; empty where it says nothing."""
    if path.suffix != ".safetensors":
        return ""
    about = header(path).get("__metadata__") or {}
    return str(about.get("component", ""))


def card(path: Path) -> Path | None:
    """The text that tells how the weights were made: ``net-x2.md`` beside ``net-x2.safetensors``."""
    beside = path.with_suffix(".md")
    return beside if beside.is_file() else None


def fault(weights: NamedWeights) -> str:
    """What is wrong with the file, seen without reading all of it; empty if nothing is, or nothing is here yet."""
    if weights.where == "remote":
        return ""
    try:
        path = weights.path()
        size = path.stat().st_size
        if size != weights.size():
            return f"{path} has {size:,} bytes instead of {weights.size():,}"
        if path.suffix == ".safetensors":
            header(path)
        elif not size:
            return f"{path} is empty"
    except RestoreError as error:
        return str(error)
    return ""


def check(weights: NamedWeights) -> tuple[str, str]:
    """Read the file and compare its hash with what was promised.

    Returns:
        ``ok``; ``unrecorded``, it can be read, and no hash was written down; ``not fetched``; ``missing``; or
        ``damaged``; and what is wrong.
    """
    wrong = fault(weights)
    if wrong:
        return "missing" if weights.where == "missing" else "damaged", wrong
    if weights.where == "remote":
        return "not fetched", ""
    path, promised = weights.path(), weights.promised()
    if not promised:
        return "unrecorded", ""
    real = downloads.sha256_of(path)
    return ("ok", "") if real == promised else ("damaged", f"{path} has sha256 {real}, promised is {promised}")
