"""SpyNet and the residual blocks: counts, conventions, published names."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from restore.functional.flow import warp
from restore.networks.residual import ResidualBlock, residual_chain, residual_trunk
from restore.networks.spynet import MEAN, STD, SpyNet, translate_spynet


def count(module):
    return sum(p.numel() for p in module.parameters())


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_parameter_counts():
    net = SpyNet()
    assert count(net) == 1_440_300
    assert count(net.levels[3]) == 240_050
    assert count(ResidualBlock(64)) == 73_856
    # conv3 67 -> 64 and 30 blocks: one direction of BasicVSR
    assert count(residual_trunk(67, 64, 30)) == 67 * 64 * 9 + 64 + 30 * 73_856


def reference_flow(net, a, b):
    """The published algorithm from its description, with sampling positions in [-1, 1] between the corners' centres."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    pyramids = [[(a - mean) / std], [(b - mean) / std]]
    for pyramid in pyramids:
        for _ in range(5):
            pyramid.insert(0, F.avg_pool2d(pyramid[0], 2, 2, count_include_pad=False))
    flow = None
    for i, level in enumerate(net.levels):
        ref, supp = pyramids[0][i], pyramids[1][i]
        n, _, h, w = ref.shape
        flow = (
            torch.zeros(n, 2, h, w)
            if flow is None
            else 2 * F.interpolate(flow, (h, w), mode="bilinear", align_corners=True)
        )
        ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack([2 * (xs + flow[:, 0]) / max(w - 1, 1) - 1, 2 * (ys + flow[:, 1]) / max(h - 1, 1) - 1], -1)
        fetched = F.grid_sample(supp, grid, padding_mode="border", align_corners=True)
        flow = level(torch.cat([ref, fetched, flow], 1)) + flow
    return flow


def test_spynet_follows_the_published_algorithm():
    torch.manual_seed(0)
    net = SpyNet()
    for level in net.levels:  # otherwise the flow of random weights is too small to move anything
        level[-1].weight.data.mul_(30)
    a, b = random(2, 3, 64, 96), random(2, 3, 64, 96, seed=1)
    with torch.no_grad():
        flow = net(a, b)
        assert flow.abs().mean() > 0.5
        assert (flow - reference_flow(net, a, b)).abs().max() < 1e-3
        assert (flow - net(b, a)).abs().max() > 0.1


def test_flow_is_in_pixels_of_the_given_size():
    net = SpyNet(zero_init=True)
    net.levels[0][-1].bias.data = torch.tensor([1.0, -2.0])  # five doublings follow
    with torch.no_grad():
        inner = net(random(1, 3, 32, 64), random(1, 3, 32, 64))
        assert torch.allclose(inner, torch.tensor([32.0, -64.0]).view(1, 2, 1, 1).expand_as(inner))
        other = net(random(1, 3, 24, 40), random(1, 3, 24, 40))  # worked on at 32 x 64
    assert other.shape == (1, 2, 24, 40)
    expected = torch.tensor([32.0 * 40 / 64, -64.0 * 24 / 32]).view(1, 2, 1, 1)
    assert torch.allclose(other, expected.expand_as(other))


def test_zero_init_begins_without_motion_and_learns():
    torch.manual_seed(0)
    net = SpyNet(zero_init=True, widths=(4, 4))
    flow = net(random(1, 3, 32, 32), random(1, 3, 32, 32, seed=1))
    assert (flow == 0).all()
    (flow - 1).square().mean().backward()
    assert all(level[-1].weight.grad.abs().max() > 0 for level in net.levels)


@pytest.mark.parametrize("names", ["basicsr", "mmediting", "port"])
def test_published_names_load(names):
    torch.manual_seed(0)
    net = SpyNet()
    file = {"spynet.mean": torch.zeros(1, 3, 1, 1), "spynet.std": torch.ones(1, 3, 1, 1), "other": torch.ones(1)}
    for i in range(6):
        for j in range(5):
            for kind in ("weight", "bias"):
                stem = "moduleBasic" if names == "port" else "basic_module"
                layer = f"{j}.conv" if names == "mmediting" else f"{2 * j}"
                file[f"spynet.{stem}.{i}.{stem}.{layer}.{kind}"] = getattr(net.levels[i][2 * j], kind) + 1
    translated = translate_spynet(file, "spynet.")
    assert translated.pop("other") is file["other"]
    assert set(translated) == {f"spynet.{n}" for n in net.state_dict()}
    assert torch.equal(translated["spynet.levels.5.8.weight"], net.levels[5][8].weight + 1)
    assert torch.equal(translated["spynet.levels.2.4.bias"], net.levels[2][4].bias + 1)
    assert "basic_module.0.basic_module.0.weight" in translate_spynet({"basic_module.0.basic_module.0.weight": 0}, "x.")
    assert "levels.0.0.weight" in net.translate_weights({"basic_module.0.basic_module.0.weight": torch.ones(1)})


def test_residual_block_by_hand():
    torch.manual_seed(0)
    block = ResidualBlock(4)
    x = random(1, 4, 6, 6) - 0.5
    inner = F.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1).clamp(min=0)
    assert torch.allclose(block(x), x + F.conv2d(inner, block.conv2.weight, block.conv2.bias, padding=1), atol=1e-6)
    assert torch.equal(residual_chain(4, 0)(x), x)
    leaky = ResidualBlock(4, "leaky")
    leaky.load_state_dict(block.state_dict())
    with torch.no_grad():
        block.conv1.weight.zero_()
        block.conv1.bias.fill_(-1.0)
        leaky.load_state_dict(block.state_dict())
        assert torch.allclose(block(x), x + block.conv2.bias.view(1, -1, 1, 1))
        assert not torch.allclose(leaky(x), block(x))
    with pytest.raises(ValueError, match="relu or leaky"):
        ResidualBlock(4, "gelu")


def test_warp_outside_of_the_image():
    image = torch.arange(1.0, 6.0).view(1, 1, 1, 5)
    flow = torch.zeros(1, 2, 1, 5)
    flow[:, 0] = 1.5
    assert torch.allclose(warp(image, flow).flatten(), torch.tensor([2.5, 3.5, 4.5, 5.0, 5.0]), atol=1e-6)
    zeros = warp(image, flow, padding="zeros").flatten()
    assert torch.allclose(zeros, torch.tensor([2.5, 3.5, 4.5, 2.5, 0.0]), atol=1e-5)
    # positions near 300 are 2 pixels apart in bfloat16: they are computed in float32
    wide = torch.zeros(1, 1, 1, 600)
    wide[..., 301] = 1
    half = warp(
        wide.bfloat16(),
        torch.ones(1, 2, 1, 600, dtype=torch.bfloat16) * torch.tensor([1.0, 0]).view(1, 2, 1, 1).bfloat16(),
    )
    assert half.dtype == torch.bfloat16
    assert half.flatten().argmax() == 300
