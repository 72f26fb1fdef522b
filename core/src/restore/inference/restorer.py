"""A model of single frames as the engine runs it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from restore.contracts import Prediction
from restore.errors import RequestError
from restore.inference import tiles
from restore.inference.precision import Mode
from restore.inference.running import Runner, not_finite
from restore.recipe import Run


class Restorer(Runner):
    """Runs a frame model on frames of any size.

    Args:
        model: with ``traits``; moved to the device and put in evaluation mode.
        settings: ``[run]`` of the recipe.
        name: for messages.
        work: input pixels that will come in all, or ``None``; short work is not worth a trial of modes.

    Raises:
        RequestError: a model that looks along time (:func:`restore.inference.temporal.restorer_of` makes what runs
            it) or needs its operator, or a device that is not there.
    """

    def __init__(self, model: nn.Module, settings: Run, name: str = "model", work: int | None = None) -> None:
        super().__init__(model, settings, name, work)
        if self.traits.temporal != "frame":
            raise RequestError(f"{name} looks along time ({self.traits.temporal}), it cannot be run frame by frame")
        self._bytes_per_pixel = 0.0

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
        padded = self.pad(frames)
        mode = self.settle_mode(padded)
        out = self.in_memory(padded, lambda tile: self._tiled(padded, tile, mode))
        if bad := not_finite(out, first):
            out = self._again_in_fp32(padded, out, bad, first)
        return self.cropped(out, height, width)

    def try_out(self, frames: Tensor, mode: Mode) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``."""
        layout = self.layout(mode)
        with mode.arithmetic(self.device), torch.inference_mode():
            # Frames become clips of one frame. Channels-last is a property of the four-dimensional tensor inside.
            answer = self.call(frames.contiguous(memory_format=layout).unsqueeze(1))
        restored = answer.restored if isinstance(answer, Prediction) else answer
        assert isinstance(restored, Tensor)
        return restored.squeeze(1)

    def bytes_per_pixel(self, frames: Tensor) -> float:
        """Bytes per pixel, for all of the frames at once."""
        if not self._bytes_per_pixel:
            piece = self.measuring_piece(1, int(frames.shape[-3]))
            self._bytes_per_pixel = self.activations(piece, lambda: self.model(piece.unsqueeze(1)))
        return int(frames.shape[0]) * self._bytes_per_pixel

    def _tiled(self, frames: Tensor, tile: int, mode: Mode) -> Tensor:
        halo, size = self.traits.halo.pixels, (int(frames.shape[-2]), int(frames.shape[-1]))
        # The pixels that are blended need their whole context too.
        planned = tiles.plan(*size, tile, halo + self.fade, self.traits.multiple_of)
        if self.fade and len(planned) > 1:
            self.warn_once(
                f"{self.name} looks at the whole frame at once, so tiles of {tile} pixels only come near its "
                "whole-frame result; their seams are blended"
            )
        return tiles.apply(lambda piece: self.try_out(piece, mode), frames, planned, self.scale, self.fade)

    def _again_in_fp32(self, frames: Tensor, out: Tensor, bad: list[int], first: int) -> Tensor:
        if self.mode is not None and self.mode.precision != "fp32":
            out = out.float()
            which = [number - first for number in bad]
            again = frames[which]
            out[which] = self.in_memory(again, lambda tile: self._tiled(again, tile, Mode())).float()
            if not (still := not_finite(out, first)):
                self.redone(bad)
                return out
            bad = still
        raise self.never_finite(bad)
