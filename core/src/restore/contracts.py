"""The protocols that components keep. Clips are float tensors ``(B, T, C, H, W)`` in [0, 1]; an image has T = 1.

Times are in frames, sizes in pixels, noise sigma on the [0, 1] scale. Everything random takes a ``torch.Generator``.
This module imports no torch: listing and checking stay quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Mapping, Protocol, runtime_checkable

import attrs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Channels = Literal["rgb", "y"]
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
        channels: ``"rgb"``, three channels in [0, 1]; ``"y"``, one channel, studio-range luma in [16, 235]/255.
        temporal: ``"frame"``, frames are independent; ``"clip"``, a window of frames; ``"stream"``, state is carried.
        multiple_of: input height and width must be multiples of this; the engine pads by reflection and crops.
        minimum: smallest input height and width.
        halo: pixels and frames of context that reach the output.
        global_context: something in the model looks at the whole frame (a squeeze, a global norm), so that tiles cannot
            equal the whole however wide the halo. The engine then prefers whole frames, and says so when it must tile.
        needs_operator: the model wants the linear operator beside the clip.
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


@attrs.frozen
class Prediction:
    """What a model may return instead of a tensor, for losses that look inside.

    Attributes:
        restored: ``(B, T, C, sH, sW)`` in [0, 1].
        intermediates: earlier versions of ``restored``, in the model's own order.
        features: named tensors, e.g. hidden states.
    """

    restored: Tensor
    intermediates: tuple[Tensor, ...] = ()
    features: Mapping[str, Tensor] = attrs.field(factory=dict)


@attrs.frozen
class Step:
    """Where training stands.

    Attributes:
        iteration: finished iterations, from 0.
        total: iterations of the whole run, at least 1.
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
    """A training pair: ``observed`` and ``target`` are clips; ``operator`` made one from the other, if it is linear."""

    observed: Tensor
    target: Tensor
    operator: LinearOperator | None = None


@runtime_checkable
class Model(Protocol):
    """An ``nn.Module`` from the observed clip to the restored one, with its traits."""

    traits: Traits

    def __call__(self, clip: Tensor) -> Tensor | Prediction:
        """``(B, T, C, H, W)`` to ``(B, T, C, scale*H, scale*W)``."""
        ...


@runtime_checkable
class Degradation(Protocol):
    """Makes the training pair. A plain degradation returns the clean clip as target; one that wraps another may change
    both sides."""

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``clean``: ``(B, T, C, H, W)`` in [0, 1]."""
        ...


@runtime_checkable
class LinearOperator(Protocol):
    """A linear map on clips: differentiable, batched, any float dtype and device."""

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
        """``argmin_z 1/2 |A z - y|^2 + rho/2 |z - v|^2``."""
        ...


@runtime_checkable
class Loss(Protocol):
    """``(prediction, pair, step)`` to a scalar tensor."""

    def __call__(self, prediction: Prediction, pair: Pair, step: Step) -> Tensor:
        """A scalar, differentiable in the prediction."""
        ...


@runtime_checkable
class Schedule(Protocol):
    """``step`` to a value."""

    def __call__(self, step: Step) -> float:
        """The value at this step."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """Clean clips and nothing else: a map-style dataset of ``(T, C, H, W)`` float tensors in [0, 1]."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tensor: ...


@runtime_checkable
class Metric(Protocol):
    """``(restored, reference)`` clips to a number. ``protocol`` is printed with every number."""

    protocol: Mapping[str, Any]

    def __call__(self, restored: Tensor, reference: Tensor) -> float:
        """Both ``(B, T, C, H, W)`` in [0, 1]."""
        ...


@runtime_checkable
class Pruner(Protocol):
    """Makes a model smaller."""

    def attach(self, model: Any) -> None:
        """Prepare ``model`` for pruning."""
        ...

    def penalty(self, step: Step) -> Tensor:
        """A scalar added to the loss."""
        ...

    def update(self, step: Step) -> None:
        """Called after every optimizer step."""
        ...

    def compact(self) -> Any:
        """A smaller model whose outputs equal the masked one's."""
        ...
