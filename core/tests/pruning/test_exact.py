"""Cutting is exact: gates at zero, gates folded in, and channels cut out are one function; and from a file alone."""

from __future__ import annotations

import copy

import pytest
import torch
from restore.build import Builder
from restore.document import parse
from restore.errors import RequestError
from restore.modelling import build_model
from restore.pruning import (
    Gate,
    PruneGraph,
    Slot,
    compact,
    cost,
    has_gates,
    insert_gates,
    masked,
    merge_gates,
    metadata_of,
    prune_graph_of,
    select,
)
from restore.recipe import Use
from restore.weights import load_into, read, save
from torch import nn


def chosen(model, aligned=False, ratio=0.5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    cuts = prune_graph_of(model).cuts(aligned)
    return select({c.name: torch.rand(c.size(model), generator=generator) for c in cuts}, ratio)


def stirred(model, aligned=False, seed=2):
    """With gates unlike 1."""
    insert_gates(model, [slot for cut in prune_graph_of(model).cuts(aligned) for slot in cut.factors])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".gate_" in name:
                p.copy_(0.5 + torch.rand(p.shape, generator=generator))
    return model


CLIP = torch.rand(2, 1, 1, 9, 11, generator=torch.Generator().manual_seed(0))
FORMS = [{}, {"uses": 3, "blocks": 1}, {"hooked": True}]


@torch.no_grad()
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("form", FORMS, ids=["blocks", "shared", "hooked"])
def test_masked_merged_and_compact_are_one_function(toy, form, aligned):
    model = stirred(toy(**form), aligned)
    kept = chosen(model, aligned)
    closed = masked(model, kept, aligned)
    wanted = closed(CLIP)
    assert (wanted - model(CLIP)).abs().max() > 1e-2
    merged = merge_gates(copy.deepcopy(closed))
    small = compact(model, kept, aligned)
    assert not has_gates(merged)
    assert not has_gates(small)
    reach = wanted.abs().max()
    for other in (merged, small, small.to(memory_format=torch.channels_last)):
        assert (other(CLIP) - wanted).abs().max() <= 1e-6 * reach
    frames = CLIP.flatten(0, 1).repeat(1, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    assert (small(frames.unsqueeze(1)) - wanted).abs().max() <= 1e-6 * reach


@torch.no_grad()
def test_the_order_of_groups_and_of_index_sets_is_that_of_the_paper(toy):
    """y = x; y[O] += conv2_{O,M}(act(conv1_{M,I}(x[I]))), by hand, with factors folded in as they are multiplied."""
    model = stirred(toy(blocks=1))
    block, kept = model.blocks[0], chosen(model)
    i, m, o = (list(kept[f"blocks.0.{n}"]) for n in ("conv1.in", "conv1.out", "conv2.out"))
    x = torch.randn(1, 8, 6, 7)
    w1 = (
        block.conv1.gate_out[m][:, None, None, None]
        * block.conv1.weight[m][:, i]
        * block.conv1.gate_in[i][:, None, None]
    )
    b1 = block.conv1.gate_out[m] * block.conv1.bias[m]
    w2 = block.conv2.gate_out[o][:, None, None, None] * block.conv2.weight[o][:, m]
    y = nn.functional.conv2d(block.act(nn.functional.conv2d(x[:, i], w1, b1, padding=1)), w2, padding=1)
    y = y + (block.conv2.gate_out[o] * block.conv2.bias[o])[:, None, None]
    se = block.se
    hidden = torch.relu(nn.functional.conv2d(y.mean((2, 3), keepdim=True), se.reduce.weight[:, o], se.reduce.bias))
    y = y * nn.functional.conv2d(hidden, se.expand.weight[o], se.expand.bias[o]).sigmoid()
    wanted = x.clone()
    wanted[:, o] += 0.5 * y
    small = compact(model, kept)
    assert (small.blocks[0](x) - wanted).abs().max() < 1e-5
    # Four consecutive channels before the pixel shuffle become one after it.
    g = list(kept["shuffled.out"])
    rows = torch.tensor([4 * c + k for c in g for k in range(4)])
    factor = model.shuffled.gate_out.repeat_interleave(4)[rows][:, None, None, None]
    expected = factor * model.shuffled.weight[rows][:, list(kept["up.out"])]
    assert torch.allclose(small.shuffled.weight, expected)
    assert torch.equal(small.tail.weight, model.tail.weight[:, g])


def test_gates_of_ones_change_nothing_and_ratio_0_is_the_identity(toy):
    model = toy()
    before = model(CLIP)
    insert_gates(model, [slot for cut in prune_graph_of(model).cuts() for slot in cut.factors])
    assert torch.equal(model(CLIP), before)
    small = compact(model, chosen(model, ratio=0.0))
    assert torch.equal(small(CLIP), before)
    assert {n: p.shape for n, p in small.named_parameters()} == {n: p.shape for n, p in toy().named_parameters()}


def test_the_pruned_trains(toy):
    small = compact(toy(), chosen(toy()))
    small(CLIP).square().mean().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in small.parameters())


def build(registry, **parameters):
    place = parse("", "toy.toml").root
    return build_model(Use("core:toy", parameters, place), Builder(registry))[0].eval()


@torch.no_grad()
@pytest.mark.parametrize("aligned", [False, True])
def test_a_file_alone_gives_the_compact_network(toy, registry, tmp_path, aligned):
    small = compact(toy(), chosen(toy(), aligned), aligned)
    path = tmp_path / "pruned.safetensors"
    save(path, small.state_dict(), metadata_of(small))
    again = build(registry, weights=str(path))
    assert torch.equal(again(CLIP), small(CLIP))
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in small.parameters())
    # A second time, into what is cut already; and not into what was cut in another way, or another network.
    load_into(again, read(path))
    other = compact(toy(), chosen(toy(), seed=9))
    with pytest.raises(RequestError, match="another way"):
        load_into(other, read(path))
    with pytest.raises(RequestError, match="within its 4 channels"):
        build(registry, weights=str(path), width=4)
    dense = toy()
    load_into(dense, read(path), dry=True)
    assert torch.equal(dense(CLIP), toy()(CLIP)), "a dry run leaves the model alone"


