"""A TOML text as a document: where every key stands, ``--set``, ``${references}``, and back to TOML."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import re
import sys
from pathlib import Path
from typing import Any, Iterator, Mapping

import attrs

from restore.errors import RequestError, RestoreError
from restore.plugins import nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Key = tuple["str | int", ...]

_REFERENCE = re.compile(r"\$\{([\w.-]+)\}")


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

    @contextlib.contextmanager
    def locate(self) -> Iterator[None]:
        """Errors raised inside get this place in front, and keep their kind."""
        try:
            yield
        except RestoreError as error:
            raise type(error)(f"{self.document.where(self.key)}: {error}") from error


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
                raise RequestError(
                    f"--set {name}: {_dotted(tuple(key))} has entries 0 to {len(here) - 1}, not {part!r}"
                )
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
        elif isinstance(here, list) and part.isdecimal() and int(part) < len(here):
            here = here[int(part)]
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


def toml(value: Any) -> str:
    """A value as TOML writes it, tables inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_bare(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return '"' + "".join(_escape(c) for c in str(value)) + '"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    return f"\\u{ord(character):04X}" if ord(character) < 0x10000 else f"\\U{ord(character):08X}"


def _bare(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml(key)


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
            lines.append(f"{_bare(key)} = {toml(value)}\n")
    return "".join(lines + tables)
