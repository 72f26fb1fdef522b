"""Fixtures for the tests of every package."""

from __future__ import annotations

from clip_tools import clips
from command_line import clip, photo, restore, tiny_weights
from installed import installed

__all__ = ["clip", "clips", "installed", "photo", "restore", "tiny_weights"]