@torch.no_grad()
def test_weights_with_gates_load_as_what_they_compute(toy, registry, tmp_path):
    gated = stirred(toy())
    path = tmp_path / "gated.safetensors"
    save(path, gated.state_dict(), metadata_of(gated))
    again = build(registry, weights=str(path))
    assert not has_gates(again)
    assert (again(CLIP) - gated(CLIP)).abs().max() <= 2e-6 * gated(CLIP).abs().max()
    # Without gates into a model that has some: they stay as they are.
    fresh = stirred(toy(seed=4))
    kept = fresh.shuffled.gate_out.clone()
    save(path, toy().state_dict(), {})
    load_into(fresh, read(path))
    assert torch.equal(fresh.shuffled.gate_out, kept)
    assert torch.equal(fresh.head.weight, toy().head.weight)


def test_multiplications_by_hand(toy):
    """One block of 8 channels, 6 x 7 pixels: inputs, middles and outputs 4, 4, 4 of the block; 4 of up and shuffle."""
    names = [c.name for c in prune_graph_of(toy(blocks=1)).cuts()]
    small = compact(toy(blocks=1), {name: range(4) for name in names})
    found = cost(small, (1, 1, 1, 6, 7))
    pixels = 6 * 7
    head, squeeze = 9 * 8 * pixels, 4 * 3 + 3 * 4
    block, up, shuffled, tail = 2 * 9 * 4 * 4 * pixels, 9 * 8 * 4 * pixels, 9 * 4 * 16 * pixels, 9 * 4 * 4 * pixels
    assert found.macs == head + squeeze + block + up + shuffled + tail
    assert found.parameters == 80 + 148 + 148 + 15 + 16 + 292 + 592 + 37
    assert found.seconds is None


class Wrong(nn.Module):
    def __init__(self, graph, **layers):
        super().__init__()
        self.graph = graph
        for name, layer in layers.items():
            self.add_module(name, layer)

    def prune_graph(self):
        return self.graph


def refusal(graph=None, **layers):
    layers = layers or {"a": nn.Conv2d(4, 6, 3), "b": nn.Conv2d(6, 8, 3)}
    with pytest.raises(RequestError) as caught:
        prune_graph_of(Wrong(graph, **layers))
    return str(caught.value)


def test_what_cannot_be_cut_exactly_is_refused_with_the_reason():
    with pytest.raises(RequestError, match=r"Conv2d cannot be pruned: it declares no prune_graph"):
        prune_graph_of(nn.Conv2d(1, 1, 1))
    assert "there is no module 'c'" in refusal(PruneGraph((Gate("c"),)))
    assert "a.out decides on 6 channels, b.out has 8" in refusal(
        PruneGraph((Gate("a", followers=(Slot("b", "out", 2),)),))
    )
    assert "two gates decide on b.in" in refusal(PruneGraph((Gate("a", followers=(Slot("b"),)), Gate("b", "in"))))
    assert "both fixed and cut" in refusal(PruneGraph((Gate("a", followers=(Slot("b"),)),), fixed=("a",)))
    assert "not exact" in refusal(PruneGraph((Gate("a"),)), a=nn.GroupNorm(2, 4))
    assert "4 groups" in refusal(PruneGraph((Gate("a"),)), a=nn.Conv2d(4, 4, 3, groups=4))
    tied = nn.Conv2d(4, 4, 3)
    other = nn.Conv2d(4, 4, 3)
    other.weight = tied.weight
    assert "shares its weights" in refusal(PruneGraph((Gate("a"),)), a=tied, b=other)


def test_a_network_is_pruned_once(toy):
    with pytest.raises(RequestError, match="pruned before"):
        compact(compact(toy(), chosen(toy())), chosen(toy()))
    with pytest.raises(RequestError, match="does not declare"):
        compact(toy(), {"nothing.out": (0,)})
