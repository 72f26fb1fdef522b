"""Choosing how to run: the fastest arithmetic and memory layout whose output agrees with plain float32."""

from __future__ import annotations

import contextlib
import time
from typing import Callable, ContextManager, Literal

import attrs
import torch
from torch import Tensor, nn

from restore.functional.quality import psnr

Precision = Literal["fp32", "bf16", "fp16"]

# Rounding to 8 bit alone costs 58.9 dB against the unrounded picture; at 50 dB the difference stays below one level
# almost everywhere.
AGREEMENT_DB = 50.0
_PROBE_SIDE = 128
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@attrs.frozen
class Mode:
    """How a model is run.

    Attributes:
        precision: of convolutions and products, through autocast; weights stay float32.
        channels_last: memory layout.
        reason: why this one, for people.
    """

    precision: Precision = "fp32"
    channels_last: bool = False
    reason: str = ""

    @property
    def name(self) -> str:
        """``"bf16, channels-last"``."""
        return self.precision + (", channels-last" if self.channels_last else "")

    def arithmetic(self, device: torch.device) -> ContextManager[object]:
        """A context in which the model computes in this precision."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=_DTYPES[self.precision])


def _candidates(device: torch.device, precision: str, channels_last: bool | str) -> list[Mode]:
    # fp16 on a CPU is emulated: measured at a sixth of float32's speed, so it is never tried there unasked.
    kinds = (
        (["fp32", "bf16", "fp16"] if device.type == "cuda" else ["fp32", "bf16"])
        if precision == "auto"
        else [precision]
    )
    layouts = [False, True] if channels_last == "auto" else [bool(channels_last)]
    return [Mode(kind, layout) for kind in kinds for layout in layouts]  # type: ignore[arg-type]


def _time(call: Callable[[], Tensor], device: torch.device, limit: float) -> tuple[float, Tensor]:
    def once() -> tuple[float, Tensor]:
        start = time.perf_counter()
        out = call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start, out

    first, out = once()
    if first > limit:
        return first, out
    return min(once()[0] for _ in range(3)), out


def choose(
    model: nn.Module,
    run: Callable[[Tensor, Mode], Tensor],
    frames: Tensor,
    precision: str,
    channels_last: bool | str,
    count: int = 1,
) -> Mode:
    """The mode for a model on this machine.

    Args:
        model: float32 weights, on its device.
        run: runs the model on ``(N, C, H, W)`` under a mode.
        frames: the first frames; a piece from their middle is tried.
        precision: ``auto``, or the one to use.
        channels_last: ``auto``, or whether.
        count: how many of the frames are tried together.

    Returns:
        the fastest whose output agrees with contiguous float32 within :data:`AGREEMENT_DB`; what was asked for is never
        overruled.
    """
    device = frames.device
    candidates = _candidates(device, precision, channels_last)
    if len(candidates) == 1:
        return attrs.evolve(candidates[0], reason="as asked")
    height, width = frames.shape[-2:]
    top, left = max(0, (height - _PROBE_SIDE) // 2), max(0, (width - _PROBE_SIDE) // 2)
    piece = frames[:count, :, top : top + _PROBE_SIDE, left : left + _PROBE_SIDE].contiguous()
    plain = Mode()
    base_time, reference = _time(lambda: run(piece, plain), device, limit=60.0)
    best, best_time = (plain, base_time) if precision in ("auto", "fp32") else (candidates[0], float("inf"))
    for mode in candidates:
        if mode == plain:
            continue
        seconds, out = _time(lambda mode=mode: run(piece, mode), device, limit=1.5 * base_time)  # type: ignore[misc]
        agrees = precision != "auto" or psnr(out.float(), reference.float()) >= AGREEMENT_DB
        # Five percent is within the noise of such a short trial; plain float32 wins ties.
        if agrees and bool(torch.isfinite(out).all()) and seconds < 0.95 * best_time:
            best, best_time = mode, seconds
    speed = base_time / best_time if best_time < float("inf") else 1.0
    return attrs.evolve(best, reason="fastest tried" if best == plain else f"{speed:.1f} times as fast as plain fp32")
