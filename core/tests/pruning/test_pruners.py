"""What is chosen, how it is penalised, and for how long."""

from __future__ import annotations

import pytest
import torch
from restore.contracts import Step
from restore.errors import RequestError
from restore.pruning import GatePruner, RampPruner, insert_gates, l1_scores, prune_graph_of, select

SCORES = {"a": torch.tensor([5.0, 1.0, 4.0, 2.0]), "b": torch.tensor([0.4, 0.3, 0.2, 0.1, 9.0, 8.0, 7.0, 6.0])}


def test_selection():
    assert select(SCORES, 0.0) == {"a": (0, 1, 2, 3), "b": tuple(range(8))}
    # Of twelve, the six lowest: all of b's small ones, and 1 and 2 of a.
    assert select(SCORES, 0.5) == {"a": (0, 2), "b": (4, 5, 6, 7)}
    assert select(SCORES, 0.5, "local") == {"a": (0, 2), "b": (4, 5, 6, 7)}
    assert select(SCORES, 0.25, "local") == {"a": (0, 2, 3), "b": (0, 1, 4, 5, 6, 7)}
    # Three quarters would take all of a: its best stays.
    assert select(SCORES, 0.75) == {"a": (0,), "b": (4, 5, 6)}
    assert select({"a": torch.zeros(3), "b": torch.ones(3)}, 0.5) == {"a": (2,), "b": (0, 1, 2)}
    assert select(SCORES, 0.25, "local", multiple=4)["a"] == (0, 1, 2, 3)
    # Six of eight are as near to four as to eight; five are nearer to four.
    assert len(select(SCORES, 0.4, "local", multiple=4)["b"]) == 4
    assert len(select(SCORES, 0.9, "local", multiple=4)["b"]) == 4
    # Between equal scores an earlier choice decides.
    assert select({"a": torch.ones(4)}, 0.5, before={"a": (0, 1)}) == {"a": (0, 1)}
    with pytest.raises(ValueError, match="ratio"):
        select(SCORES, 1.0)


def test_scores_by_l1_are_means_over_the_gates_own_side(toy):
    model = toy()
    cuts = {c.name: c for c in prune_graph_of(model).cuts()}
    scores = l1_scores(model, tuple(cuts.values()))
    conv, up, shuffled = model.blocks[0].conv1.weight, model.up.weight, model.shuffled.weight
    assert torch.allclose(scores["blocks.0.conv1.in"], conv.abs().mean((0, 2, 3)))
    assert torch.allclose(scores["blocks.0.conv1.out"], conv.abs().mean((1, 2, 3)))
    assert torch.allclose(scores["up.out"], up.abs().mean((0, 2, 3))), "a transposed convolution has its outputs second"
    assert torch.allclose(scores["shuffled.out"][1], shuffled[4:8].abs().mean())


def test_the_ramp_of_the_paper_takes_exactly_5000_iterations(toy):
    pruner = RampPruner()
    pruner.attach(toy())
    levels, step = [], Step()
    while pruner.alpha() < pruner.ceiling:
        levels.append(pruner.alpha())
        pruner.update(step)
    # Each of the thousand levels, the last one too, lasts five iterations.
    assert len(levels) + pruner.every == pruner.needed_iterations == 5000
    assert levels[:6] == [1e-4] * 5 + [2e-4]
    assert pruner.alpha() == 0.1
    for _ in range(100):
        pruner.update(step)
    assert pruner.alpha() == 0.1
    assert RampPruner(increment=0.3, every=2, ceiling=1.0).needed_iterations == 8


def test_the_penalty_is_half_alpha_gamma_squared_with_the_right_gradient_for_input_gates(toy):
    model = toy()
    pruner = RampPruner(criterion="l1", increment=0.25, every=1, ceiling=1.0)
    pruner.attach(model)
    with torch.no_grad():
        # Inputs' and outputs' factors unlike: a gradient by the wrong one shows.
        for name, p in model.named_parameters():
            if ".gate_" in name:
                p.fill_(3.0 if name.endswith("gate_in") else 0.5)
    value = pruner.penalty(Step())
    value.backward()
    gone = {c.name: sorted(set(range(c.size(model))) - set(pruner.kept[c.name])) for c in pruner.cuts}
    assert sum(len(g) for g in gone.values()) == sum(c.size(model) for c in pruner.cuts) // 2
    total = sum(0.25 / 2 * len(g) * (9.0 if name.endswith(".in") else 0.25) for name, g in gone.items())
    assert value.item() == pytest.approx(total)
    for name, indices in gone.items():
        path, side = name.rsplit(".", 1)
        gate = getattr(model.get_submodule(path), f"gate_{side}")
        wanted = torch.zeros_like(gate)
        wanted[indices] = 0.25 * gate.detach()[indices]
        assert torch.allclose(gate.grad, wanted), name


def test_which_criterion(toy):
    model = toy()
    with torch.no_grad():
        model.up.weight[:, 0] = 0
    pruner = GatePruner(0.25, scope="local")
    pruner.attach(model)
    assert 0 not in pruner.compact().pruned.kept["up.out"], "untrained factors all say 1: weights decide"
    model = toy()
    insert_gates(model, [s for c in prune_graph_of(model).cuts() for s in c.factors])
    with torch.no_grad():
        model.up.gate_out[3:5] = torch.tensor([-0.1, 0.2])
    pruner = GatePruner(0.25, scope="local")
    pruner.attach(model)
    assert pruner.compact().pruned.kept["up.out"] == (0, 1, 2, 5, 6, 7), "by magnitude"


def test_what_is_closed_in_the_end_is_chosen_again_by_gamma(toy):
    model = toy()
    pruner = RampPruner(0.5, criterion="l1")
    pruner.attach(model)
    pruner.penalty(Step())
    first = pruner.kept["up.out"]
    pruner.update(Step())
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".gate_" in name:
                p.copy_(torch.arange(len(p)) + 1.0)
    small = pruner.compact()
    assert small.pruned.kept["up.out"] == (4, 5, 6, 7) != first
    assert float(model.up.gate_out.detach()[:4].abs().max()) == 0, "the attached model is the masked one"
    assert float(model.up.gate_out.detach()[4:].min()) == 5


def test_aligned_excluded_and_rounded(toy):
    model = toy()
    pruner = GatePruner(0.5, scope="local", aligned=True, exclude=("up",), shuffle_groups=False)
    pruner.attach(model)
    kept = pruner.compact().pruned.kept
    assert set(kept) == {"trunk", "blocks.0.conv1.out", "blocks.1.conv1.out"}
    small = pruner.compact()
    assert small.head.out_channels == small.blocks[1].conv2.out_channels == small.up.in_channels == 4
    assert small.up.out_channels == 8
    with pytest.raises(RequestError, match="'neck' matches no gate"):
        GatePruner(exclude=("neck",)).attach(toy())
    with pytest.raises(RequestError, match="pruned before"):
        GatePruner().attach(small)
