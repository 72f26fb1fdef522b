"""The reference part of the documentation, out of the code: hooks, contracts, recipe keys, commands, components.

``pages(registry())`` is every page by its place below ``docs/``. Nothing of it is kept in the repository: `make docs`
writes it into the site, and the tests look that nothing in it lacks its explanation.
"""

from __future__ import annotations

from reference import commands, components, contracts, recipe

OURS = ("core", "crds", "eco", "srsenet", "ssl_prune", "videoonet")


def pages(registry):
    """Markdown by path, e.g. ``reference/hooks.md``.

    Args:
        registry: installed plugins; those of this repository are shown.
    """
    made = {
        "reference/hooks.md": contracts.hooks(),
        "reference/contracts.md": contracts.contracts(),
        "reference/checks.md": contracts.checks(),
        "reference/recipe.md": recipe.page(),
        "reference/protocols.md": recipe.protocols(),
        "reference/commands.md": commands.page(),
    }
    mine = [c for c in registry.components if c.plugin in OURS]
    return {**made, **components.pages(mine)}


def missing(registry):
    """What the reference cannot explain because its code says nothing of it; one line each."""
    mine = [c for c in registry.components if c.plugin in OURS]
    return [*contracts.missing(), *recipe.missing(), *commands.missing(), *components.missing(mine)]
