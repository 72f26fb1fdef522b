"""The protocols that components keep. Clips are float tensors ``(B, T, C, H, W)`` in [0, 1]; an image has T = 1.

Times are in frames, sizes in pixels, noise sigma on the [0, 1] scale. Everything random takes a ``torch.Generator``.
This module imports no torch: listing and checking stay quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Mapping, Protocol, Sequence, runtime_checkable

import attrs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Channels = Literal["rgb", "y", "rgb+qp"]
Temporal = Literal["frame", "clip", "stream"]
Transfer = Literal["sdr", "pq", "hlg"]


@attrs.frozen
class Halo:
    """Context that reaches the output: how far an input pixel or frame can lie from the output it changes.

    Attributes:
        pixels: on the model's input grid, to every side.
        frames: to the past and to the future.
    """

    pixels: int = 0
    frames: int = 0


@attrs.frozen
class Traits:
    """All that the engine knows of a model; it tiles, windows, pads and batches from this alone.

    Attributes:
        scale: output pixels per input pixel along each side.
        channels: ``"rgb"``, three channels in [0, 1]; ``"y"``, one channel, studio-range luma in [16, 235]/255;
            ``"rgb+qp"``, RGB and as the fourth channel how coarsely each frame was coded, where the stream tells:
            QP / 51 on the scale of H.264 and HEVC, -1 where nobody knows. The answer is RGB.
        temporal: ``"frame"``, frames are independent; ``"clip"``, a window of frames, of which ``halo.frames`` to both
            sides reach a frame's answer; ``"stream"``, state is carried along time, and the model's ``sweeps`` say how.
        multiple_of: input height and width must be multiples of this; the engine pads by reflection and crops.
        minimum: smallest input height and width.
        halo: pixels and frames of context that reach the output.
        global_context: something in the model looks at the whole frame (a squeeze, a global norm), so that tiles cannot
            equal the whole however wide the halo. The engine then prefers whole frames, and says so when it must tile.
        needs_operator: the model is called with what was measured and the linear operator that measured it:
            ``model(observed, operator)``; ``observed`` has the operator's shape, and the answer that of its domain.
        transfers: transfer characteristics it was made for; HDR video is refused unless named here.
    """

    scale: int = 1
    channels: Channels = "rgb"
    temporal: Temporal = "frame"
    multiple_of: int = 1
    minimum: int = 1
    halo: Halo = Halo()
    global_context: bool = False
    needs_operator: bool = False
    transfers: tuple[Transfer, ...] = ("sdr",)

    @property
    def planes(self) -> int:
        """How many channels the model takes."""
        return {"rgb": 3, "y": 1, "rgb+qp": 4}[self.channels]


class Prediction:
    """What a model may return instead of a tensor, for losses that look inside.

    A plain class: torch.compile cannot trace the making of an attrs class, and Lightning takes dataclasses apart.

    Args:
        restored: ``(B, T, C, sH, sW)`` in [0, 1].
        intermediates: earlier versions of ``restored``, in the model's own order.
        features: named tensors, e.g. hidden states.
    """

    __slots__ = ("features", "intermediates", "restored")

    def __init__(
        self, restored: Tensor, intermediates: tuple[Tensor, ...] = (), features: Mapping[str, Tensor] | None = None
    ) -> None:
        self.restored, self.intermediates = restored, intermediates
        self.features: Mapping[str, Tensor] = {} if features is None else features

    def __repr__(self) -> str:
        inner, names = len(self.intermediates), ", ".join(self.features)
        return f"Prediction({tuple(self.restored.shape)}, {inner} intermediates, features: {names or 'none'})"


@attrs.frozen
class Step:
    """Where training stands, on the clock of the schedules: that of the whole run, or of the phases since the schedules
    were last begun anew.

    Attributes:
        iteration: finished iterations, from 0.
        total: iterations in all, at least 1.
        generator: the source of everything random in this step; ``None`` asks for torch's own.
    """

    iteration: int = 0
    total: int = 1
    generator: torch.Generator | None = None

    @property
    def progress(self) -> float:
        """``iteration / total`` in [0, 1]."""
        return min(1.0, self.iteration / max(1, self.total))


@attrs.frozen
class Pair:
    """A training pair: ``observed`` and ``target`` are clips; ``operator`` made one from the other, if it is linear;
    ``qp``, ``(B, T)``, is what each observed frame was coded with, below 0 where nobody knows, or None."""

    observed: Tensor
    target: Tensor
    operator: LinearOperator | None = None
    qp: Tensor | None = None


@runtime_checkable
class Model(Protocol):
    """An ``nn.Module`` from the observed clip to the restored one, with its traits.

    A model may have ``translate_weights(tensors)``, which gives back a file's tensors under the model's own names, so
    that weights published for other code load; what it does not know it gives back as it is.

    A model whose traits say ``temporal = "stream"`` has a property ``sweeps``, a tuple of :class:`Sweep`: what it does,
    taken apart so that the engine can work through a video of any length in bounded memory. One whose traits say
    ``needs_operator`` is called with a :class:`LinearOperator` as a second argument.
    """

    traits: Traits

    def __call__(self, clip: Tensor) -> Tensor | Prediction:
        """``(B, T, C, H, W)`` to ``(B, T, C, scale*H, scale*W)``."""
        ...


Value = Mapping[str, "Tensor"]
State = Mapping[str, "Tensor"]


@runtime_checkable
class Sweep(Protocol):
    """One of the passes over a video that a ``"stream"`` model is made of.

    The first sweep is given the observed frames as ``{"frame": (B, C, H, W)}``, every later one what the sweep before
    it said of each frame; the last one answers ``{"frame": (B, C, scale*H, scale*W)}``. All tensors have the batch
    first. A value holds all that later sweeps need (the frame itself, flows, features), and nothing more: values and
    states may be kept on disk. Running the sweeps one after the other over all frames of a clip equals ``model(clip)``.

    Attributes:
        direction: ``"forward"``, state goes from each frame to the next; ``"backward"``, to the one before; ``"none"``,
            there is no state, and frames can be taken in any order.
        reach: frames to either side that it looks at besides the one at hand.
    """

    direction: Literal["forward", "backward", "none"]
    reach: int

    def __call__(self, frames: Sequence[Value | None], state: State | None) -> tuple[Value, State | None]:
        """One frame's value and the state that goes on.

        Args:
            frames: values of the frames t - reach to t + reach, ``2 * reach + 1`` of them; None beyond the first and
                the last frame of a scene.
            state: what came from the frame before in this direction; None at the first.
        """
        ...


@runtime_checkable
class Teacher(Protocol):
    """A trained model that stays as it is, as a parameter of degradations, losses and pruners. In a recipe it is a
    table like ``[model]``: ``{ use = "srsenet", scale = 2, weights = "srsenet-x2" }``; with ``cache = "folder"`` its
    answers are kept on disk. The same table twice is one object. It follows the clips it is given to their device."""

    traits: Traits

    def __call__(self, clip: Tensor) -> Tensor | Prediction:
        """``(B, T, C, H, W)`` to ``(B, T, C, scale*H, scale*W)``, without gradients, in the clip's dtype."""
        ...


