"""Pruning channels exactly: what a model declares, and all that is done with it.

A model that can be pruned has a method ``prune_graph()`` that gives a :class:`PruneGraph`; pruners are built on
:class:`GatePruner`.
"""

from restore.pruning.compaction import Pruned, compact, masked, metadata_of, prepare, pruned_of
from restore.pruning.cost import Cost, cost, macs
from restore.pruning.gates import gates_of, has_gates, insert_gates, mask_gates, merge_gates
from restore.pruning.graph import Cut, Gate, PruneGraph, Slot, Stream, chain_gates, prune_graph_of, residual_gates
from restore.pruning.pruner import GatePruner, RampPruner, check_exact
from restore.pruning.selecting import gamma_scores, l1_scores, select

__all__ = [
    "Cost",
    "Cut",
    "Gate",
    "GatePruner",
    "PruneGraph",
    "Pruned",
    "RampPruner",
    "Slot",
    "Stream",
    "chain_gates",
    "check_exact",
    "compact",
    "cost",
    "gamma_scores",
    "gates_of",
    "has_gates",
    "insert_gates",
    "l1_scores",
    "macs",
    "mask_gates",
    "masked",
    "merge_gates",
    "metadata_of",
    "prepare",
    "prune_graph_of",
    "pruned_of",
    "residual_gates",
    "select",
]
