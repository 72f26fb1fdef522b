"""What running any model has in common: padding, tiles that fit in memory, precision, and values that are finite."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Callable, Mapping, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.contracts import Prediction, Traits
from restore.errors import RequestError, RestoreError
from restore.inference.memory import OutOfMemory, free_memory, largest_layer, out_of_memory
from restore.inference.precision import Mode, choose
from restore.modelling import pick_device
from restore.progress import say
from restore.recipe import Run

SMALLEST_TILE = 32
# Below this many input pixels in all, trying modes costs more than it saves.
_WORTH_A_TRIAL = 500_000

T = TypeVar("T")


class Runner(ABC):
    """One model on one device.

    Args:
        model: with ``traits``; moved to the device and put in evaluation mode.
        settings: ``[run]`` of the recipe.
        name: for messages.
        work: input pixels that will come in all, or ``None``; short work is not worth a trial of modes.

    Raises:
        RequestError: a model that needs its operator, or a device that is not there.
        RestoreError: the model has no traits.
    """

    # Whether models that need their operator are given it.
    takes_operator = False

    def __init__(self, model: nn.Module, settings: Run, name: str = "model", work: int | None = None) -> None:
        traits = model.traits
        if not isinstance(traits, Traits):
            raise RestoreError(f"{name}: traits is a {type(traits).__name__}, not restore.Traits")
        if traits.needs_operator and not self.takes_operator:
            raise RequestError(
                f"{name} needs to know what made its input. Say so in the table [operator] of the recipe, for example "
                "--set operator.use=core:mask --set operator.mask=mask.png, or operator.use=core:frame-interpolation, "
                "core:kernel-blur, core:greyscale, core:box"
            )
        self.traits, self.settings, self.name, self.work = traits, settings, name, work
        self.device = pick_device(settings.device)
        self.model = model.to(self.device).eval()
        self.call: Callable[[Tensor], Any] = torch.compile(self.model) if settings.compile else self.model
        self.mode: Mode | None = None
        self.warnings: list[str] = []
        # Settled once for each shape: a choice that followed the free memory would change the picture in mid-video.
        self._tiles: dict[torch.Size, int] = {}

    @property
    def scale(self) -> int:
        """Output pixels per input pixel along each side."""
        return self.traits.scale

    @property
    def fade(self) -> int:
        """Input pixels to both sides of a seam over which tiles are blended; 0 where a halo makes them exact."""
        return max(4, self.traits.halo.pixels // 2) if self.traits.global_context else 0

    @abstractmethod
    def try_out(self, frames: Tensor, mode: Mode) -> Tensor:
        """``(N, C, H, W)`` through the model under a mode, for a trial; ``(N, C, scale*H, scale*W)``."""

    @abstractmethod
    def bytes_per_pixel(self, frames: Tensor) -> float:
        """Memory that the work on ``frames`` takes in all, in bytes per pixel of one of them."""

    def settle_mode(self, frames: Tensor, count: int = 1) -> Mode:
        """The mode, chosen by a trial on the first frames that come."""
        if self.mode is None:
            settings = self.settings
            asked = settings.precision != "auto" or settings.channels_last != "auto"
            if not asked and self.work is not None and self.work < _WORTH_A_TRIAL:
                self.mode = Mode(reason="too little work for a trial")
            else:
                self.mode = choose(
                    self.model, self.try_out, frames, settings.precision, settings.channels_last, count=count
                )
        return self.mode

    def settled(self) -> dict[str, Any]:
        """What was chosen on this machine and shapes the result, for another process that goes on; JSON can hold it."""
        mode = None if self.mode is None else [self.mode.precision, self.mode.channels_last, self.mode.reason]
        return {"mode": mode, "tiles": [[*shape, tile] for shape, tile in self._tiles.items()]}

    def settle(self, known: Mapping[str, Any]) -> None:
        """Take over what another process chose, from its :meth:`settled`."""
        if known["mode"] is not None:
            self.mode = Mode(*known["mode"])
        self._tiles = {torch.Size(shape): tile for *shape, tile in known["tiles"]}

    def pad(self, frames: Tensor) -> Tensor:
        """``(N, C, H, W)``, reflected at the lower and right edge to the model's multiple and minimum."""
        height, width = int(frames.shape[-2]), int(frames.shape[-1])
        target = [max(side, self.traits.minimum) for side in (height, width)]
        target = [-(-side // self.traits.multiple_of) * self.traits.multiple_of for side in target]
        down, right = target[0] - height, target[1] - width
        for pad, length in (((0, 0, 0, down), height), ((0, right, 0, 0), width)):
            if any(pad):
                # Reflection needs more pixels than it makes; a one-pixel side can only be repeated.
                frames = F.pad(frames, pad, mode="reflect" if max(pad) < length else "replicate")
        return frames

    def cropped(self, out: Tensor, height: int, width: int) -> Tensor:
        """The answer without what padding made, in float32.

        Raises:
            RestoreError: it is smaller than the traits promise.
        """
        wanted = (height * self.scale, width * self.scale)
        if int(out.shape[-2]) < wanted[0] or int(out.shape[-1]) < wanted[1]:
            raise RestoreError(
                f"{self.name}: its traits say scale {self.scale}, but {width}x{height} became "
                f"{out.shape[-1]}x{out.shape[-2]}"
            )
        return out[..., : wanted[0], : wanted[1]].float()

    def layout(self, mode: Mode) -> torch.memory_format:
        """The memory layout of a mode; the model's weights are brought into it."""
        layout = torch.channels_last if mode.channels_last else torch.contiguous_format
        self.model.to(memory_format=layout)  # type: ignore[call-overload]
        return layout

    def forward(self, clip: Tensor, mode: Mode) -> Tensor:
        """``(N, C, H, W)`` as one clip of N frames through the model: ``(N, C, scale*H, scale*W)``."""
        # Channels-last is a property of the four-dimensional tensor inside.
        clip = clip.contiguous(memory_format=self.layout(mode))
        with mode.arithmetic(self.device), torch.inference_mode():
            answer = self.call(clip.unsqueeze(0))
        restored = answer.restored if isinstance(answer, Prediction) else answer
        assert isinstance(restored, Tensor)
        return restored.squeeze(0)

    def in_memory(self, frames: Tensor, run: Callable[[int], T]) -> T:
        """``run(tile)`` with tiles that fit in memory, halved until they do.

        Raises:
            OutOfMemory: not even small tiles fit.
        """
        while True:
            tile = self.tile_for(frames)
            try:
                return run(tile)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            self.shrink(frames, tile)

    def shrink(self, frames: Tensor, tile: int) -> None:
        """After memory ran out with ``tile``: half of it from now on.

        Raises:
            OutOfMemory: it would be too small.
        """
        longest = int(max(frames.shape[-2:]))
        smaller = (longest if tile <= 0 else min(tile, longest)) // 2
        if smaller < SMALLEST_TILE:
            raise OutOfMemory(
                f"{self.name}: there is not enough memory on {self.device}, even for tiles of {tile or longest} pixels"
            )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        say(f"{self.name}: out of memory; going on with tiles of {smaller} pixels")
        self._tiles[frames.shape[-3:]] = smaller

    def tile_for(self, frames: Tensor) -> int:
        """The side of a tile for frames ``(..., C, H, W)``; 0: whole frames."""
        shape = frames.shape[-3:]
        if shape not in self._tiles:
            asked = self.settings.tile
            self._tiles[shape] = asked if isinstance(asked, int) else self._first_tile(frames)
        return self._tiles[shape]

    def _first_tile(self, frames: Tensor) -> int:
        """0 where whole frames fit, else the largest tile that should: a CPU out of memory kills, it does not raise."""
        room, each = self.room(), self.bytes_per_pixel(frames)
        if int(frames.shape[-2]) * int(frames.shape[-1]) * each <= room:
            return 0
        return max(SMALLEST_TILE, int((room / each) ** 0.5) - 3 * self.traits.halo.pixels)

    def room(self) -> float:
        """Bytes that the work may take."""
        return 0.6 * free_memory(self.device)

    def measuring_piece(self, frames: int, channels: int) -> Tensor:
        """Small black frames ``(frames, C, side, side)`` to measure the model's memory on."""
        side = max(64, self.traits.minimum)
        side = -(-side // self.traits.multiple_of) * self.traits.multiple_of
        return torch.zeros(frames, channels, side, side, device=self.device)

    def activations(self, piece: Tensor, run: Callable[[], Any]) -> float:
        """Bytes per pixel while ``run()`` is on ``piece``: the largest layer's input and output, twice over."""
        own = piece.numel() // piece.shape[0] * 4 * self.scale**2
        return 2 * max(largest_layer(self.model, run), own) / (piece.shape[-1] * piece.shape[-2])

    def named(self, bad: list[int]) -> str:
        """``"3, 4"``, for messages; of many the first and the last."""
        return ", ".join(map(str, bad)) if len(bad) <= 8 else f"{bad[0]} to {bad[-1]}"

    def redone(self, bad: list[int]) -> None:
        """Says that frames were not finite in a short precision."""
        assert self.mode is not None
        self.warn_once(
            f"{self.name}: frame {self.named(bad)} was not finite in {self.mode.precision}; done again in fp32"
        )

    def never_finite(self, bad: list[int]) -> RestoreError:
        """The error of frames that are not finite in float32 either."""
        return RestoreError(
            f"{self.name}: the output of frame {self.named(bad)} is not finite, in float32 too; the weights may be "
            "damaged"
        )

    def warn_once(self, text: str) -> None:
        """Says it, and keeps it for the result."""
        if text not in self.warnings:
            self.warnings.append(text)
            say(text)


def not_finite(out: Tensor, first: int) -> list[int]:
    """Numbers of the frames of ``(N, C, H, W)`` with a value that is not finite; ``first`` is that of the first."""
    if bool(torch.isfinite(out).all()):
        return []
    return [first + i for i in range(len(out)) if not bool(torch.isfinite(out[i]).all())]
