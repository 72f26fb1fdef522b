"""What of the networks can be pruned, and that cutting it out is exact."""

from __future__ import annotations

import pytest
import torch
from restore.pruning import Cut, check_exact, compact, masked, merge_gates, metadata_of, prune_graph_of, select
from restore.weights import load_into, read, save
from restore_crds.network import CRDS, LatentAutoEncoder, tiny
from restore_crds.network.presets import TINY, TINY_AUTO_ENCODER


def stirred(model, seed=0):
    """With every parameter moved, so that nothing is zero, biases least of all."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def chosen(model):
    generator = torch.Generator().manual_seed(3)
    cuts = prune_graph_of(model).cuts()
    return select({c.name: torch.rand(c.size(model), generator=generator) for c in cuts}, 0.5)


def restored(model, clip):
    answer = model(clip)
    return getattr(answer, "restored", answer)


def test_gates_are_those_of_trunks_encoder_and_decoder():
    """192 a residual block of 64 channels: 5 of the encoder, 3 of the decoder, and in each of four steps 1 of the
    fusion and 7 each way; and 64 for each convolution of the decoder's enlargement but the last."""
    model = CRDS()
    cuts: tuple[Cut, ...] = prune_graph_of(model).cuts()
    assert sum(cut.size(model) for cut in cuts) == (5 + 3 + 4 * (1 + 2 * 7)) * 192 + 3 * 64
    assert {c.name: c.factors[0].group for c in cuts if "enlarge" in c.name} == {
        "decoder.enlarge.0.out": 4,
        "decoder.enlarge.3.out": 4,
        "decoder.enlarge.6.out": 1,
    }


@torch.no_grad()
@pytest.mark.parametrize("make", [tiny, lambda: CRDS(window=3, heads=1, blocks=2, upsampling="one-step", **TINY),
                                  lambda: LatentAutoEncoder(**TINY_AUTO_ENCODER)],
                         ids=["two-step", "one-step", "auto-encoder"])  # fmt: skip
def test_masked_merged_and_compact_are_one_function(make):
    model = stirred(make())
    clip = torch.rand(1, 2, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    kept = chosen(model)
    assert check_exact(model, kept, clip) <= 1e-6
    closed = masked(model, kept)
    wanted = restored(closed, clip)
    assert (wanted - restored(model, clip)).abs().max() > 1e-3
    assert (restored(merge_gates(closed), clip) - wanted).abs().max() <= 1e-6 * wanted.abs().max()


@torch.no_grad()
def test_a_pruned_network_is_built_from_its_file_alone(tmp_path):
    model = stirred(tiny())
    small = compact(model, chosen(model))
    save(tmp_path / "half.safetensors", small.state_dict(), metadata_of(small))
    again = tiny().eval()
    load_into(again, read(tmp_path / "half.safetensors"))
    clip = torch.rand(1, 2, 3, 16, 20)
    assert torch.equal(restored(again, clip), restored(small, clip))
