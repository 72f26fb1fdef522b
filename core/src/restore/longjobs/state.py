"""What models carry from one part of a video to the next, in a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from restore.inference.stages import Stages
from restore.inference.temporal import TemporalRunner
from restore.longjobs.journal import failure, write_through


def hand_on(stages: Stages, path: Path) -> None:
    """Writes what every model carries beyond the last frame pushed, whole on the disk; MediaError where that fails."""
    from safetensors.torch import save

    state: dict[str, Tensor] = {}
    for number, runner in enumerate(stages.restorers):
        if isinstance(runner, TemporalRunner):
            own = runner.hand_on()
            state |= {f"{number}/{k}": t.detach().cpu().contiguous().clone() for k, t in own.items()}
    try:
        write_through(path, save(state))
    except OSError as error:
        raise failure(f"{path} cannot be written", error) from error


def take_up(stages: Stages, path: Path) -> None:
    """Gives every model what :func:`hand_on` wrote."""
    from safetensors.torch import load_file

    state = load_file(path)
    for number, runner in enumerate(stages.restorers):
        if isinstance(runner, TemporalRunner):
            mine = {k.partition("/")[2]: t for k, t in state.items() if k.startswith(f"{number}/")}
            with torch.inference_mode():
                runner.take_up(mine)
