"""Pruning by the size of weights, the baseline of the tables."""

from __future__ import annotations

from restore.pruning import GatePruner
from restore.pruning.selecting import Scope


class L1Norm(GatePruner):
    """Cuts out what has the smallest mean |W|, at once and without any penalty (Li et al., Pruning Filters for
    Efficient ConvNets, ICLR 2017). What it does to the network is left to the training that follows.

    Args:
        ratio: of the channels that go, in [0, 1).
        scope: ``"local"``, of each layer as many; ``"global"``, all channels of the model are compared.
        aligned: narrow skips: all that write to one and read it share an index set, by the sum of their scores.
        exclude: patterns (``fnmatch``) of gates to leave alone.
        multiple: round what each layer keeps to multiples of this, for speed.
        shuffle_groups: prune what a pixel shuffle makes of groups of channels too.

    Raises:
        ValueError: a ratio outside [0, 1), or a multiple below 1.
    """

    def __init__(
        self,
        ratio: float = 0.5,
        *,
        scope: Scope = "local",
        aligned: bool = False,
        exclude: tuple[str, ...] = (),
        multiple: int = 1,
        shuffle_groups: bool = True,
    ) -> None:
        super().__init__(
            ratio,
            criterion="l1",
            scope=scope,
            aligned=aligned,
            exclude=exclude,
            multiple=multiple,
            shuffle_groups=shuffle_groups,
        )
