"""ECO's training pairs: the observed and the clean side drawn from a teacher's answer towards the real ones.

"Noise-free Optimization in Early Training Steps for Image Super-Resolution" (Lee & Heo, AAAI 2024). With the clean clip
y, its degradation x = D(y), and a trained network f^, the *empirical centroid* is me = f^(x) (Eq. 7). All pairs here
are made in the training step, on the device of the batch, of images and videos alike.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from restore import Degradation, Pair, Prediction, RestoreError, Schedule, Step, Teacher
from restore.builtin.degradations.chain import Chain
from restore.builtin.degradations.noise import GaussianNoise
from restore.builtin.schedules.basic import Constant, SigmoidClip
from restore.contracts import plain_degradation
from restore.functional.blend import blend
from restore.functional.quantizer import join_qp
from restore.functional.resize import quantize
from torch import Tensor

from restore_eco.replay import Replay

Mode = Literal["blend", "re-degrade"]
_MODES = ("blend", "re-degrade")


class _Taught:
    """What all pairs with a teacher share.

    Args:
        base: D.
        teacher: f^, trained to undo D.
        teacher_bits: the teacher's clips are clamped to [0, 1] and rounded to so many bits; 0 leaves them as they are.

    Attributes:
        plain: D, what the trained model undoes, and what it is measured under; with what comes after it, if anything.
    """

    def __init__(self, base: Degradation, teacher: Teacher, teacher_bits: int) -> None:
        if not 0 <= teacher_bits <= 16:
            raise ValueError(f"teacher_bits must lie from 1 to 16, or be 0 for no rounding, got {teacher_bits}")
        self.base, self.teacher, self.teacher_bits = base, teacher, teacher_bits
        # D itself, where ``base`` wraps it in something that changes targets, too.
        self.plain: Degradation = plain_degradation(base)

    def real(self, clean: Tensor, step: Step) -> tuple[Pair, Replay]:
        """The pair of D, and what it drew. Where D crops, the clip is cropped before, so that D draws over the shape
        that a teacher's answer has."""
        replay = Replay(step, clean.device)
        pair = self.base(clean, step)
        height, width = pair.target.shape[-2:]
        if pair.target.shape[-2:] != clean.shape[-2:] and pair.target.shape[:-2] == clean.shape[:-2]:
            with replay.again() as same:
                pair = self.base(clean[..., :height, :width], same)
        return pair, replay

    @torch.no_grad()
    def centroid(self, pair: Pair) -> Tensor:
        """``me``, of the target's shape.

        Raises:
            RestoreError: the teacher's answer has another shape than the target: it undoes something else than D.
        """
        told = self.teacher.traits.channels == "rgb+qp"
        answer = self.teacher(join_qp(pair.observed, pair.qp) if told else pair.observed)
        restored = answer.restored if isinstance(answer, Prediction) else answer
        if restored.shape != pair.target.shape:
            raise RestoreError(
                f"the teacher makes {tuple(restored.shape)} of the observed {tuple(pair.observed.shape)}, the "
                f"target is {tuple(pair.target.shape)}: it must be trained to undo this degradation, at the same scale"
            )
        return quantize(restored, 2**self.teacher_bits - 1) if self.teacher_bits else restored


