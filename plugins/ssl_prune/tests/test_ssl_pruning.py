"""SSL on its hosts: gate counts, exact cutting, what the pruners leave, and networks from files alone."""

from __future__ import annotations

import copy

import pytest
import torch
from restore import Prediction, RequestError, Step
from restore.catalogue import recipe_document
from restore.modelling import build_model, builder
from restore.plugins import registry
from restore.pruning import (
    compact,
    cost,
    insert_gates,
    masked,
    merge_gates,
    metadata_of,
    prune_graph_of,
    select,
)
from restore.recipe import Use
from restore.weights import load_into, read, save
from restore_ssl_prune.basicvsr import BasicVSR, tiny, uni
from restore_ssl_prune.pruning import ASSL, SSL, l1_norm


def count(model):
    return sum(p.numel() for p in model.parameters())


def stirred(model, seed=0):
    """With parameters of a size that keeps outputs near 1, biases too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            scale = (0.5 / p[0].numel()) ** 0.5 if p.ndim > 1 else 0.1
            p.copy_(scale * torch.randn(p.shape, generator=generator))
    return model.eval()


def chosen(model, aligned=False, ratio=0.5):
    generator = torch.Generator().manual_seed(3)
    cuts = prune_graph_of(model).cuts(aligned)
    return select({c.name: torch.rand(c.size(model), generator=generator) for c in cuts}, ratio)


def host(name, **parameters):
    """A network of another plugin, as a recipe gets it."""
    found = registry()
    if not any(r.name == name for r in found.of_kind("model")):
        pytest.skip(f"{name} is not installed")
    place = recipe_document(found, recipe="core:identity").root
    return stirred(build_model(Use(name, parameters, place), builder(found))[0])


HOSTS = {
    "basicvsr": (lambda: stirred(tiny()), (1, 3, 3, 32, 36)),
    "basicvsr-uni": (lambda: stirred(tiny(bidirectional=False, activation="relu")), (1, 2, 3, 32, 32)),
    "srsenet": (lambda: host("srsenet:srsenet", blocks=2, features=16), (1, 2, 1, 11, 13)),
    "srsenet-fig2-x3": (
        lambda: host("srsenet:srsenet", scale=3, blocks=2, features=8, fig2_activations=True),
        (1, 1, 1, 11, 13),
    ),
    "srsenet-official": (lambda: host("srsenet:official"), (1, 1, 1, 9, 8)),
    "edsr-x4": (lambda: host("eco:edsr", scale=4, blocks=2, features=8, res_scale=0.3), (1, 1, 3, 9, 8)),
    "edsr-baseline-x3": (lambda: host("eco:edsr-baseline", scale=3, blocks=2, features=8), (1, 1, 3, 9, 8)),
    "rcan": (lambda: host("eco:rcan", groups=2, blocks=2, features=8, reduction=2), (1, 2, 3, 9, 8)),
    "crds": (lambda: host("crds:tiny", blocks=1), (1, 2, 3, 12, 16)),
}


def gated(model, aligned):
    """A copy with gates unlike 1."""
    gated = copy.deepcopy(model)
    insert_gates(gated, [slot for cut in prune_graph_of(model).cuts(aligned) for slot in cut.factors])
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, p in gated.named_parameters():
            if ".gate_" in name:
                p.copy_(0.5 + torch.rand(p.shape, generator=generator))
    return gated


def answer(model, clip):
    found = model(clip)
    return getattr(found, "restored", found)


@torch.no_grad()
@pytest.mark.parametrize("name", HOSTS)
def test_masked_merged_compact_and_reloaded_agree_to_1e_6_on_every_host(name, tmp_path):
    make, shape = HOSTS[name]
    model = make()
    clip = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for aligned in (False, True) if prune_graph_of(model).streams else (False,):
        kept, with_gates = chosen(model, aligned), gated(model, aligned)
        closed = masked(with_gates, kept, aligned)
        wanted = answer(closed, clip)
        limit = 1e-6 * wanted.abs().max()
        small = compact(with_gates, kept, aligned)
        assert count(small) < 0.8 * count(model)
        assert (answer(with_gates, clip) - wanted).abs().max() > 1000 * limit
        for other in (merge_gates(closed), small):
            assert (answer(other, clip) - wanted).abs().max() <= limit
        save(tmp_path / "small.safetensors", small.state_dict(), metadata_of(small))
        again = copy.deepcopy(model)
        load_into(again, read(tmp_path / "small.safetensors"))
        assert torch.equal(answer(again, clip), answer(small, clip))
    whole = compact(model, {c.name: range(c.size(model)) for c in prune_graph_of(model).cuts()})
    assert torch.equal(answer(whole, clip), answer(model, clip))
    assert count(whole) == count(model)


def test_gates_are_as_many_as_the_paper_has():
    for model, wanted in ((BasicVSR(), 11_776), (uni(), 6_016)):
        graph = prune_graph_of(model)
        assert sum(cut.size(model) for cut in graph.cuts()) == wanted
        groups = {c.name: c.factors[0].group for c in graph.cuts() if c.factors[0].group > 1}
        assert groups == {"upconv1.out": 4, "upconv2.out": 4}
        block = [c for c in graph.cuts() if c.name.startswith("forward_trunk.2.7.")]
        assert [c.name.rpartition("7.")[2] for c in block] == ["conv1.in", "conv1.out", "conv2.out"]


def test_parameters_recomputed_from_the_index_sets():
    """9IM + M + 9MO + O for each block, and the chain of the tail."""
    model = tiny()
    kept = chosen(model)
    small = compact(model, kept)
    n = {name: len(v) for name, v in kept.items()}
    total = count(model.spynet)
    for trunk in ("backward_trunk", "forward_trunk"):
        total += 9 * 11 * 8 + 8
        for b in range(2):
            i, m, o = (n[f"{trunk}.2.{b}.{s}"] for s in ("conv1.in", "conv1.out", "conv2.out"))
            total += 9 * i * m + m + 9 * m * o + o
    f, u1, u2, h = (n[f"{s}.out"] for s in ("fusion", "upconv1", "upconv2", "conv_hr"))
    total += 16 * f + f + 9 * f * 4 * u1 + 4 * u1 + 9 * u1 * 4 * u2 + 4 * u2 + 9 * u2 * h + h + 9 * h * 3 + 3
    assert count(small) == total


def test_multiplications_of_basicvsr_are_the_papers():
    """338 G without flow for one frame of 180x320 (all that is counted: convolutions); halves of all gates leave 26
    percent of it, the paper's 92 G being 27."""
    model = BasicVSR(flow_levels=1, flow_widths=(1,))
    shape = (1, 1, 3, 18, 32)
    dense = cost(model, shape).macs
    assert dense * 100 == pytest.approx(338.3e9, rel=2e-3)
    half = {c.name: range(c.size(model) // 2) for c in prune_graph_of(model).cuts()}
    small = cost(compact(model, half), shape).macs
    pixels = 180 * 320
    block = 2 * 9 * 32 * 32
    tail = 128 * 32 + 9 * 32 * 128 + 4 * 9 * 32 * 128 + 16 * 9 * (32 * 32 + 32 * 3)
    assert small * 100 == pixels * (2 * (9 * 67 * 64 + 30 * block) + tail)
    assert small / dense == pytest.approx(0.2614, abs=1e-4)


def test_what_the_three_pruners_leave_of_basicvsr():
    widths = {}
    for pruner in (SSL(), ASSL(), l1_norm()):
        model = tiny()
        pruner.attach(model)
        small = stirred(pruner.compact())
        left = sum(map(len, small.pruned.kept.values())) / sum(cut.size(model) for cut in pruner.cuts)
        assert 0.5 <= left < 0.55, "half, but for gates that keep their last channel"
        widths[type(pruner).__name__] = (
            small.forward_trunk[0].out_channels,
            small.fusion.in_channels,
            small.upconv1.out_channels,
        )
        answer = small.train()(torch.rand(1, 2, 3, 32, 32))
        assert isinstance(answer, Prediction)
        assert answer.features["forward"].shape[2] == small.forward_trunk[0].out_channels
    assert widths["SSL"][:2] == (8, 16), "hidden states keep their width"
    assert widths["ASSL"] == widths["GatePruner"] == (4, 8, 32)


def test_paper_settings():
    assert (SSL().needed_iterations, ASSL().needed_iterations) == (5000, 100_000)
    ssl = SSL(exclude=("*.conv2.out",))
    ssl.attach(tiny())
    assert ssl.penalty(Step()).item() > 0
    assert not any(cut.scatter for cut in ssl.cuts)


@torch.no_grad()
def test_a_pruned_basicvsr_from_its_file_alone(tmp_path):
    model = stirred(tiny())
    small = compact(model, chosen(model))
    path = tmp_path / "half.safetensors"
    save(path, small.state_dict(), metadata_of(small))
    again = stirred(tiny())
    load_into(again, read(path))
    clip = torch.rand(1, 3, 3, 32, 32)
    assert torch.equal(again(clip), small(clip))
    assert again.traits == model.traits


def test_a_network_whose_norm_mixes_channels_is_refused_with_the_reason():
    model = host("videoonet:videoonet", filters=4, iterations=1)
    with pytest.raises(RequestError, match="global norm mixes all channels"):
        SSL().attach(model)