@runtime_checkable
class Degradation(Protocol):
    """Makes the training pair. A plain degradation returns the clean clip as target; one that wraps another may change
    both sides. Where its target is not the clean clip, its attribute ``plain`` is the degradation that the trained
    model undoes, and validation and evaluation use that one (:func:`plain_degradation`).

    What is random is drawn from ``step.generator`` alone; no sample's result depends on the others' pixels; the clean
    clip is left as it was; both sides have its dtype and device. Two things may be there besides:

    - ``per_frame = True``, an attribute: every frame is spoilt independently of the others, and none is added or lost,
      so that a video can be worked through frame by frame. Without it a clip is spoilt as a whole.
    - ``settled(generator)``, a method: the degradation with whatever it draws once for a sample drawn now (a sigma, a
      quality, a blur's direction), so that all pieces of a video get the same. It returns another object.
    """

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``clean``: ``(B, T, C, H, W)`` in [0, 1]."""
        ...


def plain_degradation(degradation: Degradation) -> Degradation:
    """The degradation under which a model is measured: the one its training degradation wraps, or itself."""
    while (wrapped := getattr(degradation, "plain", None)) is not None:
        degradation = wrapped
    return degradation


@runtime_checkable
class LinearOperator(Protocol):
    """A linear map on clips: differentiable, batched, any float dtype and device; exact in float64, so that
    ``<A x, y> = <x, A* y>``. A measurement has any shape after its batch axis; that of a batch whose samples measure
    unlike numbers of values is flat, and a method ``split`` gives each sample's part. ``plan()``, where there is one,
    says which solve a data step uses. :class:`restore.operators.Operator` is a base that brings all but ``A`` and
    ``A*``."""

    def __call__(self, x: Tensor) -> Tensor:
        """``A x``."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """``A* y``."""
        ...

    def pinv(self, y: Tensor) -> Tensor:
        """The Moore-Penrose pseudo-inverse applied to ``y``."""
        ...

    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """``argmin_z 1/2 |A z - y|^2 + rho/2 |z - v|^2``; ``rho`` above 0, one number or a tensor ``(B,)``."""
        ...


@attrs.frozen
class Place:
    """Where a window lies in the video that was measured, in that video's own frames and pixels.

    Attributes:
        frame: number of its first frame, from 0.
        top, left: row and column of its first pixel.
        height, width: of the whole frames.
    """

    frame: int
    top: int
    left: int
    height: int
    width: int


@attrs.frozen
class Window:
    """What is known of the clean clip behind one window of a measured video.

    Attributes:
        operator: from the clean clip ``(1, T, C, H, W)``, which may reach beyond the window.
        measured: what it measured.
        first: frames, rows and columns of the clean clip before the first one that the window shows.
    """

    operator: LinearOperator
    measured: Tensor
    first: tuple[int, int, int] = (0, 0, 0)


@runtime_checkable
class VideoMeasurement(Degradation, Protocol):
    """A linear degradation whose result is a video that people have in a file: with a logo, blurred, at half the frame
    rate, without colour, small. The table ``[operator]`` of a recipe names one, and the engine gives models that need
    their operator the one that belongs to each window of the file.

    Attributes:
        rate: frames of the clean clip per frame of the file.
        scale: pixels of the clean clip per pixel of the file, along each side.
        colours: the file has lost its colours: results have them, even where the file's own format holds none.
    """

    rate: int
    scale: int
    colours: bool

    def check_video(self, frames: int, height: int, width: int) -> None:
        """RequestError where it cannot have made a video of so many frames of this size."""
        ...

    def window(self, observed: Tensor, place: Place) -> Window:
        """``observed``: ``(1, n, C, h, w)`` of the file. The clean clip shows, from ``first`` on, ``(n - 1) rate + 1``
        frames of ``scale h`` by ``scale w`` pixels."""
        ...

    def kept(self, place: Place, frames: int) -> Tensor | None:
        """Where the file's own pixels stay as they are, as bool, broadcasting to ``(frames, C, place.height,
        place.width)``: whole frames from ``place.frame`` on. None: nowhere."""
        ...


@runtime_checkable
class Loss(Protocol):
    """``(prediction, pair, step)`` to a scalar tensor."""

    def __call__(self, prediction: Prediction, pair: Pair, step: Step) -> Tensor:
        """A scalar, differentiable in the prediction."""
        ...


@runtime_checkable
class Schedule(Protocol):
    """``step`` to a value: a pure function of the step, finite for every iteration, also beyond ``total``."""

    def __call__(self, step: Step) -> float:
        """The value at this step."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """Clean clips and nothing else: a map-style dataset of ``(T, C, H, W)`` float tensors in [0, 1].

    ``dataset[i]`` is the same whenever it is read, raises IndexError outside, and the dataset can be pickled, as worker
    processes need it. Methods that may be there besides:

    - ``sample(index, generator)``: a random piece of an entry (crop, stretch of time, symmetry), ``(T, C, h, w)``, that
      the generator alone decides. Training reads these instead of whole entries.
    - ``sample_pair(index, generator)``: a :class:`Pair` of such pieces, for data that brings the observed side too; its
      target is what ``sample`` gives for the same generator.
    - ``name(index)``: what tables and reports call an entry.
    - ``qps(index)``: what each frame of an entry was coded with, ``(T,)``, below 0 where nobody knows, or None; for
      observed sides.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tensor: ...


