"""Scoring clips that are too long to be held as a whole: pieces are read, spoilt, restored and scored in turn."""

from __future__ import annotations

import math
import time
from typing import Any, Callable, Iterator, Protocol

import attrs
import torch
from torch import Tensor

from restore.builtin.degradations.chain import is_per_frame, settle
from restore.contracts import Dataset, Degradation, Model, Pair, Prediction, Step, Traits, plain_degradation
from restore.errors import RestoreError
from restore.functional.seeding import seeded
from restore.modelling import taken

WHOLE = 64
"""Frames up to which a clip is taken as a whole."""

PIECE = 32
_KEPT = 4


class Engine(Protocol):
    """Runs a model that looks along time over a scene of any length: the inference room's runners do."""

    @property
    def schedule(self) -> str:
        """How, for people."""
        ...

    def push(self, frames: Tensor) -> Iterator[Tensor]:
        """The next frames ``(n, C, H, W)``; answers that are there, in order."""
        ...

    def cut(self) -> Iterator[Tensor]:
        """The scene ends: the answers that are left."""
        ...

    def reset(self) -> None:
        """Forget everything."""
        ...


@attrs.frozen
class FrameByFrame:
    """An engine for a model of single frames."""

    model: Model
    device: torch.device | str
    schedule: str = "frame by frame"

    def push(self, frames: Tensor) -> Iterator[Tensor]:
        """Each by itself."""
        for frame in torch.split(frames, 1):
            answer = self.model(frame.unsqueeze(0).to(device=self.device, dtype=torch.float32))
            yield (answer.restored if isinstance(answer, Prediction) else answer)[0]

    def cut(self) -> Iterator[Tensor]:
        """Nothing waits."""
        yield from ()

    def reset(self) -> None:
        """There is nothing to forget."""


def in_pieces(dataset: Dataset, index: int, degradation: Degradation | None, observed: Dataset | None) -> int:
    """The number of frames of an entry that is longer than :data:`WHOLE` and can be had in pieces without another
    outcome than as a whole, but for what is drawn at random; else 0."""
    sides = [dataset] if observed is None else [dataset, observed]
    readable = all(hasattr(d, "read") and hasattr(d, "shape") and getattr(d, "length", None) is None for d in sides)
    if not readable or (observed is None and (degradation is None or not is_per_frame(plain_degradation(degradation)))):
        return 0
    frames = int(dataset.shape(index)[0])  # type: ignore[attr-defined]
    return frames if frames > WHOLE else 0


def pieces_of(dataset: Any, index: int, count: int, degradation: Degradation | None, observed: Any) -> Pieces:
    """An entry of a dataset in pieces; what a degradation draws once for a clip is drawn once."""
    settled = None if degradation is None else settle(plain_degradation(degradation), seeded(0, index))

    def read(number: int, make: Callable[[Tensor], Tensor], crop: int) -> Pair:
        from restore.builtin.datasets.cutting import Window, read_qps

        window = Window.whole(dataset.shape(index), number * PIECE, min(PIECE, count - number * PIECE))

        def part(source: Any) -> Tensor:
            sides = source.shape(index)
            return make(source.read(index, attrs.evolve(window, height=sides[1], width=sides[2])).unsqueeze(0))

        clean = part(dataset)
        height, width = (side // crop * crop for side in clean.shape[-2:])
        clean = clean[..., :height, :width]
        if observed is not None:
            qp = read_qps(observed, index, window)
            return Pair(part(observed), clean, qp=None if qp is None else qp.unsqueeze(0))
        assert settled is not None
        return settled(clean, Step(generator=seeded(0, index, number)))

    return Pieces(count, read)


@attrs.frozen
class Pieces:
    """A clip as pairs of :data:`PIECE` frames each, that can be had again and again.

    Attributes:
        frames: of the clip.
        read: the piece of a number; given what makes planes of a clip, and what sides must be multiples of.
    """

    frames: int
    read: Callable[[int, Callable[[Tensor], Tensor], int], Pair]

    def __len__(self) -> int:
        return math.ceil(self.frames / PIECE)


def score_pieces(
    pieces: Callable[[int], Pair],
    count: int,
    engine: Engine,
    score: Callable[[Tensor, Pair], list[Any]],
    name: str,
    traits: Traits,
) -> tuple[list[Any], float]:
    """Restores a clip piece by piece, and scores each piece as soon as all of it is answered.

    Args:
        pieces: the pair of a number; asked again where answers come so late that it is no longer at hand.
        count: of pieces.
        engine: runs the model.
        score: of a restored piece ``(1, n, C, H, W)`` and its pair.
        name: of the clip, for errors.
        traits: of the model.

    Returns:
        what ``score`` gave, one after the other, and the engine's seconds.
    """
    kept: dict[int, Pair] = {}
    answers: list[Tensor] = []
    scores: list[Any] = []
    scored, seconds = 0, 0.0

    def piece(number: int) -> Pair:
        if number not in kept:
            kept[number] = pieces(number)
            for old in sorted(kept)[: len(kept) - _KEPT]:
                kept.pop(old)
        return kept.get(number) or pieces(number)

    def take(given: Iterator[Tensor]) -> None:
        nonlocal scored, seconds
        while True:
            started = time.perf_counter()
            answer = next(given, None)
            answer = None if answer is None else answer.cpu()
            seconds += time.perf_counter() - started
            if answer is None:
                return
            answers.append(answer)
            while scored < count and sum(map(len, answers)) >= (wanted := piece(scored).target.shape[1]):
                together = torch.cat(answers)
                answers[:] = [together[wanted:]] if len(together) > wanted else []
                pair, out = piece(scored), together[:wanted].unsqueeze(0)
                if out.shape != pair.target.shape:
                    sizes = f"{tuple(out.shape)} against {tuple(pair.target.shape)}"
                    raise RestoreError(f"{name}: the restored clip and the reference differ in shape: {sizes}")
                if not torch.isfinite(out).all():
                    raise RestoreError(f"{name}: the model's output holds values that are not finite")
                scores.extend(score(out, pair))
                scored += 1

    engine.reset()
    for number in range(count):
        take(engine.push(taken(piece(number), traits)[0].float()))
    take(engine.cut())
    engine.reset()
    if scored != count or answers:
        raise RestoreError(f"{name}: {count} pieces were restored and {scored} came back; please report this bug")
    return scores, seconds
