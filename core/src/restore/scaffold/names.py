"""What a new plugin, its distribution, its package and its class are called."""

from __future__ import annotations

import importlib.util
import keyword
import re

import attrs

from restore.errors import RequestError
from restore.plugins import Registry

_PREFIXES = ("restorekit_", "restore_")
# Names that would be taken for something else, on the command line or in the modules that are written.
_RESERVED = ("core", "restore", "restorekit", "plugin", "test", "tests")
_IMPORTED = ("Halo", "Traits", "Tensor", "PruneGraph")


@attrs.frozen
class Names:
    """All that follows from a plugin's name.

    Attributes:
        plugin: the entry point, and what ``--plugin`` takes: ``my_net``.
        distribution: what ``pip install`` takes: ``restorekit-my-net``.
        package: what is imported: ``restore_my_net``.
        model: the class of the network: ``MyNet``.
    """

    plugin: str
    distribution: str
    package: str
    model: str


def name_plugin(name: str, registry: Registry) -> Names:
    """The names that follow from what a person asked for; ``-`` and ``.`` count as ``_``, capitals as small letters.

    Args:
        name: of the plugin.
        registry: installed plugins, whose names are taken.

    Raises:
        RequestError: it cannot name a Python module, or it is taken; what to take instead.
    """
    plugin = re.sub(r"[-.]", "_", name.strip()).lower()
    for prefix in _PREFIXES:
        if plugin.startswith(prefix):
            raise RequestError(
                f"{name!r} is called {plugin.removeprefix(prefix)!r} as a plugin: the distribution and the package get "
                f"their prefix by themselves. Say `restore new-plugin {plugin.removeprefix(prefix)}`"
            )
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", plugin) or "__" in plugin:
        raise RequestError(
            f"{name!r} cannot name a plugin: at least two letters (a to z) or digits, beginning with a letter, with "
            "single '-', '_' or '.' between them, such as my_net"
        )
    if keyword.iskeyword(plugin) or plugin in _RESERVED:
        what = "a word of Python's" if keyword.iskeyword(plugin) else "a word of restore's own"
        raise RequestError(f"{name!r} is {what} and cannot name a plugin; take another one, such as {plugin}_net")
    package = f"restore_{plugin}"
    for info in registry.plugins:
        if info.name == plugin:
            raise RequestError(
                f"a plugin {plugin!r} is installed already ({info.distribution} {info.version}); two of one name "
                "switch each other off. Take another name"
            )
    if importlib.util.find_spec(package) is not None:
        raise RequestError(f"a package {package} is installed already; take another name than {name!r}")
    camel = "".join(part.capitalize() for part in plugin.split("_"))
    return Names(plugin, f"restorekit-{plugin.replace('_', '-')}", package, camel + "Net" * (camel in _IMPORTED))
