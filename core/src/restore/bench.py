"""Speed, memory and cost of a model on this machine."""

from __future__ import annotations

import statistics
import time
from typing import Any, Callable, Iterator, Literal, Sequence

import attrs
import torch
from torch import Tensor, nn

from restore.contracts import Prediction, Traits
from restore.errors import RequestError
from restore.functional.quality import psnr
from restore.inference.memory import largest_layer, out_of_memory
from restore.inference.precision import Mode
from restore.pruning.cost import macs

Precision = Literal["fp32", "bf16", "fp16"]


@attrs.frozen
class Setting:
    """One way to run a model.

    Attributes:
        mode: precision and memory layout.
        compiled: with ``torch.compile``.
    """

    mode: Mode
    compiled: bool = False

    @property
    def name(self) -> str:
        """``"bf16, channels-last, compiled"``."""
        return self.mode.name + (", compiled" if self.compiled else "")


@attrs.frozen
class Measured:
    """What one setting takes for one size.

    Attributes:
        width, height: of the input, in pixels.
        frames: of the input clip.
        setting: ``"bf16, channels-last"``.
        seconds: of one frame: the median over calls.
        spread: from the fastest call to the slowest, as a part of the median.
        fps: frames a second.
        memory: bytes; on CUDA the peak that torch held beyond the weights, else what the largest layer reads
            and writes.
        memory_is_peak: which of the two.
        macs: multiply-accumulate operations of one frame; None where they cannot be counted.
        agreement: PSNR in dB against plain float32, infinite for equality.
        failure: why there are no numbers; empty if there are.
    """

    width: int
    height: int
    frames: int
    setting: str
    seconds: float | None = None
    spread: float | None = None
    fps: float | None = None
    memory: int | None = None
    memory_is_peak: bool = False
    macs: int | None = None
    agreement: float | None = None
    failure: str = ""


def settings(precisions: Sequence[Precision], channels_last: bool, compiled: bool) -> list[Setting]:
    """Every precision in every asked layout, with and without the compiler where it is asked for."""
    modes = [Mode(p, last) for p in precisions for last in ((False, True) if channels_last else (False,))]
    return [Setting(mode, c) for c in ((False, True) if compiled else (False,)) for mode in modes]


class Bench:
    """Measures one model.

    Args:
        model: with traits; moved to the device, in evaluation mode.
        device: where.
        seconds: to spend on each setting, about; every one is called at least three times.

    Raises:
        RequestError: the model needs an operator, which no clip at random brings.
    """

    def __init__(self, model: nn.Module, device: torch.device, seconds: float = 2.0) -> None:
        traits = model.traits
        assert isinstance(traits, Traits)
        if traits.needs_operator:
            raise RequestError(
                "this model is called with a linear operator, and what it costs depends on which; measure it with "
                "`restore eval` on a recipe that names one"
            )
        self.model, self.device, self.budget = model.to(device).eval(), device, seconds
        self.traits = traits

    def clip(self, width: int, height: int, frames: int) -> Tensor:
        """A clip at random that the model takes: sides rounded up to what it accepts."""
        multiple = self.traits.multiple_of
        height, width = (-(-max(side, self.traits.minimum) // multiple) * multiple for side in (height, width))
        channels = self.traits.planes
        made = torch.rand(1, frames, channels, height, width, generator=torch.Generator().manual_seed(0))
        return made.to(self.device)

    def measure(self, sizes: Sequence[tuple[int, int]], frames: int, every: Sequence[Setting]) -> Iterator[Measured]:
        """Every size (width, height) in every setting; what fails says why, and the others go on."""
        for width, height in sizes:
            clip = self.clip(width, height, frames)
            count, reference = self._count(clip), None
            for setting in every:
                made, out = self._one(clip, setting, count, reference)
                reference = out if reference is None and setting == Setting(Mode()) else reference
                yield made

    def _count(self, clip: Tensor) -> int | None:
        try:
            return macs(self.model, clip.shape) // clip.shape[1]
        except (RuntimeError, NotImplementedError, TypeError):
            return None

    def _one(
        self, clip: Tensor, setting: Setting, count: int | None, reference: Tensor | None
    ) -> tuple[Measured, Tensor | None]:
        frames, height, width = clip.shape[1], clip.shape[-2], clip.shape[-1]
        made = Measured(width, height, frames, setting.name, macs=count)
        try:
            call = self._call(clip, setting)
            times, out = self._times(call)
            memory, peak = self._memory(call)
        except RuntimeError as error:
            lines = str(error).strip().splitlines() or [""]
            why = "not enough memory" if out_of_memory(error) else f"{type(error).__name__}: {lines[0]}"
            return attrs.evolve(made, failure=why), None
        middle = statistics.median(times)
        agreement = None if reference is None else psnr(out.float(), reference.float())
        made = attrs.evolve(
            made,
            seconds=middle / frames,
            spread=(max(times) - min(times)) / middle,
            fps=frames / middle,
            memory=memory,
            memory_is_peak=peak,
            agreement=agreement,
        )
        return made, out

    def _call(self, clip: Tensor, setting: Setting) -> Callable[[], Tensor]:
        layout = torch.channels_last if setting.mode.channels_last else torch.contiguous_format
        self.model.to(memory_format=layout)  # type: ignore[call-overload]
        # Channels-last is a property of the four-dimensional tensor inside.
        frames = clip[0].contiguous(memory_format=layout).unsqueeze(0)
        network: Callable[[Tensor], Any] = torch.compile(self.model) if setting.compiled else self.model

        def call() -> Tensor:
            with setting.mode.arithmetic(self.device), torch.inference_mode():
                answer = network(frames)
            restored = answer.restored if isinstance(answer, Prediction) else answer
            assert isinstance(restored, Tensor)
            return restored

        return call

    def _times(self, call: Callable[[], Tensor]) -> tuple[list[float], Tensor]:
        """Seconds of each call, after one that is not counted (the compiler works in it)."""
        out = call()
        self._wait()
        times: list[float] = []
        begin = time.perf_counter()
        while len(times) < 3 or (time.perf_counter() - begin < self.budget and len(times) < 100):
            start = time.perf_counter()
            call()
            self._wait()
            times.append(time.perf_counter() - start)
        return times, out

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _memory(self, call: Callable[[], Tensor]) -> tuple[int, bool]:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            call()
            self._wait()
            return torch.cuda.max_memory_allocated(self.device) - before, True
        return largest_layer(self.model, call), False
