"""Checks of what the engine does to models: tiles, arithmetic, and files for other programs."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from restore import exporting
from restore.contracts import Traits
from restore.errors import RequestError, RestoreError
from restore.inference.restorer import Restorer
from restore.inference.temporal import restorer_of
from restore.recipe import Run, Temporal
from restore.testing.conformance import NotApplicableError, check, fail
from restore.testing.kinds.model import clip_for, fitted, ready, restored, run, stir
from restore.testing.sample import Sample, finite, largest

# Whole frames of more pixels than this are too much for a check, and longer reaches along time.
_PIXELS = 300 * 300
_FRAMES = 16


def _stirred(model: nn.Module) -> nn.Module:
    """A copy whose zeros are none."""
    other = copy.deepcopy(model)
    stir(other)
    return other.eval()


@check("engine", "tiles give what whole frames give, wherever they are cut: that is what the halo is for")
def tiles(model: Any, sample: Sample) -> None:
    """Through the engine, in float32; tiles begin where the model's multiple lets them."""
    found = ready(model)
    if found.temporal == "stream":
        raise NotApplicableError("temporal = 'stream': state carries what a tile does not see, so seams are blended")
    if found.global_context:
        raise NotApplicableError("global_context = True: tiles cannot equal the whole")
    tile = max(8, found.multiple_of)
    sides = (2 * tile + 2 * found.halo.pixels + 3, 3 * tile + 2 * found.halo.pixels + 5)
    count = 1 + (found.temporal == "clip")
    if sides[0] * sides[1] * count > _PIXELS:
        raise NotApplicableError(f"halo.pixels = {found.halo.pixels}: a frame that large is too much for a check")
    frames = _frames(found, sample, count, sides)
    other = _stirred(model)
    whole, cut = (_restored(other, frames, sample, tile=t) for t in (0, tile))
    difference, size = largest(whole - cut), largest(whole)
    if not difference <= 1e-4 * max(1.0, size):
        fail(
            f"a frame of {frames.shape[-1]}x{frames.shape[-2]} in tiles of {tile} differs by up to {difference:.3g} "
            f"(its values reach {size:.3g})",
            "raise Traits.halo.pixels; where the result depends on where a pixel lies (a stride, a window, a position "
            "code), raise Traits.multiple_of; where everything depends on everything, say global_context = True",
        )


@check("engine", "chunks of a video give what the whole gives: that is what halo.frames and the sweeps are for")
def chunks(model: Any, sample: Sample) -> None:
    """Through the engine, in float32: windows of three frames and ``halo.frames``; of sweeps the schedule ``exact``,
    and ``look_ahead`` where it is exact too: nothing comes backward, or it looks as far as the clip."""
    found = ready(model)
    if found.temporal == "frame":
        raise NotApplicableError("temporal = 'frame': frames are independent, and model.frames looks whether they are")
    if found.temporal == "clip" and found.global_context:
        raise NotApplicableError("global_context = True: windows cannot equal the whole, so their seams are blended")
    if found.halo.frames > _FRAMES:
        raise NotApplicableError(f"halo.frames = {found.halo.frames}: a clip that long is too much for a check")
    count = 7 + (2 * found.halo.frames if found.temporal == "clip" else 0)
    frames = _frames(found, sample, count, sample.shape[3:])
    other = _stirred(model)
    whole = run(other, frames.unsqueeze(0))[0]
    for schedule, settings in _schedules(other, found, count).items():
        out = _restored(other, frames, sample, temporal=settings)
        if out.shape != whole.shape:
            fail(f"{schedule}: {count} frames became {len(out)}", "every frame has one answer")
        off = (out - whole).abs().amax(dim=(1, 2, 3))
        if not float(off.max()) <= 1e-4 * max(1.0, largest(whole)):
            fail(
                f"{schedule}: {count} frames, 3 at a time, differ from the whole clip by up to {float(off.max()):.3g}, "
                f"most in frame {int(off.argmax())}",
                "raise Traits.halo.frames; where every frame reaches every other, say global_context = True"
                if found.temporal == "clip"
                else "let all that goes from frame to frame be in a sweep's state, and `reach` cover its neighbours",
            )


def _schedules(model: nn.Module, found: Traits, count: int) -> dict[str, Temporal]:
    """Those that promise what the whole clip gives."""
    if found.temporal == "clip":
        return {"windows": Temporal(chunk=3)}
    sweeps: Any = model.sweeps
    beyond = count if any(sweep.direction == "backward" for sweep in sweeps) else 0
    return {
        "exact": Temporal(schedule="exact"),
        f"look_ahead = {beyond}": Temporal(schedule="look_ahead", look_ahead=beyond, chunk=3),
    }


def _frames(found: Traits, sample: Sample, count: int, sides: tuple[int, ...]) -> Tensor:
    """``(count, C, H, W)`` that the model takes, in float32."""
    plain = Sample(sample.shape, "float32", sample.device)
    return clip_for(found, plain, (1, count, 3, *sides))[0]


def _restored(
    model: nn.Module, frames: Tensor, sample: Sample, tile: int = 0, temporal: Temporal | None = None
) -> Tensor:
    """What the engine makes of them."""
    settings = Run(
        device=sample.device,
        precision="fp32",
        tile=tile,
        batch=1,
        channels_last=False,
        temporal=temporal or Temporal(chunk=len(frames)),
    )
    runner = restorer_of(model, settings)
    if isinstance(runner, Restorer):
        return runner(frames)
    return torch.cat([answer for part in (runner.push(frames), runner.cut()) for answer in part])


@check("engine", "in float64 it computes what it computes in float32, more exactly", dtypes=("float64",))
def dtype(model: Any, sample: Sample) -> None:
    """Weights and clip alike: comparisons and proofs need it."""
    found = ready(model)
    other = _stirred(model)
    narrow = run(other, clip_for(found, Sample(sample.shape, "float32", sample.device)))
    clip = clip_for(found, sample)
    wide = run(other.double(), clip)
    if wide.dtype != clip.dtype or not finite(wide):
        fail(f"a clip in {clip.dtype} became {wide.dtype}", "make constants in the clip's dtype: clip.new_tensor(...)")
    difference, size = largest(wide - narrow), largest(wide)
    if not difference <= 1e-3 * max(1.0, size):
        fail(
            f"the two differ by up to {difference:.3g} (values reach {size:.3g})",
            "look for an .int(), a .half() or a constant that loses digits",
        )


@check("engine", "what is exported computes what the model computes", devices=False, thorough=True)
def export(model: Any, sample: Sample) -> None:
    """With torch.export; a model that it cannot follow is no fault."""
    found: Traits = ready(model)
    other = _stirred(model)
    height, width = fitted(found, (1, 1, 3, 24, 32))[-2:]
    try:
        traced = exporting.trace(other, (height, width))
    except RequestError as error:
        raise NotApplicableError(str(error)) from error
    try:
        exporting.difference(traced, traced.program.module(), found)
    except RestoreError as error:
        fail(
            str(error),
            "decide nothing by values while it is traced (if, .item(), .numpy()), and draw nothing at random",
        )
    restored(other(clip_for(found, Sample(sample.shape, "float32"))))
