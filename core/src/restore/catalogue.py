"""Components and recipes by name: from a file, an installed plugin, or a plugin's default."""

from __future__ import annotations

from pathlib import Path

from restore.build import asset_path
from restore.document import Document, load
from restore.errors import RequestError
from restore.plugins import Registered, Registry, nearest


def recipe_document(
    registry: Registry, *, recipe: str | None = None, plugin: str | None = None, overrides: tuple[str, ...] = ()
) -> Document:
    """The document of ``--recipe NAME_OR_FILE`` or ``--plugin NAME`` (that plugin's recipe ``run``).

    Args:
        registry: installed plugins.
        recipe: a TOML file, or the name of an installed recipe (``bicubic``, ``eco:srsenet-x2``).
        plugin: a plugin's name; exactly one of the two.
        overrides: ``--set`` texts.

    Raises:
        RequestError: both or neither given, nothing of that name, or an unreadable file.
    """
    if (recipe is None) == (plugin is None):
        raise RequestError("name one of --plugin PLUGIN or --recipe FILE (see `restore recipes`)")
    if plugin is not None:
        registry.plugin(plugin)
        recipe = f"{plugin}:run"
    assert recipe is not None
    path = Path(recipe).expanduser()
    if path.suffix == ".toml" or path.is_file():
        return load(path, overrides)
    registered = registry.find("recipe", recipe)
    return load(asset_path(registered.component.factory), overrides, registered.name)


def matching(registry: Registry, name: str | None = None) -> list[Registered]:
    """Components of every kind, or those that ``plugin:component`` or ``component`` names; by name.

    Raises:
        RequestError: nothing has that name.
    """
    every = sorted(registry.components, key=lambda c: (c.name, c.kind))
    if name is None:
        return every
    plugin, colon, _ = name.partition(":")
    if colon:
        registry.plugin(plugin)
    found = [c for c in every if name in (c.name, c.component.name)]
    if not found:
        known = [n for c in every for n in (c.name, c.component.name)]
        hint = nearest(name, known) or "; `restore components` and `restore recipes` list what is"
        raise RequestError(f"no component or recipe {name!r} is installed{hint}")
    return found