@runtime_checkable
class Metric(Protocol):
    """``(restored, reference)`` clips to a number. ``protocol`` is printed with every number: names and plain values,
    all that moves it.

    Closer is better, in whichever direction; a batch gives a value between its samples'; shapes that differ raise
    ValueError. A metric that measures a gain says ``needs_observed = True``, gets the observed clip as a third
    argument, and raises ValueError without it.
    """

    protocol: Mapping[str, Any]

    def __call__(self, restored: Tensor, reference: Tensor) -> float:
        """Both ``(B, T, C, H, W)`` in [0, 1]."""
        ...


@runtime_checkable
class Pruner(Protocol):
    """Makes a model smaller, in the course of a training.

    The phases of a recipe say when: it is attached before the first one; during those with ``pruning = "regularise"``
    its penalty is part of the loss and ``update`` follows every step; at the beginning of the one with
    ``pruning = "compact"`` the compact model takes the attached one's place. :class:`restore.pruning.GatePruner` is a
    base for those that work on what models declare.

    An attribute ``needed_iterations`` may say how long ``regularise`` must be at least. A compact model built by
    :func:`restore.pruning.compact` carries its index sets into its weights' file, and is built again from that.
    """

    def attach(self, model: Any) -> None:
        """Prepare ``model`` for pruning; what it computes stays the same.

        Raises:
            RequestError: it cannot be pruned exactly; why.
        """
        ...

    def penalty(self, step: Step) -> Tensor:
        """A scalar added to the loss."""
        ...

    def update(self, step: Step) -> None:
        """Called after every optimizer step."""
        ...

    def compact(self) -> Any:
        """A smaller model. From here on the attached one is the masked one, whose outputs it equals."""
        ...

    def readings(self) -> Mapping[str, float]:
        """Numbers for the log; cheap to read."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors to go on from; parameters that it put into the model are the model's."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`, attached to a fresh model of the same kind. After the state of a pruner that
        was compacted, ``compact`` gives a model of the same shapes, whose weights are then loaded."""
        ...
