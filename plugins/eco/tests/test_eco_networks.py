"""The networks against the specification, and against the files that others publish."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from restore.errors import RequestError
from restore.inference.restorer import Restorer
from restore.recipe import Run
from restore.weights import Weights, load_into
from restore_eco.networks.edsr import EDSR, edsr_baseline
from restore_eco.networks.parts import DIV2K_MEAN
from restore_eco.networks.rcan import RCAN
from restore_eco.networks.swinir import SwinIR, reach

torch.set_num_threads(1)

COUNTS = {
    edsr_baseline: {2: 1_369_859, 3: 1_554_499, 4: 1_517_571, 8: 1_665_283},
    EDSR: {2: 40_729_603, 3: 43_680_003, 4: 43_089_923},
    RCAN: {2: 15_444_643, 3: 15_629_283, 4: 15_592_355},
    SwinIR: {2: 1_087_727, 4: 1_235_439},
}
SMALL = {
    EDSR: {"blocks": 2, "features": 6, "res_scale": 0.5},
    RCAN: {"groups": 2, "blocks": 2, "features": 8, "reduction": 4},
    SwinIR: {"features": 12, "depths": (2, 2), "heads": 3, "window": 4},
}
NETWORKS = list(SMALL)


def small(network, scale=2, seed=0, **more):
    torch.manual_seed(seed)
    return network(scale, **{**SMALL[network], **more}).double().eval()


def clip(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("network", "scale"), [(n, s) for n, row in COUNTS.items() for s in row])
def test_parameter_counts(network, scale):
    with torch.device("meta"):
        # Building on no device: EDSR alone would take 170 MB.
        model = network(scale)
    assert sum(p.numel() for p in model.parameters()) == COUNTS[network][scale]
    assert not any(b.requires_grad for b in model.buffers())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_output_is_scale_times_the_input_and_frames_are_independent(network, scale):
    model, x = small(network, scale), clip(2, 3, 3, 8, 12)
    out = model(x)
    assert out.shape == (2, 3, 3, 8 * scale, 12 * scale)
    assert torch.allclose(out[1, 2], model(x[1:, 2:])[0, 0], atol=1e-12)


@pytest.mark.parametrize("network", NETWORKS)
def test_scales_of_no_pixel_shuffle_are_refused(network):
    with pytest.raises(ValueError, match="scale must be 2, 3, 4 or 8"):
        network(6, **SMALL[network])


@pytest.mark.parametrize("network", NETWORKS)
def test_the_mean_is_taken_off_at_255_levels(network):
    """With a tail that does nothing the answer is the mean, the first layer sees 255 (x - mean)."""
    model, seen = small(network), []
    model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = clip(1, 1, 3, 8, 8)
    torch.nn.init.zeros_(model.tail.last.weight)
    torch.nn.init.zeros_(model.tail.last.bias)
    mean = torch.tensor(DIV2K_MEAN, dtype=torch.float64).view(3, 1, 1)
    assert torch.allclose(model(x), mean.expand(1, 1, 3, 16, 16), atol=1e-7)
    assert torch.allclose(seen[0], 255 * (x[0] - mean), atol=1e-4)


def test_a_residual_block_is_scaled_after_its_second_convolution():
    block = small(EDSR).body[0]
    x = clip(1, 6, 5, 5) - 0.5
    y = F.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1).relu()
    y = F.conv2d(y, block.conv2.weight, block.conv2.bias, padding=1)
    assert torch.allclose(block(x), x + 0.5 * y, atol=1e-14)


def test_edsr_has_a_skip_around_its_body():
    model, x = small(EDSR), clip(1, 1, 3, 8, 8)
    torch.nn.init.zeros_(model.body_end.weight)
    torch.nn.init.zeros_(model.body_end.bias)
    head = model.head(model.shift.inward(x[0]))
    assert torch.allclose(model(x)[0], model.shift.outward(model.tail(head)), atol=1e-12)


def test_channel_attention_gates_by_the_mean():
    attention = small(RCAN).body[0].blocks[0].attention
    x = clip(2, 8, 6, 5)
    w1, w2 = attention.reduce.weight[:, :, 0, 0], attention.expand.weight[:, :, 0, 0]
    hidden = (x.mean((2, 3)) @ w1.T + attention.reduce.bias).relu()
    gate = torch.sigmoid(hidden @ w2.T + attention.expand.bias)
    assert torch.allclose(attention(x), x * gate[:, :, None, None], atol=1e-14)


def by_hand(layer, x, window, shift):
    """Shifted window attention pixel by pixel: each sees those of its window of the shifted grid, inside the image."""
    height, width, channels = x.shape
    heads, attention = layer.attention.heads, layer.attention
    q, k, v = (
        F.linear(x, w, b) for w, b in zip(attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3), strict=True)
    )
    out = torch.zeros_like(x)
    size = channels // heads
    for i in range(height):
        for j in range(width):
            top, left = (i - shift) // window * window + shift, (j - shift) // window * window + shift
            near = [
                (a, b)
                for a in range(max(0, top), min(height, top + window))
                for b in range(max(0, left), min(width, left + window))
            ]
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                score = torch.stack(
                    [
                        q[i, j, part] @ k[a, b, part] / size**0.5
                        + attention.bias[(i - a + window - 1) * (2 * window - 1) + j - b + window - 1, h]
                        for a, b in near
                    ]
                )
                out[i, j, part] = score.softmax(0) @ torch.stack([v[a, b, part] for a, b in near])
    return attention.proj(out)


@pytest.mark.parametrize("index", [0, 1])
def test_attention_in_windows_equals_attention_by_hand(index):
    model = small(SwinIR)
    layer = model.body[0].layers[index]
    torch.nn.init.normal_(layer.attention.bias)
    torch.nn.init.zeros_(layer.fc2.weight)
    assert layer.shift == 2 * index
    from restore_eco.networks.swinir import shift_mask

    x = clip(1, 8, 12, 12, seed=3)
    expected = x[0] + by_hand(layer, layer.norm1(x)[0], 4, layer.shift)
    assert torch.allclose(layer(x, shift_mask(8, 12, 4, 2))[0], expected, atol=1e-12)


def reached(model, size):
    """How far an input pixel lies from the furthest output that it reaches, along a row, from any place of a window."""
    torch.manual_seed(0)
    for name, p in model.named_parameters():
        if "qkv" in name or "proj" in name:
            torch.nn.init.normal_(p, std=0.5)
    x = clip(1, 1, 3, model.traits.multiple_of, size).requires_grad_()
    out, found = model(x), 0
    scale, middle = model.traits.scale, size // 2 // model.traits.multiple_of * model.traits.multiple_of
    for place in range(model.traits.multiple_of):
        column = middle + place
        weight = torch.randn(3, out.shape[-2], scale, dtype=torch.float64)
        value = (out[0, 0, :, :, column * scale : (column + 1) * scale] * weight).sum()
        gradient = torch.autograd.grad(value, x, retain_graph=True)[0].abs().amax((0, 1, 2, 3))
        found = max(found, int((gradient.nonzero().flatten() - column).abs().max()))
    return found


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_halo_of_edsr_is_its_receptive_field(scale):
    model = small(EDSR, scale)
    assert reached(model, 41) == model.traits.halo.pixels == 2 * 2 + 4
    assert not model.traits.global_context


@pytest.mark.parametrize("depths", [(2,), (2, 1), (3, 2)])
def test_the_halo_of_swinir_is_its_receptive_field(depths):
    model = small(SwinIR, depths=depths)
    halo = model.traits.halo.pixels
    assert reached(model, 2 * (halo // 4 + 3) * 4) == halo == reach(depths, 4)
    assert model.traits.multiple_of == model.window == 4


def test_the_halo_of_rcan_covers_all_but_its_attention():
    model = small(RCAN)
    for group in model.body:
        for block in group.blocks:
            torch.nn.init.zeros_(block.attention.expand.weight)
    assert reached(model, 61) == model.traits.halo.pixels
    assert model.traits.global_context


# --- weights that others publish, by names and shapes ---


def conv(name, features_in, features_out, kernel=3):
    return {f"{name}.weight": (features_out, features_in, kernel, kernel), f"{name}.bias": (features_out,)}


def linear(name, features_in, features_out):
    return {f"{name}.weight": (features_out, features_in), f"{name}.bias": (features_out,)}


def norm(name, features):
    return {f"{name}.weight": (features,), f"{name}.bias": (features,)}


def upsampler(prefix, scale, features):
    steps = {2: [4], 3: [9], 4: [4, 4], 8: [4, 4, 4]}[scale]
    return {k: v for i, f in enumerate(steps) for k, v in conv(f"{prefix}.{2 * i}", features, f * features).items()}


def mean_shifts():
    return conv("sub_mean", 3, 3, 1) | conv("add_mean", 3, 3, 1)


def official_edsr(scale, blocks, features):
    shapes = mean_shifts() | conv("head.0", 3, features) | conv(f"body.{blocks}", features, features)
    for i in range(blocks):
        shapes |= conv(f"body.{i}.body.0", features, features) | conv(f"body.{i}.body.2", features, features)
    return shapes | upsampler("tail.0", scale, features) | conv("tail.1", features, 3)


def basicsr_edsr(scale, blocks, features):
    shapes = conv("conv_first", 3, features) | conv("conv_after_body", features, features)
    for i in range(blocks):
        shapes |= conv(f"body.{i}.conv1", features, features) | conv(f"body.{i}.conv2", features, features)
    return shapes | upsampler("upsample", scale, features) | conv("conv_last", features, 3)


def official_rcan(scale, groups, blocks, f, r):
    shapes = mean_shifts() | conv("head.0", 3, f) | conv(f"body.{groups}", f, f)
    for g in range(groups):
        shapes |= conv(f"body.{g}.body.{blocks}", f, f)
        for b in range(blocks):
            p = f"body.{g}.body.{b}.body"
            shapes |= conv(f"{p}.0", f, f) | conv(f"{p}.2", f, f)
            shapes |= conv(f"{p}.3.conv_du.0", f, f // r, 1) | conv(f"{p}.3.conv_du.2", f // r, f, 1)
    return shapes | upsampler("tail.0", scale, f) | conv("tail.1", f, 3)


def basicsr_rcan(scale, groups, blocks, f, r):
    shapes = conv("conv_first", 3, f) | conv("conv_after_body", f, f)
    for g in range(groups):
        shapes |= conv(f"body.{g}.conv", f, f)
        for b in range(blocks):
            p = f"body.{g}.residual_group.{b}.rcab"
            shapes |= conv(f"{p}.0", f, f) | conv(f"{p}.2", f, f)
            shapes |= conv(f"{p}.3.attention.1", f, f // r, 1) | conv(f"{p}.3.attention.3", f // r, f, 1)
    return shapes | upsampler("upsample", scale, f) | conv("conv_last", f, 3)


def official_swinir(scale, depths, heads, f, w):
    shapes = conv("conv_first", 3, f) | norm("patch_embed.norm", f) | norm("norm", f)
    for i, depth in enumerate(depths):
        shapes |= conv(f"layers.{i}.conv", f, f)
        for j in range(depth):
            p = f"layers.{i}.residual_group.blocks.{j}"
            shapes |= norm(f"{p}.norm1", f) | norm(f"{p}.norm2", f)
            shapes |= linear(f"{p}.attn.qkv", f, 3 * f) | linear(f"{p}.attn.proj", f, f)
            shapes |= linear(f"{p}.mlp.fc1", f, 2 * f) | linear(f"{p}.mlp.fc2", 2 * f, f)
            shapes |= {f"{p}.attn.relative_position_bias_table": ((2 * w - 1) ** 2, heads)}
            shapes |= {f"{p}.attn.relative_position_index": (w * w, w * w)}
            shapes |= {f"{p}.attn_mask": (4, w * w, w * w)} if j % 2 else {}
    shapes |= conv("conv_after_body", f, f) | conv("conv_before_upsample.0", f, 64)
    return shapes | upsampler("upsample", scale, 64) | conv("conv_last", 64, 3)


LAYOUTS = {
    "EDSR-PyTorch": (EDSR, lambda scale: official_edsr(scale, 2, 6)),
    "BasicSR EDSR": (EDSR, lambda scale: basicsr_edsr(scale, 2, 6)),
    "RCAN": (RCAN, lambda scale: official_rcan(scale, 2, 2, 8, 4)),
    "BasicSR RCAN": (RCAN, lambda scale: basicsr_rcan(scale, 2, 2, 8, 4)),
    "SwinIR": (SwinIR, lambda scale: official_swinir(scale, (2, 2), 3, 12, 4)),
}
MEAN = (0.5, 0.25, 0.125)


def published(layout, scale, seed=0):
    """A file of that layout, filled with random numbers, its mean shift with a mean of our own."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {n: torch.randn(s, generator=generator) for n, s in LAYOUTS[layout][1](scale).items()}
    if "sub_mean.bias" in tensors:
        tensors["sub_mean.bias"] = -255 * torch.tensor(MEAN)
    return Weights(tensors, {}, Path("published.pth"))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_weights_load(layout, scale):
    network, _ = LAYOUTS[layout]
    model, file = small(network, scale).float(), published(layout, scale)
    load_into(model, file)
    # Every tensor of the file is somewhere, none twice: names of one shape could be exchanged.
    kept = [t for n, t in file.tensors.items() if "mean" not in n and "index" not in n and "mask" not in n]
    own = [p for n, p in model.named_parameters()]
    assert len(kept) == len(own)
    for parameter in own:
        assert sum(t.shape == parameter.shape and torch.equal(t, parameter) for t in kept) == 1
    mean = MEAN if "sub_mean.bias" in file.tensors else DIV2K_MEAN
    assert torch.allclose(model.shift.mean.flatten(), torch.tensor(mean))
    assert float(model.shift.value_range) == (1 if network is SwinIR else 255)


