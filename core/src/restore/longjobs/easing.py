"""Less memory for a part of a video that does not fit."""

from __future__ import annotations

from restore.inference.precision import Mode
from restore.inference.stages import Stages


def ease(parts: Stages, attempt: int) -> None:
    """Less memory for a part that two workers died with, perhaps of it: half a tile, and less precision.

    One death changes nothing: a machine may have been switched off, and the output shall not tell.
    """
    if attempt < 3:
        return
    for runner in parts.restorers:
        known = runner.settled()
        smaller = [
            [*shape, max(32, (min(tile, *shape[-2:]) if tile else max(shape[-2:])) // 2)]
            for *shape, tile in known["tiles"]
        ]
        runner.settle({**known, "tiles": smaller})
        runner.warn_once(f"{runner.name}: two workers died with a part; it is restored in smaller tiles")
    less_precise(parts, "two workers died with a part")


def less_precise(parts: Stages, why: str) -> bool:
    """bf16 instead of fp32, where the recipe leaves the choice."""
    changed = False
    for runner in parts.restorers:
        free = runner.settings.precision == "auto" and runner.mode is not None and runner.mode.precision == "fp32"
        if free and runner.mode is not None:
            runner.mode = Mode("bf16", runner.mode.channels_last, why)
            runner.warn_once(f"{runner.name}: {why}; a part is restored in bf16")
            changed = True
    return changed
