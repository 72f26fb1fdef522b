"""The paper's linear problems (Sec. 3.2), and a degradation that draws one of several for every sample of a batch."""

from __future__ import annotations

from typing import Sequence

import torch
from restore import Degradation, Pair, Step
from restore.builtin.degradations.blurring import DiskBlur, MotionBlur, TemporalBlur
from restore.builtin.degradations.inpainting import BlockInpainting, Inpainting, ScatteredInpainting
from restore.builtin.degradations.linear import (
    BoxDownscale,
    FrameInterpolation,
    FramePrediction,
    Greyscale,
)
from restore.builtin.degradations.sensing import ChangeSensing, ClipSensing
from restore.operators import Grey, Mixed, Operator
from torch import Tensor

Shape = Sequence[int]


class Colourless(Greyscale):
    """The BT.601 luma alone is seen; of clips with one channel, that channel, as published."""

    def operator(self, shape: Shape, count: int, generator: torch.Generator | None) -> Operator:
        """The sum over channels."""
        return Grey(shape, [1.0] if shape[1] == 1 else self.weights)


def paper_problems(legacy_3x3: bool = False) -> dict[str, Degradation]:
    """The sixteen problems that are trained on, by their names in the paper's Table 1 up to rates, in its order.

    Args:
        legacy_3x3: the motion blur of the published code in place of the paper's 7x7.
    """
    return {
        "PID": Inpainting(0.5, "value", sigma=0.1),
        "BI": BlockInpainting(0.4),
        "SI": ScatteredInpainting(10, 0.2),
        "SR 2x": BoxDownscale(2),
        "SR 4x": BoxDownscale(4),
        "CS": ClipSensing(0.1, every="sample"),
        "VCS": ChangeSensing(0.1, every="sample"),
        "DD": DiskBlur(4, 2.0),
        "TDD": TemporalBlur(4),
        "MD": MotionBlur(7, legacy_3x3=legacy_3x3),
        "FI 2x": FrameInterpolation(2),
        "FI 4x": FrameInterpolation(4),
        "FP 1/4": FramePrediction(0.25),
        "FP 1/2": FramePrediction(0.5),
        "FP 3/4": FramePrediction(0.75),
        "C": Colourless(),
    }


def reported(shape: Shape, legacy_3x3: bool = False) -> dict[str, Degradation]:
    """The fifteen of them that Table 1 reports for clips of ``shape`` = (T, C, H, W), under the names it has there.

    On grey clips colourisation is the identity; of four frames every fourth is the first quarter. Both are left out.
    """
    every = paper_problems(legacy_3x3)
    frames, channels = shape[:2]
    if channels == 1:
        del every["C"]
    if frames // 4 == frames - int(frames * 0.75) == 1:
        del every["FI 4x"]
    return {_name(name, shape): problem for name, problem in every.items()}


def _name(name: str, shape: Shape) -> str:
    """As Table 1 has it: by how many times fewer numbers are seen."""
    frames, height = shape[0], shape[2]
    kind, _, rate = name.partition(" ")
    if not rate:
        return name
    seen = {
        "SR 2x": (height, height // 2),
        "SR 4x": (height, height // 4),
        "FI 2x": (frames, frames // 2),
        "FI 4x": (frames, frames // 4),
        "FP 1/4": (frames, frames - int(frames * 0.25)),
        "FP 1/2": (frames, frames - int(frames * 0.5)),
        "FP 3/4": (frames, frames - int(frames * 0.75)),
    }[name]
    ratio = seen[0] / seen[1]
    exact = f"{ratio:g}" if ratio * 100 % 1 == 0 else f"({_fraction(*seen)})"
    return f"{kind} {exact}x"


def _fraction(above: int, below: int) -> str:
    from fractions import Fraction

    return str(Fraction(above, below))


class Problems:
    """Draws a linear problem for every sample, all of one batch at once: the paper's self-supervised multi-task
    training (Sec. 2.4). What is observed is that of :class:`restore.operators.Mixed`: flat where the samples measure
    unlike numbers of values.

    Args:
        among: degradations that carry a linear operator and leave the target whole; absent: the paper's sixteen.
        weights: how often each is drawn, relative to the others; absent: equally often.
        legacy_3x3: of the paper's sixteen, the motion blur as in the published code.

    Raises:
        ValueError: nothing to draw from, or weights that do not fit; when called, a degradation without an operator, or
            one that crops its target.
    """

    per_frame = False

    def __init__(
        self,
        among: list[Degradation] | None = None,
        weights: list[float] | None = None,
        legacy_3x3: bool = False,
    ) -> None:
        self.among = list(paper_problems(legacy_3x3).values()) if among is None else list(among)
        weights = [1.0] * len(self.among) if weights is None else list(weights)
        if not self.among:
            raise ValueError("among must hold at least one degradation")
        if len(weights) != len(self.among) or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(
                f"weights must be {len(self.among)} numbers, one for each problem, none negative and not all 0, "
                f"got {weights}"
            )
        self._chances = torch.tensor(weights, dtype=torch.float64)

    def settled(self, generator: torch.Generator | None) -> Degradation:
        """One of the problems for a whole video, settled itself."""
        chosen = self.among[self._draw(1, generator)[0]]
        settle = getattr(chosen, "settled", None)
        made: Degradation = chosen if settle is None else settle(generator)
        return made

    def _draw(self, count: int, generator: torch.Generator | None) -> list[int]:
        device = generator.device if generator is not None else "cpu"
        chances = self._chances.to(device)
        return [int(i) for i in torch.multinomial(chances, count, replacement=True, generator=generator).tolist()]

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """Clips ``(B, T, C, H, W)``, each measured in its own way.

        Raises:
            ValueError: a degradation without a linear operator, or one that crops its target.
        """
        parts: list[Tensor] = []
        operators: list[Operator] = []
        for sample, number in zip(clean.split(1), self._draw(len(clean), step.generator), strict=True):
            problem = self.among[number]
            pair = problem(sample, step)
            if pair.target.shape != sample.shape:
                raise ValueError(
                    f"{type(problem).__name__} crops clips of {tuple(sample.shape[1:])} to "
                    f"{tuple(pair.target.shape[1:])}; give clips whose sides fit every problem"
                )
            operators.append(_single(pair, problem))
            parts.append(pair.observed[0])
        if len(operators) == 1:
            return Pair(parts[0].unsqueeze(0), clean, operators[0])
        mixed = Mixed(operators)
        return Pair(mixed.join(parts), clean, mixed)


def _single(pair: Pair, problem: Degradation) -> Operator:
    operator = pair.operator
    if isinstance(operator, Mixed):
        operator = operator.operators[0]
    if not isinstance(operator, Operator):
        raise ValueError(
            f"{type(problem).__name__} carries no linear operator; a problem must be linear up to noise, such as "
            "core:inpainting or core:disk-blur"
        )
    return operator