def test_published_weights_land_where_their_code_has_them():
    model, file = small(EDSR, 4).float(), published("EDSR-PyTorch", 4)
    load_into(model, file)
    t = file.tensors
    x = torch.rand(1, 1, 3, 6, 5)
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)

    def by(name, y):
        return F.conv2d(y, t[f"{name}.weight"], t[f"{name}.bias"], padding=1)

    head = y = by("head.0", 255 * x[0] - 255 * mean)
    for i in range(2):
        y = y + 0.5 * by(f"body.{i}.body.2", by(f"body.{i}.body.0", y).relu())
    y = head + by("body.2", y)
    y = F.pixel_shuffle(by("tail.0.2", F.pixel_shuffle(by("tail.0.0", y), 2)), 2)
    expected = (by("tail.1", y) + 255 * mean) / 255
    assert torch.allclose(model(x)[0], expected, rtol=1e-4, atol=1e-4 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_rcan_and_swinir_blocks_keep_their_order(layout):
    """Layers of one shape, told apart by their numbers."""
    network, _ = LAYOUTS[layout]
    model, file = small(network).float(), published(layout, 2)
    load_into(model, file)
    t = file.tensors
    first, second = {
        "EDSR-PyTorch": ("body.1.body.0", "body.1.body.2"),
        "BasicSR EDSR": ("body.1.conv1", "body.1.conv2"),
        "RCAN": ("body.1.body.0.body.0", "body.1.body.0.body.2"),
        "BasicSR RCAN": ("body.1.residual_group.0.rcab.0", "body.1.residual_group.0.rcab.2"),
        "SwinIR": ("layers.1.residual_group.blocks.0.norm1", "layers.1.residual_group.blocks.0.norm2"),
    }[layout]
    block = {
        EDSR: lambda: model.body[1],
        RCAN: lambda: model.body[1].blocks[0],
        SwinIR: lambda: model.body[1].layers[0],
    }
    here = block[network]()
    ours = (here.norm1, here.norm2) if network is SwinIR else (here.conv1, here.conv2)
    assert torch.equal(ours[0].weight, t[f"{first}.weight"])
    assert torch.equal(ours[1].weight, t[f"{second}.weight"])


@pytest.mark.parametrize("layout", ["EDSR-PyTorch", "SwinIR"])
@pytest.mark.parametrize("scale", [3, 4])
def test_x2_weights_start_another_scale_without_the_tail(layout, scale):
    network, _ = LAYOUTS[layout]
    model, file = small(network, scale).float(), published(layout, 2)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    skipped = load_into(model, file, exclude=("tail",))
    assert skipped
    assert all(n.startswith("tail.") for n in skipped)
    for name, value in model.named_parameters():
        # What has the same shape at both scales stays fresh too.
        assert torch.equal(value, before[name]) == name.startswith("tail."), name
    with pytest.raises(RequestError, match="do not fit"):
        load_into(model, file)


def test_our_own_weights_load_as_they_are(tmp_path):
    model = small(SwinIR).float()
    model.shift.value_range.fill_(1)
    other = small(SwinIR, seed=1).float()
    load_into(other, Weights(model.state_dict(), {}, Path("own.safetensors")))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize(("network", "tile"), [(EDSR, 24), (EDSR, 31), (SwinIR, 20)])
def test_tiles_equal_the_whole(network, tile):
    """Under the engine, which cuts, pads and puts together from the traits alone."""
    more = {"depths": (2,)} if network is SwinIR else {}
    model = small(network, **more).float()
    frames = torch.rand(1, 3, 90, 75, generator=torch.Generator().manual_seed(1))
    runs = [Restorer(model, Run(precision="fp32", channels_last=False, device="cpu", tile=t)) for t in (0, tile)]
    whole, tiled = (run(frames) for run in runs)
    assert not runs[1].warnings
    assert torch.allclose(whole, tiled, atol=3e-6, rtol=0)
