"""SrSENet under the engine: its halo is exact, and its squeeze is treated as the README says."""

from __future__ import annotations

import pytest
import torch
from restore.inference.restorer import Restorer
from restore.recipe import Run
from restore_srsenet.model import SrSENet


def engine(model, tile):
    return Restorer(model, Run(precision="fp32", channels_last=False, device="cpu", tile=tile))


def without_squeeze(model):
    """The squeeze's answer made constant: the rest of the network is local, and its halo can be seen."""
    for block in model.blocks:
        torch.nn.init.zeros_(block.se.expand.weight)
    return model


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_halo_is_the_receptive_field(scale):
    """A pixel just outside the halo changes nothing, one just inside does."""
    torch.manual_seed(1)
    blocks = 2
    model = without_squeeze(SrSENet(scale, blocks=blocks, features=8)).double().eval()
    halo = model.traits.halo.pixels
    assert halo == 2 * blocks + 2
    x = torch.rand(1, 1, 1, 1, 40, dtype=torch.float64)
    middle = 20
    for distance, reaches in ((halo, True), (halo + 1, False)):
        for sign in (-1, 1):
            y = x.clone()
            y[..., middle + sign * distance] += 1
            before, after = model(x), model(y)
            changed = (before != after)[..., middle * scale : (middle + 1) * scale].any()
            # At scale 1 both directions reach; above, a block of scale outputs does on either side.
            assert bool(changed) == reaches, (distance, sign)


@pytest.mark.parametrize("tile", [24, 31, 48])
def test_tiles_are_exact_but_for_the_squeeze(tile):
    torch.manual_seed(2)
    model = without_squeeze(SrSENet(2, blocks=2, features=8))
    frames = torch.rand(1, 1, 90, 70)
    whole, tiled = engine(model, 0)(frames), engine(model, tile)(frames)
    # Blending two equal answers may round once; nothing more is between them.
    assert torch.allclose(whole, tiled, atol=3e-7, rtol=0)


def test_squeeze_makes_tiles_differ_and_the_engine_says_so(capsys):
    torch.manual_seed(3)
    model = SrSENet(2, blocks=2, features=8)
    frames = torch.linspace(0, 1, 80).expand(1, 1, 80, 80).contiguous()
    whole, restorer = engine(model, 0)(frames), engine(model, 24)
    tiled = restorer(frames)
    assert 0 < float((whole - tiled).abs().max()) < 0.2
    assert "whole frame" in restorer.warnings[0]


def test_whole_frames_by_default():
    seen = []
    model = SrSENet(2, blocks=1, features=8)
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[-2:]))
    engine(model, "auto")(torch.rand(1, 1, 300, 200))
    assert seen[-1] == (300, 200)
