"""SSL's pruner (Xia et al., Structured Sparsity Learning for Efficient Video Super-Resolution, CVPR 2023) and the two
it is compared with, at the settings of the tables.

Three phases of a recipe use them: ``regularise`` for the ramp and the iterations at its ceiling, ``compact`` for
finetuning; before them, where factors are to decide, ``gates``.
"""

from __future__ import annotations

from typing import Literal

from restore.pruning import GatePruner, RampPruner

Criterion = Literal["auto", "gamma", "l1"]
Scope = Literal["global", "local"]


class SSL(RampPruner):
    """Structured sparsity learning: every residual block gets factors on the inputs of its first convolution and on the
    outputs of both, the up-sampler one for each group of channels that a pixel shuffle makes one of (Sec. 3.2). The
    ``ratio`` of all of them that matter least is penalised by ``alpha/2 gamma^2`` with alpha rising (Eq. 1, Alg. 1),
    then cut. Skips keep all their channels.

    With the defaults the ramp takes 5,000 iterations; the authors' code then holds the ceiling for 14,000, and
    finetunes for 300,000.

    Args:
        ratio: of the channels that go, in [0, 1) (paper: 0.3, 0.5, 0.7).
        criterion: ``"l1"``, mean |W| of what a factor scales (the paper's Alg. 1); ``"gamma"``, the factor itself (the
            authors' code; the network must have been trained with its gates); ``"auto"``, the latter where gates were
            trained.
        scope: ``"global"``, all are compared with all; ``"local"``, those of each layer.
        aligned: narrow skips instead, for comparison (the paper's ablation).
        exclude: patterns of gates to leave alone; ``["*.conv2.out"]`` is the ablation without pruned second
            convolutions.
        multiple: round what each gate keeps to multiples of this, for speed; 1 is the paper's.
        shuffle_groups: prune the up-sampler too.
        increment: of alpha, Delta.
        every: iterations between increments, T1.
        ceiling: of alpha, tau.

    Raises:
        ValueError: a ratio outside [0, 1), or a number that must be above 0 and is not.
    """

    def __init__(
        self,
        ratio: float = 0.5,
        *,
        criterion: Criterion = "auto",
        scope: Scope = "global",
        aligned: bool = False,
        exclude: tuple[str, ...] = (),
        multiple: int = 1,
        shuffle_groups: bool = True,
        increment: float = 1e-4,
        every: int = 5,
        ceiling: float = 0.1,
    ) -> None:
        super().__init__(
            ratio,
            criterion=criterion,
            scope=scope,
            aligned=aligned,
            exclude=exclude,
            multiple=multiple,
            shuffle_groups=shuffle_groups,
            increment=increment,
            every=every,
            ceiling=ceiling,
        )


class ASSL(RampPruner):
    """Aligned structured sparsity learning (Zhang et al., NeurIPS 2021), as SSL is compared with it: in every layer the
    same ratio goes, all that write to a skip share one index set, the up-sampler stays; a slower ramp to a higher
    ceiling. The authors hold the ceiling for 43,150 iterations.

    Args:
        ratio: of each layer's channels that go, in [0, 1).
        criterion: ``"l1"``, mean |W|; ``"gamma"``; ``"auto"`` as for SSL.
        exclude: patterns of gates to leave alone.
        increment, every, ceiling: Delta, T1 and tau of the ramp.

    Raises:
        ValueError: a ratio outside [0, 1), or a number that must be above 0 and is not.
    """

    def __init__(
        self,
        ratio: float = 0.5,
        *,
        criterion: Criterion = "auto",
        exclude: tuple[str, ...] = (),
        increment: float = 1e-4,
        every: int = 20,
        ceiling: float = 0.5,
    ) -> None:
        super().__init__(
            ratio,
            criterion=criterion,
            scope="local",
            aligned=True,
            exclude=exclude,
            shuffle_groups=False,
            increment=increment,
            every=every,
            ceiling=ceiling,
        )


def l1_norm(ratio: float = 0.5, *, exclude: tuple[str, ...] = ()) -> GatePruner:
    """L1-norm pruning as SSL is compared with it: in every layer the filters with the smallest mean |W| are cut at
    once, skips are narrowed, the up-sampler stays, and finetuning does the rest. ``core:l1-norm`` has more to set.

    Args:
        ratio: of each layer's channels that go, in [0, 1).
        exclude: patterns of gates to leave alone.

    Raises:
        ValueError: a ratio outside [0, 1).
    """
    return GatePruner(ratio, criterion="l1", scope="local", aligned=True, exclude=exclude, shuffle_groups=False)
