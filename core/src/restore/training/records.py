"""Where the numbers of a run go: ``metrics.jsonl``, and TensorBoard where asked for."""

from __future__ import annotations

from typing import Any

from restore.errors import RequestError
from restore.training.directory import RunDirectory


def check_tensorboard() -> None:
    """Before training.

    Raises:
        RequestError: it is not installed.
    """
    try:
        import tensorboard  # type: ignore[import-untyped] # noqa: F401
    except ImportError:
        raise RequestError(
            "training.tensorboard = true needs TensorBoard: pip install restorekit[tensorboard]"
        ) from None


class Recorder:
    """Writes the numbers of a run.

    Args:
        directory: of the run.
        tensorboard: also write events.
        iteration: that the run goes on from; later events of an earlier attempt are dropped.
    """

    def __init__(self, directory: RunDirectory, tensorboard: bool, iteration: int) -> None:
        self.directory = directory
        self._writer: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(directory.tensorboard), purge_step=iteration + 1)

    def losses(self, iteration: int, phase: int, seconds: float, values: dict[str, Any]) -> None:
        """Losses, learning rates and scheduled weights of one iteration."""
        self.directory.log(iteration=iteration, phase=phase, seconds=round(seconds, 3), **values)
        self._event("train", iteration, values)

    def scores(self, iteration: int, values: dict[str, float]) -> None:
        """Means of one validation."""
        self.directory.log(iteration=iteration, **values)
        self._event("validation", iteration, values)

    def note(self, iteration: int, message: str) -> None:
        """Something that happened, such as an early stop."""
        self.directory.log(iteration=iteration, note=message)

    def _event(self, group: str, iteration: int, values: dict[str, Any]) -> None:
        if self._writer is not None:
            for key, value in values.items():
                self._writer.add_scalar(f"{group}/{key}", value, iteration)

    def close(self) -> None:
        """Flush."""
        if self._writer is not None:
            self._writer.close()
