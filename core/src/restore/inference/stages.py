"""Models in a row, on pictures."""

from __future__ import annotations

from typing import Sequence

import torch

from restore.errors import RequestError
from restore.inference.restorer import Restorer
from restore.media.color import Picture
from restore.media.probe import MediaInfo


def refuse_interlaced(info: MediaInfo) -> None:
    """RequestError for a video whose frames are two fields."""
    if info.interlaced:
        raise RequestError(
            f"{info.path} is interlaced: its frames are two fields of different times. Deinterlace it first, "
            "for example with ffmpeg's bwdif filter"
        )


class Stages:
    """The models of a recipe, one after the other.

    Args:
        restorers: in order, at least one.
    """

    def __init__(self, restorers: Sequence[Restorer]) -> None:
        self.restorers = list(restorers)

    @property
    def scale(self) -> int:
        """Output pixels per input pixel along each side, of all together."""
        scale = 1
        for restorer in self.restorers:
            scale *= restorer.scale
        return scale

    @property
    def device(self) -> torch.device:
        """Where pictures are wanted."""
        return self.restorers[0].device

    def output_size(self, info: MediaInfo) -> tuple[int, int]:
        """Height and width in pixels of what becomes of a file."""
        return info.height * self.scale, info.width * self.scale

    @property
    def precision(self) -> str:
        """How the models were run."""
        return " + ".join(r.mode.name if r.mode is not None else "not run" for r in self.restorers)

    @property
    def warnings(self) -> list[str]:
        """What the models had to say."""
        return [text for r in self.restorers for text in r.warnings]

    def accept(self, info: MediaInfo) -> None:
        """Check a file against what the models were made for.

        Raises:
            RequestError: HDR or interlaced video that a model would spoil.
        """
        refuse_interlaced(info)
        for restorer in self.restorers:
            if info.transfer not in restorer.traits.transfers:
                name = {"pq": "HDR (PQ)", "hlg": "HDR (HLG)"}[info.transfer]
                raise RequestError(
                    f"{info.path} is {name} video, and {restorer.name} was made for standard dynamic range: its result "
                    "would be wrong. Tone-map the video to SDR first"
                )

    def __call__(self, picture: Picture, first: int = 0) -> Picture:
        """Restore N pictures; ``first`` is the number of the first of them, for messages."""
        for restorer in self.restorers:
            which = restorer.traits.channels
            before = picture.channels(which)
            after = restorer(before, first)
            picture = picture.with_channels(which, before, after, restorer.scale)
        return picture
