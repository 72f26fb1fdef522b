"""The sample clip and picture that ship with the core, clean and damaged; README.md says what they are."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

__all__ = ["path"]


def path(name: str) -> Path:
    """Where the sample ``name`` (``sample.mkv``, ``sample_reference.png``, ...) is installed.

    Raises:
        FileNotFoundError: there is no sample of that name; the message lists those there are.
    """
    folder = Path(str(resources.files(__name__)))
    found = folder / name
    if Path(name).name != name or not found.is_file():
        there = ", ".join(sorted(p.name for p in folder.glob("sample*")))
        raise FileNotFoundError(f"no sample named {name!r}; there are: {there}")
    return found
