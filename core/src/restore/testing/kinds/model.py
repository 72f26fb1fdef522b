"""Checks of models: what the engine takes from the traits must be true, and weights must come back as they were."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from restore import weights
from restore.contracts import Channels, Prediction, State, Sweep, Temporal, Traits, Value
from restore.errors import RestoreError
from restore.functional.sweeping import DIRECTIONS, run_sweeps
from restore.testing.conformance import NotApplicableError, check, fail
from restore.testing.feeding import clip_for, declared, fitted, ready, restored, run, stir
from restore.testing.sample import Sample, finite, largest

__all__ = ["clip_for", "fitted", "ready", "restored", "run", "stir"]


@check("model", "an nn.Module with `traits`, a restore.Traits whose numbers are possible", devices=False)
def traits(model: Any, sample: Sample) -> None:
    """Scale, multiple, minimum and halo are whole numbers in their ranges."""
    found = declared(model)
    least = {"scale": 1, "multiple_of": 1, "minimum": 1, "halo.pixels": 0, "halo.frames": 0}
    for name, low in least.items():
        value: Any = found
        for part in name.split("."):
            value = getattr(value, part)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            fail(f"traits.{name} is {value!r}", f"make it a whole number of at least {low}")
    for name, allowed in (("channels", get_args(Channels)), ("temporal", get_args(Temporal))):
        if getattr(found, name) not in allowed:
            fail(f"traits.{name} is {getattr(found, name)!r}", f"make it one of {', '.join(map(repr, allowed))}")
    if found.temporal == "frame" and found.halo.frames:
        fail(
            f"temporal is 'frame', but halo.frames is {found.halo.frames}",
            "a model of single frames has halo.frames = 0; one that looks at neighbours says temporal = 'clip'",
        )


@check("model", "(B, T, C, H, W) becomes (B, T, C, scale*H, scale*W), in the same dtype", shapes=True)
def shape(model: Any, sample: Sample) -> None:
    """Every size that the traits allow, odd ones too."""
    found = ready(model)
    clip = clip_for(found, sample)
    _same_shape(clip, run(model, clip), found)


@check("model", "works at the smallest size that the traits allow: `minimum`, rounded up to `multiple_of`")
def smallest(model: Any, sample: Sample) -> None:
    """One clip of one frame at that size; the engine pads what is smaller, and nothing else."""
    found = ready(model)
    clip = clip_for(found, sample, (1, 1, 3, 1, 1))
    try:
        out = run(model, clip)
    except Exception as error:
        fail(
            f"{tuple(clip.shape)} raised {type(error).__name__}: {error}",
            "raise Traits.minimum or Traits.multiple_of to what the layers need",
        )
    _same_shape(clip, out, found)


def _same_shape(clip: Tensor, out: Tensor, found: Traits) -> None:
    channels = 3 if found.channels == "rgb+qp" else clip.shape[2]
    wanted = (*clip.shape[:2], channels, found.scale * clip.shape[3], found.scale * clip.shape[4])
    if tuple(out.shape) != wanted:
        fail(
            f"{tuple(clip.shape)} became {tuple(out.shape)}, not {tuple(wanted)}",
            "let Traits.scale say what forward does; pad inside the model, or name Traits.multiple_of, "
            "where sizes do not divide",
        )
    if out.dtype != clip.dtype:
        fail(f"{clip.dtype} became {out.dtype}", "make constants and buffers in the clip's dtype (clip.new_tensor)")


@check("model", "finite output for any clip in [0, 1], black and white ones too")
def finite_output(model: Any, sample: Sample) -> None:
    """Flat clips have no variance to divide by."""
    found = ready(model)
    clip = clip_for(found, sample)
    for name, case in (("a moving picture", clip), ("all 0", torch.zeros_like(clip)), ("all 1", torch.ones_like(clip))):
        out = run(model, case)
        if not finite(out):
            count = int((~torch.isfinite(out)).sum())
            fail(
                f"{name}: {count} of {out.numel()} values are not finite",
                "add an epsilon where forward divides, takes a root or a logarithm",
            )


@check("model", "in evaluation mode two calls give the same, and the input is left as it was")
def deterministic(model: Any, sample: Sample) -> None:
    """No dropout, no noise, no state from one call to the next, nothing in place."""
    found = ready(model)
    clip = clip_for(found, sample)
    before = clip.clone()
    first = run(model, clip)
    if not torch.equal(clip, before):
        fail("forward changed its input", "no in-place operation on the clip: x = x + 1, not x += 1")
    again = run(model, clip)
    difference = largest(first - again)
    # CUDA adds up in no fixed order.
    if difference > (1e-5 * largest(first) if sample.device != "cpu" else 0):
        fail(
            f"two calls differ by up to {difference:.3g}",
            "no noise or dropout in evaluation mode, and no state kept between calls",
        )


@check("model", "a sample's result does not depend on the others of its batch")
def batch(model: Any, sample: Sample) -> None:
    """The engine puts as many frames into a batch as fit."""
    found = ready(model)
    clip = clip_for(found, sample, (3, *sample.shape[1:]))
    other = torch.cat([clip[:1], 1 - clip[1:]])
    _unchanged(
        run(model, clip)[0],
        run(model, other)[0],
        "changing the other samples of a batch",
        "take no statistics over the batch axis in evaluation mode (track_running_stats=True, or LayerNorm)",
    )


def _unchanged(before: Tensor, after: Tensor, what: str, mend: str) -> None:
    difference, size = largest(before - after), largest(before)
    # Another batch may be summed in another order; that is all a difference may be.
    if not difference <= 1e-5 * max(size, 1e-3):
        fail(f"{what} changed the result by up to {difference:.3g} (its values reach {size:.3g})", mend)


@check("model", "an output changes only with frames within `halo.frames` of it; with temporal = 'frame', its own")
def frames(model: Any, sample: Sample) -> None:
    """Frames outside are exchanged, at either end; where state goes forward, at the end alone."""
    found = ready(model)
    stream = found.temporal == "stream"
    reach = sum(sweep.reach for sweep in _sweeps(model)) if stream else found.halo.frames
    if stream and any(sweep.direction == "backward" for sweep in _sweeps(model)):
        raise NotApplicableError("a sweep runs backward: every frame of the future reaches an output")
    if reach > 64:
        raise NotApplicableError(f"halo.frames = {reach}: a clip that long is too much for a check")
    clip = clip_for(found, sample, (1, reach + 3, *sample.shape[2:]))
    before = run(model, clip)
    for end, kept, changed in (
        ("after", slice(0, 1), slice(reach + 1, None)),
        *(() if stream else (("before", slice(-1, None), slice(0, 2)),)),
    ):
        other = clip.clone()
        other[:, changed] = 1 - other[:, changed]
        _unchanged(
            before[:, kept],
            run(model, other)[:, kept],
            f"changing frames more than {reach} {end} it",
            "raise Traits.halo.frames (and say temporal = 'clip'), or fold time into the batch (clip.flatten(0, 1))",
        )


def _sweeps(model: nn.Module) -> tuple[Sweep, ...]:
    found: Any = getattr(model, "sweeps", None)
    if not isinstance(found, tuple) or not found:
        fail(
            f"temporal is 'stream', but `sweeps` is {found!r}",
            "give the model a property `sweeps`, a tuple of restore.contracts.Sweep in the order in which they run",
        )
    for number, sweep in enumerate(found):
        reach = getattr(sweep, "reach", None)
        if getattr(sweep, "direction", None) not in DIRECTIONS or not isinstance(reach, int) or reach < 0:
            fail(
                f"sweep {number} has direction {getattr(sweep, 'direction', None)!r} and reach {reach!r}",
                f"direction is one of {', '.join(map(repr, DIRECTIONS))}, reach a whole number of at least 0",
            )
    return tuple(found)


def _stream(model: Any) -> Traits:
    found = ready(model)
    if found.temporal != "stream":
        raise NotApplicableError(f"temporal is '{found.temporal}': there are no sweeps")
    return found


@check("model", "with temporal = 'stream', the `sweeps`, one after the other over a clip, give what model(clip) gives")
def sweeps(model: Any, sample: Sample) -> None:
    """Clips of one, two and more frames; every value and state has the batch first."""
    found = _stream(model)
    exact = _double(model, found, sample)
    kind = next((p.dtype for p in exact.parameters()), torch.float64)
    tolerance = 1e-9 if kind == torch.float64 else 1e-4
    for count in (1, 2, max(5, sample.shape[1])):
        clip = clip_for(found, sample, (2, count, *sample.shape[2:])).to(kind)
        whole = run(exact, clip)
        with torch.no_grad():
            swept = run_sweeps([_Watched(s, k, 2) for k, s in enumerate(_sweeps(exact))], clip)
        if swept.shape != whole.shape:
            fail(
                f"of {tuple(clip.shape)} model(clip) makes {tuple(whole.shape)}, the sweeps {tuple(swept.shape)}",
                'the last sweep answers {"frame": (B, C, scale*H, scale*W)}',
            )
        off = (swept - whole).abs().amax(dim=(0, 2, 3, 4))
        if float(off.max()) > tolerance * max(largest(whole), 1e-3):
            worst = int(off.argmax())
            fail(
                f"for {count} frames they differ by up to {float(off.max()):.3g}, most in frame {worst}",
                "let forward be restore.functional.sweeping.run_sweeps(self.sweeps, clip), or look at what it does at "
                "the first and last frame, where neighbours and state are None",
            )


class _Watched:
    """A sweep that is called for another clip in between, and whose values are looked at."""

    def __init__(self, sweep: Sweep, number: int, batch: int) -> None:
        self.sweep, self.number, self.batch = sweep, number, batch
        self.direction, self.reach = sweep.direction, sweep.reach

    def __call__(self, frames: Any, state: State | None) -> tuple[Value, State | None]:
        before = [None if f is None else {k: v.clone() for k, v in f.items()} for f in frames]
        value, after = self.sweep(frames, state)
        for what, tensors in (("value", value), ("state", after or {})):
            for name, tensor in tensors.items():
                if tensor.ndim == 0 or tensor.shape[0] != self.batch:
                    fail(
                        f"sweep {self.number}: {name!r} of its {what} has the shape {tuple(tensor.shape)} for a batch "
                        f"of {self.batch}",
                        "every tensor of a value or a state has the batch first",
                    )
        kept = [
            torch.equal(old[k], new[k])
            for old, new in zip(before, frames, strict=True)
            if old is not None and new is not None
            for k in old
        ]
        if not all(kept):
            fail(f"sweep {self.number} changed the values it was given", "no in-place operation on values or states")
        held = {k: v.clone() for k, v in value.items()}, {k: v.clone() for k, v in (after or {}).items()}
        # Whatever a sweep kept to itself now belongs to another clip.
        self.sweep([None if f is None else {k: 1 - v for k, v in f.items()} for f in frames], None)
        return held[0], None if after is None else held[1]


@check("model", "nothing beyond `halo.pixels` reaches an output pixel, unless `global_context` says that it does")
def halo(model: Any, sample: Sample) -> None:
    """Pixels beyond the halo are exchanged, and gradients must not reach them: a gradient shows paths so faint that
    an exchange drowns in rounding."""
    found = ready(model)
    if found.global_context:
        raise NotApplicableError(
            "global_context = True: everything reaches everything, the engine tiles only if it must"
        )
    if found.halo.pixels > 512:
        raise NotApplicableError(f"halo.pixels = {found.halo.pixels}: a frame that large is too much for a check")
    exact = _double(model, found, sample)
    for axis in (-2, -1):
        for side in (1, -1):
            _look_beyond(exact, found, sample, axis, side)


def _double(model: nn.Module, found: Traits, sample: Sample) -> nn.Module:
    """A stirred copy in float64, or in float32 for a model that insists on it."""
    stirred = copy.deepcopy(model)
    stir(stirred)
    try:
        exact = copy.deepcopy(stirred).double()
        run(exact, clip_for(found, sample).double())
    except (RuntimeError, TypeError):
        return stirred
    return exact


def _look_beyond(model: nn.Module, found: Traits, sample: Sample, axis: int, side: int) -> None:
    multiple, reach = found.multiple_of, found.halo.pixels
    kept = -(-4 // multiple) * multiple
    lengths = {axis: kept + reach + kept, -3 - axis: 8}
    clip = clip_for(found, sample, (1, 1, 3, lengths[-2], lengths[-1]))
    parameter = next(model.parameters(), None)
    clip = clip.to(torch.float64 if parameter is None else parameter.dtype).requires_grad_()
    length = clip.shape[axis]
    beyond = (kept + reach, length - kept - reach) if side > 0 else (0, length - kept - reach)
    core = (0 if side > 0 else (length - kept) * found.scale, kept * found.scale)
    before = restored(model(clip)).narrow(axis, *core)
    other = clip.detach().clone()
    other.narrow(axis, *beyond).copy_(1 - other.narrow(axis, *beyond))
    difference = largest(before - run(model, other).narrow(axis, *core))
    size = largest(before)
    faint = _faint_path(before, clip, axis, beyond, sample)
    tolerance = 1e-12 if clip.dtype == torch.float64 else 1e-6
    if difference > tolerance * max(size, 1e-3) or faint > 0:
        by = f"by up to {difference:.3g}" if difference > tolerance * max(size, 1e-3) else f"with gradient {faint:.3g}"
        where = {(-2, 1): "below", (-2, -1): "above", (-1, 1): "right of", (-1, -1): "left of"}[axis, side]
        fail(
            f"pixels more than {reach} {where} an output pixel reach it {by} (relative)",
            "raise Traits.halo: add up (kernel - 1) / 2 * stride of every layer on the longest path; where a layer "
            "looks at the whole frame (a squeeze, a global norm), say global_context = True",
        )


def _faint_path(out: Tensor, clip: Tensor, axis: int, beyond: tuple[int, int], sample: Sample) -> float:
    """The largest gradient beyond the halo, relative to the largest of all; 0 where there is none."""
    if not out.requires_grad:
        return 0.0
    (gradient,) = torch.autograd.grad((out * sample.noise(out)).sum(), clip, allow_unused=True)
    if gradient is None or largest(gradient) == 0:
        return 0.0
    relative = largest(gradient.narrow(axis, *beyond)) / largest(gradient)
    # A softmax mask of -100 leaves e-44 and means nothing.
    return relative if relative > 1e-30 else 0.0


@check("model", "weights written to a file and read into a new model give bit for bit the same output")
def state_dict(model: Any, sample: Sample) -> None:
    """Through safetensors, as `restore train` writes them."""
    found = ready(model)
    if not model.state_dict():
        raise NotApplicableError("the model has no parameters and no buffers")
    model = copy.deepcopy(model)
    stir(model)
    fresh = sample.make() if sample.make is not None else copy.deepcopy(model)
    fresh.to(sample.device).eval()
    stir(fresh, seed=1)
    clip = clip_for(found, sample)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        try:
            weights.save(path, model.state_dict(), {})
            weights.load_into(fresh, weights.read(path))
        except RestoreError as error:
            fail(str(error), "a model built twice from the same parameters must have the same names and shapes")
    difference = largest(run(model, clip) - run(fresh, clip))
    if difference:
        fail(
            f"the outputs differ by up to {difference:.3g}",
            "keep everything that forward uses in nn.Parameter or register_buffer(persistent=True), and draw nothing "
            "at random in __init__ beside them",
        )


@check("model", "a gradient reaches every trainable parameter, finite and somewhere not 0")
def gradients(model: Any, sample: Sample) -> None:
    """From the restored clip, the intermediates and the features together, in training mode."""
    found = ready(model)
    model = copy.deepcopy(model)
    stir(model)
    model.train()
    waiting = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not waiting:
        raise NotApplicableError("the model has nothing to train")
    reached: set[str] = set()
    for seed in (0, 1):
        model.zero_grad(set_to_none=True)
        outputs = _outputs(model(clip_for(found, sample, seed=seed)))
        torch.autograd.backward([(o * sample.noise(o, seed + 5)).sum() for o in outputs])
        for name, parameter in waiting.items():
            if parameter.grad is not None and not finite(parameter.grad):
                fail(f"the gradient of {name} is not finite", "a root, norm or division at 0: add an epsilon inside it")
            if parameter.grad is not None and largest(parameter.grad) > 0:
                reached.add(name)
    lost = [name for name in waiting if name not in reached]
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        fail(
            f"none reaches {', '.join(lost[:3])}{more}",
            "remove layers that forward does not use, or a detach() on the way; what is not to be trained gets "
            "requires_grad_(False)",
        )


def _outputs(answer: Any) -> list[Tensor]:
    if not isinstance(answer, Prediction):
        return [restored(answer)]
    every = [answer.restored, *answer.intermediates, *answer.features.values()]
    return [o for o in every if isinstance(o, Tensor) and o.requires_grad]


@check("model", "under autocast in a short float the output is finite and near that of float32", dtypes=("bfloat16",))
def precision(model: Any, sample: Sample) -> None:
    """Weights stay float32, as the engine runs it."""
    found = ready(model)
    plain = Sample(sample.shape, "float32", sample.device)
    clip = clip_for(found, plain)
    wide = run(model, clip)
    with torch.autocast(torch.device(sample.device).type, dtype=sample.torch_dtype):
        short = run(model, clip).float()
    if not finite(short):
        fail("values are not finite", "keep sums of many values, roots and exponentials in float32")
    error = float((short - wide).norm() / wide.norm().clamp_min(1e-6))
    if error > 0.1:
        fail(
            f"it differs from float32 by {100 * error:.1f} percent (root mean square)",
            "keep what is sensitive in float32: wrap it in torch.autocast(device_type, enabled=False)",
        )
