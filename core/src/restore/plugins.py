"""Finding plugins: our own walk over the entry points, so that one broken plugin costs one line."""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import sys
import traceback
from types import ModuleType
from typing import Any, Iterable, Literal

import attrs
import pluggy
from importlib_metadata import EntryPoint, entry_points

from restore import hookspecs
from restore.component import Component
from restore.errors import RequestError, RestoreError

GROUP = "restore.v1"
_GROUP_PREFIX = "restore.v"

Status = Literal["ok", "broken", "conflict", "newer", "disabled", "missing"]


@attrs.frozen
class PluginInfo:
    """What is known of one installed plugin.

    Attributes:
        name: the entry point's name, which is what ``--plugin`` takes.
        distribution, version: of the package that brings it; empty when unknown.
        status: ``ok``; ``broken``, it raised; ``conflict``, two distributions claim the name; ``newer``, it needs a
            newer core; ``disabled`` by an environment variable; ``missing``, an environment variable names it and
            nobody has it.
        cause: one line, empty when all is well.
        components: how many it registers.
        traceback: of whatever it raised.
    """

    name: str
    distribution: str = ""
    version: str = ""
    status: Status = "ok"
    cause: str = ""
    components: int = 0
    traceback: str = attrs.field(default="", repr=False)

    @property
    def release(self) -> str:
        """Distribution and version, ``"restorekit-eco 0.1.0"``."""
        return f"{self.distribution} {self.version}"


@attrs.frozen
class Registered:
    """A component, its kind and the plugin it came from."""

    plugin: str
    kind: str
    component: Component

    @property
    def name(self) -> str:
        """``plugin:component``."""
        return f"{self.plugin}:{self.component.name}"


@attrs.frozen
class Registry:
    """All plugins and components of this environment."""

    plugins: tuple[PluginInfo, ...]
    components: tuple[Registered, ...]

    def of_kind(self, kind: str) -> list[Registered]:
        """The components of one kind, in name order."""
        return sorted((c for c in self.components if c.kind == kind), key=lambda c: c.name)

    def plugin(self, name: str) -> PluginInfo:
        """The plugin of this name.

        Raises:
            RequestError: nobody has it, or it does not work; the message says which and why.
        """
        for info in self.plugins:
            if info.name == name:
                if info.status == "ok":
                    return info
                raise RequestError(
                    f"plugin {name!r} cannot be used ({info.status}): {info.cause}. See `restore doctor`."
                )
        known = [p.name for p in self.plugins if p.status == "ok"]
        raise RequestError(f"no plugin {name!r} is installed{nearest(name, known)}. See `restore plugins`.")

    def find(self, kind: str, name: str) -> Registered:
        """The component called ``plugin:component``, or ``component`` while that is unambiguous.

        Raises:
            RequestError: unknown or ambiguous; the message names the candidates.
        """
        plugin, colon, _ = name.partition(":")
        if colon:
            self.plugin(plugin)
        candidates = self.of_kind(kind)
        found = [c for c in candidates if name == (c.name if colon else c.component.name)]
        if len(found) == 1:
            return found[0]
        if found:
            names = " or ".join(c.name for c in found)
            raise RequestError(f"{kind} {name!r} is ambiguous: say {names}")
        known = [c.name for c in candidates] + [c.component.name for c in candidates]
        hint = nearest(name, known) or f"; there are: {', '.join(c.name for c in candidates) or 'none'}"
        off = [p.name for p in self.plugins if p.status in ("broken", "conflict")]
        lost = f" (not loaded: {', '.join(off)}; see `restore doctor`)" if off else ""
        raise RequestError(f"no {kind} {name!r}{hint}{lost}")


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest known name, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def _list_from(variable: str) -> list[str] | None:
    value = os.environ.get(variable)
    return None if value is None else [part.strip() for part in value.split(",") if part.strip()]


def _info(entry: EntryPoint, status: Status, cause: str = "", **more: Any) -> PluginInfo:
    distribution = entry.dist
    name = distribution.name if distribution is not None else ""
    version = distribution.version if distribution is not None else ""
    return PluginInfo(entry.name, name, version, status, cause, **more)


def _too_new(group: str) -> bool:
    suffix = group[len(_GROUP_PREFIX) :]
    return suffix.isdigit() and int(suffix) > int(GROUP[len(_GROUP_PREFIX) :])


