"""The network against the specification, number by number."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from restore.build import Builder, schema
from restore.catalogue import recipe_document
from restore.plugins import discover
from restore.recipe import check
from restore_srsenet.model import SqueezeExcite, SrSEBlock, SrSENet, official

torch.set_num_threads(1)

# shared, hidden 16 (the authors' code); separate, hidden 16 (as drawn); separate, hidden 4 (the text's ratio 16).
COUNTS = {
    (True, 16): {2: 142_560, 3: 179_433, 4: 339_216, 8: 1_125_840},
    (False, 16): {2: 673_552, 3: 710_425, 4: 870_208, 8: 1_656_832},
    (False, 4): {2: 661_168, 3: 698_041, 4: 857_824, 8: 1_644_448},
}


def count(model):
    return sum(p.numel() for p in model.parameters())


def small(scale=2, **more):
    torch.manual_seed(0)
    return SrSENet(scale, **{"blocks": 2, "features": 6, "se_hidden": 3, **more}).double()


def clip(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("shared", "hidden", "scale"), [(*key, scale) for key, row in COUNTS.items() for scale in row])
def test_parameter_counts(shared, hidden, scale):
    model = SrSENet(scale, share_blocks=shared, se_hidden=hidden)
    assert count(model) == COUNTS[shared, hidden][scale]
    if shared:
        assert count(official(scale)) == COUNTS[shared, hidden][scale]


@pytest.mark.parametrize("scale", range(1, 9))
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (12, 9)])
def test_output_is_exactly_scale_times_the_input(scale, size):
    out = small(scale)(clip(2, 3, 1, *size))
    assert out.shape == (2, 3, 1, scale * size[0], scale * size[1])


@pytest.mark.parametrize(("scale", "kernel"), [(1, 1), (2, 4), (3, 5), (4, 8), (8, 16)])
def test_transposed_convolutions(scale, kernel):
    model = SrSENet(scale, features=8, blocks=1)
    assert model.upsample_features.weight.shape == (8, 8, kernel, kernel)
    assert model.upsample_image.weight.shape == (1, 1, kernel, kernel)
    for layer in (model.upsample_features, model.upsample_image):
        assert (layer.stride, layer.padding, layer.bias) == ((scale, scale), (scale // 2, scale // 2), None)


def test_twenty_layers_and_where_biases_are():
    model = SrSENet(2)
    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))]
    assert len(layers) == 20
    assert all(m.bias is None for m in layers)
    assert len(model.blocks) == 8
    assert all(b.se.reduce.bias is not None and b.se.expand.bias is not None for b in model.blocks)


def test_convolutions_start_orthogonal():
    weight = SrSENet(2).blocks[0].conv1.weight.flatten(1)
    assert torch.allclose(weight @ weight.T, torch.eye(64), atol=1e-5)


def test_the_shared_preset_has_one_block_used_eight_times():
    model = official(2)
    blocks = [m for m in model.modules() if isinstance(m, SrSEBlock)]
    assert len(blocks) == 1
    calls = []
    blocks[0].register_forward_hook(lambda *_: calls.append(1))
    model(clip(1, 1, 1, 4, 4).float())
    assert len(calls) == 8
    assert len({n.split(".")[1] for n in model.state_dict() if n.startswith("blocks")}) == 1
    assert model.traits == SrSENet(2).traits


def test_shared_equals_separate_blocks_of_equal_weights():
    shared, separate = small(share_blocks=True), small(share_blocks=False)
    state = shared.state_dict()
    state |= {k.replace("blocks.0", "blocks.1"): v for k, v in state.items() if k.startswith("blocks.0")}
    separate.load_state_dict(state)
    x = clip(1, 1, 1, 9, 8)
    assert torch.allclose(shared(x), separate(x), atol=1e-14)


def test_the_gate_lies_between_0_and_1_and_the_squeeze_is_the_mean():
    se = SqueezeExcite(6, 3).double()
    x = 5 * clip(2, 6, 7, 5) - 2
    gate = se.gate(x)
    assert gate.shape == (2, 6, 1, 1)
    assert float(gate.detach().min()) > 0
    assert float(gate.detach().max()) < 1
    shuffled = x.flatten(2)[:, :, torch.randperm(35, generator=torch.Generator().manual_seed(1))].view_as(x)
    assert torch.allclose(se.gate(shuffled), gate, atol=1e-14), "only what is independent of place"
    same_mean = x.mean(dim=(-2, -1), keepdim=True).expand_as(x)
    assert torch.allclose(se.gate(same_mean), gate, atol=1e-14), "and of that the mean, not the maximum or a norm"
    assert not torch.allclose(se.gate(x + 1), gate)
    assert torch.equal(se(x), x * gate)


def leaky(x):
    return torch.where(x > 0, x, 0.2 * x)


def by_formula(w, x, blocks, scale, shared, fig2):
    """HR = T_I(x) + conv_out(LReLU(T_F(blocks(conv_in(x))))), from the state dict alone."""
    y = F.conv2d(x, w["conv_in.weight"], padding=1)
    y = leaky(y) if fig2 else y
    for i in range(blocks):
        p = f"blocks.{0 if shared else i}."
        z = F.conv2d(leaky(F.conv2d(y, w[p + "conv1.weight"], padding=1)), w[p + "conv2.weight"], padding=1)
        z = leaky(z) if fig2 else z
        s = z.sum(dim=(2, 3)) / (z.shape[2] * z.shape[3])
        s = leaky(s @ w[p + "se.reduce.weight"].T + w[p + "se.reduce.bias"])
        s = 1 / (1 + torch.exp(-(s @ w[p + "se.expand.weight"].T + w[p + "se.expand.bias"])))
        y = y + z * s[:, :, None, None]

    def up(t, weight):
        """Transposed convolution as its definition says: every input sample adds its kernel to the output."""
        n, _, h, v = t.shape
        k = weight.shape[-1]
        out = torch.zeros(n, weight.shape[1], (h - 1) * scale + k, (v - 1) * scale + k, dtype=t.dtype)
        for i in range(h):
            for j in range(v):
                part = torch.einsum("nc,cdab->ndab", t[:, :, i, j], weight)
                out[:, :, i * scale : i * scale + k, j * scale : j * scale + k] += part
        p = scale // 2
        return out[:, :, p : p + h * scale, p : p + v * scale]

    residual = F.conv2d(leaky(up(y, w["upsample_features.weight"])), w["conv_out.weight"], padding=1)
    return up(x, w["upsample_image.weight"]) + residual


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(("shared", "fig2"), [(False, False), (True, False), (False, True)])
def test_equals_the_formula(scale, shared, fig2):
    model = small(scale, share_blocks=shared, fig2_activations=fig2)
    x = clip(2, 2, 1, 6, 5) - 0.3
    expected = by_formula(model.state_dict(), x.flatten(0, 1), 2, scale, shared, fig2)
    assert torch.allclose(model(x).flatten(0, 1), expected, atol=1e-12)


def test_the_activations_of_the_figure_change_the_output():
    plain, drawn = small(fig2_activations=False), small(fig2_activations=True)
    drawn.load_state_dict(plain.state_dict())
    x = clip(1, 1, 1, 8, 8)
    assert not torch.allclose(plain(x), drawn(x))


def test_frames_are_independent():
    model = small()
    x = clip(2, 3, 1, 6, 6)
    assert torch.allclose(model(x)[1, 2], model(x[1:2, 2:3])[0, 0], atol=1e-14)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 8])
def test_the_halo_is_the_receptive_field_but_for_the_squeeze(scale):
    """With gates held still, nothing beyond the halo reaches the output, and something at its edge does."""
    model = small(scale, blocks=2)
    for block in model.blocks:
        block.se.gate = lambda x: x.new_full((1, x.shape[1], 1, 1), 0.5)
    halo = model.traits.halo.pixels
    x = clip(1, 1, 1, 1, 41).requires_grad_()
    inside = model(x)[..., 20 * scale : 21 * scale]
    reach = torch.autograd.grad(inside.abs().sum(), x)[0].flatten().nonzero().flatten() - 20
    assert int(reach.abs().max()) == halo == 6
    assert model.traits.global_context, "the squeeze looks at the whole frame"


def test_gradients_reach_every_parameter():
    model = small()
    model(clip(1, 1, 1, 8, 8)).square().mean().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in model.parameters())


@pytest.mark.parametrize("key", ["scale", "blocks", "features", "se_hidden"])
def test_numbers_below_one_are_refused(key):
    with pytest.raises(ValueError, match=f"{key} must be at least 1"):
        SrSENet(**{key: 0})


def test_options_are_those_of_the_specification():
    assert set(schema(SrSENet)) == {"scale", "blocks", "features", "se_hidden", "share_blocks", "fig2_activations"}


@pytest.fixture(scope="module")
def registry():
    return discover()


@pytest.mark.parametrize("name", ["run", "small", "small-x4", "paper"])
def test_recipes_are_valid_and_their_model_can_be_built(registry, name):
    recipe = check(recipe_document(registry, recipe=f"srsenet:{name}"))
    parameters = {k: v for k, v in recipe.model.parameters.items() if k != "weights"}
    use = type(recipe.model)(recipe.model.use, parameters, recipe.model.place)
    builder = Builder(registry)
    model = builder.build("model", use)
    assert isinstance(model, SrSENet)
    assert builder.build("degradation", recipe.degradation).scale == model.traits.scale
    for loss in recipe.losses:
        builder.build("loss", loss)


def test_the_run_recipe_follows_the_scale(registry):
    recipe = check(recipe_document(registry, plugin="srsenet", overrides=("model.scale=4",)))
    assert recipe.model.parameters["weights"] == "srsenet:srsenet-x4"
    assert recipe.degradation.parameters["scale"] == 4


@pytest.mark.parametrize("scale", [2, 4])
def test_weights_that_ship_fit_and_beat_bicubic(registry, scale):
    from restore.build import asset_path
    from restore.errors import RestoreError
    from restore.functional.color import rgb_to_y
    from restore.functional.quality import psnr
    from restore.functional.resize import resize
    from restore.modelling import build_model

    component = registry.find("model", "srsenet:srsenet").component
    try:
        asset_path(component.weights[f"srsenet-x{scale}"])
    except RestoreError:
        pytest.skip("these weights are not in the source tree")
    recipe = check(recipe_document(registry, plugin="srsenet", overrides=(f"model.scale={scale}",)))
    model, name = build_model(recipe.model, Builder(registry))
    assert name == "srsenet:srsenet"
    # Sharp edges of a slanted bar: what super-resolution is for, and what bicubic blurs.
    v, u = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    picture = ((u * 0.8 + v * 0.6) % 24 < 12).float().mul(0.8).add(0.1).expand(1, 1, 3, 96, 96)
    clean = rgb_to_y(picture)
    low = resize(clean, 1 / scale)
    with torch.no_grad():
        ours = psnr(model(low)[..., 8:-8, 8:-8], clean[..., 8:-8, 8:-8])
    assert ours > psnr(resize(low, scale)[..., 8:-8, 8:-8], clean[..., 8:-8, 8:-8]) + 1
