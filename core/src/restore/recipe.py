"""Recipes: one TOML file says everything, and every mistake in it is named with file, line and key."""

from __future__ import annotations

import copy
import hashlib
import re
import sys
from pathlib import Path
from typing import Any, Literal, Mapping

import attrs

from restore.convert import structure
from restore.errors import RequestError
from restore.plugins import nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Key = tuple["str | int", ...]

_REFERENCE = re.compile(r"\$\{([\w.-]+)\}")


@attrs.frozen
class Use:
    """A component and its parameters, as a recipe writes them."""

    use: str
    parameters: dict[str, Any]
    place: Place


@attrs.frozen
class Start:
    """``[training.start]``: weights to begin from, whole but for the parameters named.

    Attributes:
        weights: a name or a path.
        exclude: patterns (``fnmatch``) of parameters that keep their fresh values.
    """

    weights: str
    exclude: tuple[str, ...] = ()


@attrs.frozen
class Training:
    """``[training]``.

    Attributes:
        iterations: optimizer steps.
        batch: clips a step.
        seed: of weights, data order, crops and degradations.
        precision: of Lightning Fabric: ``32-true``, ``bf16-mixed``, ``16-mixed``.
        channels_last: memory layout of weights and activations.
        workers: processes that load data; 0 loads in the main one.
        clip_norm: largest gradient norm; absent: no clipping.
        validate_every, checkpoint_every, log_every: in iterations.
        start: weights to begin from.
    """

    iterations: int
    batch: int = 16
    seed: int = 0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    channels_last: bool = False
    workers: int = 0
    clip_norm: float | None = None
    validate_every: int = 1000
    checkpoint_every: int = 1000
    log_every: int = 50
    start: Start | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("iterations", "batch", "validate_every", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


@attrs.frozen
class Evaluation:
    """``[evaluation]``: the protocol that `restore eval` and validation measure under."""

    protocol: str = "sr-y"


@attrs.frozen
class Output:
    """``[run.output]``: how `restore run` writes.

    Attributes:
        container: suffix of the result, ``mkv``, ``mp4``, ...; absent: as the input where it can hold everything.
        codec: ``auto``, ``h264``, ``hevc``, ``av1``, ``vp9`` or ``ffv1``.
        quality: the codec's own constant-quality number (CRF); absent: a visually lossless one.
        preset: the encoder's own speed preset.
        options: passed to the encoder as they are.
        image_format: suffix of restored images; absent: as the input.
        image_quality: JPEG and WebP quality, 1 to 100.
    """

    container: str | None = None
    codec: Literal["auto", "h264", "hevc", "av1", "vp9", "ffv1"] = "auto"
    quality: float | None = None
    preset: str | None = None
    options: dict[str, str] = attrs.field(factory=dict)
    image_format: str | None = None
    image_quality: int = 95


@attrs.frozen
class Run:
    """``[run]``: how the engine works.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``auto`` takes the fastest whose output agrees with float32.
        tile: side of a tile in input pixels, without its halo; 0: whole frames; ``auto``: whole frames, halved when memory
            runs out.
        batch: frames at once; ``auto`` keeps a batch near half a megapixel.
        channels_last: memory layout; ``auto`` measures.
        compile: use ``torch.compile``.
        output: how results are written.
    """

    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    tile: int | Literal["auto"] = "auto"
    batch: int | Literal["auto"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    compile: bool = False
    output: Output = attrs.field(factory=Output)


@attrs.frozen
class Data:
    """``[data]``: clean clips for training, validation and evaluation."""

    train: Use | None = None
    validation: Use | None = None
    test: Use | None = None


@attrs.frozen
class Recipe:
    """A whole recipe. Tables that name a component (``use``) are checked against that component when it is built."""

    recipe: int = 1
    summary: str = ""
    model: Use | None = None
    degradation: Use | None = None
    losses: tuple[Use, ...] = ()
    optimizer: Use | None = None
    data: Data = attrs.field(factory=Data)
    training: Training | None = None
    evaluation: Evaluation = attrs.field(factory=Evaluation)
    stages: tuple[Use, ...] = ()
    run: Run = attrs.field(factory=Run)

    def __attrs_post_init__(self) -> None:
        if self.recipe != 1:
            raise ValueError(f"this core reads recipe = 1, the file says recipe = {self.recipe}: upgrade restorekit")


@attrs.frozen
class Place:
    """A key of a recipe document; makes errors that name file, line and key."""

    document: Document
    key: Key = ()

    def child(self, key: str | int) -> Place:
        """The place of an entry below this one."""
        return Place(self.document, (*self.key, key))

    def error(self, message: str) -> RequestError:
        """An error at this place, one line."""
        return RequestError(f"{self.document.where(self.key)}: {message}")


def _dotted(key: Key) -> str:
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@attrs.frozen(eq=False)
class Document:
    """A parsed TOML file with its overrides; remembers where every key stands.

    Attributes:
        source: how errors call the file.
        text: as read.
        data: after ``--set`` and references.
        overridden: keys that came from ``--set``.
    """

    source: str
    text: str
    data: dict[str, Any]
    overridden: frozenset[Key] = frozenset()

    @property
    def root(self) -> Place:
        """The place of the whole document."""
        return Place(self)

    def where(self, key: Key) -> str:
        """``file:line: key`` of a key, or ``--set key`` if that is where its value came from."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.overridden:
                return f"--set {_dotted(key)}"
        for length in range(len(key), -1, -1):
            line = _lines(self.text).get(key[:length])
            if line is not None:
                return f"{self.source}:{line}: {_dotted(key)}" if key else f"{self.source}:{line}"
        return f"{self.source}: {_dotted(key)}" if key else self.source

    def digest(self) -> str:
        """SHA-256 of the resolved recipe, hex."""
        return hashlib.sha256(dumps(self.data).encode()).hexdigest()


def _split(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[^.]+', dotted)]


def _lines(text: str) -> dict[Key, int]:
    """Line of every table and key; keys of inline tables share the line where the outer one starts."""
    lines: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    prefix: Key = ()
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        header = re.match(r"(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$", line)
        if header:
            prefix = ()
            parts = _split(header[2])
            for i, part in enumerate(parts):
                prefix = (*prefix, part)
                last = i == len(parts) - 1
                if header[1] == "[[" and last:
                    counts[prefix] = counts.get(prefix, -1) + 1
                    lines.setdefault(prefix, number)
                if prefix in counts:
                    prefix = (*prefix, counts[prefix])
            lines.setdefault(prefix, number)
            continue
        pair = re.match(r"([A-Za-z0-9_\-.\"']+)\s*=", line)
        if pair:
            here: Key = (*prefix, *_split(pair[1]))
            lines.setdefault(here, number)
            for inner in re.finditer(r"[{,]\s*([A-Za-z0-9_-]+)\s*=", line[pair.end() :]):
                lines.setdefault((*here, inner[1]), number)
    return lines


def parse_value(text: str) -> Any:
    """The value of ``--set key=TEXT``: TOML if it is TOML, else plain text."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _apply(data: dict[str, Any], override: str) -> Key:
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise RequestError(f"--set {override!r}: write key.subkey=value")
    parts = _split(name.strip())
    here: Any = data
    key: list[str | int] = []
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if isinstance(here, list):
            if not part.isdigit() or int(part) >= len(here):
                raise RequestError(f"--set {name}: {_dotted(tuple(key))} has entries 0 to {len(here) - 1}, not {part!r}")
            step: str | int = int(part)
        elif isinstance(here, dict):
            step = part
            if not last:
                here.setdefault(part, {})
        else:
            raise RequestError(f"--set {name}: {_dotted(tuple(key))} is a value, it has no key {part!r}")
        key.append(step)
        if last:
            here[step] = parse_value(text.strip())
        else:
            here = here[step]
    return tuple(key)


def _look_up(data: Any, dotted: str, place: Place) -> Any:
    here = data
    for part in dotted.split("."):
        if isinstance(here, dict) and part in here:
            here = here[part]
        else:
            known = list(here) if isinstance(here, dict) else []
            raise place.error(f"${{{dotted}}} refers to a key that is not there{nearest(part, known)}")
    if isinstance(here, str) and _REFERENCE.search(here):
        raise place.error(f"${{{dotted}}} refers to another reference; refer to the value itself")
    return here


def _resolve(value: Any, data: dict[str, Any], place: Place) -> Any:
    if isinstance(value, dict):
        return {k: _resolve(v, data, place.child(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_resolve(v, data, place.child(i)) for i, v in enumerate(value)]
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        if whole:
            return _look_up(data, whole[1], place)
        return _REFERENCE.sub(lambda m: str(_look_up(data, m[1], place)), value)
    return value


def parse(text: str, source: str, overrides: tuple[str, ...] = ()) -> Document:
    """A TOML text with ``--set`` overrides applied and ``${section.key}`` references replaced.

    Raises:
        RequestError: unreadable TOML, an override without a key, a reference to nothing.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{source}: this is not readable TOML: {error}") from None
    overridden = frozenset([_apply(data, override) for override in overrides])
    draft = Document(source, text, data, overridden)
    resolved = _resolve(copy.deepcopy(data), data, draft.root)
    return Document(source, text, resolved, overridden)


def load(path: Path, overrides: tuple[str, ...] = (), source: str | None = None) -> Document:
    """:func:`parse` of a file.

    Raises:
        RequestError: also when the file is missing or not text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(f"recipe {path} does not exist") from None
    except IsADirectoryError:
        raise RequestError(f"recipe {path} is a folder; name a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"recipe {path} cannot be read: {error}") from None
    return parse(text, source or str(path), overrides)


def _use(value: Any, annotation: Any, place: Any) -> Any:
    if annotation is not Use:
        return NotImplemented
    if isinstance(value, str):
        return Use(value, {}, place)
    if not isinstance(value, dict) or not isinstance(value.get("use"), str):
        raise place.error('needs a table with use = "component"')
    return Use(value["use"], {k: v for k, v in value.items() if k != "use"}, place)


def check(document: Document) -> Recipe:
    """The document as a :class:`Recipe`; components themselves are checked when they are built.

    Raises:
        RequestError: with file, line, key and the nearest right name.
    """
    recipe = structure(document.data, Recipe, document.root, _use)
    assert isinstance(recipe, Recipe)
    return recipe


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_bare(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    text = str(value)
    escaped = "".join(
        "\\" + c if c in '"\\' else c if c.isprintable() else f"\\u{ord(c):04X}" if ord(c) < 65536 else f"\\U{ord(c):08X}"
        for c in text
    )
    return f'"{escaped}"'


def _bare(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def dumps(data: Mapping[str, Any], prefix: str = "") -> str:
    """A recipe's data as TOML: values first, then tables, lists of tables as ``[[...]]``."""
    lines: list[str] = []
    tables: list[str] = []
    for key, value in data.items():
        name = f"{prefix}{_bare(key)}"
        if isinstance(value, Mapping):
            tables.append(f"\n[{name}]\n{dumps(value, name + '.')}")
        elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            tables += [f"\n[[{name}]]\n{dumps(v, name + '.')}" for v in value]
        else:
            lines.append(f"{_bare(key)} = {_toml(value)}\n")
    return "".join(lines + tables)
