"""One model as the engine runs it: padding, tiles, precision and memory, all from the model's traits."""

from __future__ import annotations

import os
from typing import Any, Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.contracts import Prediction, Traits
from restore.errors import RequestError, RestoreError
from restore.inference import tiles
from restore.inference.precision import Mode, choose
from restore.modelling import pick_device
from restore.progress import say
from restore.recipe import Run

_SMALLEST_TILE = 32
# Below this many input pixels in all, trying modes costs more than it saves.
_WORTH_A_TRIAL = 500_000


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int(os.sysconf("SC_AVPHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30


def _out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in text or "out of memory" in text


class Restorer:
    """Runs a frame model on frames of any size.

    Args:
        model: with ``traits``; moved to the device and put in evaluation mode.
        settings: ``[run]`` of the recipe.
        name: for messages.
        work: input pixels that will come in all, or ``None``; short work is not worth a trial of modes.

    Raises:
        RequestError: a model that looks along time or needs its operator, or a device that is not there.
    """

    def __init__(self, model: nn.Module, settings: Run, name: str = "model", work: int | None = None) -> None:
        traits = model.traits
        if not isinstance(traits, Traits):
            raise RestoreError(f"{name}: traits is a {type(traits).__name__}, not restore.Traits")
        if traits.temporal != "frame":
            raise RequestError(
                f"{name} looks along time ({traits.temporal}); this version runs models of single frames"
            )
        if traits.needs_operator:
            raise RequestError(f"{name} needs the linear operator beside its input, which `restore run` cannot know")
        self.traits, self.settings, self.name, self.work = traits, settings, name, work
        self.device = pick_device(settings.device)
        self.model = model.to(self.device).eval()
        self._call: Callable[[Tensor], Any] = torch.compile(self.model) if settings.compile else self.model
        self.mode: Mode | None = None
        self.warnings: list[str] = []
        # Settled once for each shape: a choice that followed the free memory would change the picture in mid-video.
        self._tiles: dict[torch.Size, int] = {}
        self._bytes_per_pixel = 0.0

    @property
    def scale(self) -> int:
        """Output pixels per input pixel along each side."""
        return self.traits.scale

    @torch.inference_mode()
    def __call__(self, frames: Tensor, first: int = 0) -> Tensor:
        """Restore frames.

        Args:
            frames: ``(N, C, H, W)`` float32, the planes that the traits name.
            first: number of the first of them, for messages.

        Returns:
            ``(N, C, scale*H, scale*W)`` float32 on the engine's device, finite.

        Raises:
            RestoreError: not enough memory even for small tiles, values that are not finite even in float32, or an
                output of another size than the traits promise.
        """
        frames = frames.to(self.device)
        height, width = int(frames.shape[-2]), int(frames.shape[-1])
        padded = self._pad(frames)
        if self.mode is None:
            self.mode = self._choose_mode(padded)
        out = self._in_memory(padded, self.mode)
        if not bool(torch.isfinite(out).all()):
            out = self._again_in_fp32(padded, out, first)
        wanted = (height * self.scale, width * self.scale)
        if int(out.shape[-2]) < wanted[0] or int(out.shape[-1]) < wanted[1]:
            raise RestoreError(
                f"{self.name}: its traits say scale {self.scale}, but {width}x{height} became "
                f"{out.shape[-1]}x{out.shape[-2]}"
            )
        return out[..., : wanted[0], : wanted[1]].float()

    def _choose_mode(self, frames: Tensor) -> Mode:
        asked = self.settings.precision != "auto" or self.settings.channels_last != "auto"
        if not asked and self.work is not None and self.work < _WORTH_A_TRIAL:
            return Mode(reason="too little work for a trial")
        return choose(self.model, self._forward, frames, self.settings.precision, self.settings.channels_last)

    def _pad(self, frames: Tensor) -> Tensor:
        """Reflected at the lower and right edge to the model's multiple and minimum."""
        height, width = int(frames.shape[-2]), int(frames.shape[-1])
        target = [max(side, self.traits.minimum) for side in (height, width)]
        target = [-(-side // self.traits.multiple_of) * self.traits.multiple_of for side in target]
        down, right = target[0] - height, target[1] - width
        for pad, length in (((0, 0, 0, down), height), ((0, right, 0, 0), width)):
            if any(pad):
                # Reflection needs more pixels than it makes; a one-pixel side can only be repeated.
                frames = F.pad(frames, pad, mode="reflect" if max(pad) < length else "replicate")
        return frames

    def _forward(self, frames: Tensor, mode: Mode) -> Tensor:
        layout = torch.channels_last if mode.channels_last else torch.contiguous_format
        self.model.to(memory_format=layout)  # type: ignore[call-overload]
        with mode.arithmetic(self.device), torch.inference_mode():
            # Frames become clips of one frame. Channels-last is a property of the four-dimensional tensor inside.
            clip = frames.contiguous(memory_format=layout).unsqueeze(1)
            answer = self._call(clip)
        restored = answer.restored if isinstance(answer, Prediction) else answer
        assert isinstance(restored, Tensor)
        return restored.squeeze(1)

    def _in_memory(self, frames: Tensor, mode: Mode) -> Tensor:
        while True:
            tile = self._tile_for(frames)
            try:
                return self._tiled(frames, tile, mode)
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
            smaller = self._halved(tile, max(frames.shape[-2:]))
            if smaller < _SMALLEST_TILE:
                raise RestoreError(
                    f"{self.name}: there is not enough memory on {self.device}, even for tiles of {tile} pixels"
                )
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            say(f"{self.name}: out of memory; going on with tiles of {smaller} pixels")
            self._tiles[frames.shape[1:]] = smaller

    @staticmethod
    def _halved(tile: int, longest: int) -> int:
        return (longest if tile <= 0 else min(tile, longest)) // 2

    def _tiled(self, frames: Tensor, tile: int, mode: Mode) -> Tensor:
        halo, size = self.traits.halo.pixels, (int(frames.shape[-2]), int(frames.shape[-1]))
        # The pixels that are blended need their whole context too.
        fade = max(4, halo // 2) if self.traits.global_context else 0
        planned = tiles.plan(*size, tile, halo + fade, self.traits.multiple_of)
        if fade and len(planned) > 1:
            self._warn_once(
                f"{self.name} looks at the whole frame at once, so tiles of {tile} pixels only come near its "
                "whole-frame result; their seams are blended"
            )
        return tiles.apply(lambda piece: self._forward(piece, mode), frames, planned, self.scale, fade)

    def _tile_for(self, frames: Tensor) -> int:
        shape = frames.shape[1:]
        if shape not in self._tiles:
            asked = self.settings.tile
            self._tiles[shape] = asked if isinstance(asked, int) else self._first_tile(frames)
        return self._tiles[shape]

    def _first_tile(self, frames: Tensor) -> int:
        """0 where whole frames fit, else the largest tile that should: a CPU out of memory kills, it does not raise."""
        if not self._bytes_per_pixel:
            self._bytes_per_pixel = self._measure_activations(frames)
        room = 0.6 * _free_memory(self.device)
        pixels = int(frames.shape[-2]) * int(frames.shape[-1])
        if frames.shape[0] * pixels * self._bytes_per_pixel <= room:
            return 0
        side = int((room / (frames.shape[0] * self._bytes_per_pixel)) ** 0.5) - 3 * self.traits.halo.pixels
        return max(_SMALLEST_TILE, side)

    def _measure_activations(self, frames: Tensor) -> float:
        """Bytes per input pixel while the model runs: its largest layer's input and output, twice over."""
        side = max(64, self.traits.minimum)
        side = -(-side // self.traits.multiple_of) * self.traits.multiple_of
        piece = torch.zeros(1, frames.shape[1], side, side, device=self.device)
        largest = 0

        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            nonlocal largest
            sizes = [t.numel() * t.element_size() for t in (*inputs, output) if isinstance(t, Tensor)]
            largest = max(largest, sum(sizes))

        leaves = [m for m in self.model.modules() if not list(m.children())]
        handles = [m.register_forward_hook(look) for m in leaves]
        try:
            with torch.inference_mode():
                self.model(piece.unsqueeze(1))
        finally:
            for handle in handles:
                handle.remove()
        return 2 * max(largest, piece.numel() * 4 * self.scale**2) / side**2

    def _again_in_fp32(self, frames: Tensor, out: Tensor, first: int) -> Tensor:
        bad = [i for i in range(len(out)) if not bool(torch.isfinite(out[i]).all())]
        named = ", ".join(str(first + i) for i in bad)
        if self.mode is not None and self.mode.precision != "fp32":
            out = out.float()
            out[bad] = self._in_memory(frames[bad], Mode()).float()
            if bool(torch.isfinite(out).all()):
                self._warn_once(
                    f"{self.name}: frame {named} was not finite in {self.mode.precision}; done again in fp32"
                )
                return out
        raise RestoreError(
            f"{self.name}: the output of frame {named} is not finite, in float32 too; the weights may be damaged"
        )

    def _warn_once(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            say(text)
