"""What BasicVSR declares for pruning: how many gates, and that closed gates can be cut out exactly."""

from __future__ import annotations

import pytest
import torch
from restore.functional.sweeping import run_sweeps
from restore.pruning import check_exact, compact, masked, prune_graph_of
from restore_ssl_prune.basicvsr import BasicVSR, tiny


def stirred(model):
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
    return model.eval()


def drawn(model, aligned=False, seed=0):
    """Index sets of every size from one channel to all but one."""
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for cut in prune_graph_of(model).cuts(aligned):
        size = cut.size(model)
        count = 1 + int(torch.randint(size - 1, (), generator=generator))
        kept[cut.name] = tuple(sorted(torch.randperm(size, generator=generator)[:count].tolist()))
    return kept


@pytest.mark.parametrize(("bidirectional", "gates"), [(True, 11_776), (False, 6_016)])
def test_gate_counts_of_the_paper(bidirectional, gates):
    model = BasicVSR(bidirectional=bidirectional)
    cuts = prune_graph_of(model).cuts()
    assert sum(cut.size(model) for cut in cuts) == gates
    assert {c.name: c.size(model) for c in cuts[-4:]} == {
        "fusion.out": 64, "upconv1.out": 64, "upconv2.out": 64, "conv_hr.out": 64,
    }  # fmt: skip
    touched = {slot.module for cut in cuts for slot in cut.factors}
    assert not any(name.startswith("spynet") or name.endswith("trunk.0") or name == "conv_last" for name in touched)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("activation", ["leaky", "relu"])
def test_gated_with_zeros_equals_compact(bidirectional, aligned, activation):
    model = stirred(tiny(bidirectional, activation))
    clip = torch.rand(1, 3, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    kept = drawn(model, aligned)
    assert check_exact(model, kept, clip, aligned) < 1e-6
    small = compact(model, kept, aligned)
    assert sum(p.numel() for p in small.parameters()) < 0.8 * sum(p.numel() for p in model.parameters())
    with torch.no_grad():
        assert (run_sweeps(small.sweeps, clip) - small(clip)).abs().max() < 1e-5
        # another set is another network: the comparison above can tell
        wrong = masked(model, drawn(model, aligned, seed=1), aligned)
        assert (wrong.eval()(clip) - small(clip)).abs().max() > 1e-3


@torch.no_grad()
def test_states_keep_their_width():
    model = stirred(tiny(hidden_states=True))
    small = compact(model, drawn(model))
    features = small(torch.rand(1, 2, 3, 8, 8)).features
    assert features["forward"].shape == (1, 2, 8, 8, 8)
