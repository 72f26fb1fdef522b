"""Checks of what the engine does to models: tiles, arithmetic, and files for other programs."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from restore import exporting
from restore.contracts import Traits
from restore.errors import RequestError, RestoreError
from restore.inference.restorer import Restorer
from restore.recipe import Run
from restore.testing.conformance import NotApplicableError, check, fail
from restore.testing.kinds.model import clip_for, fitted, ready, restored, run, stir
from restore.testing.sample import Sample, finite, largest

# Whole frames of more pixels than this are too much for a check.
_PIXELS = 300 * 300


def _stirred(model: nn.Module) -> nn.Module:
    """A copy whose zeros are none."""
    other = copy.deepcopy(model)
    stir(other)
    return other.eval()


@check("engine", "tiles give what whole frames give, wherever they are cut: that is what the halo is for")
def tiles(model: Any, sample: Sample) -> None:
    """Through the engine, in float32; tiles begin where the model's multiple lets them."""
    found = ready(model)
    if found.temporal != "frame":
        raise NotApplicableError(f"temporal = {found.temporal!r}: tiles are the same, but time has its own checks")
    if found.global_context:
        raise NotApplicableError("global_context = True: tiles cannot equal the whole")
    tile = max(8, found.multiple_of)
    sides = (2 * tile + 2 * found.halo.pixels + 3, 3 * tile + 2 * found.halo.pixels + 5)
    if sides[0] * sides[1] > _PIXELS:
        raise NotApplicableError(f"halo.pixels = {found.halo.pixels}: a frame that large is too much for a check")
    plain = Sample(sample.shape, "float32", sample.device)
    frames = clip_for(found, plain, (1, 1, 3, *sides))[0]
    whole, cut = (_restore(_stirred(model), frames, t, sample) for t in (0, tile))
    difference, size = largest(whole - cut), largest(whole)
    if not difference <= 1e-4 * max(1.0, size):
        fail(
            f"a frame of {frames.shape[-1]}x{frames.shape[-2]} in tiles of {tile} differs by up to {difference:.3g} "
            f"(its values reach {size:.3g})",
            "raise Traits.halo.pixels; where the result depends on where a pixel lies (a stride, a window, a position "
            "code), raise Traits.multiple_of; where everything depends on everything, say global_context = True",
        )


def _restore(model: nn.Module, frames: torch.Tensor, tile: int, sample: Sample) -> torch.Tensor:
    settings = Run(device=sample.device, precision="fp32", tile=tile, batch=1, channels_last=False)
    return Restorer(model, settings)(frames)


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
