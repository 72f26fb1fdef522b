"""The network: its size, what it is before training, its parts, its passes along time, and its odd inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from restore.functional.color import rgb_to_y
from restore_crds.attention import neighborhood_attention
from restore_crds.network import CRDS, LatentAutoEncoder, small, tiny
from restore_crds.network.strength import Strength


def count(module):
    return sum(p.numel() for p in module.parameters())


def stirred(model, seed=0, amount=0.05):
    """The model with every parameter moved, so that nothing is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(amount * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def clip(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def in_sweeps(model, video):
    """The video worked through frame by frame, as an engine does it."""
    frames = video.shape[1]
    values = [{"frame": video[:, t]} for t in range(frames)]
    for sweep in model.sweeps:
        state, found = None, [None] * frames
        for t in reversed(range(frames)) if sweep.direction == "backward" else range(frames):
            near = [values[i] if 0 <= i < frames else None for i in range(t - sweep.reach, t + sweep.reach + 1)]
            found[t], state = sweep(near, state)
            assert (state is None) == (sweep.direction == "none")
        values = found
    return torch.stack([value["frame"] for value in values], dim=1)


def test_parameters_as_specified():
    model = CRDS()
    block = model.blocks[0]
    parts = [model.flow, model.encoder, model.decoder, block.muna, block.fusion, block.propagation]
    assert [count(part) for part in parts] == [1_440_300, 444_928, 629_443, 12_818, 184_512, 1_189_824]
    assert count(model) == 8_063_287
    assert model.blocks[0].muna.bias.shape == (2, 13, 13)
    auto_encoder = LatentAutoEncoder()
    assert count(auto_encoder) == 444_928 + 629_443
    own = model.state_dict()
    assert all(own[name].shape == tensor.shape for name, tensor in auto_encoder.state_dict().items())


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [({"references": 2}, 8_358_199), ({"decoder_blocks": 4}, 8_137_143), ({"bias": "none"}, 8_061_935)],
)
def test_parameters_of_the_variants(parameters, expected):
    assert count(CRDS(**parameters)) == expected


def test_small_is_small():
    assert count(small()) == 367_375


@pytest.mark.parametrize("make", [tiny, small, lambda: tiny(alignment="flow"), lambda: tiny(prediction=False)])
def test_untrained_is_the_identity(make):
    video = clip(1, 3, 3, 28, 32)
    model = make()
    answer = model(video)
    assert torch.equal(answer.restored, video)
    assert len(answer.intermediates) == len(model.blocks) - 1 > 0
    assert all(torch.equal(each, video) for each in answer.intermediates)
    auto_encoder = LatentAutoEncoder(features=8)
    assert torch.equal(auto_encoder(torch.cat([video, 1 - video], dim=2)), video)


def test_the_auto_encoder_looks_at_both_sides():
    model = stirred(LatentAutoEncoder(features=8, encoder_blocks=1, decoder_blocks=1))
    worse, better = clip(1, 2, 3, 16, 16), clip(1, 2, 3, 16, 16, seed=1)
    answer = model(torch.cat([worse, better], dim=2))
    latents = [model.encoder(side[0]) for side in (worse, better)]
    torch.testing.assert_close(answer[0], worse[0] + model.decoder(*latents))
    assert torch.equal(model(worse), model(torch.cat([worse, worse], dim=2)))


def test_intermediates_are_the_levels_in_order_and_made_when_read():
    model = stirred(tiny()).train()
    video = clip(1, 3, 3, 16, 20)
    calls = []
    model.decoder.register_forward_hook(lambda *_: calls.append(1))
    answer = model(video)
    assert len(calls) == 1  # phases without a loss on them pay nothing
    _, levels, _ = model._levels(video)
    for found, level in zip(answer.intermediates, levels[1:-1], strict=True):
        torch.testing.assert_close(found, model.decode(video, levels[0], level))
    torch.testing.assert_close(answer.restored, model.decode(video, levels[0], levels[-1]))
    assert not torch.equal(answer.intermediates[0], answer.intermediates[2])
    before = len(calls)
    assert answer.intermediates[-1] is answer.intermediates[2]
    assert len(calls) == before
    assert model.eval()(video).intermediates == ()


@pytest.mark.parametrize("references", [0, 1, 2])
def test_sweeps_are_forward(references):
    model = stirred(tiny(references=references))
    for frames in (1, 2, 5):
        video = clip(2, frames, 3, 16, 20)
        with torch.no_grad():
            whole = model(video).restored
            torch.testing.assert_close(in_sweeps(model, video), whole, rtol=0, atol=2e-6)
        assert (whole - video).abs().max() > 0.01


def test_strength_scales_corrections_place_by_place():
    model, plain = stirred(tiny(strength=True)), tiny().eval()
    plain.load_state_dict(plain.translate_weights(model.state_dict()))  # what it does without is left out
    video = clip(2, 3, 3, 16, 20)
    factor = model.strength(video.flatten(0, 1)).unflatten(0, (2, 3))
    assert ((factor > 0) & (factor <= 2)).all()
    assert factor.flatten(2).std(1).min() > 0  # of every frame its own
    corrected = model(video).restored
    torch.testing.assert_close(corrected, video + factor * (plain(video).restored - video))
    torch.testing.assert_close(in_sweeps(model, video), corrected)


def test_strength_begins_at_one():
    factor = tiny(strength=True).strength(torch.cat([clip(3, 3, 18, 16), torch.zeros(1, 3, 18, 16)]))
    assert torch.equal(factor, torch.ones(4, 1, 18, 16))


def test_strength_measures_the_cosine_transform_of_blocks():
    """Against the transform's definition, on a frame so small that all of it surrounds every place."""
    frame = clip(1, 3, 16, 24)
    frame = (8 * frame).round() / 8 * torch.linspace(0, 1, 24) ** 3  # some coefficients are next to nothing
    y = 255 * rgb_to_y(frame)[0, 0].double().numpy()
    k = np.arange(8)
    cosines = np.cos(np.pi * (2 * k + 1) * k[:, None] / 16) * np.where(k == 0, 8**-0.5, 0.5)[:, None]
    for grid, (top, left) in enumerate([(0, 0), (4, 4)]):
        corners = [(v, u) for v in range(top, 16 - 7 - top, 8) for u in range(left, 24 - 7 - left, 8)]
        blocks = np.stack([cosines @ y[v : v + 8, u : u + 8] @ cosines.T for v, u in corners])
        if grid == 1:
            blocks = np.concatenate([blocks, blocks[-1:]])  # the last column, once more
        for d in (1, 4, 14):
            found = np.abs(np.stack([blocks[:, i, d - i] for i in range(8) if 0 <= d - i < 8]))
            size = (np.log(found.mean() + 1e-3) - (3.8 - 4.8 * ((d - 1) / 13) ** 0.75)) / 0.6
            nothing = ((found < 0.5).mean() - 0.75 * (d - 1) / 13) / 0.15
            measured = Strength().measure(frame)[0, :, 0, 0].view(2, 2, 14)[grid, :, d - 1]
            np.testing.assert_allclose(measured.detach().numpy(), [size, nothing], atol=2e-4)


def test_strength_is_the_lower_of_a_places_surroundings_and_the_frames(monkeypatch):
    torch.manual_seed(2)
    strength = stirred(Strength(), amount=0.03)
    wide = clip(1, 3, 16, 480)
    wide[..., 240:] *= 0.02  # next to nothing there
    with torch.no_grad():
        factor, parts = strength(wide), [strength(wide[..., :240]), strength(wide[..., 240:])]
        known = strength._known(strength._seen(wide).mean((-2, -1), keepdim=True))
        frame = 2 * torch.sigmoid(strength.head(known))
        own = torch.stack([parts[0][..., 0].mean(), parts[1][..., -1].mean()])
    ends = torch.stack([factor[..., 0].mean(), factor[..., -1].mean()])
    assert (own[0] - own[1]).abs() > 0.1
    assert own.min() < frame.item() ** 2 < own.max() < 2
    torch.testing.assert_close(ends, torch.minimum(own, frame.flatten() ** 2), rtol=0.03, atol=0.01)
    monkeypatch.setattr(strength, "training", True)
    torch.testing.assert_close(strength(wide) ** 2, factor, rtol=0.03, atol=0.01)


def test_every_frame_sees_every_other_and_its_own_surroundings_alone():
    """State runs both ways; and within one frame nothing is seen from beyond the stated halo."""
    model = stirred(tiny(blocks=1))
    video = clip(1, 4, 3, 16, 16).requires_grad_()
    for t in (0, 3):
        (gradient,) = torch.autograd.grad(model(video).restored[:, t].sum(), video)
        assert all(gradient[:, s].abs().max() > 0 for s in range(4))
    reach = model.traits.halo.pixels
    wide = clip(1, 1, 3, 16, 4 * (reach // 2 + 10)).requires_grad_()
    (gradient,) = torch.autograd.grad(model(wide).restored[..., reach + 20].sum(), wide)
    seen = torch.nonzero(gradient.abs().amax(dim=(0, 1, 2, 3)))
    assert seen.min() >= 20
    assert seen.max() <= 2 * reach + 20


def test_residual_algebra():
    """r = l - xb and l' = r~ + xb: what a block adds is what the propagation found, whatever the prediction."""
    model = stirred(tiny(blocks=1))
    video = clip(1, 3, 3, 16, 16)
    inside = model.inspect(video)
    _, (first, last), _ = model._levels(video)
    torch.testing.assert_close(inside["residual/0"], first - inside["prediction/0"])
    flows = model.flows(video)
    cleaned = model.blocks[0].propagation(inside["residual/0"], flows[1], flows[-1])
    torch.testing.assert_close(last - first, cleaned - inside["residual/0"], rtol=0, atol=1e-5)
    without = stirred(tiny(blocks=1, prediction=False))
    inside = without.inspect(video)
    assert torch.equal(inside["residual/0"], without.encode(video))


def test_motion_is_flow_plus_vector_in_pixels():
    model = stirred(tiny())
    video = clip(1, 4, 3, 24, 28)
    inside = model.inspect(video)
    model.with_motion = True
    motion = model(video).features["motion"]
    assert motion.shape == (1, 4, 2, 6, 7)
    torch.testing.assert_close(motion, inside["motion/3/-1"])
    torch.testing.assert_close(inside["motion/3/-1"], inside["flow/-1"] + inside["offset/3/-1"])
    # Flow at a quarter of the size, in pixels of the frame, from frame 2 to frame 1.
    small = torch.nn.functional.interpolate(
        video[0], scale_factor=0.25, mode="bicubic", align_corners=False, antialias=True
    )
    torch.testing.assert_close(inside["flow/-1"][:, 2], 4 * model.flow(small[2:3], small[1:2]))
    assert inside["flow/-1"][:, 0].abs().max() == 0  # before the first frame there is the frame itself


def test_motion_of_a_peaked_attention():
    """Queries that find their own key one place to the left say four pixels to the left."""
    block = stirred(tiny(blocks=1)).blocks[0]
    with torch.no_grad():
        for linear in (block.muna.query, block.muna.key):
            linear.weight.copy_(torch.eye(16))
            linear.bias.zero_()
        block.muna.bias.zero_()
    code = torch.randn(1, 16, 8, 9, generator=torch.Generator().manual_seed(1))
    code = 40 * code / code.norm(dim=1, keepdim=True)
    moved = torch.roll(code, -1, dims=-1)
    (vector,) = block.vectors(code, [(moved, None)])
    inner = 4 * vector[0, :, 1:-1, 2:-2]
    torch.testing.assert_close(inner, torch.tensor([-4.0, 0.0]).view(2, 1, 1).expand(inner.shape), rtol=0, atol=1e-3)
    # Flow that already says so leaves the attention nothing to add.
    flow = torch.tensor([-1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 9)
    (vector,) = block.vectors(code, [(moved, flow)])
    torch.testing.assert_close(vector[..., 2:-2], torch.zeros_like(vector[..., 2:-2]), rtol=0, atol=1e-3)


def test_warped_before_projected_is_projected_before_warped():
    muna = stirred(tiny(blocks=1)).blocks[0].muna
    generator = torch.Generator().manual_seed(2)
    level, reference = (torch.randn(1, 16, 8, 10, generator=generator) for _ in range(2))
    flow = 2 * torch.randn(1, 2, 8, 10, generator=generator)
    (found,), _ = muna(level, [(reference, flow)])
    heads = [t.permute(0, 2, 3, 1) for t in (level, reference)]
    from restore_crds.attention import guided_attention

    q, k, v = (
        linear(t).unflatten(-1, (1, -1))
        for linear, t in ((muna.query, heads[0]), (muna.key, heads[1]), (muna.value, heads[1]))
    )
    expected, _ = guided_attention(q, k, v, flow, 3, muna.bias)
    torch.testing.assert_close(found, expected.flatten(3).permute(0, 3, 1, 2), rtol=0, atol=1e-4)
    assert not torch.allclose(found, neighborhood_attention(q, k, v, 3, muna.bias)[0].flatten(3).permute(0, 3, 1, 2))


@pytest.mark.parametrize("alignment", ["muna", "flow", "none"])
def test_alignments_differ_only_where_they_should(alignment):
    model = stirred(tiny(blocks=1, alignment=alignment))
    still = clip(1, 1, 3, 24, 24).expand(1, 3, -1, -1, -1)
    moved = torch.stack([torch.roll(still[:, 0], 8 * t, dims=-1) for t in range(3)], dim=1)
    inside = model.inspect(moved)
    prediction = inside["prediction/0"]
    with torch.no_grad():
        model.flow.levels[-1][-1].bias.add_(2)
    changed = model.inspect(moved)["prediction/0"]
    assert torch.equal(changed, prediction) == (alignment == "none")
    assert ("key" in dict(model.blocks[0].muna.named_children())) == (alignment == "muna")


def test_black_clips_one_frame_and_odd_latent_sides():
    model = stirred(tiny())
    for video in (
        torch.zeros(1, 3, 3, 16, 20),
        clip(1, 1, 3, 12, 12),
        clip(2, 2, 3, 36, 20),
        torch.ones(1, 2, 3, 12, 16),
    ):
        answer = model(video).restored
        assert answer.shape == video.shape
        assert torch.isfinite(answer).all()


@pytest.mark.parametrize("sides", [(8, 16), (14, 16), (16, 18)])
def test_says_which_sizes_it_takes(sides):
    model = tiny()
    with pytest.raises(ValueError, match="at least 12 pixels high and wide, in multiples of 4"):
        model(torch.zeros(1, 2, 3, *sides))
    with pytest.raises(ValueError, match="multiples of 4"):
        model.sweeps[0]([None, {"frame": torch.zeros(1, 3, *sides)}, None], None)


@pytest.mark.parametrize(
    "parameters",
    [
        {"heads": 3}, {"blocks": 0}, {"alignment": "deformable"}, {"bias": "gauss"}, {"upsampling": "three"},
        {"flow": "farneback"}, {"flow_weights": "spynet.pth", "flow": "lucas-kanade"},
    ],
)  # fmt: skip
def test_refuses_impossible_parameters(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        CRDS(**({"features": 16, "flow_levels": 1, "flow_widths": (4,), "propagation_blocks": 0} | parameters))


def test_flow_weights_from_a_file(tmp_path):
    """Under the names of published files, of this size."""
    model = stirred(CRDS(features=8, propagation_blocks=0, blocks=1))
    names = {f"levels.{i}.{j}.": f"basic_module.{i}.basic_module.{j}." for i in range(6) for j in range(0, 10, 2)}
    published = {
        names[name[: name.rindex(".") + 1]] + name.rsplit(".", 1)[1]: tensor
        for name, tensor in model.flow.state_dict().items()
    }
    torch.save(published, tmp_path / "spynet.pth")
    other = CRDS(features=8, propagation_blocks=0, blocks=1, flow_weights=tmp_path / "spynet.pth")
    assert all(torch.equal(a, b) for a, b in zip(other.flow.parameters(), model.flow.parameters(), strict=True))
    with pytest.raises(ValueError, match="no file"):
        CRDS(flow_weights=tmp_path / "missing.pth")


def panned(frames, height, width, pan):
    """A smooth picture of which what is at p in a frame was at p + pan in the frame before."""
    noise = clip(1, 1, height // 4 + 16, width // 4 + 16)
    picture = torch.nn.functional.interpolate(noise, scale_factor=4, mode="bicubic")[0].clamp(0, 1).expand(3, -1, -1)
    tops = [(24 + pan[1] * t, 24 + pan[0] * t) for t in range(frames)]
    return torch.stack([picture[:, v : v + height, u : u + width] for v, u in tops])[None]


def test_flow_without_parameters_finds_a_pan():
    video = panned(3, 64, 80, (4, -2))
    model = stirred(small(blocks=1))
    assert not list(model.flow.parameters())
    found = model.inspect(video)
    inner = found["flow/-1"][0, 1:, :, 3:-3, 3:-3].mean((0, 2, 3))
    torch.testing.assert_close(inner, torch.tensor([4.0, -2.0]), rtol=0, atol=0.4)
    torch.testing.assert_close(found["flow/1"][0, :-1, :, 3:-3, 3:-3].mean((0, 2, 3)), -inner, rtol=0, atol=0.4)
    with torch.no_grad():
        torch.testing.assert_close(in_sweeps(model, video), model(video).restored, rtol=0, atol=1e-5)
    # Training goes around it; half precision of all else leaves it whole.
    model.train()(video).restored.sum().backward()
    assert model.encoder.reduce[0].weight.grad is not None
    whole = model.flows(video)[1]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.flows(video)[1], whole)


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    model = tiny(blocks=2)
    target = torch.nn.functional.interpolate(clip(2, 3, 4, 4), size=(24, 24), mode="bilinear")[None]
    observed = 0.1 + 0.7 * target
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        answer = model(observed)
        inner = [
            ((each - observed.lerp(target, (s + 1) / 2)) ** 2).mean() for s, each in enumerate(answer.intermediates)
        ]
        loss = ((answer.restored - target) ** 2).mean() + sum(inner)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert model.blocks[0].muna.bias.grad.abs().max() > 0
