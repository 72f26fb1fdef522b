"""A repository for a new plugin: everything that a publishable package needs, with examples that train and run."""

from restore.scaffold.names import Names, name_plugin
from restore.scaffold.writing import KINDS, LICENSES, Scaffold, write

__all__ = ["KINDS", "LICENSES", "Names", "Scaffold", "name_plugin", "write"]