class Centroid(_Taught):
    """ECO (Eq. 14): with the weight ``a`` of the clean side rising from 0 to 1 as training proceeds::

        target   = a * y    + (1 - a) * me
        observed = a * D(y) + (1 - a) * D(me)

    ``D(me)`` draws what ``D(y)`` drew: the same noise, mask, or kernel, so that observed and target agree in space.
    At a = 1 this is D alone, and the teacher is not asked; at a = 0 it is the noise-free objective of Eq. 11.

    The teacher must be trained, frozen and independent of the model: one that learns along collapses.

    Args:
        base: D, any degradation.
        teacher: a trained network that undoes D, any model of any plugin; as a rule of the student's architecture.
        clean_weight: number in [0, 1] or schedule; left out, ``sigmoid-clip`` as published, 0 until 26 % of training
            and 1 from 74 % on.
        sample_pairs: draw, for each sample with the chance ``clean_weight``, the real or the synthetic pair instead of
            blending them (``alpha_sample`` of the authors' code).
        teacher_bits: the teacher's clips are clamped to [0, 1] and rounded to so many bits, as published, where they
            were stored as 8-bit images; 0 leaves them as they are.
        mode: ``blend`` as above. ``re-degrade``: observed = D(target), the same where D is linear; where it is not (a
            codec), only this keeps observed and target consistent in between.
        after: spoils the observed clip after blending, once; for noise, of which a blend of two draws would have less.
            The teacher sees clips without it.

    Raises:
        ValueError: an unknown mode, ``sample_pairs`` together with ``re-degrade``, or bits outside 0 to 16.
    """

    def __init__(
        self,
        base: Degradation,
        teacher: Teacher,
        clean_weight: Schedule | None = None,
        sample_pairs: bool = False,
        teacher_bits: int = 8,
        mode: Mode = "blend",
        after: Degradation | None = None,
    ) -> None:
        super().__init__(base, teacher, teacher_bits)
        if mode not in _MODES:
            raise ValueError(f"mode must be blend or re-degrade, got {mode!r}")
        if sample_pairs and mode == "re-degrade":
            raise ValueError("sample_pairs takes whole pairs, there is nothing to degrade again: leave mode out")
        self.clean_weight: Schedule = SigmoidClip() if clean_weight is None else clean_weight
        self.sample_pairs, self.mode, self.after = sample_pairs, mode, after
        self._degrade = self.plain
        if after is not None:
            self.plain = Chain([self._degrade, after])

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``clean``: ``(B, T, C, H, W)`` in [0, 1], in the planes that model and teacher work on.

        Raises:
            ValueError: the schedule leaves [0, 1].
            RestoreError: the teacher does not undo D.
        """
        weight = float(self.clean_weight(step))
        if not 0 <= weight <= 1:
            raise ValueError(f"clean_weight must lie in [0, 1], its schedule gives {weight} at {step.iteration}")
        pair, replay = self.real(clean, step)
        if weight < 1:
            pair = self._blended(pair, replay, weight, step)
        if self.after is None:
            return pair
        spoilt = self.after(pair.observed, step)
        return Pair(spoilt.observed, pair.target, pair.operator, spoilt.qp)

    def _blended(self, real: Pair, replay: Replay, weight: float, step: Step) -> Pair:
        centroid = self.centroid(real)
        if self.mode == "re-degrade":
            with replay.again() as same:
                return self._degrade(blend(real.target, centroid, weight), same)
        with replay.again() as same:
            synthetic = self._degrade(centroid, same)
        if self.sample_pairs:
            return _drawn(real, synthetic, weight, step.generator)
        # D with the same draw has the same operator, and it commutes with blending.
        observed = blend(real.observed, synthetic.observed, weight)
        return Pair(observed, blend(real.target, synthetic.target, weight), real.operator, real.qp)


def _drawn(real: Pair, synthetic: Pair, weight: float, generator: torch.Generator | None) -> Pair:
    """Each sample from the real pair with the chance ``weight``, else from the synthetic one."""
    clip = real.target
    device = clip.device if generator is None else generator.device
    take = torch.rand(len(clip), generator=generator, device=device).to(clip.device) < weight

    def chosen(one: Tensor, other: Tensor) -> Tensor:
        return torch.where(take.view(-1, *[1] * (one.ndim - 1)), one, other)

    qp = None if real.qp is None or synthetic.qp is None else chosen(real.qp, synthetic.qp)
    return Pair(chosen(real.observed, synthetic.observed), chosen(real.target, synthetic.target), real.operator, qp)


def noise_free(base: Degradation, teacher: Teacher, teacher_bits: int = 8) -> Centroid:
    """The noise-free objective (Eq. 11), throughout: target me, observed D(me). A baseline: without the real pairs of
    later steps the student cannot learn what the teacher lacks.

    Args:
        base: D.
        teacher: a trained network that undoes D.
        teacher_bits: as of :class:`Centroid`.
    """
    return Centroid(base, teacher, Constant(0.0), teacher_bits=teacher_bits)


def real_world(
    base: Degradation,
    teacher: Teacher,
    clean_weight: Schedule | None = None,
    sigma: float | tuple[float, float] = 10 / 255,
    teacher_bits: int = 8,
) -> Centroid:
    """ECO where the sensor is noisy, too (Table 2c): white Gaussian noise, independent in every channel, is added once,
    to the blended observed clip.

    Args:
        base: D without the noise.
        teacher: undoes ``base``; it is not shown the noise.
        clean_weight: as of :class:`Centroid`.
        sigma: on the [0, 1] scale. The paper's value is lost in our copy; 10/255 fits its vanilla PSNR.
        teacher_bits: as of :class:`Centroid`.
    """
    noise = cast(Degradation, GaussianNoise(sigma))
    return Centroid(base, teacher, clean_weight, teacher_bits=teacher_bits, after=noise)


class Distill(_Taught):
    """Knowledge distillation, the paper's baseline (Eq. 9): target me, observed D(y). The target does not degrade to
    the observed clip: this spatial inconsistency is what ECO mends.

    Args:
        base: D.
        teacher: a trained network that undoes D.
        teacher_bits: as of :class:`Centroid`.
    """

    def __init__(self, base: Degradation, teacher: Teacher, teacher_bits: int = 8) -> None:
        super().__init__(base, teacher, teacher_bits)

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``clean``: ``(B, T, C, H, W)`` in [0, 1]; no operator makes this observed clip from this target.

        Raises:
            RestoreError: the teacher does not undo D.
        """
        pair, _ = self.real(clean, step)
        return Pair(pair.observed, self.centroid(pair), qp=pair.qp)


class Residual(_Taught):
    """What a teacher misses, as a target: y - me, the paper's *inherent noise* (Eq. 3), with observed D(y). Appendix B
    trains a network on it to show that its expectation says little of one clip's.

    Args:
        base: D.
        teacher: a trained network that undoes D.
        magnitude: |y - me|, a map of uncertainty; else the signed one as (1 + y - me) / 2. Both lie in [0, 1].
        teacher_bits: as of :class:`Centroid`.
    """

    def __init__(self, base: Degradation, teacher: Teacher, magnitude: bool = True, teacher_bits: int = 8) -> None:
        super().__init__(base, teacher, teacher_bits)
        self.magnitude = magnitude

    def __call__(self, clean: Tensor, step: Step) -> Pair:
        """``clean``: ``(B, T, C, H, W)`` in [0, 1].

        Raises:
            RestoreError: the teacher does not undo D.
        """
        pair, _ = self.real(clean, step)
        missed = pair.target - self.centroid(pair)
        return Pair(pair.observed, missed.abs() if self.magnitude else (1 + missed) / 2, qp=pair.qp)