def _check_hooks(manager: pluggy.PluginManager, module: ModuleType) -> None:
    """Raise where the module's hooks are not those of the specification; pluggy alone would ignore them silently."""
    for name, value in vars(module).items():
        if name in hookspecs.KIND_OF_HOOK and callable(value) and not hasattr(value, f"{hookspecs.PROJECT}_impl"):
            raise TypeError(f"{name} lacks the @hookimpl decorator")
    for caller in manager.get_hookcallers(module) or []:
        if not caller.has_spec():
            raise TypeError(f"no hook is called {caller.name!r}{nearest(caller.name, hookspecs.KIND_OF_HOOK)}")


def _collect(manager: pluggy.PluginManager, module: ModuleType, plugin: str) -> list[Registered]:
    found: dict[tuple[str, str], Registered] = {}
    for caller in manager.get_hookcallers(module) or []:
        kind = hookspecs.KIND_OF_HOOK[caller.name]
        for implementation in caller.get_hookimpls():
            if implementation.plugin is not module:
                continue
            returned: Iterable[object] = implementation.function()  # type: ignore[assignment]
            for component in returned:
                if not isinstance(component, Component):
                    raise TypeError(f"{caller.name} returned {component!r}, which is not a Component")
                if (kind, component.name) in found:
                    raise ValueError(f"{caller.name} returned two components called {component.name!r}")
                found[kind, component.name] = Registered(plugin, kind, component)
    return list(found.values())


def _load_one(manager: pluggy.PluginManager, entry: EntryPoint) -> tuple[PluginInfo, list[Registered]]:
    module = None
    try:
        # What a plugin prints while it is imported must not end up in what --json prints.
        with contextlib.redirect_stdout(sys.stderr):
            module = entry.load()
            manager.register(module, name=entry.name)
            _check_hooks(manager, module)
            components = _collect(manager, module, entry.name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # SystemExit too: a plugin that calls exit() while it is imported must not end the program.
        if os.environ.get("RESTORE_STRICT") == "1":
            if isinstance(error, Exception):
                raise
            raise RestoreError(f"plugin {entry.name!r} is broken: {type(error).__name__}: {error}") from error
        if module is not None and manager.is_registered(module):
            manager.unregister(module)
        lines = str(error).strip().splitlines()
        cause = f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
        return _info(entry, "broken", cause, traceback=traceback.format_exc()), []
    return _info(entry, "ok", components=len(components)), components


def _conflicts(entries: list[EntryPoint]) -> dict[str, str]:
    by_name: dict[str, list[str]] = {}
    for entry in entries:
        by_name.setdefault(entry.name, []).append(entry.dist.name if entry.dist is not None else "?")
    return {
        name: f"claimed by {' and '.join(sorted(owners))}; both are off, uninstall one of them"
        for name, owners in by_name.items()
        if len(owners) > 1
    }


def discover() -> Registry:
    """Walk the entry points and load what can be loaded.

    ``RESTORE_PLUGINS=a,b`` loads only these (empty: none), ``RESTORE_DISABLE_PLUGINS=a,b`` leaves these out, and
    ``RESTORE_STRICT=1`` lets the exception of a broken plugin through.

    Raises:
        RestoreError: under ``RESTORE_STRICT=1``, two distributions claim one name.
    """
    only, without = _list_from("RESTORE_PLUGINS"), _list_from("RESTORE_DISABLE_PLUGINS") or []
    every = entry_points()
    mine = sorted(every.select(group=GROUP), key=lambda e: e.name)
    conflicts = _conflicts(mine)
    if conflicts and os.environ.get("RESTORE_STRICT") == "1":
        raise RestoreError("; ".join(f"plugin {name!r} is {cause}" for name, cause in conflicts.items()))
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(sys.modules[hookspecs.__name__])
    infos: list[PluginInfo] = []
    components: list[Registered] = []
    for entry in mine:
        if entry.name in conflicts:
            infos.append(_info(entry, "conflict", conflicts[entry.name]))
        elif only is not None and entry.name not in only:
            infos.append(_info(entry, "disabled", "not in RESTORE_PLUGINS"))
        elif entry.name in without:
            infos.append(_info(entry, "disabled", "in RESTORE_DISABLE_PLUGINS"))
        else:
            info, its = _load_one(manager, entry)
            infos.append(info)
            components += its
    for group in sorted(g for g in every.groups if g.startswith(_GROUP_PREFIX) and _too_new(g)):
        cause = f"speaks {group}, this core speaks {GROUP}: upgrade restorekit"
        infos += [_info(entry, "newer", cause) for entry in every.select(group=group)]
    for name in sorted({*(only or []), *without} - {info.name for info in infos}):
        infos.append(PluginInfo(name, status="missing", cause="named in the environment, not installed"))
    return Registry(tuple(infos), tuple(components))


@functools.lru_cache(maxsize=1)
def registry() -> Registry:
    """The registry of this process; the walk happens once."""
    return discover()
